"""Row-wise functions of a trained model, in chunks that fit the cache.

The chunk is of one size whatever the number of rows, so a row's value is the same to the bit in
any company, and no row count compiles again.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.chunking import map_rows
from jaxad.stream import Stream
from jaxad.training.batching import row_blocks
from jaxad.training.recipe import as_leaves
from jaxad.typing import Array, Params, Stats


def score(objective: Any, params: Params, stats: Stats, x: Any) -> np.ndarray:
    """Anomaly scores ``[N]`` of rows ``[N, ...]`` or a stream, higher = more anomalous.

    Of a stream no more than a few chunks are in memory at a time, beside the scores.
    """
    return apply_rows("score", objective, params, stats, x)


def apply_rows(method: str, objective: Any, params: Params, stats: Stats, x: Any) -> np.ndarray:
    """``objective.method(params, stats, x)`` for all rows: ``score``, ``transform``, ..."""
    return _in_chunks(_caller(method), objective, params, stats, x)


def explain(objective: Any, params: Params, stats: Stats, x: Any) -> np.ndarray:
    """Gradient x input ``[N, ...]``: the score's slope in every entry, times the entry."""
    return _in_chunks(_gradient_times_input, objective, params, stats, x)


@cache  # one function for each name: what is compiled is remembered by it
def _caller(method: str) -> Callable:
    return lambda objective, params, stats, x: getattr(objective, method)(params, stats, x)


def _gradient_times_input(objective: Any, params: Params, stats: Stats, x: Array) -> Array:
    # Rows do not interact, so the gradient of the sum holds the gradient of every row.
    return x * jax.grad(lambda x: jnp.sum(objective.score(params, stats, x)))(x)


def _in_chunks(function: Callable, objective: Any, params: Params, stats: Stats, x: Any):
    objective = as_leaves(objective)
    if isinstance(x, Stream):
        blocks = ((b.x, int(np.count_nonzero(b.weight))) for b in x.cut(objective.chunk))
    else:
        blocks = row_blocks(x, objective.chunk)
    return _joined(
        (_map(objective, params, stats, block, np.int32(count), function=function), count)
        for block, count in blocks
    )


@partial(jax.jit, static_argnames="function")
def _map(
    objective: Any, params: Params, stats: Stats, x: Array, count: Array, *, function: Callable
) -> Array:
    row_wise = partial(function, objective, params, stats)
    return map_rows(row_wise, x, chunk=objective.chunk, count=count)


def _joined(parts: Iterable[tuple[Array, int]]) -> np.ndarray:
    """The first rows of all parts on the host, as many of each as it says.

    A part is fetched when the next one is under way. The result grows in place, so it is in memory
    once.
    """
    each = (np.asarray(values)[:count] for values, count in _one_late(parts))
    whole = np.array(next(each))
    for part in each:
        done = len(whole)
        whole.resize((done + len(part), *whole.shape[1:]), refcheck=False)
        whole[done:] = part
    return whole


def _one_late(items: Iterable[Any]) -> Iterator[Any]:
    """The same items, each given when the one after it has been asked for."""
    items = iter(items)
    held = next(items)
    for item in items:
        yield held
        held = item
    yield held
