"""Hand-written PyTorch training loops, as good as we can make them, to measure against.

Importing this package without torch raises an error that says how to get it.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

try:
    import torch as torch
except ImportError as error:
    raise ImportError('the PyTorch peers need torch: pip install -e ".[bench]"') from error

from benchmarks.peers.pytorch import autoencoder as autoencoder
from benchmarks.peers.pytorch import dagmm as dagmm
from benchmarks.peers.pytorch import goad as goad
from benchmarks.peers.pytorch import hypersphere as hypersphere
from benchmarks.peers.pytorch import hypersphere_by_hand as hypersphere_by_hand
from benchmarks.peers.pytorch.loop import train_module


class Method(NamedTuple):
    """A method's loops.

    Attributes:
      train: ``(x, *, epochs, batch_size, learning_rate, ...) -> (params, losses)``, losses
        ``[epochs]``; labels follow the rows where a method takes them.
      scorer: ``(x, ...) -> score``, the scores of a few rows by a fresh network.
    """

    train: Callable
    scorer: Callable


METHODS = {
    "deep_svdd": Method(hypersphere.train, hypersphere.scorer),
    "deep_sad": Method(hypersphere.train, hypersphere.scorer),
    "autoencoder": Method(partial(train_module, autoencoder.Autoencoder), autoencoder.scorer),
    "dagmm": Method(partial(train_module, dagmm.DAGMM), dagmm.scorer),
    "goad": Method(partial(train_module, goad.GOAD), goad.scorer),
}
