"""How fast: DAGMM and GOAD against PyTorch loops and against DeepOD's GOAD."""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

import jaxad
from benchmarks import environment, schema
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
from jaxad import networks, objectives, training

DESCRIPTION = "DAGMM and GOAD: training against PyTorch loops, GOAD against DeepOD's"
DEEPOD = "goad_deepod"


@dataclass(frozen=True)
class Case:
    """A method at a paper's settings, here and as a PyTorch loop.

    Attributes:
      objective: what ours trains.
      peer: its module in `benchmarks.peers.pytorch`, and that module's options.
      features: columns of the made rows.
      rows: how many.
      batch_size: rows per step.
      epochs: passes over the rows in a timed run.
      goals: kind of PyTorch loop -> how many times our time it takes at least.
    """

    objective: Any
    peer: tuple[str, Mapping[str, Any]]
    features: int
    rows: int
    batch_size: int
    epochs: int
    goals: Mapping[str, float]


def _dagmm() -> objectives.DAGMM:
    options: dict[str, Any] = {"activation": "tanh", "use_bias": True}
    return objectives.DAGMM(
        networks.MLP((60, 30, 10, 1), **options),
        networks.MLP((10, 30, 60, 118), **options),
        networks.MLP((10, 4), dropout=0.5, **options),
    )


def _goad(widths: tuple[int, ...], transforms: int, mapped: int) -> Any:
    trunk = networks.MLP(widths)
    return objectives.GOAD(trunk, n_transforms=transforms, transform_dim=mapped)


CASES = {
    "dagmm": Case(
        _dagmm(), ("dagmm", {}), 118, 10_240, 1024, 20, {"autograd": 2.5, "compiled": 2.0}
    ),
    "goad_kdd": Case(
        _goad((32,) * 5, 64, 64), ("goad", {}), 118, 1024, 64, 6, {"autograd": 1.4, "compiled": 1.4}
    ),
    "goad_thyroid": Case(
        _goad((8,), 256, 32),
        ("goad", {"transforms": 256, "mapped": 32, "widths": (8,)}),
        6,
        960,
        64,
        3,
        {"autograd": 4.0, "compiled": 4.0},
    ),
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
    case = CASES[part]
    x = np.random.default_rng(0).normal(size=(case.rows, case.features)).astype(np.float32)
    recipe = training.Recipe(epochs=case.epochs, batch_size=case.batch_size)
    key = jax.random.key(0)
    loops: dict[str, Callable] = {
        "jaxad": lambda cores: training.fit(case.objective, recipe, key, x)
    }
    try:
        loops |= _pytorch_loops(case, x, settings["compile"])
        missing = None
    except ImportError as error:
        missing = str(error)
    cores = environment.usable_cores()
    variants, counts = on_each_core_count(loops)
    first, later = timed(part, variants, settings["repeats"])
    environment.pin(cores)
    steps = case.epochs * -(-case.rows // case.batch_size)
    rows = timed_rows(part, first, later, label("jaxad", counts[-1]), steps)
    if missing is None:
        goals = {f"pytorch {kind}": goal for kind, goal in case.goals.items()}
        return rows, against_best(part, goals, later, counts)
    targets = []
    for kind, goal in case.goals.items():
        rows.append(schema.Row(part, f"pytorch {kind}", missing=missing))
        targets.append(not_measured(f"{part}: pytorch {kind} / jaxad", goal, missing))
    return rows, targets


def _pytorch_loops(case: Case, x: np.ndarray, compiled: bool) -> dict[str, Callable]:
    from benchmarks.peers import pytorch

    name, options = case.peer
    train, data = getattr(pytorch, name).train, pytorch.torch.from_numpy(x)

    def loop(compile: bool, threads: int) -> None:
        pytorch.torch.set_num_threads(threads)
        sizes = {"epochs": case.epochs, "batch_size": case.batch_size}
        train(data, **sizes, compile=compile, **options)[1].tolist()

    kinds = {"pytorch autograd": False} | ({"pytorch compiled": True} if compiled else {})
    return {kind: partial(loop, compile) for kind, compile in kinds.items()}


def against_deepod(settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """One epoch, and the scores of 64 new rows, through both public interfaces."""
    try:
        from benchmarks.peers import deepod
    except ImportError as error:
        row = schema.Row(DEEPOD, "DeepOD", missing=str(error))
        return [row], [not_measured(f"{DEEPOD} score: DeepOD / jaxad", 200.0, str(error))]
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
    theirs = deepod.goad(epochs=1)
    fits = {"jaxad": lambda: ours.fit(x), "DeepOD": lambda: theirs.fit(x)}
    scores = {
        "jaxad": lambda: ours.anomaly_score(new),
        "DeepOD": lambda: theirs.decision_function(new),
    }
    rows, targets = [], []
    for part, variants, units in ((f"{DEEPOD} fit", fits, len(x)), (f"{DEEPOD} score", scores, 64)):
        with contextlib.redirect_stdout(io.StringIO()):  # DeepOD prints what it does
            first, later = timed(part, variants, max(2, settings["repeats"] // 2))
        rows += timed_rows(part, first, later, "jaxad", units)
        what = f"{part}: DeepOD / jaxad"
        targets.append(at_least(what, later["DeepOD"], later["jaxad"], 200.0))
    return rows, targets
