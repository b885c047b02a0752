"""Reconstruction errors: the squared error, and the two features of DAGMM.

DAGMM appends the relative Euclidean distance and the cosine similarity to its latent vector (Zong
et al., "Deep Autoencoding Gaussian Mixture Model for Unsupervised Anomaly Detection", ICLR 2018,
section 3.1). Rows may have any shape; all functions treat a row as one vector.
"""

import chex
import jax.numpy as jnp

from jaxad.losses.hypersphere import safe_sqrt
from jaxad.typing import Array

_REDUCTIONS = {"sum": jnp.sum, "mean": jnp.mean}


def squared_error(x: Array, reconstruction: Array, *, reduction: str) -> Array:
    """Squared error of each row, reduced over its entries: ``[B, ...], [B, ...] -> [B]``.

    Args:
      x: the rows.
      reconstruction: array of the same shape.
      reduction: ``"sum"`` or ``"mean"`` over the entries of a row. There is no default because the
        choice changes how strong a given weight decay is, by a factor of the number of entries.

    Raises:
      ValueError: the reduction is neither.

    Example:
      >>> x, reconstruction = jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 4.0]])
      >>> squared_error(x, reconstruction, reduction="mean").tolist()
      [2.0]
    """
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction {reduction!r}: choose one of {sorted(_REDUCTIONS)}")
    chex.assert_equal_shape([x, reconstruction])
    return _REDUCTIONS[reduction](jnp.square(x - reconstruction), axis=range(1, x.ndim))


def relative_euclidean(x: Array, reconstruction: Array) -> Array:
    """``||x - r|| / ||x||`` of each row, or ``||r||`` if ``x`` is zero: ``[B, ...] -> [B]``.

    Args:
      x: ``[B, ...]`` rows.
      reconstruction: ``r``, array of the same shape.

    Example:
      >>> relative_euclidean(jnp.array([[3.0, 4.0]]), jnp.array([[3.0, 3.0]])).tolist()
      [0.20000000298023224]
    """
    chex.assert_equal_shape([x, reconstruction])
    x, reconstruction = x.T, reconstruction.T
    return _length(x - reconstruction) / _divisor(x)


def cosine(x: Array, reconstruction: Array) -> Array:
    """``x·r / (||x|| ||r||)`` of each row, or 0 if ``x`` or ``r`` is zero: ``[B, ...] -> [B]``.

    Args:
      x: ``[B, ...]`` rows.
      reconstruction: ``r``, array of the same shape.

    Example:
      >>> cosine(jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.array([[3.0, 0.0], [1.0, 0.0]])).tolist()
      [1.0, 0.0]
    """
    chex.assert_equal_shape([x, reconstruction])
    # Normalise x first, because the product of two small lengths may underflow in float32.
    x, reconstruction = x.T, reconstruction.T
    unit = x * jnp.expand_dims(1 / _divisor(x), range(x.ndim - 1))
    return _sum(unit * reconstruction) / _divisor(reconstruction)


def features(x: Array, reconstruction: Array) -> Array:
    """DAGMM's reconstruction features, relative distance and cosine: ``[B, ...] -> [B, 2]``.

    Example:
      >>> features(jnp.array([[3.0, 4.0]]), jnp.array([[3.0, 4.0]])).round(3).tolist()
      [[0.0, 1.0]]
    """
    return jnp.stack([relative_euclidean(x, reconstruction), cosine(x, reconstruction)], axis=-1)


# In the helpers below rows are the last axis, which matches features-first activations in memory.


def _sum(x: Array) -> Array:
    return jnp.sum(x, axis=range(x.ndim - 1))


def _length(x: Array) -> Array:
    return safe_sqrt(_sum(jnp.square(x)))


def _divisor(x: Array) -> Array:
    length = _length(x)
    return jnp.where(length > 0, length, 1)
