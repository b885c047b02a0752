"""Epochs over a stream: the engine's steps for one chunk after the other."""

import jax
import numpy as np
from tqdm import tqdm

from jaxad import chunking
from jaxad.stream import Stream
from jaxad.training import engine
from jaxad.training.checkpoint import Saver
from jaxad.training.history import in_one
from jaxad.training.recipe import Recipe
from jaxad.typing import Array, Batch, Objective


def _steps(
    objective: Objective,
    how: Recipe,
    state: engine.State,
    chunk: Batch,
    number: Array,
    tally: engine.Tally,
) -> tuple[engine.State, engine.Tally]:
    return engine.steps(objective, how, state, chunk, chunking.extent(chunk), tally, number)


_begin_epoch = jax.jit(engine.begin_epoch)
_chunk = jax.jit(_steps, donate_argnames="state")
_end_epoch = jax.jit(engine.end_epoch)


def epochs(
    objective: Objective,
    how: Recipe,
    state: engine.State,
    *,
    rows: Stream,
    validation: Batch | None,
    saver: Saver | None,
    progress: bool,
) -> tuple[engine.State, dict[str, np.ndarray]]:
    """All epochs of a run, one compiled call per chunk.

    Chunks come in their order, rows are shuffled inside each (by ``how.shuffle``).
    """
    rows = rows.cut(how.batch_size)
    records: list[dict[str, np.ndarray]] = []
    if saver is not None:
        state, saved = saver.resume(state)
        records += [saved] if saved else []
    with tqdm(unit="row", unit_scale=True, disable=not progress, leave=False) as bar:
        while engine.running(how, state):
            bar.set_description(f"epoch {int(state.epoch) + 1}")
            tally = _begin_epoch(how, state)
            for number, chunk in enumerate(rows):
                state, tally = _chunk(objective, how, state, chunk, np.int32(number), tally)
                # This waits for the chunk, which bounds the memory: calls would queue up.
                if state.streak >= how.max_skipped:
                    break
                bar.update(rows.rows)
                bar.set_postfix(loss=f"{float(tally.loss / tally.weight):.4g}", refresh=False)
            state, record = _end_epoch(objective, how, state, tally, validation)
            records.append({name: np.asarray(value)[None] for name, value in record.items()})
            if saver is not None and saver.due() and state.streak < how.max_skipped:
                saver.save(state, in_one(records))
    return state, in_one(records)
