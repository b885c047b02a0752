"""The compiled programs of a run, for one model or for the members of a population.

A `Program` is a pure function of a carry (for example a `State`), a `Member` and further arguments.
`OneModel` compiles it for one model. `Population` maps it over the leading axis ``[P]`` of the
members' carries and own leaves, and distributes the members over devices.
"""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxad.rows import ArrayRows
from jaxad.training import engine
from jaxad.training.hosts import put
from jaxad.training.members import Member, join
from jaxad.training.mesh import POPULATION, on_mesh
from jaxad.typing import Array, PyTree, Stats

# Members with fewer parameters cannot fill a core's vector units, so they train side by side.
_SMALL = 4096


# The state, the tally of the epoch, and whether the member trains in this epoch.
StreamedEpoch = tuple[engine.State, engine.Tally, Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A function ``(carry, member, *given) -> result`` to compile.

    Attributes:
      function: the function.
      needs: the fields of the member that it reads; changing others does not recompile it.
      donates: whether it may reuse the carry's memory.
      optimised: whether its speed matters more than its compilation time.
    """

    function: Callable
    needs: tuple[str, ...]
    donates: bool = False
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


@_program("objective", "recipe", "rows", "validation", donates=True)
def train(state: engine.State, member: Member, epochs: Array):
    """Train a group of epochs: state, records ``[HISTORY]``, and whether another epoch follows."""
    validation = None if member.validation is None else member.validation.selected()
    rows = member.rows.selected()
    state, record = engine.train(member.objective, member.recipe, state, rows, validation, epochs)
    return state, record, engine.running(member.recipe, state)


@_program("recipe")
def begin_epoch(state: engine.State, member: Member) -> tuple[engine.Tally, Array]:
    """The tally before an epoch's first chunk, and whether the member trains in this epoch."""
    return engine.begin_epoch(member.recipe, state), engine.running(member.recipe, state)


@_program("objective", "recipe", donates=True)
def train_chunk(carry: StreamedEpoch, member: Member, rows: ArrayRows, number: Array):
    """Train on one chunk of a stream, if the member trains in this epoch."""
    state, tally, due = carry
    trains = due & (state.streak < member.recipe.max_skipped)
    rows = dataclasses.replace(rows, count=jnp.where(trains, rows.count, 0))
    return *engine.steps(member.objective, member.recipe, state, rows, tally, number), due


@_program("objective", "recipe", "validation")
def end_epoch(carry: StreamedEpoch, member: Member):
    """Finish an epoch after its last chunk; returns the same values as `train`."""
    before, tally, due = carry
    validation = None if member.validation is None else member.validation.selected()
    state, record = engine.end_epoch(member.objective, member.recipe, before, tally, validation)
    state = jax.tree.map(lambda new, old: jnp.where(due, new, old), state, before)
    return state, record, engine.running(member.recipe, state)


@_program("objective", "rows")
def finish(model: tuple[PyTree, Stats], member: Member) -> Stats:
    """The statistics for the final parameters."""
    return engine.finish(member.objective, *model, member.rows.selected())


class OneModel:
    """Runs programs for one model."""

    size = None

    def __init__(self, member: Member, mesh: Mesh | None = None):
        self._member, self._mesh = member, mesh
        self.validated = member.validation is not None

    def __call__(self, program: Program, carry: PyTree, *given: Any) -> Any:
        """Run a program."""
        with on_mesh(self._mesh):
            return _single_call(program)(carry, _needed(self._member, program), given)

    def fit_statistics(self, function: Callable, params: Any, stats: Stats, rows: Any) -> Stats:
        """Call `engine.prepare` or `engine.finish`; on a stream they cannot be compiled whole."""
        with on_mesh(self._mesh):
            return function(self._member.objective, params, stats, rows)

    def place(self, tree: PyTree) -> PyTree:
        """Copy a tree to the host; programs put the copy on the devices of their rows."""
        return jax.tree.map(np.array, tree)

    def outcome(self, tree: PyTree) -> PyTree:
        """The result of a program, unchanged."""
        return tree


class Population:
    """Runs programs for the members of a population.

    Args:
      own: the members' own leaves ``[P, ...]``.
      shared: leaves that all members share.
      size: P.
      mesh: its ``population`` axis distributes the members.
      vectorised: whether a device trains its members side by side, or one after the other. None:
        side by side on accelerators, and for small members.
    """

    def __init__(
        self,
        own: Member,
        shared: Member,
        size: int,
        mesh: Mesh,
        vectorised: bool | None = None,
    ):
        self.size, self._mesh, self._vectorised = size, mesh, vectorised
        self.validated = own.validation is not None
        self._own = self.place(own)
        self._shared = put(shared, NamedSharding(mesh, P()))

    def __call__(self, program: Program, carry: PyTree, *given: Any) -> Any:
        """Run a program; its carry comes from `place` or from another program."""
        run = _population_call(program, self._mesh, self._vectorised)
        shared = _needed(self._shared, program), given
        return run(carry, _needed(self._own, program), shared)

    def fit_statistics(self, function: Callable, params: Any, stats: Stats, rows: Any) -> Stats:
        """Call `engine.prepare` or `engine.finish` for one member after the other."""
        # Taking members from arrays on the host compiles nothing.
        model = jax.device_get((self._own.objective, params, stats))
        each = [
            function(*jax.tree.map(lambda leaf, p=p: leaf[p], model), rows)
            for p in range(self.size)
        ]
        return self.place(jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(each)))

    def place(self, tree: PyTree) -> PyTree:
        """Put leaves ``[P, ...]`` on the devices; the last member repeats to fill all devices."""
        parts = self._mesh.shape[POPULATION]

        def pad(leaf: Array) -> Array:
            missing = -len(leaf) % parts
            last = jnp.repeat(leaf[-1:], missing, 0) if missing else None
            return leaf if last is None else jnp.concatenate([leaf, last])

        return put(jax.tree.map(pad, tree), NamedSharding(self._mesh, P(POPULATION)))

    def outcome(self, tree: PyTree) -> PyTree:
        """The result of a program, without the members that `place` repeats."""
        return jax.tree.map(lambda leaf: leaf[: self.size], tree)


