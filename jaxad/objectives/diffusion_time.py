"""DTE-C: classify how much noise was added to a row; rows that look noisy are anomalous.

Livernoche, Jain, Hezaveh & Ravanbakhsh, "On Diffusion Modeling for Anomaly Detection", ICLR 2024.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad.checks import Flag, Interval, Whole
from jaxad.hashing import normal, uniform
from jaxad.losses import diffusion_time
from jaxad.objectives import roles
from jaxad.objectives.base import BaseObjective, check_numbers, real
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats


class DiffusionTime(BaseObjective):
    """Categorical diffusion time estimation; made by `dte_c`.

    Attributes:
      network, levels, softmax_twice, chunk: see `dte_c`.
      first, last: leaves, see `dte_c`.
    """

    network: nn.Module = struct.field(pytree_node=False)
    first: Any
    last: Any
    levels: int = struct.field(pytree_node=False)
    softmax_twice: bool = struct.field(pytree_node=False)
    chunk: int = struct.field(pytree_node=False)

    def __post_init__(self):
        """Check the numbers."""
        share = Interval(0, 1, "neither")
        check_numbers(self, first=share, last=share, levels=Whole(), softmax_twice=Flag())

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise the network.

        Raises:
          ValueError: the network does not return logits of 2 to ``levels`` bins.
        """
        params, stats = roles.init(self.network, "classifier", key, x)
        logits = self.transform(params, stats, x[:1])
        if logits.ndim != 2 or not 2 <= logits.shape[1] <= self.levels:
            raise ValueError(
                f"network={type(self.network).__name__} returns {logits.shape[1:]} for a row: it "
                f"must return [K] logits, for 2 to levels={self.levels} bins, as in "
                "networks.MLP((256, 512, 256, 7))"
            )
        return params, stats

    def padded_inputs(self, columns: Any) -> dict[str, tuple[Any, Any]]:
        """The network sees the columns."""
        return {"classifier": (self.network, columns)}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """Cross-entropy ``[B]`` of a random level's bin; evaluated, the mean over the bins."""
        if key is None:
            views = self._in_every_bin(params, stats, batch.x)
            logits, _ = roles.apply_views(self.network, "classifier", params, stats, views)
            bins = jnp.arange(logits.shape[2])
            each = jax.vmap(self._cross_entropy, (0, None))(logits, bins)
            return jnp.mean(each, 1), stats
        level_key, noise_key, key = jax.random.split(key, 3)
        level = jnp.floor(uniform(level_key, (len(batch.x),)) * self.levels).astype(jnp.int32)
        noisy = self._noisy(batch.x, level, real(stats, normal(noise_key, batch.x.shape)))
        logits, stats = roles.apply(
            self.network, "classifier", params, stats, noisy, weight=batch.weight, key=key
        )
        return self._cross_entropy(logits, level * logits.shape[1] // self.levels), stats

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm for noisy rows, which it was trained on."""
        views = partial(self._in_every_bin, params, stats)
        given = self.network, "classifier", params, stats, rows
        return roles.calibrate(*given, chunk=self.chunk, views=views)

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """``log(E / (K - 1 - E))`` ``[B]`` of the expected bin E, which ranks rows as E does."""
        return diffusion_time.score(self.transform(params, stats, x))

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """The logits of the bins ``[B, K]``."""
        return roles.apply(self.network, "classifier", params, stats, x)[0]

    def _cross_entropy(self, logits: Array, bins: Array) -> Array:
        return diffusion_time.cross_entropy(logits, bins, softmax_twice=self.softmax_twice)

    def _noisy(self, x: Array, level: Array, noise: Array) -> Array:
        """Rows ``[B, ...]`` with noise of the levels ``[B]``."""
        scale = diffusion_time.noise_levels(self.levels, first=self.first, last=self.last)[level]
        return x + scale.reshape(-1, *(1,) * (x.ndim - 1)) * noise

    def _in_every_bin(self, params: Params, stats: Stats, x: Array) -> Array:
        """Views ``[B, K, ...]``: the rows at the middle level of each bin, with fixed noise."""
        count = jax.eval_shape(self.transform, params, stats, x[:1]).shape[1]
        level = (2 * jnp.arange(count) + 1) * self.levels // (2 * count)
        noise = real(stats, normal(jax.random.key(0), (count, *x.shape[1:])))
        return jax.vmap(lambda row: self._noisy(row[None], level, noise))(x)


def dte_c(
    network: nn.Module,
    *,
    levels: int = 400,
    first: Any = 1e-4,
    last: Any = 0.01,
    softmax_twice: bool = False,
    chunk: int = 512,
) -> DiffusionTime:
    """DTE-C: classify the bin of a row's noise level; the score is the expected bin of a clean row.

    Training adds noise of a random level t of T to a row: ``x + sqrt(1 - prod_{s<=t} (1 - b_s)) e``
    with b from ``first`` to ``last``. The network classifies the bin ``floor(t K / T)``. The row is
    not shrunk, as in the paper's code.

    Args:
      network: ``[B, ...] -> [B, K]`` logits; 256-512-256 units with dropout 0.5 and K = 7 in the
        paper's code, rate 1e-4, weight decay 5e-4.
      levels: T, at least K.
      first, last: the smallest and the largest ``b``.
      softmax_twice: whether training takes the probabilities for logits, as the paper's code and
        its copies do: their network ends with a softmax, and so does their loss.
      chunk: rows at a time in exact passes and scoring.

    Raises:
      ValueError: a number is out of range; or, raised by ``init``, the network does not return
        logits of 2 to ``levels`` bins.

    Source: Livernoche et al., ICLR 2024.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> objective = objectives.dte_c(networks.MLP((16, 7), use_bias=True))
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> result = training.fit(objective, training.Recipe(epochs=2), jax.random.key(0), x)
      >>> objective.transform(result.params, result.stats, x[:5]).shape
      (5, 7)
    """
    return DiffusionTime(network, first, last, levels, softmax_twice, chunk)
