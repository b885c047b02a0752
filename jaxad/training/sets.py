"""Many small sets of rows, a model for each: whole runs as one compiled call.

A call trains the models of a fixed number of sets side by side, from their first step to their
statistics, and another one scores a block of rows of each. What comes out for a set does not depend
on its neighbours in the call, nor on how many calls there are, so callers may distribute the sets
as they like: over threads, one after the other, over machines.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxad.precision import in_single_precision
from jaxad.rows import ArrayRows
from jaxad.training import programs
from jaxad.training.history import History
from jaxad.training.hosts import on_host
from jaxad.training.members import Member, Subset, per_member
from jaxad.training.mesh import POPULATION, platform
from jaxad.training.programs import Program
from jaxad.training.runners import SIDE_BY_SIDE, SMALL_MODEL, SMALL_ROW, device_call
from jaxad.training.runs import Figures, Result
from jaxad.training.scoring import values_of
from jaxad.training.trees import chosen
from jaxad.typing import Array, Key, Params, Stats

SCORED = 256  # rows of a set that one call scores
_MOST_BYTES = 2**26  # of the rows in a call on a CPU
_LEAST, _MOST = 256, 1024  # padded rows of the smallest set; sets side by side on an accelerator


def padded_rows(count: int) -> int:
    """The padded number of rows of a set: a power of two, so that few programs serve all sets.

    Example:
      >>> [padded_rows(n) for n in (1, 256, 257, 2000)]
      [256, 256, 512, 2048]
    """
    return max(_LEAST, power_of_two(count))


def power_of_two(count: int) -> int:
    """The smallest power of two that is at least ``count``."""
    return 1 << max(0, count - 1).bit_length()


def side_by_side(objective: Any, row: tuple[int, ...], rows: int, mesh: Mesh | None) -> int:
    """The number of sets in a call.

    Args:
      objective: the objective of one set.
      row: the shape of one row.
      rows: padded rows of each set.
      mesh: the devices, from `default_mesh`.
    """
    parts = 1 if mesh is None else mesh.shape[POPULATION]
    if platform(mesh) != "cpu":
        most = max(16, 2**28 // (4 * rows * math.prod(row)))  # 256 MB of rows
        return min(_MOST, 1 << (most.bit_length() - 1)) * parts
    small = _parameters(jax.tree.structure(objective), row) < SMALL_MODEL
    small = small and math.prod(row) <= SMALL_ROW
    fitting = max(1, _MOST_BYTES // (4 * rows * math.prod(row)))  # large sets fill a core alone
    side = min(SIDE_BY_SIDE, 1 << (fitting.bit_length() - 1)) if small else 1
    return -(-side // parts) * parts


@cache
def _parameters(structure: Any, row: tuple[int, ...]) -> int:
    """The number of parameters of an objective with this structure."""
    objective = jax.tree.unflatten(structure, [np.float32(1)] * structure.num_leaves)
    sample = jax.ShapeDtypeStruct((1, *row), jnp.float32)
    params, _ = jax.eval_shape(objective.init, jax.random.key(0), sample)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


@in_single_precision
def draw_sets(
    objectives: Sequence[Any], keys: Key, row: tuple[int, ...], *, mesh: Mesh | None = None
) -> tuple[Params, Stats]:
    """New parameters and statistics for each set, leaves ``[S, ...]``; see `train_sets`."""
    sample = np.zeros((len(objectives), 1, *row), np.float32)
    own = Member(objective=_stacked(objectives), key=keys, sample=sample)
    return on_host(_call(programs.initialise, mesh, None, own))


@in_single_precision
def train_sets(
    objectives: Sequence[Any],
    recipes: Sequence[Any],
    keys: Key,
    rows: ArrayRows,
    initial: tuple[Params, Stats],
    *,
    length: int,
    fitted: bool = False,
    mesh: Mesh | None = None,
) -> Result:
    """Train a model for each set of rows in one call. Member s equals the model that `fit` trains.

    Several threads may call it at the same time.

    Args:
      objectives: S objectives of equal structure.
      recipes: S recipes of equal structure; they are not checked.
      keys: typed keys ``[S]``.
      rows: leaves ``[S, N, ...]`` and ``count`` ``[S]``: the sets, padded to one length.
      initial: parameters and statistics to start from, leaves ``[S, ...]``.
      length: length of the record of epochs, at least all recipes' epochs.
      fitted: keep the statistics of ``initial`` instead of preparing them from the rows.
      mesh: from `default_mesh`. Its devices share the sets.

    Returns:
      A `Result` with leaves ``[S, ...]`` on the host. Its times and compilations are 0.

    Raises:
      ValueError: a recipe has more epochs than ``length``.
    """
    size = len(objectives)
    how: Any = _stacked(recipes)
    if how.epochs.max() > length:
        raise ValueError(f"length={length} is less than {how.epochs.max():g} epochs: raise it")
    own = Member(_stacked(objectives), how, keys, Subset(None, rows))
    guarded = callable(recipes[0].optimizer)  # see `runs._Run`
    options = {"length": length, "fitted": fitted}
    result = on_host(_call(programs.whole(**options, guarded=guarded), mesh, initial, own))
    valid = result[-1]
    if not valid.all():
        again = _call(programs.whole(**options, guarded=True), mesh, initial, own)
        result = chosen(~valid, on_host(again), result)
    counters, record, (params, stats), _ = result
    figures = Figures(*counters)
    history = History(size, validated=False)
    history.enter(record, np.zeros(size, np.int64), figures.epochs)
    counted = figures[:4]
    return Result(params, stats, history.so_far(), *counted, figures.failed(how), 0, 0.0, 0.0)


@in_single_precision
def apply_sets(
    method: str,
    objectives: Sequence[Any],
    params: Params,
    stats: Stats,
    x: np.ndarray,
    *,
    mesh: Mesh | None = None,
) -> np.ndarray:
    """``objective.method(params, stats, x)`` for a block of rows of each set, in one call.

    Args:
      method: a row-wise method such as ``"score"``, or ``"gradient"``, see `apply_rows`.
      objectives: S objectives of equal structure.
      params: leaves ``[S, ...]``.
      stats: leaves ``[S, ...]``.
      x: ``[S, B, ...]`` float32, the rows of each set. B must always be the same (`SCORED`): a
        row's value may depend on it by rounding.
      mesh: as for `train_sets`.

    Returns:
      ``[S, B, ...]``.
    """
    own = Member(objective=_stacked(objectives))
    return on_host(_call(_method(method), mesh, ((params, stats), x), own))


def _call(program: Program, mesh: Mesh | None, carry: Any, own: Member) -> Any:
    call = device_call(program, platform(mesh), mesh, True)
    needed = Member(**{name: getattr(own, name) for name in program.needs})
    arguments = carry, needed, (jax.tree.map(lambda _: None, needed), ())
    call.prepare(*arguments)
    return call(*arguments)


def _stacked(trees: Sequence[Any]) -> Any:
    """Trees of numbers as one tree, leaves ``[S]``; quickly if they are all the same one."""
    same = all(tree is trees[0] for tree in trees)
    return per_member(trees[0] if same else list(trees), len(trees))


@cache
def _method(method: str) -> Program:
    def run(carry: tuple[tuple[Params, Stats], Array], member: Member) -> Array:
        return values_of(method, member.objective, *carry)

    run.__name__ = method
    return Program(run, needs=("objective",))
