"""Runners compile the programs of a run and call them, for one model or for a population.

`OneModel` calls a program for one model. A population's carries, own leaves and results have a
leading axis ``[P]``: `OnDevices` maps a program over it and distributes the members over devices;
`OnThreads` shares the members out among the cores of a CPU that is one device.
"""

import abc
import dataclasses
import math
import threading
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxad.training import programs
from jaxad.training.hosts import put, spans_processes
from jaxad.training.interrupts import ready
from jaxad.training.members import Member, join
from jaxad.training.mesh import POPULATION, on_mesh, platform
from jaxad.training.options import compiled
from jaxad.training.programs import Program
from jaxad.training.threads import check_threads, each, thread_count
from jaxad.training.trees import chosen, merged, part
from jaxad.typing import Array, PyTree, Stats

# Models of fewer parameters and inputs cannot fill a core's vector units, so a core trains several
# side by side: as many as its cache holds, but not so many that cores stay idle. Rounding depends
# on this number, so it must not depend on the threads.
SMALL_MODEL, SMALL_ROW, SIDE_BY_SIDE, _LEAST_GROUPS = 4096, 256, 16, 8
# Batches of fewer entries leave too little to each core: splitting the loops costs time.
_LARGE_BATCH = 2**16


class OneModel:
    """Runs programs for one model."""

    size = None

    def __init__(self, member: Member, mesh: Mesh | None = None):
        self._member, self._mesh = member, mesh
        self._parallel = _is_large(member) and thread_count() > 1
        self.validated = member.validation is not None
        self.joined = spans_processes(mesh)
        self._trains = member.recipe is not None  # compiling is long, and Ctrl-C may interrupt it
        self.objective = member.objective

    def __call__(self, program: Program, carry: PyTree, *given: Any) -> Any:
        """Run a program."""
        call, arguments = self._call(program, carry, given)
        with on_mesh(self._mesh):
            if self._trains:
                call.prepare(*arguments)
            return call(*arguments)

    def prepare(self, program: Program, carry: PyTree, *given: Any) -> None:
        """Compile a program once, before several threads call it."""
        call, arguments = self._call(program, carry, given)
        call.prepare(*arguments)

    def _call(self, program: Program, carry: PyTree, given: Any) -> tuple[Any, tuple]:
        call = _single_call(program, platform(self._mesh), self._parallel)
        return call, (carry, _needed(self._member, program), given)

    def again(self, of: np.ndarray, instead: Any, program: Program, *arguments: Any) -> Any:
        """Run a program for the members marked in ``of``; the others' result is ``instead``."""
        return self(program, *arguments) if of else instead

    def fit_statistics(self, function: Callable, params: Any, stats: Stats, rows: Any) -> Stats:
        """Call `engine.prepare` or `engine.finish`; on a stream they cannot be compiled whole."""
        with on_mesh(self._mesh):
            return function(self._member.objective, params, stats, rows)

    def place(self, tree: PyTree) -> PyTree:
        """Bring a tree to the host; programs put it on the devices of their rows."""
        return jax.tree.map(np.asarray, tree)

    def outcome(self, tree: PyTree) -> PyTree:
        """The result of a program, unchanged."""
        return tree


class _Population(abc.ABC):
    """What populations have in common.

    Args:
      own: the members' own leaves ``[P, ...]``.
      shared: leaves that all members share.
      size: P.
    """

    def __init__(self, own: Member, shared: Member, size: int):
        self.size = size
        self.validated = own.validation is not None
        self.objective = own.objective

    @abc.abstractmethod
    def place(self, tree: PyTree) -> PyTree:
        """Bring leaves ``[P, ...]`` to where carries lie."""

    def fit_statistics(self, function: Callable, params: Any, stats: Stats, rows: Any) -> Stats:
        """Call `engine.prepare` or `engine.finish` for one member after the other."""
        # Taking members from arrays on the host compiles nothing.
        model = jax.device_get((self.objective, params, stats))
        each = [function(*part(model, p), rows) for p in range(self.size)]
        return self.place(jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(each)))


