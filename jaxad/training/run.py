"""`fit`: a run from rows to a trained model."""

import dataclasses
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from jaxad.stream import Stream
from jaxad.training import engine, streaming
from jaxad.training.batching import as_rows, pad_rows
from jaxad.training.checkpoint import Saver, open_saver
from jaxad.training.compilation import Stopwatch
from jaxad.training.history import in_one
from jaxad.training.hosts import join_rows, spans
from jaxad.training.mesh import check_data_axis, on_mesh, padded_size, rows_sharding
from jaxad.training.nonfinite import raise_if_stuck
from jaxad.training.processes import agreed, check_alike, failing_together, on_host
from jaxad.training.recipe import Recipe, as_leaves
from jaxad.typing import Batch, Key, Objective, Params, Stats

_refresh = jax.jit(engine.refresh)
_start = jax.jit(engine.start)
_train = jax.jit(engine.train, donate_argnames="state")
# Drawing parameters happens once and is mostly compilation: not worth optimised code.
_initialise = jax.jit(engine.initialise, compiler_options={"xla_backend_optimization_level": 0})


class Result(NamedTuple):
    """A trained model and how the training went.

    Attributes:
      params: the networks' parameters; the best epoch's where the recipe has patience.
      stats: what is fitted without a gradient, exact for ``params``.
      history: for each epoch ``loss``, ``learning_rate``, ``skipped`` and with validation rows
        ``validation_loss``; numpy ``[epochs done]``.
      best_epoch: the epoch that was restored, or None.
      steps: steps done.
      skipped: how many of them were skipped because loss or gradient was not finite.
      compilations: programs compiled in this call.
      compile_seconds: the time that took.
      run_seconds: the rest of the call.
    """

    params: Params
    stats: Stats
    history: dict[str, np.ndarray]
    best_epoch: int | None
    steps: int
    skipped: int
    compilations: int
    compile_seconds: float
    run_seconds: float


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
) -> Result:
    """Train an objective by a recipe.

    Args:
      objective: what for, see `jaxad.typing.Objective`.
      recipe: how.
      key: a typed key, consumed.
      rows: a `Batch`, an array ``[N, ...]``, or a `jaxad.stream.Stream` of rows that need not fit
        into memory. Then rows are shuffled within chunks, whose order stays; with a recipe that
        does not shuffle the result is that of the same rows in memory.
      validation: rows, a `Batch` or an array, for the validation loss of each epoch; batches of it
        are evaluated, never trained on.
      initial: parameters and statistics to start from instead of ``objective.init``: a pretrained
        encoder.
      fitted: whether the statistics of ``initial`` are fitted, so that the run goes on with them
        (Deep SVDD's centre) instead of setting them from ``rows`` first.
      mesh: from `make_mesh`: the rows of every batch are shared out along its ``data`` axis. The
        result is that of one device to float tolerance, whatever the loss. Where it has devices of
        several processes (see `join_hosts`) each passes its own rows, and own validation rows; the
        result, of the rows of all in the order of the processes, is on every process's host.
      checkpoints: `Checkpoints`, or their folder: save the run now and then, and go on from what is
        saved there. A run that was killed ends with the same bits on the same machine. Runs on a
        stream are saved between epochs, and told apart by its first chunk.
      progress: show a progress bar.

    Raises:
      ValueError: for rows or a recipe out of range, or if the folder of the checkpoints holds
        another run; before anything is compiled. Rows of a stream are checked as they come.
      OSError: there is too little space for a checkpoint; those before it are whole.
      NonFiniteError: if ``recipe.max_skipped`` steps in a row, or all of them, are not finite.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> objective = objectives.DeepSVDD(networks.MLP((16, 8)))
      >>> result = training.fit(objective, training.Recipe(epochs=5), jax.random.key(0), x)
      >>> training.score(objective, result.params, result.stats, x).shape
      (200,)
    """
    joined = spans(mesh)
    with failing_together(joined):
        recipe.check()
        check_data_axis(mesh, recipe.batch_size)
        data = rows if isinstance(rows, Batch | Stream) else as_rows(rows)
        if isinstance(data, Stream):
            _check_stream(data, joined)
        held_out = validation if isinstance(validation, Batch | None) else as_rows(validation)
    with Stopwatch() as watch, on_mesh(mesh):
        objective, how = as_leaves((objective, recipe))
        if joined:
            given = {"initial": initial, "presence of validation rows": held_out is None}
            given |= {"progress": progress, "checkpoints": str(checkpoints), "fitted": fitted}
            check_alike(objective=objective, recipe=how, key=key, **given)
            initial = on_host(initial)
        told = {"rows": data, "validation": held_out, "initial": initial, "fitted": fitted}
        if isinstance(data, Stream) and checkpoints is not None:
            told["rows"] = next(data.on_host())
        saver = open_saver(checkpoints, objective, how, key, joined=joined, **told)
        if held_out is not None:
            held_out, _ = _place("validation", held_out, mesh)
        if isinstance(data, Stream):
            placed = dataclasses.replace(data, sharding=rows_sharding(mesh))
            refresh: Any = engine.refresh  # not compiled: its passes are
            sample = jnp.zeros((1, *data.shape))
            epochs = partial(streaming.epochs, rows=placed)
        else:
            placed, count = _place("rows", data, mesh)
            refresh, sample = _refresh, placed.x[:1] if joined else data.x[:1]
            epochs = partial(_epochs, rows=placed, count=count)
        if initial is not None and not joined:  # training takes over what it starts from
            initial = jax.tree.map(jnp.array, initial)
        params, stats = initial or _initialise(objective, key, sample)
        if not fitted:
            stats = refresh(objective, params, stats, placed, np.bool_(True))
        state = _start(how, key, params, stats)
        state, history = epochs(
            objective, how, state, validation=held_out, saver=saver, progress=progress
        )
        raise_if_stuck(how, state)
        if saver is not None:
            saver.save(state, history)
        best = state.best
        params, stats = (best or state).params, (best or state).stats
        stats = refresh(objective, params, stats, placed, np.bool_(False))
        jax.block_until_ready((params, stats))
        if joined:
            params, stats = on_host((params, stats))
    return Result(
        params=params,
        stats=stats,
        history=history,
        best_epoch=None if best is None else int(best.epoch),
        steps=int(state.step),
        skipped=int(state.skipped),
        compilations=watch.compilations,
        compile_seconds=watch.compile_seconds,
        run_seconds=watch.run_seconds,
    )


