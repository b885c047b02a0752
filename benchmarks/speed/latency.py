"""How long one waits: for a first result, cold or with kept programs, and for a few scores."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import jaxad
from benchmarks.peers.environment import Library
from benchmarks.quality.detectors import CLASS_NAMES
from benchmarks.record import plots, tables
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from benchmarks.record.timing import Timing, target, timed
from benchmarks.speed.worker import Worker, WorkerError

DESCRIPTION = "time to a first result, cold and with kept programs, against PyOD; scoring latency"
PARTS = ("first_result", "pyod", "scoring")
DEFAULTS: dict[str, Any] = {
    "parts": PARTS,
    "detectors": CLASS_NAMES,
    "repeats": 3,
    "rows": 4000,
    "calls": 200,
}
CHOICES: dict[str, Sequence[str]] = {"parts": PARTS, "detectors": CLASS_NAMES}
FEATURES = 6
# Detector -> seconds of compilation, cold and with kept programs.
COMPILE_GOALS = {"DeepSVDD": (1.3, 0.4), "DAGMM": (2.8, 1.0), "GOAD": (2.6, 0.7)}
SCORE_GOALS = {"DeepSVDD": 0.6}  # milliseconds of one row by the default ensemble
BOUNDS = (
    "XLA compiles every loop by itself.",
    "A program is traced and lowered before it can be looked up.",
)
SCORED = (1, 100, 10_000)
# PyOD's own defaults, and ours set alike.
_OURS: dict[str, Any] = {"hidden": (64,), "latent_dim": 32, "batch_norm": False, "batch_size": 32}
_THEIRS: dict[str, Any] = {"widths": (64, 32), "batch_size": 32}
PYOD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "DeepSVDD": (_THEIRS | {"epochs": 100, "learning_rate": 1e-4}, _OURS | {"epochs": 100}),
    "AutoEncoder": (
        _THEIRS | {"epochs": 10, "learning_rate": 1e-3},
        _OURS | {"epochs": 10, "noise": 0.0},
    ),
}


def _milliseconds(row: Row) -> list[float] | None:
    calls = row.metrics.get("call_seconds")
    return None if calls is None else [1e3 * s for s in calls]


COLUMNS = (
    tables.Column("import s", "import_seconds", tables.quartiles(2)),
    tables.Column("first fit s", "seconds", tables.quartiles(2)),
    tables.Column("of it compiling", "compile_seconds", tables.quartiles(2)),
    tables.Column("later fit s", "later_seconds", tables.quartiles(3)),
    tables.Column("score ms", _milliseconds, tables.quartiles(2)),
    tables.Column("p95 ms", _milliseconds, lambda values: f"{np.quantile(values, 0.95):,.2f}"),
)
NOTE = (
    "Every first fit is in a process of its own: `cold` has nothing compiled, `cached` what\n"
    "an earlier one kept (as without JAXAD_CACHE=off). `later fit`: other rows, seed\n"
    "and rate, same process. Against PyOD: its defaults, ours of the same sizes, batch, epochs;\n"
    "its `import` includes making the detector. Medians [quartiles]."
)


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """First results, comparisons with PyOD, and scoring, for every detector."""
    kinds = {"first_result": first_result, "pyod": against_pyod, "scoring": scoring}
    return {
        f"{part}: {name}": partial(kinds[part], name, settings)
        for part in settings["parts"]
        for name in settings["detectors"]
        if part != "pyod" or name in PYOD
    }


def pictures(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, tuple[str, Figure]]:
    """Import and first fit in a fresh process, stacked."""
    fits = [row for row in rows if "import_seconds" in row.metrics]
    if not fits:
        return {}
    figure, (ax,) = plots.panels([len(fits)], width=7)
    bars: dict[str, Any] = {}
    for at, row in enumerate(fits):
        imported, fitted = (
            Timing(tuple(row.metrics[name])).median for name in ("import_seconds", "seconds")
        )
        label, colour, _ = plots.KINDS["jaxad" if row.detector.startswith("jaxad") else "PyOD"]
        bars["import"] = ax.barh(at, imported, 0.7, color="#c9c9c9")
        bars[f"first fit, {label}"] = ax.barh(at, fitted, 0.7, imported, color=colour)
    names = (f"{row.dataset}: {row.detector.removeprefix('jaxad, ')}" for row in fits)
    plots.name_rows(ax, [name.replace(", 1 member", "") for name in names])
    ax.set(xlabel="seconds in a fresh process")
    plots.legend(figure, bars, bars)
    return {"first_result": ("Time to a first result", figure)}


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """Milliseconds of a call that scores a few rows."""
    show = tables.quartiles(2)
    cells = {
        (row.dataset.removesuffix(", scores"), row.detector): show(_milliseconds(row) or ())
        for row in rows
        if "call_seconds" in row.metrics
    }
    return tables.pivot("ms a call", cells)


def first_result(name: str, settings: Mapping[str, Any]) -> list[Row]:
    """A single model at a detector's defaults, cold and cached."""
    rows = _fits(f"{name}, defaults, 1 member", name, settings, {"epochs": "auto"})
    goals = COMPILE_GOALS.get(name, (None, None))
    targets = []
    for row, goal, bound, how in zip(rows, goals, BOUNDS, ("", ", kept programs"), strict=True):
        compiling = Timing(tuple(row.metrics["compile_seconds"]))
        targets.append(
            target(
                f"{name}: compiling before a first result{how}",
                "-" if goal is None else f"<= {goal:g} s",
                compiling.show(unit=" s"),
                None if goal is None else compiling.median <= goal,
                bound,
            )
        )
    return rows + targets