class OnDevices(_Population):
    """Runs programs for a population, distributed over devices.

    Args:
      own, shared, size: as for every population.
      mesh: its ``population`` axis distributes the members; None uses the default device.
      vectorised: whether a device trains its members side by side, or one after the other. None:
        side by side on accelerators, and for small members.
    """

    def __init__(
        self,
        own: Member,
        shared: Member,
        size: int,
        mesh: Mesh | None,
        vectorised: bool | None = None,
    ):
        super().__init__(own, shared, size)
        self._mesh, self._vectorised = mesh, vectorised
        self.joined = spans_processes(mesh)
        self._own = own if mesh is None else self.place(own)
        self._shared = shared if mesh is None else put(shared, NamedSharding(mesh, P()))

    def __call__(self, program: Program, carry: PyTree, *given: Any) -> Any:
        """Run a program; its carry comes from `place` or from another program."""
        call, arguments = self._call(program, carry, given)
        return call(*arguments)

    def prepare(self, program: Program, carry: PyTree, *given: Any) -> None:
        """Compile a program once, before several threads call it."""
        call, arguments = self._call(program, carry, given)
        call.prepare(*arguments)

    def _call(self, program: Program, carry: PyTree, given: Any) -> tuple[Any, tuple]:
        call = device_call(program, platform(self._mesh), self._mesh, self._vectorised)
        return call, (carry, _needed(self._own, program), (_needed(self._shared, program), given))

    def again(self, of: np.ndarray, instead: Any, program: Program, *arguments: Any) -> Any:
        """Run a program for the members marked in ``of``; the others' result is ``instead``.

        The devices compute all members.
        """
        return chosen(of, self(program, *arguments), instead)

    def place(self, tree: PyTree) -> PyTree:
        """Put leaves ``[P, ...]`` on the devices; the last member repeats to fill all devices."""
        if self._mesh is None:
            return on_device(tree)
        parts = self._mesh.shape[POPULATION]

        def pad(leaf: Array) -> Array:
            missing = -len(leaf) % parts
            last = jnp.repeat(leaf[-1:], missing, 0) if missing else None
            return leaf if last is None else jnp.concatenate([leaf, last])

        return put(jax.tree.map(pad, tree), NamedSharding(self._mesh, P(POPULATION)))

    def outcome(self, tree: PyTree) -> PyTree:
        """The result of a program, without the members that `place` repeats."""
        return jax.tree.map(lambda leaf: leaf[: self.size], tree)


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
    """Members that one call of a program computes.

    Attributes:
      place: the number of the member; or those of several, ``[G]``, of which the last may repeat.
      size: the number of members without repetitions.
      own: their own leaves; of several members, ``[G, ...]``.
    """

    place: Any
    size: int
    own: Member