def _check_stream(rows: Stream, joined: bool) -> None:
    if rows.once:
        raise ValueError(
            "training passes over the rows several times, but this source can be read only once: "
            "make it from a function that returns a fresh iterator"
        )
    if joined:
        raise ValueError(
            "the mesh has devices of several processes, which cannot train on a stream: give each "
            "process its rows in memory, or a mesh of devices=jax.local_devices()"
        )


def _place(name: str, rows: Batch, mesh: Mesh | None) -> tuple[Batch, int]:
    """Rows on the devices, padded, and how many are real."""
    if mesh is not None and spans(mesh):
        return join_rows(name, rows, mesh)
    count = len(rows.x)
    return pad_rows(rows, padded_size(count, mesh), rows_sharding(mesh)), count


def _epochs(objective, how, state, *, rows, count, validation, saver, progress):
    """Groups of epochs, as long as the progress bar and the checkpoints can wait."""
    total = int(how.epochs)
    records: list[dict[str, np.ndarray]] = []
    if saver is not None:
        state, saved = saver.resume(state)
        records += [saved] if saved else []
    pause = longest_pause(saver, progress)
    done, group = int(state.epoch), 1 if pause < np.inf else engine.HISTORY
    with tqdm(total=total, initial=done, unit="epoch", disable=not progress, leave=False) as bar:
        while done < total:
            began, before = time.perf_counter(), done
            group = min(group, total - done)
            state, record = _train(
                objective, how, state, rows, np.int32(count), validation, np.int32(group)
            )
            done = int(state.epoch)
            if done > before:
                records.append({k: v[: done - before] for k, v in on_host(record).items()})
                bar.update(done - before)
                bar.set_postfix(loss=f"{records[-1]['loss'][-1]:.4g}")
            if done < before + group:
                break
            seconds, several = time.perf_counter() - began, not state.epoch.is_fully_addressable
            group = next_group(group, seconds, pause, several)
            if saver is not None and saver.due():
                saver.save(state, in_one(records))
    return state, in_one(records)


def longest_pause(saver: Saver | None, progress: bool) -> float:
    """How many seconds a group of epochs may take."""
    return min(np.inf if saver is None else saver.pause, 0.25 if progress else np.inf)


def next_group(group: int, seconds: float, pause: float, joined: bool) -> int:
    """How many epochs take ``pause``, where ``group`` of them took ``seconds``."""
    if pause == np.inf:
        return engine.HISTORY
    group = int(np.clip(group * pause / seconds, 1, engine.HISTORY))
    return agreed(group) if joined else group
