"""Training runs: whole (`fit`, `fit_population`), or one epoch per call (`begin`, `advance`).

Every run checks its arguments, puts the rows on the devices, begins the state, trains groups of
epochs and finishes the statistics. The programs of `jaxad.training.programs` do this for one model
or a population; rows are in memory or streamed.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxad.precision import in_single_precision
from jaxad.rows import ArrayRows, Rows, Stream, as_rows, bucket
from jaxad.training import diagnostics, engine, interrupts, programs
from jaxad.training.checkpoint import Saver, open_saver
from jaxad.training.compilation import Stopwatch
from jaxad.training.contract import check_batch_size, check_objective, rows_needed
from jaxad.training.engine import State
from jaxad.training.history import History, Records
from jaxad.training.hosts import (
    broadcast,
    check_alike,
    failing_together,
    gather_arrays,
    join_rows,
    on_host,
    spans_processes,
)
from jaxad.training.members import (
    Member,
    Subset,
    check_key,
    check_resident,
    split_members,
)
from jaxad.training.mesh import (
    check_data_axis,
    default_mesh,
    padded_size,
    rows_sharding,
    used_devices,
)
from jaxad.training.monitor import Callback, Monitor
from jaxad.training.programs import Program
from jaxad.training.recipe import Recipe, as_leaves, optimizer
from jaxad.training.runners import OnDevices, OneModel, OnThreads, check_places, population
from jaxad.training.scoring import score
from jaxad.training.trees import chosen, part
from jaxad.typing import Key, Objective, Params, Stats

Runner = OneModel | OnDevices | OnThreads

_WATCHED, _UNWATCHED = 0.25, 0.5  # seconds of a group of epochs


class NonFiniteError(RuntimeError):
    """Too many consecutive steps were not finite."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a training run after some epochs.

    Attributes:
      result: the `Result`, as if the last complete epoch had been the last one.
    """

    def __init__(self, result: Any):
        super().__init__("training was interrupted; .result has the model trained so far")
        self.result = result


class Result(NamedTuple):
    """A trained model or population, and a record of its training.

    In a population, the leaves of ``params`` and ``stats``, the history (NaN after a member's last
    epoch) and the fields from ``best_epoch`` to ``failed`` have a leading axis ``[P]``.

    Attributes:
      params: the networks' parameters; with patience, the best epoch's.
      stats: statistics that are fitted without a gradient, exact for ``params``.
      history: numpy ``[epochs]`` for ``loss``, ``learning_rate``, ``skipped``, with validation
        rows ``validation_loss``, and the recipe's diagnostics.
      best_epoch: the restored epoch, or None without patience.
      epochs: epochs done.
      steps: steps done, including skipped ones.
      skipped: steps skipped because they were not finite, see `Recipe`.
      failed: whether training broke down, as `fit` raises `NonFiniteError` for. A failing member
        does not affect the others.
      compilations: programs compiled in this call.
      compile_seconds: seconds spent compiling.
      run_seconds: remaining seconds of the call.
    """

    params: Params
    stats: Stats
    history: dict[str, np.ndarray]
    best_epoch: Any
    epochs: Any
    steps: Any
    skipped: Any
    failed: Any
    compilations: int
    compile_seconds: float
    run_seconds: float

    @property
    def size(self) -> int:
        """P; 1 for one model."""
        return np.size(self.steps)

    def member(self, p: int) -> "Result":
        """Member ``p`` as a single model; its times are the population's."""
        if not 0 <= p < self.size:
            raise IndexError(f"p={p}: the population has members 0 to {self.size - 1}")
        params, stats = jax.tree.map(lambda leaf: leaf[p], (self.params, self.stats))
        return self._replace(
            params=params,
            stats=stats,
            history={k: v[p, : self.epochs[p]] for k, v in self.history.items()},
            best_epoch=None if self.best_epoch is None else int(self.best_epoch[p]),
            epochs=int(self.epochs[p]),
            steps=int(self.steps[p]),
            skipped=int(self.skipped[p]),
            failed=bool(self.failed[p]),
        )

    def take(self, index: Any) -> "Result":
        """The population of the members ``index``, integers or booleans."""
        index = np.asarray(index)
        params, stats = jax.tree.map(lambda leaf: leaf[index], (self.params, self.stats))
        longest = int(self.epochs[index].max(initial=0))
        return self._replace(
            params=params,
            stats=stats,
            history={k: v[index, :longest] for k, v in self.history.items()},
            best_epoch=None if self.best_epoch is None else self.best_epoch[index],
            epochs=self.epochs[index],
            steps=self.steps[index],
            skipped=self.skipped[index],
            failed=self.failed[index],
        )


