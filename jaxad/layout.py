"""Tables stored with the features first, ``[D, B]`` in memory, the layout of activations.

XLA fuses a plain transpose into every operation that uses it, which then reads with bad strides. A
loop makes it store the array. On CPU the loops here copy blocks of rows that fit the cache.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxad.typing import Array

FEATURES_FIRST_ROWS = 128  # smaller batches are kept rows first
_BLOCK = 32  # rows copied at a time


def gather(x: Array, at: Array) -> Array:
    """Rows ``at`` ``[B]`` of ``x`` ``[N, ...]``; all of ``at`` must be in bounds.

    On CPU a large batch of a table is stored features first.

    Example:
      >>> gather(jnp.array([[1.0], [2.0], [3.0]]), jnp.array([2, 0])).tolist()
      [[3.0], [1.0]]
    """

    def take(at: Array) -> Array:
        return x.at[at].get(mode="promise_in_bounds")

    def in_blocks(at: Array) -> Array:
        return _in_blocks(lambda i: take(lax.dynamic_slice_in_dim(at, i, _BLOCK)), at.shape[0], x)

    if not _fits(x, len(at)):
        return take(at)
    return lax.platform_dependent(at, cpu=in_blocks, default=take)


@jax.custom_jvp
def store_features_first(x: Array) -> Array:
    """``x`` unchanged; on CPU a table ``[B, D]`` of many rows is stored features first.

    Example:
      >>> store_features_first(jnp.ones((256, 3))).shape
      (256, 3)
    """

    def in_blocks(x: Array) -> Array:
        return _in_blocks(lambda i: lax.dynamic_slice_in_dim(x, i, _BLOCK), x.shape[0], x)

    if not _fits(x, len(x)):
        return x
    return lax.platform_dependent(x, cpu=in_blocks, default=lambda x: x)


@store_features_first.defjvp
def _store_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return store_features_first(*primals), tangents[0]


def _fits(x: Array, rows: int) -> bool:
    return x.ndim == 2 and rows % _BLOCK == 0 and rows >= FEATURES_FIRST_ROWS


def _in_blocks(block: Callable[[Array], Array], rows: int, like: Array) -> Array:
    """The rows ``[rows, D]`` stored features first; ``block(i)`` returns those from ``i`` on."""

    def copy(i: Array, laid: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(laid, block(i * _BLOCK).T, i * _BLOCK, 1)

    laid = jnp.zeros((like.shape[1], rows), like.dtype)
    return lax.fori_loop(0, rows // _BLOCK, copy, laid).T
