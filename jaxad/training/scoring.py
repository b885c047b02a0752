"""Row-wise functions of trained models, in chunks that fit the cache.

All chunks have one size. A row's value is therefore bit-identical whatever rows are scored with it,
and another number of rows does not recompile.
"""

import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh

from jaxad.precision import in_single_precision
from jaxad.rows import Rows, map_rows, unweighted
from jaxad.training.hosts import on_host
from jaxad.training.interrupts import ready
from jaxad.training.members import Member, leading_axes, member_axes, per_member, population_size
from jaxad.training.mesh import default_mesh, platform, used_devices
from jaxad.training.programs import Program
from jaxad.training.recipe import as_leaves
from jaxad.training.runners import OnDevices, OneModel, check_places, on_device
from jaxad.training.threads import check_threads, in_order, thread_count
from jaxad.typing import Array, Params, Stats

# Rows at a time on a CPU. XLA does not split products of so few rows among cores, which is slower
# than that every core has rows of its own.
_CPU_CHUNK = 256
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)  # of the interval from -1 to 1


def score(
    objective: Any, params: Params, stats: Stats, x: Any, *, threads: int | None = None
) -> np.ndarray:
    """Anomaly scores ``[N]`` of rows ``[N, ...]`` or a stream, higher = more anomalous.

    Args:
      objective: the trained objective.
      params: its parameters.
      stats: its statistics.
      x: the rows. Of a stream, only the scores and a few chunks are in memory at a time.
      threads: at most so many threads of a CPU share out the rows; None: as in `fit_population`.
        The result is the same.

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
    return apply_rows("score", objective, params, stats, x, threads=threads)


@in_single_precision
def apply_rows(
    method: str,
    objective: Any,
    params: Params,
    stats: Stats,
    x: Any,
    *,
    threads: int | None = None,
) -> np.ndarray:
    """``objective.method(params, stats, x)`` for all rows, ``[N, ...]``.

    Args:
      method: a row-wise method such as ``"score"`` or ``"transform"``; or ``"gradient"``, the
        derivative of each row's score with respect to the row; or ``"path_gradient"``, its mean on
        the straight line between two rows, for ``x`` of shape ``[N, 2, ...]``, by Gauss-Legendre
        quadrature with 16 points.
      objective: the trained objective.
      params: its parameters.
      stats: its statistics.
      x: rows ``[N, ...]``, or a stream.
      threads: as in `score`.
    """
    objective = as_leaves(objective)
    call = OneModel(Member(objective=objective))
    model = on_device((params, stats))  # once, and not with every block
    with closing(_computed(call, method, model, x, _chunk(objective), threads)) as parts:
        return _concatenate(parts)


def score_population(
    objective: Any,
    params: Params,
    stats: Stats,
    x: Any,
    *,
    mesh: Mesh | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """Scores ``[P, N]`` of rows ``[N, ...]`` or a stream by every member.

    Args:
      objective: the objective, as given to `fit_population`.
      params: leaves ``[P, ...]``.
      stats: leaves ``[P, ...]``.
      x: the rows, shared by all members.
      mesh: as in `fit_population`, but None uses the devices of this process, so that each process
        can score other rows.
      threads: as in `score`.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> x, objective = np.eye(5), objectives.autoencoder(networks.MLP((3,)), networks.MLP((5,)))
      >>> keys = jax.random.split(jax.random.key(0), 2)
      >>> result = training.fit_population(objective, training.Recipe(epochs=1), keys, x)
      >>> training.score_population(objective, result.params, result.stats, x).shape
      (2, 5)
    """
    given = objective, params, stats, x
    return apply_population("score", *given, mesh=mesh, threads=threads)


@in_single_precision
def apply_population(
    method: str,
    objective: Any,
    params: Params,
    stats: Stats,
    x: Any,
    *,
    mesh: Mesh | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """`apply_rows` by every member of a population: ``[P, N, ...]``; see `score_population`."""
    check_places(mesh, threads)
    mesh = default_mesh(used_devices(local=True)) if mesh is None else mesh
    chunk = _chunk(objective[0] if isinstance(objective, list | tuple) else objective)
    call, model = _placed(objective, params, stats, mesh)
    threads = threads if mesh is None else 1  # a mesh uses several devices already
    with closing(_computed(call, method, model, x, chunk, threads)) as parts:
        whole = _concatenate(
            (call.outcome(on_host(values)).swapaxes(0, 1), count) for values, count in parts
        )
    return whole.swapaxes(0, 1)


def _placed(
    objective: Any, params: Params, stats: Stats, mesh: Mesh | None
) -> tuple[OnDevices, tuple[Params, Stats]]:
    """A population on the devices of a mesh. It stays there for as long as its arrays exist."""
    leaves, structure = jax.tree.flatten((params, stats))
    key = id(objective), mesh, structure, *map(id, leaves)
    if key in _kept:
        return _kept[key][1:]
    axes = member_axes(objective, "objective") | leading_axes({"params": params, "stats": stats})
    size = population_size(axes)
    members = Member(objective=per_member(objective, size))
    none_shared = Member(jax.tree.map(lambda _: None, members.objective))
    call = OnDevices(members, none_shared, size, mesh, vectorised=False)
    model = call.place((params, stats))
    # Neither a list of objectives nor numpy arrays are kept: both may change. Arrays that lay there
    # already are not either: they would keep themselves.
    fixed = not isinstance(objective, list) and all(isinstance(x, jax.Array) for x in leaves)
    moved = not set(map(id, leaves)) & set(map(id, jax.tree.leaves(model)))
    if mesh is not None and fixed and leaves and moved:
        _kept[key] = objective, call, model  # holds the objective, so that its id stays its own
        for leaf in leaves:
            weakref.finalize(leaf, _kept.pop, key, None)
    return call, model


_kept: dict[Any, tuple[Any, OnDevices, tuple[Params, Stats]]] = {}


def _chunk(objective: Any) -> int:
    """Rows at a time; on a CPU few, because one row costs as much as a chunk."""
    if platform() != "cpu":
        return objective.chunk
    return min(objective.chunk, getattr(objective, "scoring_chunk", _CPU_CHUNK))


def _computed(
    call: OneModel | OnDevices, method: str, model: Any, x: Any, chunk: int, threads: int | None
) -> Generator[tuple[Any, int], None, None]:
    """A method's values for each block of rows, and the block's number of real rows."""
    check_threads(threads)
    rows, program = _rows(x), _row_wise(method, chunk)
    several = not rows.resident or len(rows.like.x) > chunk
    count = thread_count(threads) if several and platform() == "cpu" else 1

    def compute(block: tuple[Any, int]) -> tuple[Any, int]:
        x, real = block
        return call(program, model, x, np.int32(real)), real

    def in_thread(block: tuple[Any, int]) -> tuple[Any, int]:
        x, real = block
        call.prepare(program, model, x, np.int32(real))
        return ready(compute(block))

    blocks = rows.blocks(chunk, parts=count)
    if count == 1:
        yield from map(compute, blocks)
    else:
        yield from in_order(in_thread, blocks, threads, ahead=2)


def values_of(method: str, objective: Any, model: tuple[Params, Stats], x: Array) -> Array:
    """A method of `apply_rows` for rows on the device."""
    # Rows do not interact, so the gradient of the sum holds every row's gradient.
    gradient = jax.grad(lambda x: jnp.sum(objective.score(*model, x)))
    if method == "gradient":
        return gradient(x)
    if method == "path_gradient":
        return _path_gradient(gradient, x[:, 0], x[:, 1])
    return getattr(objective, method)(*model, x)


def _path_gradient(gradient: Callable[[Array], Array], first: Array, last: Array) -> Array:
    """The mean of a row-wise gradient on the straight lines from ``first`` to ``last``."""

    def add(total: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
        place, weight = node
        return total + weight * gradient(first + place * (last - first)), None

    nodes = jnp.asarray((_NODES + 1) / 2, jnp.float32), jnp.asarray(_WEIGHTS / 2, jnp.float32)
    return lax.scan(add, jnp.zeros_like(first), nodes)[0]


@cache  # jit caches by the function object, so every name needs one fixed Program
def _row_wise(method: str, chunk: int) -> Program:
    def call(model: tuple[Params, Stats], member: Member, x: Array, count: Array) -> Array:
        def one_chunk(x: Array) -> Array:
            return values_of(method, member.objective, model, x)

        return map_rows(one_chunk, x, chunk=chunk, count=count)

    call.__name__ = method
    return Program(call, needs=("objective",))


def _rows(x: Any) -> Rows:
    """Rows to score, maybe none; arrays keep their type until a block is copied."""
    if isinstance(x, Rows):
        return x
    x = np.asarray(x)
    return unweighted(x, np.zeros(len(x), np.int32))


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
