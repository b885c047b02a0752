"""How long one waits: for a first result, cold or with kept programs, and for a few scores."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

import jaxad
from benchmarks import schema, table
from benchmarks.comparison import Target, show_spread
from benchmarks.first_fit import in_fresh_process
from benchmarks.options import Options
from benchmarks.parts import Part, run_parts
from benchmarks.peers import PeerError
from benchmarks.peers.remote import Remote
from benchmarks.timing import Timing

DESCRIPTION = "time to a first result, cold and with kept programs, against PyOD; scoring latency"
DETECTORS = ("DeepSVDD", "DeepSAD", "DAGMM", "GOAD", "AutoEncoder")
PARTS = ("first_result", "pyod", "scoring")
DEFAULTS: dict[str, Any] = {
    "parts": PARTS,
    "detectors": DETECTORS,
    "repeats": 3,
    "rows": 4000,
    "calls": 200,
}
CHOICES: dict[str, Sequence[str]] = {"parts": PARTS, "detectors": DETECTORS}
FEATURES = 6
COMPILE_GOALS = {"DAGMM": 2.5}
SCORED = (1, 100, 10_000)
# PyOD's own defaults, and ours set alike.
_SIZES: dict[str, Any] = {"hidden": (64,), "latent_dim": 32, "batch_norm": False, "batch_size": 32}
PYOD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "DeepSVDD": (
        {"widths": (64, 32), "batch_size": 32, "epochs": 100, "learning_rate": 1e-4},
        _SIZES | {"epochs": 100},
    ),
    "AutoEncoder": (
        {"widths": (64, 32), "batch_size": 32, "epochs": 10, "learning_rate": 1e-3},
        _SIZES | {"epochs": 10, "noise": 0.0},
    ),
}


def _percentile(values: Sequence[float]) -> str:
    return f"{np.quantile(values, 0.95):,.2f}"


COLUMNS = (
    table.Column("import s", "import_seconds", show_spread(2)),
    table.Column("first fit s", "seconds", show_spread(2)),
    table.Column("of it compiling", "compile_seconds", show_spread(2)),
    table.Column("later fit s", "later_seconds", show_spread(3)),
    table.Column("score ms", "milliseconds", show_spread(2)),
    table.Column("p95 ms", "milliseconds", _percentile),
)
NOTE = (
    "Every first fit is in a process of its own: `cold` has nothing compiled, `cached` what\n"
    "an earlier one kept (jaxad.training.compilation_cache). `later fit`: other rows, seed\n"
    "and rate, same process. Against PyOD: its defaults, ours of the same sizes, batch, epochs;\n"
    "its `import` includes making the detector. Medians [quartiles]."
)


def run(options: Options) -> None:
    """Measure part by part; print the table and the targets, write ``rows.json``."""
    settings = options.settings
    parts: dict[str, Part] = {}
    for part in settings["parts"]:
        measure = {"first_result": first_result, "pyod": against_pyod, "scoring": scoring}[part]
        for name in settings["detectors"]:
            if part != "pyod" or name in PYOD:
                parts[f"{part}: {name}"] = partial(measure, name, settings)
    run_parts(options, parts, columns=COLUMNS, note=NOTE)


def first_result(name: str, settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """A single model at a detector's defaults, cold and cached."""
    cold, cached = _fits(name, settings, {"epochs": "auto"})
    dataset = f"{name}, defaults, 1 member"
    rows = [_row(dataset, "jaxad, cold", cold), _row(dataset, "jaxad, cached", cached)]
    compiling = _timing(cold, "first_compile_seconds")
    goal = COMPILE_GOALS.get(name)
    what = f"{name}: compiling before a first result"
    met = None if goal is None else compiling.median <= goal
    goal_text = "-" if goal is None else f"<= {goal:g} s"
    return rows, [Target(what, goal_text, _seconds(compiling), met)]


