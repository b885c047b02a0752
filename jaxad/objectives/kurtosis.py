"""The kurtosis of every feature without its extreme values, in two passes over the rows."""

from typing import Any

import jax.numpy as jnp

from jaxad.losses.score_matching import trimmed_weight
from jaxad.rows import Rows
from jaxad.typing import Array


def trimmed_kurtosis(rows: Rows, *, share: Any, chunk: int) -> Array:
    """Fourth central moment divided by the squared variance ``[D]``, 3 for a normal distribution.

    A feature whose values are all equal has no kurtosis; the result for it is 3.

    Args:
      rows: a table, in memory or streamed.
      share: share of the values that is left out, half of it at each end. The quantiles are those
        of chunks, so that a stream need not be in memory.
      chunk: rows of a chunk.

    Example:
      >>> import numpy as np
      >>> from jaxad import training
      >>> x = np.repeat([[-1.0, 5.0], [1.0, 5.0]], 50, axis=0)
      >>> trimmed_kurtosis(training.as_rows(x).padded(100), share=0.0, chunk=100).tolist()
      [1.0, 3.0]
    """

    def sums(centre: Array, powers: tuple[int, ...]) -> Array:
        def add(carry, batch):
            weight = trimmed_weight(batch.x, batch.weight, share=share)
            shifted = jnp.where(weight > 0, batch.x - centre[None], 0)
            return carry + jnp.stack([jnp.sum(weight * shifted**power, 0) for power in powers])

        return rows.fold(add, jnp.zeros((len(powers), *rows.shape), jnp.float32), chunk=chunk)

    total, first = sums(jnp.zeros(rows.shape, jnp.float32), (0, 1))
    total = jnp.maximum(total, 1e-12)
    second, fourth = sums(first / total, (2, 4)) / total[None]
    varies = second > 1e-12
    return jnp.where(varies, fourth / jnp.where(varies, second, 1) ** 2, 3)
