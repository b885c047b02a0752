"""Hand-written PyTorch training loops, as good as we can make them, to measure against."""

try:
    import torch as torch
except ImportError as error:
    raise ImportError('the PyTorch peers need torch: pip install -e ".[bench]"') from error