def against_pyod(name: str, settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """PyOD's defaults in fresh processes, and ours set alike."""
    theirs, ours = PYOD[name]
    cold, cached = _fits(name, settings, ours)
    dataset = f"{name}, as PyOD's"
    rows = [_row(dataset, "jaxad, cold", cold), _row(dataset, "jaxad, cached", cached)]
    x = np.random.default_rng(0).normal(size=(settings["rows"], FEATURES))
    x = x.astype(np.float32)
    imports, fits, later = [], [], []
    missing = None
    try:
        for _ in tqdm(range(settings["repeats"]), desc=f"PyOD {name}", unit="process"):
            with Remote() as peer:
                imports.append(peer.make(f"PyOD {name}", x, x[:1], **theirs))
                fits.append(peer.fit())
                later.append(peer.fit())
        metrics = {"import_seconds": imports, "seconds": fits, "later_seconds": later}
        rows.append(schema.Row(dataset, "PyOD", metrics))
    except PeerError as error:
        missing = str(error)
        rows.append(schema.Row(dataset, "PyOD", missing=missing))
    targets = []
    for kind, runs in (("cold", cold), ("cached", cached)):
        what = f"{dataset}: first fit, {kind}, against PyOD's"
        if missing is not None:
            targets.append(Target(what, "< PyOD", f"missing: {missing}", None))
            continue
        mine, other = _timing(runs, "first_seconds"), Timing(tuple(fits))
        measured = f"{_seconds(mine)} against {_seconds(other)}"
        targets.append(Target(what, "< PyOD", measured, mine.median < other.median))
    return rows, targets


def scoring(name: str, settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """Calls of ``anomaly_score`` in a process that has scored before."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(settings["rows"], FEATURES))
    labels = [-1] * 40 + [0] * (len(x) - 40) if name == "DeepSAD" else None
    detector = getattr(jaxad, name)(epochs=1, n_members=1, random_state=0).fit(x, labels)
    rows = []
    for count in SCORED:
        new = rng.normal(size=(count, FEATURES))
        detector.anomaly_score(new)
        taken = []
        for _ in range(max(5, settings["calls"] // (10 if count > 1000 else 1))):
            start = time.perf_counter()
            detector.anomaly_score(new)
            taken.append(time.perf_counter() - start)
        metrics = {"milliseconds": [1e3 * s for s in taken], "call_seconds": taken}
        what = f"{count:,} row{'s' * (count > 1)}"
        rows.append(schema.Row(f"{name}, scores", what, metrics, {"rows": count}))
    return rows, []


def _fits(
    name: str, settings: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Cold runs, and runs that find the programs of one before them."""
    how = {"detector": name, "rows": settings["rows"], "features": FEATURES, **options}
    count = settings["repeats"]
    with (
        tempfile.TemporaryDirectory() as cache,
        tqdm(total=2 * count + 1, desc=name, unit="process") as bar,
    ):

        def fresh(**more: Any) -> dict[str, float]:
            result = in_fresh_process(**how, **more)
            bar.update()
            return result

        cold = [fresh() for _ in range(count)]
        fresh(cache=cache)
        return cold, [fresh(cache=cache) for _ in range(count)]


def _row(dataset: str, name: str, runs: Sequence[Mapping[str, float]]) -> schema.Row:
    names = {
        "import_seconds": "import_seconds",
        "seconds": "first_seconds",
        "compile_seconds": "first_compile_seconds",
        "later_seconds": "second_seconds",
    }
    metrics = {metric: [run[key] for run in runs] for metric, key in names.items()}
    return schema.Row(dataset, name, metrics)


def _timing(runs: Sequence[Mapping[str, float]], key: str) -> Timing:
    return Timing(tuple(run[key] for run in runs))


def _seconds(timing: Timing) -> str:
    low, high = timing.quartiles
    return f"{timing.median:.2f} s [{low:.2f}, {high:.2f}]"
