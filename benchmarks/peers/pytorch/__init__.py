"""Hand-written PyTorch training loops, as good as we can make them, to measure against.

Each module has ``train(x, *, epochs, batch_size, ...) -> (params, losses)``, losses ``[epochs]``
(`deep_sad`'s takes labels after the rows), and all but `deep_svdd_by_hand` have
``scorer(x, ...)``, the scores of a few rows by a fresh network.
Importing this package without torch raises an error that says how to get it.
"""

try:
    import torch as torch
except ImportError as error:
    raise ImportError('the PyTorch peers need torch: pip install -e ".[bench]"') from error

from benchmarks.peers.pytorch import autoencoder as autoencoder
from benchmarks.peers.pytorch import dagmm as dagmm
from benchmarks.peers.pytorch import deep_sad as deep_sad
from benchmarks.peers.pytorch import deep_svdd as deep_svdd
from benchmarks.peers.pytorch import deep_svdd_by_hand as deep_svdd_by_hand
from benchmarks.peers.pytorch import goad as goad
