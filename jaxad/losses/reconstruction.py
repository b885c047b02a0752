"""Reconstruction errors: the squared error, and the two features of DAGMM.

DAGMM appends the relative Euclidean distance and the cosine similarity to its latent vector (Zong
et al., "Deep Autoencoding Gaussian Mixture Model for Unsupervised Anomaly Detection", ICLR 2018,
section 3.1). Rows may have any shape; all functions treat a row as one vector.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

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
    _check(reduction)
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
    return _relative_euclidean(_sums(x, reconstruction))


def cosine(x: Array, reconstruction: Array) -> Array:
    """``x·r / (||x|| ||r||)`` of each row, or 0 if ``x`` or ``r`` is zero: ``[B, ...] -> [B]``.

    Args:
      x: ``[B, ...]`` rows.
      reconstruction: ``r``, array of the same shape.

    Example:
      >>> cosine(jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.array([[3.0, 0.0], [1.0, 0.0]])).tolist()
      [1.0, 0.0]
    """
    return _cosine(_sums(x, reconstruction))


def features(x: Array, reconstruction: Array) -> Array:
    """DAGMM's reconstruction features, relative distance and cosine: ``[B, ...] -> [B, 2]``.

    Example:
      >>> features(jnp.array([[3.0, 4.0]]), jnp.array([[3.0, 4.0]])).round(3).tolist()
      [[0.0, 1.0]]
    """
    return error_and_features(x, reconstruction, reduction="sum")[1]


def error_and_features(x: Array, reconstruction: Array, *, reduction: str) -> tuple[Array, Array]:
    """`squared_error` ``[B]`` and `features` ``[B, 2]`` by one pass over the rows.

    Example:
      >>> x, reconstruction = jnp.array([[3.0, 4.0]]), jnp.array([[3.0, 6.0]])
      >>> error, z = error_and_features(x, reconstruction, reduction="mean")
      >>> error.tolist(), z.shape
      ([2.0], (1, 2))
    """
    _check(reduction)
    sums = _sums(x, reconstruction)
    entries = math.prod(x.shape[1:]) if reduction == "mean" else 1
    return sums.error / entries, jnp.stack([_relative_euclidean(sums), _cosine(sums)]).T


def _check(reduction: str) -> None:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction {reduction!r}: choose one of {sorted(_REDUCTIONS)}")


class _Sums(NamedTuple):
    """Sums ``[B]`` over the entries of each row ``x`` and its reconstruction ``r``.

    Attributes:
      x: of ``x^2``.
      reconstruction: of ``r^2``.
      product: of ``x r``.
      error: of ``(x - r)^2``.
    """

    x: Array
    reconstruction: Array
    product: Array
    error: Array


def _sums(x: Array, reconstruction: Array) -> _Sums:
    chex.assert_equal_shape([x, reconstruction])
    dtype = jnp.result_type(x, reconstruction)
    return _features_first_sums(
        *(rows.reshape(len(rows), -1).T.astype(dtype) for rows in (x, reconstruction))
    )


@jax.custom_jvp
def _features_first_sums(x: Array, r: Array) -> _Sums:
    """The sums of ``x`` and ``r`` ``[D, B]``, whose rows are the last axis.

    On CPU a loop makes one pass, and stores no products and differences.
    """

    def terms(x, r):
        return _Sums(jnp.square(x), jnp.square(r), x * r, jnp.square(x - r))

    def in_one_pass(x, r):
        def add(i, sums):
            entry = (lax.dynamic_index_in_dim(rows, i, keepdims=False) for rows in (x, r))
            return jax.tree.map(jnp.add, sums, terms(*entry))

        return lax.fori_loop(0, len(x), add, _Sums(*jnp.zeros((4, x.shape[1]), x.dtype)))

    def one_by_one(x, r):
        return jax.tree.map(lambda term: jnp.sum(term, 0), terms(x, r))

    return lax.platform_dependent(x, r, cpu=in_one_pass, default=one_by_one)


@_features_first_sums.defjvp
def _sums_jvp(primals: tuple, tangents: tuple) -> tuple[_Sums, _Sums]:
    (x, r), (dx, dr) = primals, tangents
    changes = [jnp.sum(c, 0) for c in (x * dx, r * dr, x * dr + r * dx, (x - r) * (dx - dr))]
    # The products with 2 and 1 are one matrix product because XLA stores its result. Otherwise it
    # would compute the slopes of the sums anew for every entry of a row.
    scale = jnp.diag(jnp.asarray([2, 2, 1, 2], x.dtype))
    changes = jnp.matmul(scale, jnp.stack(changes), precision="highest")
    return _features_first_sums(x, r), _Sums(*changes)


def _relative_euclidean(sums: _Sums) -> Array:
    return safe_sqrt(sums.error) / _divisor(sums.x)


def _cosine(sums: _Sums) -> Array:
    # Not one quotient: the product of both lengths, and of slopes, may leave the range of float32.
    return sums.product * (1 / _divisor(sums.x)) * (1 / _divisor(sums.reconstruction))


def _divisor(square: Array) -> Array:
    length = safe_sqrt(square)
    return jnp.where(length > 0, length, 1)
