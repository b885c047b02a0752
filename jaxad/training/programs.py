"""The programs of a run: pure functions that `jaxad.training.runners` compile and call.

A `Program` is a function of a carry (for example a `State`), a `Member` and further arguments.
"""

import dataclasses
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp

from jaxad.rows import ArrayRows
from jaxad.training import engine
from jaxad.training.members import Member
from jaxad.typing import Array, PyTree, Stats

# The state, the tally of the epoch, and whether the member trains in this epoch.
StreamedEpoch = tuple[engine.State, engine.Tally, Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A function ``(carry, member, *given) -> result`` to compile.

    Attributes:
      function: the function.
      needs: the fields of the member that it reads; changing others does not recompile it.
      optimised: whether its speed matters more than its compilation time.
    """

    function: Callable
    needs: tuple[str, ...]
    optimised: bool = True


def _program(*needs: str, **options: bool) -> Callable[[Callable], Program]:
    return lambda function: Program(function, needs, **options)


# Parameters are drawn once: compiling optimised code takes longer than it saves.
@_program("objective", "key", "sample", optimised=False)
def initialise(carry: None, member: Member):
    """Draw parameters and statistics."""
    del carry
    return engine.initialise(member.objective, member.key, member.sample)


@_program("objective", "recipe", "key", "rows")
def begin(initial: tuple[PyTree, Stats], member: Member) -> engine.State:
    """The state before the first step; the statistics are prepared from the rows."""
    params, stats = initial
    stats = engine.prepare(member.objective, params, stats, member.rows.selected())
    return engine.start(member.recipe, member.key, params, stats)


@_program("recipe", "key")
def begin_fitted(initial: tuple[PyTree, Stats], member: Member) -> engine.State:
    """The state before the first step, with statistics that are fitted already."""
    return engine.start(member.recipe, member.key, *initial)


def _train(state: engine.State, member: Member, epochs: Array, *, guarded: bool):
    validation = None if member.validation is None else member.validation.selected()
    inputs = member.objective, member.recipe, state, member.rows.selected(), validation, epochs
    after, record = engine.train(*inputs, guarded=guarded)
    return after, record, engine.running(member.recipe, after)


@_program("objective", "recipe", "rows", "validation")
def train(state: engine.State, member: Member, epochs: Array):
    """Train a group of epochs with unguarded steps.

    Returns:
      The state, records ``[HISTORY]``, whether another epoch follows, and whether all of this is
      valid; if not, `train_guarded` must be called with the same arguments.
    """
    after, record, follows = _train(state, member, epochs, guarded=False)
    return after, record, follows, engine.sound(state, after)


@_program("objective", "recipe", "rows", "validation")
def train_guarded(state: engine.State, member: Member, epochs: Array):
    """`train` with guarded steps, always valid."""
    return *_train(state, member, epochs, guarded=True), jnp.bool_(True)


@cache  # jit caches by the function object, so every kind of run needs one fixed Program
def whole(length: int, *, fitted: bool, guarded: bool) -> Program:
    """A program for a whole run of at most ``length`` epochs, for sets too small to be worth more.

    It takes initial parameters and statistics, which are prepared from the rows unless ``fitted``.
    It returns the best epoch (None without patience), epochs, steps, skipped steps, the series of
    skipped steps at the end, and the best epoch's loss or None; the records ``[length]``; the
    trained parameters and statistics; and whether all of this is valid. Unless ``guarded``, it may
    not be.
    """

    def run(initial: tuple[PyTree, Stats], member: Member):
        params, stats = initial
        objective, how, rows = member.objective, member.recipe, member.rows.selected()
        if not fitted:
            stats = engine.prepare(objective, params, stats, rows)
        first = engine.start(how, member.key, params, stats)
        inputs = objective, how, first, rows, None, jnp.int32(length)
        last, record = engine.train(*inputs, guarded=guarded, length=length)
        params, stats, *_ = last.best or (last.params, last.stats)
        model = params, engine.finish(objective, params, stats, rows)
        best = (None, None) if last.best is None else (last.best.epoch, last.best.loss)
        figures = best[0], last.epoch, last.step, last.skipped, last.streak, best[1]
        return figures, record, model, jnp.bool_(True) if guarded else engine.sound(first, last)

    run.__name__ = "whole_guarded" if guarded else "whole"
    return Program(run, needs=("objective", "recipe", "key", "rows"))


@_program("recipe")
def begin_epoch(state: engine.State, member: Member) -> tuple[engine.Tally, Array]:
    """The tally before an epoch's first chunk, and whether the member trains in this epoch."""
    return engine.begin_epoch(member.recipe, state), engine.running(member.recipe, state)


def _train_chunk(
    carry: StreamedEpoch, member: Member, rows: ArrayRows, number: Array, *, guarded: bool
):
    state, tally, due = carry
    trains = due & (state.streak < member.recipe.max_skipped)
    rows = dataclasses.replace(rows, count=jnp.where(trains, rows.count, 0))
    inputs = member.objective, member.recipe, state, rows, tally, number
    return *engine.steps(*inputs, guarded=guarded), due


@_program("objective", "recipe")
def train_chunk(carry: StreamedEpoch, member: Member, rows: ArrayRows, number: Array):
    """Train on one chunk of a stream, if the member trains in this epoch, with unguarded steps.

    Returns:
      The carry, and whether it is valid; if not, call `train_chunk_guarded`.
    """
    after = _train_chunk(carry, member, rows, number, guarded=False)
    return after, engine.sound(carry[0], after[0])


@_program("objective", "recipe")
def train_chunk_guarded(carry: StreamedEpoch, member: Member, rows: ArrayRows, number: Array):
    """`train_chunk` with guarded steps, always valid."""
    return _train_chunk(carry, member, rows, number, guarded=True), jnp.bool_(True)


@_program("objective", "recipe", "validation")
def end_epoch(carry: StreamedEpoch, member: Member, sample: ArrayRows | None):
    """Finish an epoch after its last chunk: state, record, and whether another epoch follows.

    ``sample`` is the rows for diagnostics, or None if there are none.
    """
    before, tally, due = carry
    validation = None if member.validation is None else member.validation.selected()
    inputs = member.objective, member.recipe, before, tally, validation, sample
    state, record = engine.end_epoch(*inputs)
    state = jax.tree.map(lambda new, old: jnp.where(due, new, old), state, before)
    return state, record, engine.running(member.recipe, state)


@_program("objective", "rows")
def finish(model: tuple[PyTree, Stats], member: Member) -> Stats:
    """The statistics for the final parameters."""
    return engine.finish(member.objective, *model, member.rows.selected())