class OnThreads(_Population):
    """Runs programs for a population on a CPU that is one device, in several threads.

    A call computes one member with the program of a single model or, if models are small, several
    side by side. Carries and results are on the host. Results do not depend on the threads.

    Args:
      own, shared, size: as for every population.
      threads: as for `threads.thread_count`.
      vectorised: whether a thread trains its members side by side, or one after the other. None:
        side by side if they are small.
      initial: the parameters and statistics that the run starts from, or None.
    """

    joined = False

    def __init__(
        self,
        own: Member,
        shared: Member,
        size: int,
        threads: int | None = None,
        vectorised: bool | None = None,
        initial: PyTree | None = None,
    ):
        super().__init__(own, shared, size)
        self._threads = threads
        self._shared = jax.device_put(shared)
        side_by_side = SIDE_BY_SIDE if vectorised else 1
        if vectorised is None and size > _LEAST_GROUPS and self._are_small(own, initial):
            side_by_side = min(SIDE_BY_SIDE, -(-size // _LEAST_GROUPS))
        self._several = side_by_side > 1
        self._groups = _groups(own, size, side_by_side)

    def __call__(self, program: Program, carry: PyTree, *given: Any) -> Any:
        """Run a program."""
        return merged(self._run(self._groups, program, carry, given), self._places(), self.size)

    def again(
        self, of: np.ndarray, instead: Any, program: Program, carry: PyTree, *given: Any
    ) -> Any:
        """Run a program for the members marked in ``of``; the others' result is ``instead``."""
        concerned = [bool(np.any(of[group.place])) for group in self._groups]
        groups = [group for group, runs in zip(self._groups, concerned, strict=True) if runs]
        parts = iter(self._run(groups, program, carry, given))
        every = [
            next(parts) if runs else part(instead, group.place)
            for group, runs in zip(self._groups, concerned, strict=True)
        ]
        return chosen(of, merged(every, self._places(), self.size), instead)

    def place(self, tree: PyTree) -> PyTree:
        """Bring leaves ``[P, ...]`` to the host."""
        return jax.tree.map(np.asarray, tree)

    def outcome(self, tree: PyTree) -> PyTree:
        """The result of a program, unchanged."""
        return tree

    def _places(self) -> list[tuple[Any, int]]:
        return [(group.place, group.size) for group in self._groups]

    def _call(self, group: _Group, program: Program, mine: PyTree, given: Any) -> tuple[Any, tuple]:
        own, shared = _needed(group.own, program), _needed(self._shared, program)
        if self._several:
            return _group_call(program, platform()), (mine, own, (shared, given))
        return _single_call(program, platform(), False), (mine, join(own, shared), given)

    def _run(self, groups: list[_Group], program: Program, carry: PyTree, given: Any) -> list:
        def run(group: _Group) -> Any:
            call, arguments = self._call(group, program, part(carry, group.place), given)
            call.prepare(*arguments)
            return ready(call(*arguments))

        return each(run, groups, self._threads)

    def _are_small(self, own: Member, initial: PyTree | None) -> bool:
        member = join(part(own, 0), self._shared)
        if math.prod(member.sample.shape) > SMALL_ROW:
            return False
        params = None if initial is None else part(initial[0], 0)
        if initial is None:
            init = programs.initialise
            call = _single_call(init, platform(), False)
            params, _ = call.shapes(None, _needed(member, init), ())
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) < SMALL_MODEL


def population(
    own: Member,
    shared: Member,
    size: int,
    mesh: Mesh | None,
    threads: int | None,
    vectorised: bool | None = None,
    initial: PyTree | None = None,
) -> OnDevices | OnThreads:
    """The runner of a population, on a mesh or, if there is none, on threads."""
    if mesh is None:
        return OnThreads(own, shared, size, threads, vectorised, initial)
    return OnDevices(own, shared, size, mesh, vectorised)


def on_device(tree: PyTree) -> PyTree:
    """The leaves on the device, where calls need not send them; those on a device stay there."""
    return jax.tree.map(lambda x: x if isinstance(x, jax.Array) else jax.device_put(x), tree)


def check_places(mesh: Mesh | None, threads: int | None) -> None:
    """Raise an error if both a mesh and threads are given, or threads are no number."""
    check_threads(threads)
    if mesh is not None and threads is not None:
        raise ValueError(
            f"threads={threads} and a mesh are given: threads share a CPU that is one device, a "
            "mesh distributes over devices; give one of them"
        )


def _groups(own: Member, size: int, side_by_side: int) -> list[_Group]:
    """Groups of members with similar numbers of rows, those with most rows first."""
    counts = None if own.rows is None else own.rows.data.count
    order = np.arange(size) if counts is None else np.argsort(-np.asarray(counts), kind="stable")
    found = []
    for start in range(0, size, side_by_side):
        members = order[start : start + side_by_side]
        place: Any = int(members[0])
        if side_by_side > 1:
            place = np.pad(members, (0, side_by_side - len(members)), mode="edge")
        mine = part(own, place)
        mine = mine._replace(
            rows=mine.rows and mine.rows.trimmed(),
            validation=mine.validation and mine.validation.trimmed(),
        )
        mine = jax.device_put(mine)
        found.append(_Group(place, len(members), mine))
    return found


def _made_once(make: Callable) -> Callable:
    """`functools.cache` for several threads: two of them never make the same program."""
    made, lock = cache(make), threading.Lock()

    @wraps(make)
    def locked(*arguments: Any) -> Any:
        with lock:
            return made(*arguments)

    return locked


@_made_once
def _single_call(program: Program, kind: str, parallel: bool) -> Any:
    def run(carry, member, given):
        return program.function(carry, member, *given)

    options = {"optimised": program.optimised, "parallel": parallel}
    return compiled(run, program.function.__name__, kind, **options)


@_made_once
def _group_call(program: Program, kind: str) -> Any:
    def run(carry, own, shared):
        return jax.vmap(_of_member(program, shared))((carry, own))

    name = f"members_{program.function.__name__}"
    return compiled(run, name, kind, optimised=program.optimised)


@_made_once
def device_call(program: Program, kind: str, mesh: Mesh | None, vectorised: bool | None) -> Any:
    """A program for members ``[P]``: a function of their carries, own leaves and shared leaves.

    It is for devices of one kind, those of the mesh if there is one; see `mesh.platform`.
    """

    def on_device(carry, own, shared):
        one = _of_member(program, shared)
        if kind != "cpu" if vectorised is None else vectorised:
            return jax.vmap(one)((carry, own))
        small = vectorised is None and 0 < _parameters(carry) < SMALL_MODEL
        return lax.map(one, (carry, own), batch_size=SIDE_BY_SIDE if small else None)

    def run(carry, own, shared):
        if mesh is None:
            return on_device(carry, own, shared)
        return jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=(P(POPULATION), P(POPULATION), P()),
            out_specs=P(POPULATION),
            axis_names={POPULATION},  # the compiler handles the data axis
            check_vma=False,
        )(carry, own, shared)

    name = f"members_{program.function.__name__}"
    return compiled(run, name, kind, optimised=program.optimised)


def _of_member(program: Program, shared: Any) -> Callable:
    """The program as a function of a member's pair of carry and own leaves."""

    def one(pair):
        carry, member = pair
        return program.function(carry, join(member, shared[0]), *shared[1])

    return one


def _needed(member: Member, program: Program) -> Member:
    return Member(**{name: getattr(member, name) for name in program.needs})


def _is_large(member: Member) -> bool:
    if member.recipe is None or member.sample is None:
        return False
    size = member.recipe.batch_size
    if member.rows is not None:
        size = min(size, len(member.rows.data.weight))
    return size * math.prod(member.sample.shape) >= _LARGE_BATCH


def _parameters(carry: Any) -> int:
    """Parameters per member; they are the first tree of a carry, or in its state."""
    while type(carry) is tuple:
        carry = carry[0]
    params = getattr(carry, "params", carry)
    return sum(leaf[0].size for leaf in jax.tree.leaves(params))
