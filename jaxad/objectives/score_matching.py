"""K-DSM: learn the gradient of the log-density; rows where it is long are anomalous.

Zan, Rabbany & Livernoche, "Kurtosis-Guided Denoising Score Matching for Tabular Anomaly Detection",
arXiv 2605.06955, 2026.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad.checks import POSITIVE, Interval, Whole
from jaxad.hashing import normal
from jaxad.losses import score_matching
from jaxad.objectives import roles
from jaxad.objectives.base import BaseObjective, check_numbers, real
from jaxad.objectives.kurtosis import trimmed_kurtosis
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats


class ScoreMatching(BaseObjective):
    """Denoising score matching with a noise scale for each feature; made by `k_dsm`.

    Its statistics have the ``noise_scale`` ``[D]``.

    Attributes:
      network: ``s``, ``[B, D] -> [B, D]``.
      scale, slope, minimum, maximum, trimmed: leaves, see `k_dsm`, also for ``draws, chunk``.
    """

    network: nn.Module = struct.field(pytree_node=False)
    scale: Any
    slope: Any
    minimum: Any
    maximum: Any
    trimmed: Any
    draws: int = struct.field(pytree_node=False)
    chunk: int = struct.field(pytree_node=False)

    def __post_init__(self):
        """Check the numbers."""
        check_numbers(self, scale=POSITIVE, minimum=POSITIVE, maximum=POSITIVE, draws=Whole())
        check_numbers(self, slope=Interval(-math.inf), trimmed=Interval(0, 1))

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise the network; `prepare` sets the noise scales."""
        roles.check_table("K-DSM", x)
        params, stats = roles.init(self.network, "score", key, x)
        roles.check_output(self.network, self.transform(params, stats, x[:1]), x)
        return params, stats | {"noise_scale": jnp.ones(x.shape[1], jnp.float32)}

    def padded_inputs(self, columns: Any) -> dict[str, tuple[Any, Any]]:
        """The network sees the columns."""
        return {"score": (self.network, columns)}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """``1/2 sum_j (s(x + sigma e)_j + e_j)^2`` ``[B]``, averaged over the draws of e."""
        noise = self._fixed_noise(stats, batch.x)
        if key is not None:
            noise_key, key = jax.random.split(key)
            noise = real(stats, normal(noise_key, noise.shape))
        noisy = batch.x[:, None] + stats["noise_scale"][None, None] * noise
        scores, stats = roles.apply_views(
            self.network, "score", params, stats, noisy, weight=batch.weight, key=key
        )
        return score_matching.denoising(real(stats, scores), noise) / self.draws, stats

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Fit the noise scales to the kurtosis of every feature."""
        kurtosis = trimmed_kurtosis(rows, share=self.trimmed, chunk=self.chunk)
        limits = {"minimum": self.minimum, "maximum": self.maximum}
        scales = score_matching.noise_scale(kurtosis, scale=self.scale, slope=self.slope, **limits)
        return stats | {"noise_scale": scales}

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm for noisy rows, which it was trained on."""

        def noisy(x):
            return x[:, None] + stats["noise_scale"][None, None] * self._fixed_noise(stats, x)

        return roles.calibrate(
            self.network, "score", params, stats, rows, chunk=self.chunk, views=noisy
        )

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """``||s(x)||^2`` ``[B]``, the sum of the `contributions`."""
        return jnp.sum(self.contributions(params, stats, x), -1)

    def contributions(self, params: Params, stats: Stats, x: Array) -> Array:
        """``s(x)_j^2`` ``[B, D]``: how unlikely each feature's value is, given the others."""
        return jnp.square(self.transform(params, stats, x))

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """``s(x)`` ``[B, D]``: the gradient of the log-density, times the noise scales."""
        return real(stats, roles.apply(self.network, "score", params, stats, x)[0])

    def _fixed_noise(self, stats: Stats, x: Array) -> Array:
        """The noise ``[B, draws, D]`` of evaluation and calibration, the same for all rows."""
        noise = real(stats, normal(jax.random.key(0), (1, self.draws, x.shape[1])))
        return jnp.broadcast_to(noise, (len(x), *noise.shape[1:]))


def k_dsm(
    network: nn.Module,
    *,
    scale: Any = 0.5,
    slope: Any = 0.33,
    minimum: Any = 0.1,
    maximum: Any = 3.0,
    trimmed: Any = 0.04,
    draws: int = 3,
    chunk: int = 1024,
) -> ScoreMatching:
    """K-DSM: denoising score matching whose noise scales follow the kurtosis of every feature.

    A network sees ``x + sigma e`` with standard normal e, and learns ``-e``: the gradient of the
    noisy rows' log-density times sigma, which is long where rows are rare. Sigma of feature j is
    ``scale (1 + slope (kurtosis_j - 3))`` within ``[minimum, maximum]``. Binary columns are
    features like others; a column without spread after trimming gets ``scale``.

    Args:
      network: ``[B, D] -> [B, D]``; 6 residual layers of 512 units with batch norm in the paper.
      scale: noise scale of a normal feature, in units of standardised rows.
      slope: relative change of the scale for each unit of kurtosis.
      minimum, maximum: limits of the scales.
      trimmed: share of a feature's values that its kurtosis leaves out, see `trimmed_kurtosis`.
      draws: noisy copies of each row in a batch.
      chunk: rows at a time in exact passes and scoring.

    Raises:
      ValueError: a number is out of range; or, raised by ``init``, s does not return a row.

    Source: arXiv 2605.06955. It trims contaminated rows as ``Trimmed(k_dsm(...), 0.2, 0.999)``.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> objective = objectives.k_dsm(networks.MLP((16, 4), use_bias=True))
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> result = training.fit(objective, training.Recipe(epochs=2), jax.random.key(0), x)
      >>> objective.contributions(result.params, result.stats, x[:5]).shape
      (5, 4)
    """
    return ScoreMatching(network, scale, slope, minimum, maximum, trimmed, draws, chunk)
