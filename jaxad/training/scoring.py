"""Row-wise functions of a trained model, in chunks that fit the cache.

The chunk is of one size whatever the number of rows, so a row's value is the same to the bit in
any company, and no row count compiles again.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.chunking import map_rows
from jaxad.training.batching import bucket
from jaxad.training.recipe import as_leaves
from jaxad.typing import Array, Params, Stats


def score(objective: Any, params: Params, stats: Stats, x: Any) -> np.ndarray:
    """Anomaly scores ``[N]`` of rows ``[N, ...]``, higher = more anomalous."""
    return apply_rows("score", objective, params, stats, x)


def apply_rows(method: str, objective: Any, params: Params, stats: Stats, x: Any) -> np.ndarray:
    """``objective.method(params, stats, x)`` for all rows: ``score``, ``transform``, ..."""
    x = np.asarray(x, np.float32)
    size = -(-bucket(len(x)) // objective.chunk) * objective.chunk
    padded = np.zeros((size, *x.shape[1:]), np.float32)
    padded[: len(x)] = x
    values = _map(as_leaves(objective), params, stats, padded, jnp.int32(len(x)), method=method)
    return np.asarray(values)[: len(x)]


@partial(jax.jit, static_argnames="method")
def _map(
    objective: Any, params: Params, stats: Stats, x: Array, count: Array, *, method: str
) -> Array:
    function = partial(getattr(objective, method), params, stats)
    return map_rows(function, x, chunk=objective.chunk, count=count)
