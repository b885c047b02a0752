"""How fast: DAGMM and GOAD against PyTorch loops and against DeepOD's GOAD."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

import jaxad
from benchmarks import cases, environment, schema
from benchmarks.comparison import (
    Target,
    against_best,
    at_least,
    finish,
    label,
    not_measured,
    on_each_core_count,
    timed,
    timed_rows,
)
from benchmarks.options import Options
from benchmarks.peers import PeerError
from benchmarks.peers.remote import Remote

DESCRIPTION = "DAGMM and GOAD: training against PyTorch loops, GOAD against DeepOD's"
DEEPOD = "goad_deepod"


CASES: dict[str, cases.Case] = {
    "dagmm": cases.papers("dagmm")["DAGMM KDD"],
    "goad_kdd": cases.papers("goad")["GOAD KDD"],
    "goad_thyroid": cases.papers("goad")["GOAD thyroid"],
}
# Part -> kind of PyTorch loop -> how many times our time it takes at least.
GOALS = {
    "dagmm": {"eager": 2.5, "compiled": 2.0},
    "goad_kdd": {"eager": 1.4, "compiled": 1.4},
    "goad_thyroid": {"eager": 4.0, "compiled": 4.0},
}
PARTS = (*CASES, DEEPOD)
DEFAULTS: dict[str, Any] = {"parts": PARTS, "repeats": 5, "deepod_rows": 1024, "compile": True}
CHOICES: dict[str, Sequence[str]] = {"parts": PARTS}


def run(options: Options) -> None:
    """Measure each part; print its table and the targets, write ``rows.json``."""
    begun = schema.begin()
    rows, targets = [], []
    for part in options.settings["parts"]:
        measure = against_deepod if part == DEEPOD else partial(against_pytorch, part)
        new_rows, new_targets = measure(options.settings)
        rows += new_rows
        targets += new_targets
    finish(options, rows, targets, begun)


def against_pytorch(
    part: str, settings: Mapping[str, Any]
) -> tuple[list[schema.Row], list[Target]]:
    """Whole training runs, from host rows to trained weights, on one core and on all."""
    case, goals = CASES[part], GOALS[part]
    ours = case.trainer()
    loops: dict[str, Callable[[int], object]] = {"jaxad": lambda cores: ours()}
    try:
        loops |= cases.loops(case, compiled=settings["compile"])
        missing = None
    except ImportError as error:
        missing = str(error)
    cores = environment.usable_cores()
    variants, counts = on_each_core_count(loops)
    first, later = timed(part, variants, settings["repeats"])
    environment.pin(cores)
    rows = timed_rows(part, first, later, label("jaxad", counts[-1]), case.steps)
    if missing is None:
        return rows, against_best(part, goals, later, counts)
    targets = []
    for kind, goal in goals.items():
        rows.append(schema.Row(part, f"pytorch autograd, {kind}", missing=missing))
        targets.append(not_measured(f"{part}: pytorch {kind} / jaxad", goal, missing))
    return rows, targets


def against_deepod(settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """One epoch, and the scores of 64 new rows, through both public interfaces."""
    x = np.random.default_rng(0).normal(size=(settings["deepod_rows"], 6)).astype(np.float32)
    new = np.random.default_rng(1).normal(size=(64, 6)).astype(np.float32)
    ours = jaxad.GOAD(
        n_transforms=256,
        transform_dim=32,
        hidden=(8,) * 4,
        latent_dim=8,
        epochs=1,
        batch_size=64,
        learning_rate=1e-3,
        scaler="none",
        map_offset=0.0,
        n_members=1,
        random_state=0,
    )
    settings_of_theirs = {"widths": (8,) * 5, "transforms": 256, "mapped": 32}
    rows, targets = [], []
    try:
        with Remote() as theirs:
            theirs.make(
                "DeepOD GOAD",
                x,
                new,
                epochs=1,
                batch_size=64,
                learning_rate=1e-3,
                **settings_of_theirs,
            )
            fits = {"jaxad": lambda: ours.fit(x), "DeepOD": theirs.fit}
            scores = {"jaxad": lambda: ours.anomaly_score(new), "DeepOD": theirs.score}
            for part, variants, units in (
                (f"{DEEPOD} fit", fits, len(x)),
                (f"{DEEPOD} score", scores, len(new)),
            ):
                first, later = timed(part, variants, max(2, settings["repeats"] // 2))
                rows += timed_rows(part, first, later, "jaxad", units)
                what = f"{part}: DeepOD / jaxad"
                targets.append(at_least(what, later["DeepOD"], later["jaxad"], 200.0))
    except PeerError as error:
        rows.append(schema.Row(DEEPOD, "DeepOD", missing=str(error)))
        targets.append(not_measured(f"{DEEPOD}: DeepOD / jaxad", 200.0, str(error)))
    return rows, targets
