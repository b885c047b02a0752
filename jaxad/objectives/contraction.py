"""TCCM: learn the vector that takes a row to the origin; rows for which it is wrong are anomalous.

Li et al., "Scalable, Explainable and Provably Robust Anomaly Detection with One-Step Flow
Matching", NeurIPS 2025.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad.hashing import uniform
from jaxad.losses import reconstruction
from jaxad.objectives import roles
from jaxad.objectives.base import BaseObjective, real
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats

# Evaluation takes the mean over these times, so that it draws nothing.
TIMES = (0.125, 0.375, 0.625, 0.875)


class ContractionMatching(BaseObjective):
    """Time-conditioned contraction matching; made by `tccm`.

    Attributes:
      network: ``f``, ``[B, D + 1] -> [B, D]``; its last input is the time.
      chunk: rows at a time in exact passes and scoring.
    """

    network: nn.Module = struct.field(pytree_node=False)
    chunk: int = struct.field(pytree_node=False)

    def padded_inputs(self, columns: Any) -> dict[str, tuple[Any, Any]]:
        """The network sees the columns and the time."""
        return {"velocity": (self.network, columns + 1)}

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise the network.

        Raises:
          ValueError: rows are images, or the network does not return a row.
        """
        roles.check_table("TCCM", x)
        given = _with_times({}, x[:1], jnp.ones((1, 1)))[:, 0]
        params, stats = roles.init(self.network, "velocity", key, given)
        output, _ = roles.apply(self.network, "velocity", params, stats, given)
        roles.check_output(self.network, output, x)
        return params, stats

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """``||f(x, t) + x||^2`` ``[B]`` at a random time of each row; evaluated, at `TIMES`."""
        times = _fixed_times(batch.x)
        if key is not None:
            time_key, key = jax.random.split(key)
            times = uniform(time_key, (len(batch.x), 1))
        velocity, stats = roles.apply_views(
            self.network,
            "velocity",
            params,
            stats,
            _with_times(stats, batch.x, times),
            weight=batch.weight,
            key=key,
        )
        x = jnp.broadcast_to(batch.x[:, None], velocity.shape)
        error = reconstruction.squared_error(x, -real(stats, velocity), reduction="sum")
        return error / times.shape[1], stats

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm."""

        def views(x):
            return _with_times(stats, x, _fixed_times(x))

        return roles.calibrate(
            self.network, "velocity", params, stats, rows, chunk=self.chunk, views=views
        )

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """``||f(x, 1) + x||^2`` ``[B]``, the sum of the `contributions`."""
        return jnp.sum(self.contributions(params, stats, x), -1)

    def contributions(self, params: Params, stats: Stats, x: Array) -> Array:
        """``(f(x, 1) + x)_j^2`` ``[B, D]``, which sum to the score."""
        return jnp.square(x - self.reconstruct(params, stats, x))

    def reconstruct(self, params: Params, stats: Stats, x: Array) -> Array:
        """``-f(x, 1)`` ``[B, D]``, the row that the network takes to the origin."""
        return -self.transform(params, stats, x)

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """``f(x, 1)`` ``[B, D]``."""
        given = _with_times(stats, x, jnp.ones((len(x), 1)))[:, 0]
        return real(stats, roles.apply(self.network, "velocity", params, stats, given)[0])


def tccm(network: nn.Module, *, chunk: int = 1024) -> ContractionMatching:
    """TCCM: learn ``f(x, t) = -x`` at random times t; the score is the error at t = 1.

    Flow matching learns velocities between two distributions. Here the second one is the origin, so
    the velocity is ``-x`` at every time. The loss is ``||f(x, t) + x||^2`` with t uniform in
    (0, 1), and the score ``||f(x, 1) + x||^2``, the square of the paper's. It sums over features,
    so a feature's share of it is its explanation.

    Args:
      network: ``[B, D + 1] -> [B, D]``. Its last input is the time, which the paper's network turns
        into sines and cosines. Two layers of 256 units with ReLU in the paper, rate 5e-3.
      chunk: rows at a time in exact passes and scoring.

    Raises:
      ValueError: raised by ``init`` if rows are images or the network does not return a row.

    Source: Li et al., NeurIPS 2025. Their code sets the number of epochs by the data set's name.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> objective = objectives.tccm(networks.MLP((16, 4), use_bias=True))
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> result = training.fit(objective, training.Recipe(epochs=2), jax.random.key(0), x)
      >>> objective.reconstruct(result.params, result.stats, x[:5]).shape
      (5, 4)
    """
    return ContractionMatching(network, chunk)


def _fixed_times(x: Array) -> Array:
    return jnp.broadcast_to(jnp.asarray(TIMES, jnp.float32), (len(x), len(TIMES)))


def _with_times(stats: Stats, x: Array, times: Array) -> Array:
    """Every row ``[B, D]`` with each of its times ``[B, T]`` as last entry, ``[B, T, D + 1]``.

    The time comes after the real columns, before those that only pad.
    """
    x = jnp.asarray(x)
    columns = jnp.sum(stats["real"]) if "real" in stats else x.shape[1]
    longer = jnp.concatenate([x, jnp.zeros_like(x[:, :1])], 1)  # jax2onnx cannot convert jnp.pad
    repeated = jnp.broadcast_to(longer[:, None], (*times.shape, longer.shape[1]))
    is_time = jnp.arange(longer.shape[1]) == columns
    return jnp.where(is_time[None, None], times[..., None].astype(x.dtype), repeated)
