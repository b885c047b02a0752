"""K-DSM as a scikit-learn estimator."""

from typing import Any

from jaxad import objectives
from jaxad.checks import AT_LEAST_ZERO, Choice, Interval, Whole
from jaxad.estimators.base import Detector, argument
from jaxad.networks import build
from jaxad.networks.types import TYPES
from jaxad.training.recipe import RANGES


class KDSM(Detector):
    """Kurtosis-guided denoising score matching (Zan et al., arXiv 2605.06955), for tables.

    A network learns to tell the noise in a row, which is the gradient of the log-density of noisy
    rows. The anomaly score is its squared length at the row itself. The noise of a feature grows
    with its kurtosis. Train on mostly normal rows; labels are not used.

    The defaults were chosen on even-numbered sets of OddBench.

    Args:
      network: ``"mlp"``, or a Flax module ``[B, D] -> [B, D]``.
      hidden: hidden widths of the MLP; six residual layers of 512 units in the paper; None is 128
        and 64.
      dtype: what the network computes in, see `DeepSVDD`.
      noise_scale: standard deviation of the noise of a feature with normal values, in units of
        standardised rows, from 0.1 to 3. That of every feature is kept within these limits.
      kurtosis_slope: relative change of the noise for each unit of kurtosis; 0 gives all features
        the same.
      draws: noisy copies of each row in a batch.
      epochs: a number, or ``"auto"``: about 1,000 steps, from 1 to 200 epochs. 0 leaves the network
        untrained (a control).
      learning_rate: 2e-3.
      weight_decay: see `DeepSVDD`.
      **others: the other arguments of `Detector`; see `DeepSVDD`, also for fitted attributes.

    Attributes:
      stats_: ``noise_scale`` ``[D]`` and ``batch_stats``.
      **others: see `DeepSVDD`.

    Example:
      >>> import numpy as np
      >>> from jaxad import KDSM
      >>> X = np.random.default_rng(0).normal(size=(200, 4))
      >>> detector = KDSM(epochs=5, n_members=1, random_state=0).fit(X)
      >>> detector.stats_["noise_scale"].shape
      (4,)
    """

    network: Any = "mlp"
    hidden: tuple[int, ...] = (64, 64)
    dtype: Any = argument("float32", Choice(TYPES))
    noise_scale: float = argument(0.5, Interval(0.1, 3, "both"))
    kurtosis_slope: float = argument(0.33, AT_LEAST_ZERO)
    draws: int = argument(3, Whole())
    learning_rate: float = argument(2e-3, RANGES["learning_rate"])
    weight_decay: float = argument(5e-5, AT_LEAST_ZERO)

    _networks = build.TABULAR

    def _objective(self, shape: tuple[int, ...], count: int) -> objectives.ScoreMatching:
        del count
        options = {"hidden": self.hidden, "latent_dim": shape[0], "dtype": self.dtype}
        network = build.encoder(self.network, use_bias=True, **options)
        numbers: dict[str, Any] = {"scale": self.noise_scale, "slope": self.kurtosis_slope}
        return objectives.k_dsm(network, draws=int(self.draws), **numbers)
