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

    def kept(batch):
        weight = trimmed_weight(batch.x, batch.weight, share=share)
        return weight, jnp.sum(weight, 0)

    def survey(carry, batch):
        total, mean, low, high = carry
        weight, added = kept(batch)
        least = jnp.min(jnp.where(weight > 0, batch.x, jnp.inf), 0)
        most = jnp.max(jnp.where(weight > 0, batch.x, -jnp.inf), 0)
        # Deviations from a value of the feature keep the digits of a small spread.
        base = jnp.where(added > 0, least, 0)
        apart = jnp.where(weight > 0, batch.x - base[None], 0)
        own = base + jnp.sum(weight * apart, 0) / jnp.maximum(added, 1e-12)
        mean = mean + added / jnp.maximum(total + added, 1e-12) * (own - mean)
        return total + added, mean, jnp.minimum(low, least), jnp.maximum(high, most)

    zero = jnp.zeros(rows.shape, jnp.float32)
    total, mean, low, high = rows.fold(
        survey, (zero, zero, zero + jnp.inf, zero - jnp.inf), chunk=chunk
    )
    varies = high > low
    span = jnp.where(varies, high - low, 1)  # the fourth powers of other units may overflow

    def add(carry, batch):
        weight, _ = kept(batch)
        apart = jnp.where(weight > 0, (batch.x - mean[None]) / span[None], 0)
        return carry + jnp.stack([jnp.sum(weight * apart**power, 0) for power in (1, 2, 3, 4)])

    powers = rows.fold(add, jnp.zeros((4, *rows.shape), jnp.float32), chunk=chunk)
    first, second, third, fourth = powers / jnp.maximum(total, 1e-12)[None]
    # The mean is rounded: `first` is its error, and these are the moments about the true one.
    fourth = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    second = second - first**2
    varies = varies & (second > 0)
    return jnp.where(varies, fourth / jnp.where(varies, second, 1) ** 2, 3)
