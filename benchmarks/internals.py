"""What is measured here of `jaxad` below its public names; no other module reaches there."""

from collections.abc import Callable
from typing import Any

import jax
import pandas as pd

from benchmarks.speed.methods import Case
from jaxad.data import Card, files
from jaxad.estimators import ensemble
from jaxad.fleet import survey
from jaxad.fleet.tables import open_table
from jaxad.rows import as_rows, bucket
from jaxad.training import engine
from jaxad.training.recipe import as_leaves

RULES = ensemble.RULES
# How an ensemble reads its members' scores, and the scores that it makes of them.
fit_combination, combine = ensemble.fit_combination, ensemble.combine
# What is trained -> the name of its compiled program.
PROGRAMS = {"model": "jit_jaxad_train", "population": "jit_jaxad_members_train"}
# The folder that named sets are read from.
data_folder = files.folder


def is_there(card: Card) -> bool:
    """Whether the files of a named set are at hand without a download."""
    try:
        files.locate(card, download=False)
    except FileNotFoundError:
        return False
    return True


def pmap_divides(members: int, epochs: int) -> bool:
    """Whether there are several devices, and `pmap_population` can share out so many members."""
    devices = jax.local_device_count()
    return devices > 1 and members % devices == 0 and epochs <= engine.HISTORY


def pmap_population(case: Case, members: int) -> Callable[[], Any]:
    """The engine under the older ``jax.pmap``, as far as a user would write it."""
    objective, how = as_leaves((case.objective, case.recipe))
    x = case.data()
    rows = as_rows(x).padded(bucket(len(x)))
    keys = jax.random.split(jax.random.key(0), members).reshape(jax.local_device_count(), -1)

    def train(key):
        params, stats = engine.initialise(objective, key, rows.x[:1])
        stats = engine.prepare(objective, params, stats, rows)
        state = engine.start(how, key, params, stats)
        state, _ = engine.train(objective, how, state, rows, None, how.epochs, guarded=True)
        return state.params, engine.finish(objective, state.params, state.stats, rows)

    mapped = jax.pmap(lambda keys: jax.lax.map(train, keys))
    return lambda: jax.block_until_ready(mapped(keys))


def small_waves(frame: pd.DataFrame, count: int) -> int:
    """Let this process read the groups of a table in about so many waves; returns their number."""
    table = open_table(frame, frame.columns[-1], columns=None, label=None)
    survey.WAVE_BYTES = table.dtype.itemsize * len(table.columns) * len(frame) // count
    return len(list(survey.waves(table)))
