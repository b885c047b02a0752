"""Denoising score matching with a noise scale for each feature, the losses of K-DSM.

Vincent, "A Connection Between Score Matching and Denoising Autoencoders", Neural Computation 2011,
and Zan, Rabbany & Livernoche, "Kurtosis-Guided Denoising Score Matching for Tabular Anomaly
Detection", arXiv 2605.06955, 2026.
"""

import chex
import jax
import jax.numpy as jnp

from jaxad.losses.hypersphere import weighted_quantile
from jaxad.typing import Array


def denoising(score: Array, noise: Array) -> Array:
    """``1/2 sum (s + e)^2`` over the entries of each row: ``[B, ...], [B, ...] -> [B]``.

    A network sees the row ``x + sigma e`` and returns ``s``. The loss is least where ``s`` is the
    expected ``-e``, which is ``sigma`` times the gradient of the noisy rows' log-density.

    Args:
      score: ``s``, the network's output for the noisy rows.
      noise: ``e``, standard normal numbers that were added, before their scale.

    Source: the objective of denoising score matching in Vincent 2011, times ``sigma^2``.

    Example:
      >>> denoising(jnp.array([[1.0, 0.0]]), jnp.array([[-1.0, 2.0]])).tolist()
      [2.0]
    """
    chex.assert_equal_shape([score, noise])
    return jnp.sum(jnp.square(score + noise), range(1, score.ndim)) / 2


def noise_scale(
    kurtosis: Array,
    *,
    scale: Array | float,
    slope: Array | float,
    minimum: Array | float,
    maximum: Array | float,
) -> Array:
    """``scale (1 + slope (kurtosis - 3))`` within ``[minimum, maximum]``: ``[D] -> [D]``.

    Features with heavy tails get more noise than normal ones, and flat ones get less.

    Args:
      kurtosis: fourth central moment divided by the squared variance; 3 for a normal distribution.
      scale: scale of a normal feature, in units of the rows.
      slope: relative change for each unit of kurtosis.
      minimum: the smallest scale.
      maximum: the largest scale.

    Source: K-DSM, with 0.5, 0.33, 0.1 and 3.

    Example:
      >>> kurtosis = jnp.array([1.0, 3.0, 100.0])
      >>> noise_scale(kurtosis, scale=0.5, slope=0.33, minimum=0.1, maximum=3.0).round(2).tolist()
      [0.17000000178813934, 0.5, 3.0]
    """
    return jnp.clip(scale * (1 + slope * (kurtosis - 3)), minimum, maximum)


def trimmed_weight(x: Array, weight: Array, *, share: Array | float) -> Array:
    """Weights ``[B, D]`` of entries, 0 for a ``share`` of them, half of it at each end of a column.

    Values equal to a limit are kept, so a column of two common values keeps both.

    Args:
      x: ``[B, D]`` rows.
      weight: ``[B]`` weights of the rows, not negative.
      share: in [0, 1), the share of entries that is left out.

    Example:
      >>> x = jnp.arange(5.0)[:, None]
      >>> trimmed_weight(x, jnp.ones(5), share=0.4)[:, 0].tolist()
      [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    chex.assert_rank([x, weight], [2, 1])
    chex.assert_equal_shape_prefix([x, weight], 1)
    quantile = jax.vmap(weighted_quantile, (1, None, None))
    low, high = (quantile(x, weight, q) for q in (share / 2, 1 - share / 2))
    inside = (x >= low[None]) & (x <= high[None])
    return jnp.where(inside, weight[:, None], 0)
