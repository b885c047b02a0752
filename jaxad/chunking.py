"""Passes over all rows in chunks, so that intermediates stay in the cache.

The rows are a `Batch` in memory, inside a compiled program, or a `Stream`. A pass over a stream is
a loop in Python around one compiled step, so it cannot be traced; objectives that touch rows only
by the functions here work with both.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxad.stream import Stream
from jaxad.typing import Array, Batch, PyTree

Carry = TypeVar("Carry", bound=PyTree)
Value = TypeVar("Value", bound=PyTree)
Rows = Batch | Stream


def fold(step: Callable[[Carry, Batch], Carry], carry: Carry, rows: Rows, *, chunk: int) -> Carry:
    """Fold ``step`` over chunks of rows. Every row counts once.

    Where ``chunk`` does not divide the rows the last chunk reaches back; the rows it repeats weigh
    0 the second time. Chunks of padding at the end are not visited.
    """
    if isinstance(rows, Stream):
        compiled = jax.jit(lambda carry, batch: fold(step, carry, batch, chunk=chunk))
        for batch in rows.cut(chunk):
            # Waiting bounds the memory: chunks that are yet to be used would queue up.
            carry = jax.block_until_ready(compiled(carry, batch))
        return carry
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

    return lax.fori_loop(0, (extent(rows) + chunk - 1) // chunk, body, carry)


def extent(rows: Batch) -> Array:
    """How many rows there are up to the last one that weighs something."""
    place = jnp.arange(1, len(rows.weight) + 1)
    return jnp.max(jnp.where(rows.weight > 0, place, 0))


def mean(function: Callable[[Array], Array], rows: Rows, *, chunk: int) -> Array:
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

    output = jax.eval_shape(lambda batch: function(batch.x[:1]), like(rows))
    start = jnp.zeros((), jnp.float32), jnp.zeros(output.shape[1:], output.dtype)
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


def values(
    function: Callable[[Array], Array], rows: Rows, *, chunk: int
) -> tuple[Array | np.ndarray, Array | np.ndarray]:
    """A row-wise function ``[chunk, ...] -> [chunk]`` of all rows, and the weights: ``[N]`` both.

    Of a stream both lie in the host's memory, the only 8 bytes per row that a pass keeps.
    """
    if isinstance(rows, Batch):
        return map_rows(function, rows.x, chunk=chunk), rows.weight
    compiled = jax.jit(lambda x: map_rows(function, x, chunk=chunk))
    pairs = [(np.asarray(compiled(b.x)), np.asarray(b.weight)) for b in rows.cut(chunk)]
    computed, weight = zip(*pairs, strict=True)
    return np.concatenate(computed), np.concatenate(weight)


def reweigh(rows: Rows, weigh: Callable[[Batch], Array]) -> Any:
    """The rows with other weights: ``weigh`` gives those of a batch ``[B]``."""
    if isinstance(rows, Batch):
        return rows._replace(weight=weigh(rows))
    return dataclasses.replace(rows, weigh=weigh)


def like(rows: Rows) -> Batch:
    """Some of the rows, or their shapes, for `jax.eval_shape`."""
    return rows if isinstance(rows, Batch) else rows.like


def skip_if(condition: Array, value: Value, function: Callable[[], Value]) -> Value:
    """``value`` where ``condition`` holds, else ``function()``; only one of them is run.

    A condition that is known when called is decided there, since a pass over a stream is not
    traced.
    """
    if isinstance(condition, Tracer):
        return lax.cond(condition, lambda: value, function)
    return value if condition else function()
