"""Passes over all rows in chunks, so that intermediates stay in the cache."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from jaxad.typing import Array, Batch, PyTree

Carry = TypeVar("Carry", bound=PyTree)


def fold(step: Callable[[Carry, Batch], Carry], carry: Carry, rows: Batch, *, chunk: int) -> Carry:
    """Fold ``step`` over chunks of rows. Every row counts once.

    Where ``chunk`` does not divide the rows the last chunk reaches back; the rows it repeats weigh
    0 the second time. Chunks of padding at the end are not visited.
    """
    total = len(rows.weight)
    chunk = min(chunk, total)

    def body(i, carry):
        start = jnp.minimum(i * chunk, total - chunk)
        taken = jax.tree.map(
            lambda a: lax.dynamic_slice_in_dim(a, start, chunk), (rows.x, rows.label, rows.weight)
        )
        x, label, weight = taken
        fresh = start + jnp.arange(chunk) >= i * chunk
        return step(carry, Batch(x, label, jnp.where(fresh, weight, 0), rows.epoch))

    return lax.fori_loop(0, (_last(rows) + chunk - 1) // chunk, body, carry)


def _last(rows: Batch) -> Array:
    """How many rows there are up to the last one that weighs something."""
    place = jnp.arange(1, len(rows.weight) + 1)
    return jnp.max(jnp.where(rows.weight > 0, place, 0))


def mean(function: Callable[[Array], Array], rows: Batch, *, chunk: int) -> Array:
    """Weighted mean over all rows of a function ``[chunk, ...] -> [chunk, ...]`` of their inputs.

    Chunk means are merged, so rounding does not grow with the number of rows.
    """

    def add(carry, batch):
        total, average = carry
        added = jnp.sum(batch.weight)
        values = function(batch.x)
        own = jnp.tensordot(
            batch.weight / jnp.maximum(added, 1e-12), values, 1, precision="highest"
        )
        share = added / jnp.maximum(total + added, 1e-12)
        return total + added, average + share * (own - average)

    output = jax.eval_shape(function, rows.x[:1])
    start = jnp.zeros((), rows.weight.dtype), jnp.zeros(output.shape[1:], output.dtype)
    return fold(add, start, rows, chunk=chunk)[1]


def map_rows(
    function: Callable[[Array], Array], x: Array, *, chunk: int, count: Array | None = None
) -> Array:
    """Apply a row-wise function ``[chunk, ...] -> [chunk, ...]`` to ``x`` ``[N, ...]``.

    Args:
      function: works on each row by itself.
      x: the rows.
      chunk: rows at a time.
      count: how many of the rows are wanted; the outputs of the others are 0. May be traced.
    """
    total = len(x)
    chunk = min(chunk, total)
    output = jax.eval_shape(function, jax.ShapeDtypeStruct((chunk, *x.shape[1:]), x.dtype))
    start = jnp.zeros((total, *output.shape[1:]), output.dtype)

    def body(i, done):
        begin = jnp.minimum(i * chunk, total - chunk)
        values = function(lax.dynamic_slice_in_dim(x, begin, chunk))
        return lax.dynamic_update_slice_in_dim(done, values, begin, 0)

    wanted = total if count is None else count
    return lax.fori_loop(0, (wanted + chunk - 1) // chunk, body, start)