@in_single_precision
def fit(
    objective: Objective,
    recipe: Recipe,
    key: Key,
    rows: Any,
    *,
    validation: Any = None,
    initial: tuple[Params, Stats] | None = None,
    fitted: bool = False,
    mesh: Mesh | None = None,
    checkpoints: Any = None,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train one model and return a `Result`.

    Args:
      objective: the objective, see `jaxad.typing.Objective`.
      recipe: how to train it.
      key: a typed key, consumed.
      rows: an array ``[N, ...]``, rows with labels and weights from `as_rows`, or a
        `jaxad.data.stream`. A stream is shuffled within its chunks, which keep their order. Without
        shuffling, it gives the same result as the same rows in memory.
      validation: an array, or rows from `as_rows`, for the validation loss of each epoch.
      initial: parameters and statistics, such as a pretrained encoder's, to start from instead of
        ``objective.init``.
      fitted: keep the statistics of ``initial``, such as Deep SVDD's centre, instead of preparing
        them from ``rows``.
      mesh: from `make_mesh`. Its ``data`` axis shards the rows of every batch; the result agrees
        with one device's to float tolerance. On a mesh over several processes (see `join_hosts`)
        every process passes its own rows and validation rows. The model is trained on all of them,
        in the order of the processes, and returned on every process's host.
      checkpoints: `Checkpoints`, or a folder: save the run regularly, and resume from the newest
        checkpoint. A resumed run is bit-identical on the same machine. Runs on a stream are saved
        between epochs and identified by the first chunk. A resumed run calls the callbacks at once.
      progress: show a progress bar.
      callbacks: functions of a `jaxad.callbacks.Progress`, called after each group of epochs; one
        that returns True ends training.

    Raises:
      ValueError: rows or a recipe are out of range, or the checkpoints are another run's; raised
        before anything is compiled. Rows of a stream are checked when they are read.
      OSError: there is too little space for a checkpoint; earlier checkpoints are unchanged.
      NonFiniteError: ``recipe.max_skipped`` steps in a row, or all steps, were not finite; or the
        last steps were not and no row has a finite score; or with patience, the watched loss never
        was.
      Interrupted: Ctrl-C, after at least one epoch; a `KeyboardInterrupt` that holds the result.
        The computation in progress, at most one epoch or half a second, ends on its own.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> objective = objectives.deep_svdd(networks.MLP((16, 8)))
      >>> result = training.fit(objective, training.Recipe(epochs=5), jax.random.key(0), x)
      >>> training.score(objective, result.params, result.stats, x).shape
      (200,)
    """
    joined = spans_processes(mesh)
    monitor = Monitor(progress, callbacks)
    with failing_together(joined):
        recipe.check()
        check_key(key)
        check_data_axis(mesh, recipe.batch_size)
        data = _checked_for_one(rows, joined)
        check_objective(objective, data.shape)
        check_batch_size(objective, recipe.batch_size, data.shape)
        diagnostics.check_diagnostics(objective, recipe, data.shape)
        held_out = None if validation is None else _checked_for_one(validation, joined)
        if held_out is not None:
            check_resident("validation", held_out)
    with Stopwatch() as watch:
        objective, how = as_leaves((objective, recipe))
        if joined:
            given = {"initial": initial, "presence of validation rows": held_out is None}
            given |= {"checkpoints": str(checkpoints), "fitted": fitted}
            given |= {"progress": monitor.watches}
            check_alike(objective=objective, recipe=how, key=key, **given)
            initial = on_host(initial)
        named = {"rows": data, "validation": held_out, "initial": initial, "fitted": fitted}
        saver = open_saver(checkpoints, objective, how, key, joined=joined, **named)
        run = _run_one_model(objective, how, key, data, held_out, mesh)
        state = run.begin(initial, fitted)
        state, history, interrupted = _train(run, state, how, saver, monitor)
        with interrupts.deferred() as interrupt:
            figures = _figures(run, state)
            if figures.failed(how):
                raise NonFiniteError(_advice(how, figures))
            if saver is not None:
                saver.save(state, history)
            model = _model(run, state)
            if _diverged(objective, model, figures, data, joined):
                raise NonFiniteError(_advice(how, figures))
    result = _result(model, history, figures, figures.failed(how), watch)
    if interrupted or interrupt.pressed:
        raise Interrupted(result)
    return result


@in_single_precision
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
    threads: int | None = None,
    vectorised: bool | None = None,
    checkpoints: Any = None,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train P models as one population, on all cores or devices, and return a `Result`.

    Member p equals the model that `fit` would train. Every number of objective and recipe may be an
    array ``[P]`` with one value per member; single numbers are shared. A member whose steps are not
    finite stops and is marked as failed.

    Args:
      objective: the objective, see `jaxad.typing.Objective`; or a list of P with equal structure.
      recipe: how to train it; or a list of P with equal structure.
      keys: typed keys ``[P]``; or one key, which is split into P.
      rows: rows that all members share: an array ``[N, ...]``, rows from `as_rows` with labels and
        weights ``[N]`` or ``[P, N]``, or a `jaxad.data.stream`. Or a list of P sets in memory, one
        per member.
      subsets: P sets of row numbers, one per member, for folds and bootstraps of shared rows.
        Repeated rows count repeatedly.
      validation: like ``rows``, for the validation loss.
      validation_subsets: like ``subsets``, for ``validation`` or, without it, for ``rows``.
      initial: parameters and statistics to start from, leaves ``[P, ...]``.
      fitted: as in `fit`.
      mesh: from `make_mesh`. Its ``population`` axis distributes the members; None uses all
        devices. On a mesh over several processes (see `join_hosts`) every process passes the same
        arguments and gets the whole population on its host.
      threads: at most so many threads share out the members, on a CPU that is one device;
        otherwise ignored. None: the environment variable ``JAXAD_THREADS``; or one for each core
        that this process may use and no other population does; or one in a process or thread that
        joblib or another process started. The result is the same.
      vectorised: whether a device or thread trains its members side by side, or one after the
        other. None: side by side on accelerators, and for small members.
      checkpoints: as in `fit`; all members are saved together.
      progress, callbacks: as in `fit`.

    Raises:
      ValueError: axes have different lengths, structure has an axis over members, rows or a recipe
        are out of range, or the checkpoints are another run's; raised before anything is compiled.
      OSError: there is too little space for a checkpoint; earlier checkpoints are unchanged.
      Interrupted: as in `fit`.

    Warns:
      RuntimeWarning: ``threads`` is more than the cores that this process may use.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> objective = objectives.deep_svdd(networks.MLP((16, 8)))
      >>> recipe = training.Recipe(epochs=3, learning_rate=np.array([1e-3, 1e-4]))
      >>> training.fit_population(objective, recipe, jax.random.key(0), x).history["loss"].shape
      (2, 3)
    """
    with Stopwatch() as watch:
        check_places(mesh, threads)
        monitor = Monitor(progress, callbacks)
        mesh = default_mesh() if mesh is None else mesh
        joined = spans_processes(mesh)
        with failing_together(joined):
            listed = isinstance(rows, list | tuple)
            if not listed or len(rows):  # an empty list is an error of its own
                check_objective(objective, as_rows(rows[0] if listed else rows).shape)
            own, shared, size = split_members(
                objective, recipe, keys, rows, subsets, validation, validation_subsets, initial
            )
            check_data_axis(mesh, own.recipe.batch_size)
            data = rows if isinstance(rows, list | tuple) else _checked(rows, joined)
        named = {
            "rows": data if shared.rows is None else (own.rows, shared.rows),
            "validation": (own.validation, shared.validation),
            "initial": initial,
            "fitted": fitted,
        }
        inputs = own.objective, own.recipe, own.key
        if joined:
            given = dict(zip(("objective", "recipe", "keys"), inputs, strict=True)) | named
            given |= {"vectorised": vectorised, "progress": monitor.watches}
            check_alike(**given, checkpoints=str(checkpoints))
        saver = open_saver(checkpoints, *inputs, joined=joined, **named)
        call = population(own, shared, size, mesh, threads, vectorised, initial)
        run = _run(call, data, own.recipe, mesh and NamedSharding(mesh, PartitionSpec()))
        state = run.begin(initial, fitted)
        state, history, interrupted = _train(run, state, own.recipe, saver, monitor)
        with interrupts.deferred() as interrupt:
            if saver is not None:
                saver.save(state, history)
            model, figures = _model(run, state), _figures(run, state)
            failed = figures.failed(own.recipe)
            failed = failed | _diverged(own.objective, model, figures, data, joined)
    result = _result(model, history, figures, failed, watch)
    if interrupted or interrupt.pressed:
        raise Interrupted(result)
    return result


@in_single_precision
def begin(
    objective: Any,
    recipe: Any,
    key: Key,
    rows: Any,
    *,
    initial: tuple[Params, Stats] | None = None,
    fitted: bool = False,
    threads: int | None = None,
) -> State:
    """The state of a run before its first step; of a population if ``key`` is keys ``[P]``.

    See `fit` and `fit_population` for the arguments; the rows must be in memory.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> batches = np.random.default_rng(0).normal(size=(3, 200, 4))
      >>> objective, recipe = objectives.deep_svdd(networks.MLP((16, 8))), training.Recipe()
      >>> state = training.begin(objective, recipe, jax.random.key(0), batches[0])
      >>> for x in batches:
      ...     state, result = training.advance(objective, recipe, state, x)
      >>> int(state.epoch), training.score(objective, result.params, result.stats, x).shape
      (3, (200,))
    """
    _, run = _incremental_run(objective, recipe, key, rows, threads)
    return run.begin(initial, fitted)


@in_single_precision
def advance(
    objective: Any,
    recipe: Any,
    state: State,
    rows: Any,
    *,
    epochs: int = 1,
    mark_failures: bool = False,
    statistics: Any = None,
    threads: int | None = None,
) -> tuple[State, Result]:
    """Train ``epochs`` epochs on ``rows``; ``recipe.epochs`` and ``recipe.patience`` are ignored.

    Args:
      objective: the objective.
      recipe: how to train it.
      state: from `begin`, or from the previous call.
      rows: rows in memory, as for `fit` or `fit_population`.
      epochs: how many.
      mark_failures: mark members whose steps are not finite in ``Result.failed``, as
        `fit_population` does, instead of raising an error.
      statistics: the rows that exact statistics are fitted to; None: ``rows``.
      threads: as in `fit_population`.

    Returns:
      The new state, and a `Result` with the history of these epochs. Its statistics are exact for
      the new parameters on the rows of ``statistics``.

    Raises:
      NonFiniteError: as in `fit`, for any member, unless ``mark_failures``. ``state`` stays usable.
      ValueError: the recipe needs another optimizer state than the run began with.

    Example: see `begin`.
    """
    with Stopwatch() as watch:
        how, run = _incremental_run(objective, recipe, state.key, rows, threads)
        before = _figures(run, state)
        history = History(run.call.size, validated=False)
        first = done = _epochs_done(run, state)
        try:
            for start in range(0, epochs, engine.HISTORY):
                state, record, _ = run.train(state, min(engine.HISTORY, epochs - start))
                began, done = done, _epochs_done(run, state)
                history.enter(run.call.outcome(on_host(record)), began - first, done - first)
        except Exception as error:
            init = optimizer(how).init
            wanted = jax.eval_shape(init if state.epoch.ndim == 0 else jax.vmap(init), state.params)
            if jax.tree.structure(wanted) == jax.tree.structure(state.opt_state):
                raise
            raise ValueError(
                f"optimizer={recipe.optimizer!r}, clip_norm={recipe.clip_norm!r}, weight_decay="
                f"{recipe.weight_decay!r}, decoupled_weight_decay="
                f"{recipe.decoupled_weight_decay!r}: the optimizer is another than when the run "
                "began, or one of the others is set and was not, or the other way round. Their "
                "values may change, but not which there are: leave those as they were, or begin "
                "anew"
            ) from error
        figures = _figures(run, state)
        if not mark_failures and np.any(figures.failed(how, before)):
            raise NonFiniteError(_advice(how, figures))
        model = _model(run, state)
        diverged = _diverged(run.call.objective, model, figures, rows, joined=False)
        if not mark_failures and np.any(diverged):
            raise NonFiniteError(_advice(how, figures))
        if statistics is not None:
            _, run = _incremental_run(objective, recipe, state.key, statistics, threads)
            model = _model(run, state)
    failed = figures.failed(how) | diverged
    return state, _result(model, history.so_far(), figures, failed, watch)


class _Run:
    """A run of one model or of a population, on rows in memory or on a stream.

    Steps are unguarded, see `engine.steps`; an epoch, or a chunk of a stream, in which a step was
    not finite is trained again, guarded. Which ones these are does not depend on how a run is
    divided into calls, so resumed runs are the same to the bit. An optimizer of the user's may
    forget that a number was not finite: its steps are all guarded.
    """

    def __init__(self, call: Runner, how: Recipe):
        self.call = call
        self._guarded = callable(how.optimizer)

    def _trained(
        self, quick: Program, guarded: Program, *arguments: Any, of: Any = None, instead: Any = None
    ) -> tuple:
        """The result of ``quick`` or, for members for whom it is not valid, of ``guarded``.

        ``of`` are the only members to train, if given; the others' result is ``instead``.
        """
        first = guarded if self._guarded else quick
        if of is None:
            result = self.call(first, *arguments)
        else:
            result = self.call.again(of, instead, first, *arguments)
        invalid = ~on_host(result[-1])
        return self.call.again(invalid, result, guarded, *arguments) if invalid.any() else result


class _Resident(_Run):
    """A run on rows in memory: a group of epochs is one compiled call."""

    def begin(self, initial: tuple[Params, Stats] | None, fitted: bool) -> State:
        program = programs.begin_fitted if fitted else programs.begin
        return self.call(program, _initial(self.call, initial))

    def train(self, state: State, epochs: int, monitor: Monitor | None = None) -> Any:
        del monitor
        program = programs.train_guarded if self._guarded else programs.train
        result = self.call(program, state, np.int32(epochs))
        invalid = ~on_host(result[-1])
        return (self._by_epoch(state, epochs, result, invalid) if invalid.any() else result)[:-1]

    def _by_epoch(self, state: State, epochs: int, result: tuple, of: np.ndarray) -> tuple:
        """The ``result`` of ``epochs`` epochs, through which the members ``of`` go one by one."""
        both = programs.train, programs.train_guarded
        record = jax.tree.map(np.array, on_host(result[1]))
        result = chosen(of, state, result[0]), *result[1:]
        for epoch in range(epochs):
            result = self._trained(*both, result[0], np.int32(1), of=of, instead=result)
            for name, values in on_host(result[1]).items():
                column = record[name][..., epoch]
                column[...] = np.where(of, values[..., 0], column)
            if not np.any(of & on_host(result[2])):
                break
        return result[0], record, *result[2:]

    def finish(self, state: State) -> tuple[Params, Stats]:
        params, stats, *_ = state.best or (state.params, state.stats)
        return params, self.call(programs.finish, (params, stats))


class _Streamed(_Run):
    """A run on a stream: a chunk is one compiled call; exact passes loop over the chunks."""

    def __init__(self, call: Runner, rows: Stream, how: Recipe):
        super().__init__(call, how)
        fewest = rows_needed(call.objective, rows.shape)
        chunks = rows.in_multiples_of(how.batch_size)
        self._rows, self._chunks = (
            rows,
            dataclasses.replace(chunks, fewest=fewest, batch=how.batch_size),
        )
        self._limit, self._diagnosed = how.max_skipped, bool(how.diagnostics)

    def begin(self, initial: tuple[Params, Stats] | None, fitted: bool) -> State:
        params, stats = _initial(self.call, initial)
        if not fitted:
            stats = self.call.fit_statistics(engine.prepare, params, stats, self._rows)
        return self.call(programs.begin_fitted, (params, stats))

    def train(self, state: State, epochs: int, monitor: Monitor | None = None) -> Any:
        del epochs  # always one: epochs of a stream are long
        (tally, due), rows = self.call(programs.begin_epoch, state), 0
        carry, sample = (state, tally, due), None
        both = programs.train_chunk, programs.train_chunk_guarded
        for number, chunk in enumerate(self._chunks):
            if self._diagnosed and number == 0:  # the same rows in every epoch
                sample = _jaxad_sample(chunk)
            # Looking whether a chunk is valid waits for it, or chunks would queue up in memory.
            carry, _ = self._trained(*both, carry, chunk, np.int32(number))
            if (on_host(self.call.outcome(carry[0].streak)) >= self._limit).all():
                break
            rows += int(chunk.count)
            if monitor is not None:
                monitor.rows(rows)
        return self.call(programs.end_epoch, carry, sample)

    def finish(self, state: State) -> tuple[Params, Stats]:
        params, stats, *_ = state.best or (state.params, state.stats)
        return params, self.call.fit_statistics(engine.finish, params, stats, self._rows)


@jax.jit
def _jaxad_sample(rows: ArrayRows) -> ArrayRows:
    return diagnostics.sample(rows)


def _checked(rows: Any, joined: bool) -> Rows:
    """Rows that a run can train on."""
    data = as_rows(rows)
    if data.once:
        raise ValueError(
            "training passes over the rows several times, but this source can be read only once: "
            "make it from a function that returns a fresh iterator"
        )
    if joined and not data.resident:
        raise ValueError(
            "the mesh has devices of several processes, which cannot train on a stream: give each "
            "process its rows in memory, or a mesh of devices=jax.local_devices()"
        )
    return data


def _checked_for_one(rows: Any, joined: bool) -> Rows:
    """Rows that a run of one model can train on."""
    data = _checked(rows, joined)
    if data.like.label.ndim + data.like.weight.ndim > 2:
        raise ValueError(
            "labels or weights [P, N] are for fit_population: give fit one for each row, [N]"
        )
    return data


def _run(call: Runner, rows: Any, how: Recipe, sharding: Any) -> Any:
    """A run on rows in memory, which the members hold, or on a stream."""
    if isinstance(rows, list | tuple) or rows.resident:
        return _Resident(call, how)
    return _Streamed(call, dataclasses.replace(rows, sharding=sharding), how)


def _run_one_model(
    objective: Any, how: Recipe, key: Key, data: Any, held_out: Any, mesh: Mesh | None
) -> _Resident | _Streamed:
    """A run of one model, its rows on the devices."""
    validation = None if held_out is None else Subset(None, _placed("validation", held_out, mesh))
    rows = Subset(None, _placed("rows", data, mesh)) if data.resident else None
    sample = np.zeros((1, *data.shape), np.float32)
    member = Member(objective, how, key, rows, validation, sample)
    return _run(OneModel(member, mesh), data, how, rows_sharding(mesh))


def _placed(name: str, rows: ArrayRows, mesh: Mesh | None) -> ArrayRows:
    if mesh is not None and spans_processes(mesh):
        return join_rows(name, rows, mesh)
    return rows.padded(padded_size(len(rows.x), mesh), rows_sharding(mesh))


def _incremental_run(
    objective: Any, recipe: Any, key: Key, rows: Any, threads: int | None = None
) -> tuple[Recipe, _Resident]:
    """A run without an end, of one model or of a population on one device, and its recipe."""
    endless = {"epochs": np.inf, "patience": None}
    listed = isinstance(rows, list | tuple)
    check_objective(objective, as_rows(rows[0] if listed else rows).shape)
    if np.ndim(key):
        own, shared, size = split_members(objective, recipe, key, rows, None, None, None, None)
        how = own.recipe.replace(epochs=np.full(size, np.inf, np.float32), patience=None)
        shared = shared._replace(recipe=shared.recipe.replace(patience=None))
        mesh = default_mesh(used_devices(local=True)[:1])
        call = population(own._replace(recipe=how), shared, size, mesh, threads)
        return how, _Resident(call, how)
    check_key(key)
    recipe.check()
    objective, how = as_leaves((objective, recipe.replace(**endless)))
    data = as_rows(rows)
    check_batch_size(objective, recipe.batch_size, data.shape)
    diagnostics.check_diagnostics(objective, recipe, data.shape)
    member = Member(objective, how, key, Subset(None, data.padded(bucket(len(data.x)))))
    sample = np.zeros((1, *data.shape), np.float32)
    return how, _Resident(OneModel(member._replace(sample=sample)), how)


def _initial(call: Runner, given: tuple[Params, Stats] | None) -> tuple[Params, Stats]:
    """Initial parameters and statistics: those given, or new ones."""
    return call(programs.initialise, None) if given is None else call.place(given)


def _train(
    run: _Resident | _Streamed, state: State, how: Recipe, saver: Saver | None, monitor: Monitor
) -> tuple[State, Records, bool]:
    """Train all epochs, in groups short enough for Ctrl-C, callbacks and checkpoints.

    Returns:
      The state, the history, and whether Ctrl-C ended the training after these epochs. Before the
      first epoch has ended, there is nothing to keep, and it raises `KeyboardInterrupt`.
    """
    limits = np.ravel(how.epochs)
    total = int(limits.max())
    history = History(run.call.size, validated=run.call.validated)
    if saver is not None:
        state, saved = saver.resume(state)
        if saved:
            history.resume(saved)
    max_seconds = _max_group_seconds(saver, monitor, run.call.joined)
    done, group = _epochs_done(run, state), 1 if max_seconds < np.inf else engine.HISTORY
    due = bool((done < limits).any())
    complete = state, history.so_far()
    monitor.start(int(done.max()), total)
    try:
        if done.any():  # resumed: a callback that ended the run ends it again
            due = not _told(run, how, monitor, complete, not due) and due
        while due:
            began, before = time.perf_counter(), done
            group = min(group, total - int(before.min()))
            group = monitor.at_most(int(before.max()), group)
            state, record, running = run.train(state, group, monitor)
            record, running = on_host((record, running))
            done = _epochs_done(run, state)
            due = bool(np.any(running))
            history.enter(run.call.outcome(record), before, done)
            complete = state, history.so_far()
            seconds = time.perf_counter() - began
            due = not _told(run, how, monitor, complete, not due) and due
            group = _next_group(group, seconds, max_seconds, run.call.joined)
            if saver is not None and due and saver.due():
                saver.save(*complete)
    except KeyboardInterrupt:
        if not complete[1]["loss"].shape[-1]:
            raise
        with interrupts.deferred():
            _told(run, how, monitor, complete, True)
        return *complete, True
    finally:
        monitor.close()
    return *complete, False


def _told(
    run: _Resident | _Streamed,
    how: Recipe,
    monitor: Monitor,
    complete: tuple[State, Records],
    ended: bool,
) -> bool:
    """Tell the callbacks of these epochs, and of the end. Return whether the run ends."""
    if not monitor.watches:
        return False
    state, history = complete

    @in_single_precision  # which a callback is not
    def result() -> Result:
        figures = _figures(run, state)
        return _result(_model(run, state), history, figures, figures.failed(how), Stopwatch())

    now = history["loss"].shape[-1], history
    if not ended:
        stops = monitor.tell(*now, False, result)
        ended = bool(broadcast(stops)) if run.call.joined else stops
    if ended:
        monitor.tell(*now, True, result)
    return ended


def _model(run: _Resident | _Streamed, state: State) -> tuple[Params, Stats]:
    """The final parameters and statistics; of a joined run, on every process's host."""
    model, joined = run.finish(state), run.call.joined
    model = run.call.outcome(on_host(model) if joined else model)
    return interrupts.ready(model if joined else jax.device_put(model))


def _epochs_done(run: _Resident | _Streamed, state: State) -> np.ndarray:
    """Epochs done by each member, ``[P]``; ``[1]`` for one model."""
    return np.atleast_1d(_figures(run, state).epochs)


def _max_group_seconds(saver: Saver | None, monitor: Monitor, joined: bool) -> float:
    """Longest time of a group of epochs, in seconds.

    It is also how long a process may still compute after Ctrl-C. Runs of several processes, which
    end together or not at all, agree on the size of a group only where somebody watches.
    """
    if monitor.watches:
        longest = _WATCHED
    else:
        longest = np.inf if joined else _UNWATCHED
    return longest if saver is None else min(longest, saver.max_seconds)


def _next_group(group: int, seconds: float, max_seconds: float, joined: bool) -> int:
    """The size of the next group, if the last one, of ``group`` epochs, took ``seconds``."""
    if max_seconds == np.inf:
        return engine.HISTORY
    if seconds > 0:  # else the clock was set back, and tells nothing
        group = int(np.clip(group * max_seconds / seconds, 1, engine.HISTORY))
    return broadcast(group) if joined else group


class Figures(NamedTuple):
    """Counters of a run, on the host: numbers, or ``[P]`` for a population."""

    best_epoch: Any
    epochs: Any
    steps: Any
    skipped: Any
    streak: Any
    best_loss: Any = None

    def failed(self, how: Recipe, before: "Figures | None" = None) -> Any:
        """Whether training broke down.

        Too many steps in a row were skipped, or all steps since ``before``; or there is no best
        epoch, because the watched loss was never finite.
        """
        steps, skipped = self.steps, self.skipped
        if before is not None:
            steps, skipped = steps - before.steps, skipped - before.skipped
        stuck = (self.streak >= how.max_skipped) | (skipped == steps)
        return (self.skipped > 0) & stuck | self.unwatched

    @property
    def unwatched(self) -> Any:
        """Whether patience had no finite loss to watch."""
        if self.best_loss is None:
            return np.zeros_like(self.epochs, bool)
        return (self.epochs > 0) & ~np.isfinite(self.best_loss)


def _figures(run: _Resident | _Streamed, state: State) -> Figures:
    best = (None, None) if state.best is None else (state.best.epoch, state.best.loss)
    found = on_host((best[0], state.epoch, state.step, state.skipped, state.streak, best[1]))
    return Figures(*jax.tree.map(np.array, run.call.outcome(found)))  # copies


def _diverged(objective: Any, model: Any, figures: Figures, rows: Any, joined: bool) -> np.ndarray:
    """Whether runs, ``[]`` or ``[P]``, that ended with skipped steps score no row finitely.

    They may have had fewer steps left than `Recipe.max_skipped`.
    """
    found = np.zeros(np.shape(figures.streak), bool)
    for place in np.argwhere(figures.streak > 0).tolist():
        own = part((objective, model), *place) if place else (objective, model)
        own_rows = rows[place[0]] if isinstance(rows, list | tuple) else rows
        params, stats = own[1]
        finite = np.isfinite(score(own[0], params, stats, own_rows)).any()
        found[tuple(place)] = not (gather_arrays(finite).any() if joined else finite)
    return found


def _advice(how: Recipe, figures: Figures) -> str:
    if np.any(figures.unwatched):
        return (
            f"patience={np.ravel(how.patience)[0]:g}: the watched loss (of the validation rows, or "
            "without them of the training rows) was not finite in any epoch, so there is no best "
            f"epoch to restore. Lower learning_rate={np.ravel(how.learning_rate)[0]:g}, scale the "
            "rows or clip far values, or set patience=None"
        )
    worst = int(np.argmax(np.ravel(figures.streak)))
    streak, step = np.ravel(figures.streak)[worst], np.ravel(figures.steps)[worst]
    rate = np.ravel(how.learning_rate)[worst]
    return (
        f"{streak} steps in a row had a loss or gradient that is not finite (step {step} of the "
        f"run, learning_rate={rate:g}). Lower learning_rate, set clip_norm (5 is a good start), or "
        "scale the inputs"
    )


def _result(
    model: tuple[Params, Stats],
    history: dict[str, np.ndarray],
    figures: Figures,
    failed: Any,
    watch: Stopwatch,
) -> Result:
    facts = *figures[:4], failed
    alone = np.ndim(figures.steps) == 0
    best_epoch, epochs, steps, skipped, failed = (
        fact.item() if alone and fact is not None else fact for fact in facts
    )
    return Result(
        params=model[0],
        stats=model[1],
        history=history,
        best_epoch=best_epoch,
        epochs=epochs,
        steps=steps,
        skipped=skipped,
        failed=failed,
        compilations=watch.compilations,
        compile_seconds=watch.compile_seconds,
        run_seconds=watch.run_seconds,
    )
