"""Row-wise functions of trained models, in chunks that fit the cache.

All chunks have one size. A row's value is therefore bit-identical whatever rows are scored with it,
and another number of rows does not recompile.
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
from jaxad.training.members import Member, leading_axes, member_axes, per_member, population_size
from jaxad.training.mesh import make_mesh
from jaxad.training.programs import OneModel, Population, Program
from jaxad.training.recipe import as_leaves
from jaxad.typing import Array, Params, Stats


def score(objective: Any, params: Params, stats: Stats, x: Any) -> np.ndarray:
    """Anomaly scores ``[N]`` of rows ``[N, ...]`` or a stream, higher = more anomalous.

    Args:
      objective: the trained objective.
      params: its parameters.
      stats: its statistics.
      x: the rows. Of a stream, only the scores and a few chunks are in memory at a time.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> x, objective = np.eye(5), objectives.autoencoder(networks.MLP((3,)), networks.MLP((5,)))
      >>> result = training.fit(objective, training.Recipe(epochs=1), jax.random.key(0), x)
      >>> training.score(objective, result.params, result.stats, x).shape
      (5,)
      >>> training.apply_rows("transform", objective, result.params, result.stats, x).shape
      (5, 3)
    """
    return apply_rows("score", objective, params, stats, x)


def apply_rows(method: str, objective: Any, params: Params, stats: Stats, x: Any) -> np.ndarray:
    """``objective.method(params, stats, x)`` for all rows, ``[N, ...]``.

    Args:
      method: a row-wise method such as ``"score"`` or ``"transform"``; or ``"gradient"``, the
        derivative of each row's score with respect to the row.
      objective: the trained objective.
      params: its parameters.
      stats: its statistics.
      x: rows ``[N, ...]``, or a stream.
    """
    objective = as_leaves(objective)
    call = OneModel(Member(objective=objective))
    model = jax.tree.map(_on_device, (params, stats))  # once, and not with every block
    blocks = _rows(x).blocks(objective.chunk)
    return _concatenate((call(_row_wise(method), model, *_block(b)), b[1]) for b in blocks)


def score_population(
    objective: Any, params: Params, stats: Stats, x: Any, *, mesh: Mesh | None = None
) -> np.ndarray:
    """Scores ``[P, N]`` of rows ``[N, ...]`` or a stream by every member.

    Args:
      objective: the objective, as given to `fit_population`.
      params: leaves ``[P, ...]``.
      stats: leaves ``[P, ...]``.
      x: the rows, shared by all members.
      mesh: as in `fit_population`, but None uses the devices of this process, so that each process
        can score other rows.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> x, objective = np.eye(5), objectives.autoencoder(networks.MLP((3,)), networks.MLP((5,)))
      >>> keys = jax.random.split(jax.random.key(0), 2)
      >>> result = training.fit_population(objective, training.Recipe(epochs=1), keys, x)
      >>> training.score_population(objective, result.params, result.stats, x).shape
      (2, 5)
    """
    return apply_population("score", objective, params, stats, x, mesh=mesh)


def apply_population(
    method: str, objective: Any, params: Params, stats: Stats, x: Any, *, mesh: Mesh | None = None
) -> np.ndarray:
    """`apply_rows` by every member of a population: ``[P, N, ...]``; see `score_population`."""
    mesh = make_mesh(devices=jax.local_devices()) if mesh is None else mesh
    axes = member_axes(objective, "objective") | leading_axes({"params": params, "stats": stats})
    size = population_size(axes)
    chunk = (objective[0] if isinstance(objective, list | tuple) else objective).chunk
    members = Member(objective=per_member(objective, size))
    none_shared = Member(jax.tree.map(lambda _: None, members.objective))
    call = Population(members, none_shared, size, mesh, vectorised=False)
    model = call.place((params, stats))
    blocks = _rows(x).blocks(chunk)
    parts = (
        (call.outcome(on_host(call(_row_wise(method), model, *_block(b)))).swapaxes(0, 1), b[1])
        for b in blocks
    )
    return _concatenate(parts).swapaxes(0, 1)


@cache  # jit caches by the function object, so every name needs one fixed Program
def _row_wise(method: str) -> Program:
    def call(model: tuple[Params, Stats], member: Member, x: Array, count: Array) -> Array:
        objective = member.objective

        def one_chunk(x: Array) -> Array:
            if method == "gradient":
                # Rows do not interact, so the gradient of the sum holds every row's gradient.
                return jax.grad(lambda x: jnp.sum(objective.score(*model, x)))(x)
            return getattr(objective, method)(*model, x)

        return map_rows(one_chunk, x, chunk=objective.chunk, count=count)

    call.__name__ = method
    return Program(call, needs=("objective",))


def _on_device(leaf: Any) -> Array:
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)


def _rows(x: Any) -> Rows:
    """Rows to score, maybe none; arrays keep their type until a block is copied."""
    if isinstance(x, Rows):
        return x
    x = np.asarray(x)
    return unweighted(x, np.zeros(len(x), np.int32))


def _block(block: tuple[Any, int]) -> tuple[Any, np.int32]:
    x, count = block
    return x, np.int32(count)


def _concatenate(parts: Iterable[tuple[Any, int]]) -> np.ndarray:
    """Concatenate pairs of values and their number of real rows on the host.

    A part is fetched while the device computes the next one. The result grows in place, so it is in
    memory only once.
    """
    each = (np.asarray(values)[:count] for values, count in _one_behind(parts))
    whole = np.array(next(each), order="C")  # C order: resizing appends rows
    for part in each:
        done = len(whole)
        whole.resize((done + len(part), *whole.shape[1:]), refcheck=False)
        whole[done:] = part
    return whole


def _one_behind(items: Iterable[Any]) -> Iterator[Any]:
    """Yield every item after the next one has been requested."""
    items = iter(items)
    held = next(items)
    for item in items:
        yield held
        held = item
    yield held
