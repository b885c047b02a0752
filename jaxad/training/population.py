"""`fit_population`: many models as one compiled program, shared out among devices."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from tqdm import tqdm

from jaxad.chunking import map_rows
from jaxad.training import engine
from jaxad.training.batching import row_blocks
from jaxad.training.checkpoint import open_saver
from jaxad.training.compilation import Stopwatch
from jaxad.training.history import empty, enter, until, widened
from jaxad.training.hosts import put, spans
from jaxad.training.members import (
    Member,
    axes_of,
    join,
    leading_axes,
    only_length,
    pad_members,
    split_members,
    spread,
)
from jaxad.training.mesh import POPULATION, check_data_axis, make_mesh
from jaxad.training.processes import check_alike, failing_together, on_host
from jaxad.training.run import Result, longest_pause, next_group
from jaxad.typing import Array, Key, Params, PyTree, Stats

# Models with fewer parameters leave a core's vectors idle, so several advance at once.
_SMALL = 4096


class Population(NamedTuple):
    """P trained models and how the training went.

    Attributes:
      params: the networks' parameters, every leaf ``[P, ...]``.
      stats: what is fitted without a gradient, every leaf ``[P, ...]``.
      history: ``loss``, ``learning_rate``, ``skipped`` and with validation rows
        ``validation_loss``; numpy ``[P, epochs]``, NaN after a member's last epoch.
      best_epoch: ``[P]`` the epochs that were restored, or None.
      epochs: ``[P]`` epochs done.
      steps: ``[P]`` steps done.
      skipped: ``[P]`` steps skipped because loss or gradient was not finite.
      failed: ``[P]`` whether a member ended early for that; the others are not touched by it.
      compilations: programs compiled in this call.
      compile_seconds: the time that took.
      run_seconds: the rest of the call.
    """

    params: Params
    stats: Stats
    history: dict[str, np.ndarray]
    best_epoch: np.ndarray | None
    epochs: np.ndarray
    steps: np.ndarray
    skipped: np.ndarray
    failed: np.ndarray
    compilations: int
    compile_seconds: float
    run_seconds: float

    @property
    def size(self) -> int:
        """P."""
        return len(self.steps)

    def member(self, p: int) -> Result:
        """Member ``p`` as if it had been trained alone; the times are those of all."""
        if not 0 <= p < self.size:
            raise IndexError(f"p={p}: the population has members 0 to {self.size - 1}")
        return Result(
            params=jax.tree.map(lambda leaf: leaf[p], self.params),
            stats=jax.tree.map(lambda leaf: leaf[p], self.stats),
            history={k: v[p, : self.epochs[p]] for k, v in self.history.items()},
            best_epoch=None if self.best_epoch is None else int(self.best_epoch[p]),
            steps=int(self.steps[p]),
            skipped=int(self.skipped[p]),
            compilations=self.compilations,
            compile_seconds=self.compile_seconds,
            run_seconds=self.run_seconds,
        )


def fit_population(
    objective: Any,
    recipe: Any,
    keys: Key,
    rows: Any,
    *,
    subsets: Sequence[Any] | None = None,
    validation: Any = None,
    validation_subsets: Sequence[Any] | None = None,
    initial: tuple[Params, Stats] | None = None,
    fitted: bool = False,
    mesh: Mesh | None = None,
    vectorised: bool | None = None,
    checkpoints: Any = None,
    progress: bool = False,
) -> Population:
    """Train P models by one compiled program; member p is what `fit` alone would make of it.

    Any number of objective and recipe may be an array ``[P]``, one value for each member, and so
    may the keys; whatever has no such axis is shared. A member whose steps are not finite ends
    by itself and is marked as failed.

    Args:
      objective: what for, see `jaxad.typing.Objective`; or a list of P alike in structure.
      recipe: how; or a list of P alike in structure.
      keys: typed keys ``[P]``; or one key, split into P.
      rows: shared rows, a `Batch` or an array ``[N, ...]``, whose ``label`` and ``weight`` may be
        ``[P, N]``; or a list of P such sets, each member's own.
      subsets: for each member the numbers of its rows (repeated ones count repeatedly), for
        folds and bootstraps of shared rows.
      validation: like ``rows``, for the validation loss.
      validation_subsets: like ``subsets``, among ``validation``, or among ``rows`` if there is
        no ``validation``.
      initial: parameters and statistics to start from, leaves ``[P, ...]``.
      fitted: whether the statistics of ``initial`` are fitted, as in `fit`.
      mesh: from `make_mesh`; members are shared out along its ``population`` axis. None: all
        devices. Where these are of several processes (see `join_hosts`) every process passes the
        same arguments, and gets the whole population, on its host.
      vectorised: advance a device's members together, or one after the other. None: together on
        accelerators and where a member is small.
      checkpoints: as in `fit`; all members are saved together.
      progress: show a progress bar.

    Raises:
      ValueError: axes of different lengths, an axis where only one value can be, rows or a recipe
        out of range, another run's checkpoints; before anything is compiled.
      OSError: there is too little space for a checkpoint; those before it are whole.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> objective = objectives.DeepSVDD(networks.MLP((16, 8)))
      >>> recipe = training.Recipe(epochs=3, learning_rate=np.array([1e-3, 1e-4]))
      >>> training.fit_population(objective, recipe, jax.random.key(0), x).history["loss"].shape
      (2, 3)
    """
    with Stopwatch() as watch:
        mesh = make_mesh() if mesh is None else mesh
        joined = spans(mesh)
        with failing_together(joined):
            members, shared, size = split_members(
                objective, recipe, keys, rows, subsets, validation, validation_subsets, initial
            )
            check_data_axis(mesh, members.recipe.batch_size)
        told = {
            "rows": (members.rows, shared.rows),
            "validation": (members.validation, shared.validation),
            "initial": initial,
            "fitted": fitted,
        }
        what = members.objective, members.recipe, members.key
        if joined:
            given = dict(zip(("objective", "recipe", "keys"), what, strict=True)) | told
            given |= {"vectorised": vectorised, "progress": progress}
            check_alike(**given, checkpoints=str(checkpoints))
        saver = open_saver(checkpoints, *what, joined=joined, **told)
        parts = mesh.shape[POPULATION]
        members, initial = pad_members((members, initial), parts)
        members, initial = put((members, initial), NamedSharding(mesh, P(POPULATION)))
        shared = put(shared, NamedSharding(mesh, P()))
        run = partial(_each, mesh=mesh, vectorised=vectorised)
        state = run(_go_on if fitted else _begin, None, (members, initial), shared)
        state, history = _groups(run, state, members, shared, saver, progress)
        outcome = run(_end, state, members, shared)
        if joined:
            outcome = on_host(outcome)
        if size % parts:
            outcome = jax.tree.map(lambda leaf: leaf[:size], outcome)
        jax.block_until_ready(outcome)
    params, stats, best_epoch, epochs, steps, skipped, failed = outcome
    return Population(
        params=params,
        stats=stats,
        history={name: values[:size] for name, values in history.items()},
        best_epoch=None if best_epoch is None else np.asarray(best_epoch),
        epochs=np.asarray(epochs),
        steps=np.asarray(steps),
        skipped=np.asarray(skipped),
        failed=np.asarray(failed),
        compilations=watch.compilations,
        compile_seconds=watch.compile_seconds,
        run_seconds=watch.run_seconds,
    )


def score_population(
    objective: Any, params: Params, stats: Stats, x: Any, *, mesh: Mesh | None = None
) -> np.ndarray:
    """Scores ``[P, N]`` of rows ``[N, ...]`` by every member.

    Args:
      objective: as given to `fit_population`.
      params: leaves ``[P, ...]``.
      stats: leaves ``[P, ...]``.
      x: the rows, shared.
      mesh: as in `fit_population`, but None means the devices of this process, so that each can
        score rows of its own.
    """
    mesh = make_mesh(devices=jax.local_devices()) if mesh is None else mesh
    axes = axes_of(objective, "objective") | leading_axes({"params": params, "stats": stats})
    size = only_length(axes)
    chunk = (objective[0] if isinstance(objective, list | tuple) else objective).chunk
    members = pad_members((spread(objective, size), params, stats), mesh.shape[POPULATION])
    sharding = NamedSharding(mesh, P(POPULATION))
    if sharding.is_fully_addressable:
        members = jax.device_put(members, sharding)  # once, and not with every block
    parts = [
        on_host(_each(_score, None, members, (block, np.int32(count)), mesh=mesh, vectorised=False))
        for block, count in row_blocks(x, chunk)
    ]
    return np.concatenate(parts, axis=1)[:size, : len(x)]


@partial(jax.jit, static_argnames=("function", "mesh", "vectorised"), donate_argnames="state")
def _each(
    function: Callable, state: PyTree, members: PyTree, shared: PyTree, *, mesh, vectorised
) -> PyTree:
    """Map ``function(state, member, shared)`` over the leading axis of state and members."""
    accelerator = mesh.devices.flat[0].platform != "cpu"

    def on_device(state, members, shared):
        def one(pair):
            return function(*pair, shared)

        together = vectorised
        if together is None:
            together = accelerator or _parameters(state, members, shared) < _SMALL
        return jax.vmap(one)((state, members)) if together else lax.map(one, (state, members))

    return jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(P(POPULATION), P(POPULATION), P()),
        out_specs=P(POPULATION),
        axis_names={POPULATION},  # what happens along the data axis is left to the compiler
        check_vma=False,
    )(state, members, shared)


def _begin(state: None, given: tuple[Member, Any], shared: Member) -> engine.State:
    del state
    own, initial = given
    member = join(own, shared)
    rows = member.rows.batch()
    if initial is None:
        initial = engine.initialise(member.objective, member.key, rows.x[:1])
    params, stats = initial
    stats = engine.refresh(member.objective, params, stats, rows, jnp.bool_(True))
    return engine.start(member.recipe, member.key, params, stats)


def _go_on(state: None, given: tuple[Member, Any], shared: Member) -> engine.State:
    del state
    own, (params, stats) = given
    member = join(own, shared)
    return engine.start(member.recipe, member.key, params, stats)


def _train(state: engine.State, own: Member, given: tuple[Member, Array]):
    shared, epochs = given
    member = join(own, shared)
    validation = None if member.validation is None else member.validation.batch()
    objective, how, count = member.objective, member.recipe, member.rows.count
    rows = member.rows.batch()
    state, record = engine.train(objective, how, state, rows, count, validation, epochs)
    return state, record, engine.running(how, state)


def _end(state: engine.State, own: Member, shared: Member):
    member = join(own, shared)
    source = state if state.best is None else state.best
    stats = engine.refresh(
        member.objective, source.params, source.stats, member.rows.batch(), jnp.bool_(False)
    )
    best_epoch = None if state.best is None else state.best.epoch
    stuck = (state.streak >= member.recipe.max_skipped) | (state.skipped == state.step)
    failed = (state.skipped > 0) & stuck
    return source.params, stats, best_epoch, state.epoch, state.step, state.skipped, failed


def _score(state: None, member, shared) -> Array:
    del state
    (objective, params, stats), (x, count) = member, shared
    row_wise = partial(objective.score, params, stats)
    return map_rows(row_wise, x, chunk=objective.chunk, count=count)


def _groups(run, state, members, shared, saver, progress):
    """Groups of epochs until no member is due, and the history of all."""
    limits = on_host(members.recipe.epochs)
    total = int(limits.max())
    history = empty(len(limits), validated=members.validation is not None)
    if saver is not None:
        state, saved = saver.resume(state)
        history = saved or history
    history = widened(history, total)
    pause = longest_pause(saver, progress)
    done, group = np.array(on_host(state.epoch)), 1 if pause < np.inf else engine.HISTORY
    first = int(done.max())
    with tqdm(total=total, initial=first, unit="epoch", disable=not progress, leave=False) as bar:
        due = bool((done < limits).any())
        while due:
            began, before = time.perf_counter(), done
            state, record, running = run(_train, state, members, (shared, np.int32(group)))
            record, running = on_host((record, running))
            due, done = bool(np.any(running)), np.array(on_host(state.epoch))
            enter(history, record, before, done)
            bar.update(int(done.max()) - bar.n)
            seconds, several = time.perf_counter() - began, not state.epoch.is_fully_addressable
            group = next_group(group, seconds, pause, several)
            if saver is not None and due and saver.due():
                saver.save(state, until(history, done.max()))
    history = until(history, done.max())
    if saver is not None:
        saver.save(state, history)
    return state, history


def _parameters(state: engine.State | None, members: Any, shared: Any) -> int:
    """How many parameters a member has; looked up while tracing."""
    if state is not None:
        return sum(leaf[0].size for leaf in jax.tree.leaves(state.params))

    def parameters(members: Any) -> Params:
        member = join(jax.tree.map(lambda leaf: leaf[0], members), shared)
        return engine.initialise(member.objective, member.key, member.rows.batch().x[:1])[0]

    own, _ = members
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(parameters, own)))