def against_pyod(name: str, settings: Mapping[str, Any]) -> list[Row]:
    """PyOD at its defaults and ours with the same settings, in fresh processes."""
    theirs, ours = PYOD[name]
    dataset = f"{name}, as PyOD's"
    rows = _fits(dataset, name, settings, ours)
    x = np.random.default_rng(0).normal(size=(settings["rows"], FEATURES)).astype(np.float32)
    metrics: dict[str, list[float]] = {"import_seconds": [], "seconds": [], "later_seconds": []}
    missing = None
    try:
        for _ in range(settings["repeats"]):
            with Library() as library:
                made = library.make(f"PyOD {name}", x, x[:1], **theirs)
                taken = made, *(library.call("fit").seconds for _ in range(2))
            for values, seconds in zip(metrics.values(), taken, strict=True):
                values.append(seconds)
    except WorkerError as error:
        metrics, missing = {}, str(error)
    for row in rows[:]:
        what = f"{dataset}: first fit, {row.detector.removeprefix('jaxad, ')}, against PyOD's"
        measured, met = f"missing: {missing}", None
        if missing is None:
            mine, other = (Timing(tuple(m["seconds"])) for m in (row.metrics, metrics))
            measured = f"{mine.show(unit=' s')} against {other.show(unit=' s')}"
            met = mine.median < other.median
        rows.append(
            target(what, "< PyOD", measured, met, "A cold first fit is mostly compilation.")
        )
    rows.insert(2, Row(dataset, "PyOD", metrics, missing=missing))
    return rows


def scoring(name: str, settings: Mapping[str, Any]) -> list[Row]:
    """Calls of ``anomaly_score`` by a single model and by a default ensemble, warm."""
    members = {name: 1, f"{name}, ensemble": "auto"}
    found = [row for what, n in members.items() for row in _scores(what, name, n, settings)]
    if goal := SCORE_GOALS.get(name):
        alone = next(row for row in found if row.dataset == f"{name}, ensemble, scores")
        call = Timing(tuple(alone.metrics["call_seconds"]))
        shown, met = f"{1e3 * call.median:.2f} ms", 1e3 * call.median <= goal
        bound = "A row is padded to 256, and every member scores all of them."
        what = f"{name}, ensemble: {alone.detector} scored"
        found.append(target(what, f"<= {goal:g} ms", shown, met, bound))
    return found


def _scores(what: str, name: str, members: Any, settings: Mapping[str, Any]) -> list[Row]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(settings["rows"], FEATURES))
    labels = [-1] * 40 + [0] * (len(x) - 40) if name == "DeepSAD" else None
    detector = getattr(jaxad, name)(epochs=1, n_members=members, random_state=0).fit(x, labels)
    rows = []
    for count in SCORED:
        score = partial(detector.anomaly_score, rng.normal(size=(count, FEATURES)))
        calls = max(5, settings["calls"] // (10 if count > 1000 else 1))
        _, later = timed(name, {"jaxad": score}, calls, pause=0)
        size = f"{count:,} row{'s' * (count > 1)}"
        metrics = {"call_seconds": later["jaxad"].values}
        rows.append(Row(f"{what}, scores", size, metrics, {"rows": count}))
    return rows


def _fits(
    dataset: str, name: str, settings: Mapping[str, Any], options: Mapping[str, Any]
) -> list[Row]:
    """First fits without and with programs kept by an earlier process."""
    how = {"detector": name, "rows": settings["rows"], "features": FEATURES, **options}
    count = settings["repeats"]

    def fresh(cache: str = "off") -> dict[str, float]:
        variables = {"JAX_COMPILATION_CACHE_DIR": None, "JAXAD_CACHE": cache}
        with Worker("benchmarks.speed.worker", variables=variables) as worker:
            return worker.call("first_fit", **how).result

    cold = [fresh() for _ in range(count)]
    with tempfile.TemporaryDirectory() as cache:
        fresh(cache)
        cached = [fresh(cache) for _ in range(count)]
    times = "import_seconds", "seconds", "compile_seconds", "later_seconds"
    return [
        Row(dataset, f"jaxad, {kind}", {key: [run[key] for run in runs] for key in times})
        for kind, runs in (("cold", cold), ("cached", cached))
    ]