@cache
def _single_call(program: Program) -> Callable:
    def run(carry, member, given):
        return program.function(carry, member, *given)

    return _compiled(program, run, program.function.__name__)


@cache
def _population_call(program: Program, mesh: Mesh, vectorised: bool | None) -> Callable:
    accelerator = mesh.devices.flat[0].platform != "cpu"

    def on_device(carry, own, shared):
        def one(pair):
            carry, member = pair
            return program.function(carry, join(member, shared[0]), *shared[1])

        together = vectorised
        if together is None:
            together = accelerator or 0 < _parameters(carry) < _SMALL
        return jax.vmap(one)((carry, own)) if together else lax.map(one, (carry, own))

    def run(carry, own, shared):
        return jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=(P(POPULATION), P(POPULATION), P()),
            out_specs=P(POPULATION),
            axis_names={POPULATION},  # the compiler handles the data axis
            check_vma=False,
        )(carry, own, shared)

    return _compiled(program, run, f"members_{program.function.__name__}")


def _compiled(program: Program, run: Callable, name: str) -> Callable:
    """The function compiled under a name that profiles show."""
    run.__name__ = run.__qualname__ = name
    options = None if program.optimised else {"xla_backend_optimization_level": 0}
    donated = "carry" if program.donates else None
    return jax.jit(run, donate_argnames=donated, compiler_options=options)


def _needed(member: Member, program: Program) -> Member:
    return Member(**{name: getattr(member, name) for name in program.needs})


def _parameters(carry: Any) -> int:
    """Parameters per member; they are the first tree of a carry, or in its state."""
    while type(carry) is tuple:
        carry = carry[0]
    params = carry.params if isinstance(carry, engine.State) else carry
    return sum(leaf[0].size for leaf in jax.tree.leaves(params))
