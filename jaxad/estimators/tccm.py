"""TCCM as a scikit-learn estimator."""

from typing import Any

import numpy as np

from jaxad import objectives
from jaxad.checks import Choice
from jaxad.estimators.base import Detector, argument
from jaxad.networks import build
from jaxad.networks.types import TYPES
from jaxad.training.recipe import RANGES


class TCCM(Detector):
    """Time-conditioned contraction matching (Li et al., NeurIPS 2025), for tables.

    A network sees a row and a time, and learns the vector that takes the row to the origin. The
    anomaly score is the squared error of that vector at time 1. Train on mostly normal rows; labels
    are not used.

    The defaults were chosen on even-numbered sets of OddBench; the network is smaller than the
    paper's.

    Args:
      network: ``"mlp"``, or a Flax module ``[B, D + 1] -> [B, D]``, whose last input is the time.
      hidden: hidden widths of the MLP, 256 and 256 in the paper; None is 128 and 64.
      dtype: what the network computes in, see `DeepSVDD`.
      epochs: a number, or ``"auto"``: about 1,000 steps, from 1 to 200 epochs. 0 leaves the network
        untrained (a control).
      learning_rate: 5e-3.
      **others: the other arguments of `Detector`; see `DeepSVDD`, also for fitted attributes.

    Example:
      >>> import numpy as np
      >>> from jaxad import TCCM
      >>> X = np.random.default_rng(0).normal(size=(200, 4))
      >>> detector = TCCM(epochs=5, random_state=0).fit(X)
      >>> detector.reconstruct(X).shape
      (200, 4)
    """

    network: Any = "mlp"
    hidden: tuple[int, ...] = (64, 64)
    dtype: Any = argument("float32", Choice(TYPES))
    learning_rate: float = argument(5e-3, RANGES["learning_rate"])

    _networks = build.TABULAR

    def reconstruct(self, X: Any) -> np.ndarray:
        """The rows ``[N, D]`` that the network takes to the origin at time 1, in the units of X.

        An ensemble returns the mean of its members'.
        """
        return self._reconstruct(X)

    def _objective(self, shape: tuple[int, ...], count: int) -> objectives.ContractionMatching:
        del count
        options = {"hidden": self.hidden, "latent_dim": shape[0], "dtype": self.dtype}
        network = build.encoder(self.network, use_bias=True, activation="relu", **options)
        return objectives.tccm(network)
