"""Row-wise functions of trained models, in chunks that fit the cache.

The chunk is of one size whatever the number of rows, so a row's value is the same to the bit in
any company, and no row count compiles again.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxad.rows import Rows, map_rows, unweighted
from jaxad.training.hosts import on_host
from jaxad.training.members import Member, axes_of, leading_axes, only_length, spread
from jaxad.training.mesh import make_mesh
from jaxad.training.programs import Alone, Program, Together
from jaxad.training.recipe import as_leaves
from jaxad.typing import Array, Params, Stats


def score(objective: Any, params: Params, stats: Stats, x: Any) -> np.ndarray:
    """Anomaly scores ``[N]`` of rows ``[N, ...]`` or a stream, higher = more anomalous.

    Of a stream no more than a few chunks are in memory at a time, beside the scores.
    """
    return apply_rows("score", objective, params, stats, x)


def apply_rows(method: str, objective: Any, params: Params, stats: Stats, x: Any) -> np.ndarray:
    """``objective.method(params, stats, x)`` for all rows ``[N, ...]``.

    Args:
      method: ``"score"``, ``"transform"``, ... or ``"gradient"``: the score's slope in every entry
        of a row.
      objective: what was trained.
      params: its parameters.
      stats: its statistics.
      x: rows ``[N, ...]``, or a stream.
    """
    objective = as_leaves(objective)
    call = Alone(Member(objective=objective))
    model = jax.tree.map(_on_device, (params, stats))  # once, and not with every block
    blocks = _rows(x).blocks(objective.chunk)
    return _joined((call(_row_wise(method), model, *_block(b)), b[1]) for b in blocks)


def score_population(
    objective: Any, params: Params, stats: Stats, x: Any, *, mesh: Mesh | None = None
) -> np.ndarray:
    """Scores ``[P, N]`` of rows ``[N, ...]`` or a stream by every member.

    Args:
      objective: as given to `fit_population`.
      params: leaves ``[P, ...]``.
      stats: leaves ``[P, ...]``.
      x: the rows, shared.
      mesh: as in `fit_population`, but None means the devices of this process, so that each can
        score rows of its own.
    """
    return apply_population("score", objective, params, stats, x, mesh=mesh)


def apply_population(
    method: str, objective: Any, params: Params, stats: Stats, x: Any, *, mesh: Mesh | None = None
) -> np.ndarray:
    """`apply_rows` by every member of a population: ``[P, N, ...]``; see `score_population`."""
    mesh = make_mesh(devices=jax.local_devices()) if mesh is None else mesh
    axes = axes_of(objective, "objective") | leading_axes({"params": params, "stats": stats})
    size = only_length(axes)
    chunk = (objective[0] if isinstance(objective, list | tuple) else objective).chunk
    members = Member(objective=spread(objective, size))
    none_shared = Member(jax.tree.map(lambda _: None, members.objective))
    call = Together(members, none_shared, size, mesh, vectorised=False)
    model = call.place((params, stats))
    blocks = _rows(x).blocks(chunk)
    parts = (
        (call.outcome(on_host(call(_row_wise(method), model, *_block(b)))).swapaxes(0, 1), b[1])
        for b in blocks
    )
    return _joined(parts).swapaxes(0, 1)


@cache  # one program for each name: what is compiled is remembered by it
def _row_wise(method: str) -> Program:
    def call(model: tuple[Params, Stats], member: Member, x: Array, count: Array) -> Array:
        objective = member.objective

        def one_chunk(x: Array) -> Array:
            if method == "gradient":
                # Rows do not interact: the gradient of the sum is the gradient of every row.
                return jax.grad(lambda x: jnp.sum(objective.score(*model, x)))(x)
            return getattr(objective, method)(*model, x)

        return map_rows(one_chunk, x, chunk=objective.chunk, count=count)

    call.__name__ = method
    return Program(call, needs=("objective",))


def _on_device(leaf: Any) -> Array:
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)


def _rows(x: Any) -> Rows:
    """Rows to score, perhaps none; those in memory keep their type up to the copy of a block."""
    if isinstance(x, Rows):
        return x
    x = np.asarray(x)
    return unweighted(x, np.zeros(len(x), np.int32))


def _block(block: tuple[Any, int]) -> tuple[Any, np.int32]:
    x, count = block
    return x, np.int32(count)


def _joined(parts: Iterable[tuple[Any, int]]) -> np.ndarray:
    """The first rows of all parts on the host, as many of each as it says.

    A part is fetched when the next one is under way. The result grows in place, so it is in memory
    once.
    """
    each = (np.asarray(values)[:count] for values, count in _one_late(parts))
    whole = np.array(next(each), order="C")  # so that it grows at its end
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
