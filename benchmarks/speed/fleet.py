"""Fleets: what one detector for each of thousands of groups costs, and what it is good for."""

import hashlib
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.util import hash_pandas_object
from sklearn.base import clone

import jaxad
from benchmarks import internals
from benchmarks.peers.environment import Library
from benchmarks.quality import fleets
from benchmarks.quality.detectors import CLASS_NAMES
from benchmarks.quality.groups import GROUP, Groups, sizes
from benchmarks.record import environment, tables
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from benchmarks.record.timing import TARGET, Goal, Timing, against, target, timed_rows
from benchmarks.speed.worker import Worker, WorkerError
from jaxad import training

DESCRIPTION = "fleets: a detector for each of thousands of groups, its cost, alarms and cold start"
PARTS = ("large", "loops", "programs", "alarms", "planted", "start", "same")
DEFAULTS: dict[str, Any] = {
    "parts": PARTS,
    "detectors": CLASS_NAMES,
    "seeds": 5,
    "alarm_seeds": 3,
    "repeats": 3,
    "large_groups": 10_000,
    "large_rows": 1440,
    "large_features": 100,
    "groups": 1000,
    "looped": 50,
    "epochs": 20,
    "started_groups": 50,
}
CHOICES: dict[str, Sequence[str]] = {"parts": PARTS, "detectors": CLASS_NAMES}
NETWORK: dict[str, Any] = {"hidden": (32, 16), "latent_dim": 8, "n_members": 1}
FEATURES, ROWS, BATCH_SIZE = 10, 500, 128
CALLS = 50
SAME_GROUPS = 60
# Of 10,000 groups x 1,440 rows x 100 columns.
SECONDS, PEAK_GB, FILE_MB, CALL_MS = 180.0, 12.0, 200.0, 5.0
PROGRAMS = 12
PYOD = "PyOD, joblib over all cores"
LOOP = "jaxad, a loop of fit"
GOALS = {
    PYOD: Goal(50.0, "Its loop costs what it costs beside the products, which both compute."),
    LOOP: Goal(20.0, "The steps' products are the same; only what is around them goes."),
}
FRESH = {"JAX_COMPILATION_CACHE_DIR": None, "JAXAD_CACHE": "off"}


def _shown(
    title: str, metric: str, digits: int, scale: float = 1.0, *, several: bool = False
) -> tables.Column:
    """A metric in another unit: its median, for ``several`` values with the quartiles."""

    def values(row: Row) -> list[float] | None:
        found = row.metrics.get(metric)
        return None if found is None else [scale * value for value in found]

    return tables.Column(title, values, (tables.quartiles if several else tables.middle)(digits))


def _spread(title: str, metric: str, digits: int, scale: float) -> tables.Column:
    return tables.Column(title, metric, tables.spread(digits, scale))


# Part -> the columns of its table.
COLUMNS_OF: dict[str, tuple[tables.Column, ...]] = {
    "large": (
        _shown("fit s", "fit_seconds", 1),
        _shown("of it compiling", "compile_seconds", 1),
        _shown("score s", "score_seconds", 1),
        _shown("table GB", "table_mb", 2, 1e-3),
        _shown("peak GB", "peak_mb", 2, 1e-3),
        _shown("file MB", "file_mb", 1),
        _shown("one row ms", "call_seconds", 2, 1e3, several=True),
        _shown("programs", "programs", 0),
    ),
    "loops": (
        _shown("ms a group", "seconds", 2, 1e3, several=True),
        _shown("times jaxad", "ratio", 1, several=True),
        _shown("first run, s a group", "first_seconds", 3),
    ),
    "programs": (
        _shown("programs", "programs", 0),
        _shown("compiling s", "compile_seconds", 1),
    ),
    "alarms": (
        _spread("within double the budget %", "within", 1, 100.0),
        _spread("false alarms %", "alarm_rate", 2, 100.0),
        _spread("fit s", "seconds", 1, 1.0),
    ),
    "planted": (
        _spread("fallen: flagged %", "recall", 1, 100.0),
        _shown("fallen: p-value", "p_value", 4, several=True),
        _spread("others: flagged %", "alarm_rate", 2, 100.0),
    ),
    "start": (_spread("AUROC", "auroc", 1, 100.0),),
    "same": (_spread("equal to the bit", "equal", 0, 1.0),),
}
NOTES = {
    "large": (
        "Fitted and scored in a process of its own; the peak is its largest resident set, with the "
        "table in it. `one row`: a row of one group scored by the fleet loaded from its file, "
        "after a first call, each time another group."
    ),
    "loops": (
        f"Seconds of a group of {ROWS} rows x {FEATURES} columns, without compilation. Every "
        "variant also scores the rows that it was fitted on. The loops are measured on fewer "
        "groups."
    ),
    "programs": "Groups of 50 to 2,000 rows, in a fresh process without kept programs.",
    "alarms": (
        f"Rates on {fleets.FRESH:,} fresh normal rows of every group; its fleet was fitted on "
        "200 to 2,000 rows a group with the defaults. Mean ± standard deviation over seeds."
    ),
    "planted": (
        "A store falls by 80 % for a day, to levels that are ordinary for others. `p-value`: the "
        "median of the day's rows; over seeds its median [quartiles]. Flagged: at most 1 %."
    ),
    "start": (
        "Mean AUROC of groups on fresh normal rows and anomalies, mean ± standard deviation over "
        "seeds. Made groups share most of their correlation; KDD'99: services, and the attacks on "
        "them."
    ),
    "same": "Fleets fitted in several processes, one of them killed after its second wave.",
}


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """The parts asked for."""
    mine = {"large": large, "loops": loops, "programs": programs, "same": same}
    others = fleets.parts(settings)
    found: dict[str, Part] = {}
    for part in settings["parts"]:
        found |= others[part] if part in others else {part: partial(mine[part], settings)}
    return found


def text(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """A table for each part, then the targets."""
    found = []
    for part, body in _by_part(rows).items():
        table = tables.text(*tables.cells(body, COLUMNS_OF[part]))
        found += [tables.wrapped(NOTES[part]), table, tables.missing(body)]
    return "\n\n".join(one for one in (*found, tables.targets(rows)) if one)


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """A table for each part, in Markdown."""
    found = []
    for part, body in _by_part(rows).items():
        found += [NOTES[part], tables.markdown(*tables.cells(body, COLUMNS_OF[part]))]
    return "\n\n".join(found)


def _by_part(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.dataset != TARGET:
            found.setdefault(row.dataset.partition(":")[0], []).append(row)
    return found


def large(settings: Mapping[str, Any]) -> list[Row]:
    """Fit, score, save and load many groups in a process of its own."""
    names = "large_groups", "large_rows", "large_features"
    groups, rows, features = (settings[name] for name in names)
    how = {"groups": groups, "rows": rows, "features": features, "epochs": settings["epochs"]}
    with Worker("benchmarks.speed.fleet", variables=FRESH) as worker:
        found = worker.call("fit_large", **how).result
    metrics = {k: v if isinstance(v, list) else [v] for k, v in found.items()}
    name = f"{groups:,} x {rows:,} x {features}"
    seconds = found["fit_seconds"] + found["score_seconds"]
    call = Timing(tuple(metrics["call_seconds"]))
    peak, file = found["peak_mb"] / 1e3, found["file_mb"]
    return [
        Row("large", name, metrics),
        target(
            f"{name}: fitted and scored",
            f"<= {SECONDS:g} s",
            f"{seconds:.1f} s",
            seconds <= SECONDS,
            "The steps' products and the first layer's gradients take most of the time.",
        ),
        target(f"{name}: peak", f"< {PEAK_GB:g} GB", f"{peak:.2f} GB", peak < PEAK_GB),
        target(f"{name}: file", f"<= {FILE_MB:g} MB", f"{file:.1f} MB", file <= FILE_MB),
        target(
            f"{name}: one row scored",
            f"<= {CALL_MS:g} ms",
            call.over(1e-3).show(unit=" ms"),
            1e3 * call.median <= CALL_MS,
        ),
    ]


def fit_large(groups: int, rows: int, features: int, epochs: int) -> dict[str, Any]:
    """Times, sizes and programs of a fleet; called in a process of its own."""
    frame = _in_place(groups, rows, features)
    found: dict[str, Any] = {"table_mb": frame.memory_usage(deep=True).sum() / 1e6}
    detector = jaxad.DeepSVDD(epochs=epochs, **NETWORK)
    with training.Stopwatch() as watch:
        fleet = jaxad.Fleet(detector, GROUP, random_state=0).fit(frame)
    found["fit_seconds"] = watch.compile_seconds + watch.run_seconds
    found |= {"compile_seconds": watch.compile_seconds, "programs": watch.compilations}
    start = time.perf_counter()
    fleet.score(frame)
    found["score_seconds"] = time.perf_counter() - start
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    with tempfile.TemporaryDirectory(prefix="jaxad-") as folder:
        path = Path(folder) / "fleet.safetensors"
        fleet.save(path)
        found["file_mb"] = path.stat().st_size / 1e6
        loaded: Any = jaxad.load(path)
        places = np.random.default_rng(0).permutation(len(frame))[: CALLS + 1]
        calls = []
        for place in places.tolist():
            row = frame.iloc[place : place + 1]
            start = time.perf_counter()
            loaded.score(row)
            calls.append(time.perf_counter() - start)
    return found | {"first_call_seconds": calls[0], "call_seconds": calls[1:]}


def _in_place(groups: int, rows: int, features: int) -> pd.DataFrame:
    """A table made a group at a time: besides itself it needs no memory to speak of."""
    random, made = np.random.default_rng(0), Groups.draw(groups, features, 0)
    x = np.empty((features, groups * rows), np.float32).T  # as pandas keeps it
    for g in range(groups):
        x[g * rows : (g + 1) * rows] = made.rows(g, rows, random)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(features)], copy=False)
    frame[GROUP] = np.repeat(np.arange(groups, dtype=np.int32), rows)
    return frame


def loops(settings: Mapping[str, Any]) -> list[Row]:
    """A fleet against a loop of our own ``fit``, and PyOD's in parallel, over the same groups."""
    groups, looped = settings["groups"], min(settings["looped"], settings["groups"])
    made = Groups.draw(groups, FEATURES, 0)
    frame = made.frame(np.full(groups, ROWS), np.random.default_rng(0))
    x = frame.drop(columns=GROUP).to_numpy().reshape(groups, ROWS, FEATURES)[:looped]
    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "epochs": settings["epochs"]}
    detector = jaxad.DeepSVDD(**options, **NETWORK, random_state=0)

    def loop() -> None:
        for one in x:
            clone(detector).fit(one)

    fleet = f"jaxad, a fleet of {groups:,}"
    variants = {fleet: lambda: jaxad.Fleet(detector, GROUP, random_state=0).fit(frame), LOOP: loop}
    members = {fleet: groups, LOOP: looped, PYOD: looped}
    failures: dict[str, str] = {}
    how: dict[str, Any] = {"reference": fleet, "units": 1, "members": members}
    how |= {"failures": failures, "give_up": np.inf}
    widths = *NETWORK["hidden"], NETWORK["latent_dim"]
    try:
        with Library() as library:
            given = {"widths": widths, "learning_rate": detector.learning_rate, **options}
            library.make("PyOD DeepSVDD", x.reshape(-1, FEATURES), x[0], **given)
            jobs = {"groups": looped, "jobs": len(environment.usable_cores())}
            variants[PYOD] = lambda: library.call("fit_groups", **jobs)
            rows, later = timed_rows("loops", variants, settings["repeats"], **how)
    except WorkerError as error:
        failures[PYOD] = str(error)
        variants.pop(PYOD, None)
        rows, later = timed_rows("loops", variants, settings["repeats"], **how)
    found = [against("loops", name, fleet, later, goal, failures) for name, goal in GOALS.items()]
    return rows + found


def programs(settings: Mapping[str, Any]) -> list[Row]:
    """Compiled programs of one fit of groups of many sizes."""
    groups = settings["groups"]
    with Worker("benchmarks.speed.fleet", variables=FRESH) as worker:
        found = worker.call("count_programs", groups=groups, epochs=settings["epochs"]).result
    count = int(found["programs"])
    name = f"{groups:,} groups of 50 to 2,000 rows"
    return [
        Row("programs", name, {key: [value] for key, value in found.items()}),
        target(f"{name}: programs", f"<= {PROGRAMS}", str(count), count <= PROGRAMS),
    ]


def count_programs(groups: int, epochs: int) -> dict[str, float]:
    """What a fit of groups of 50 to 2,000 rows compiles; called in a process of its own."""
    random = np.random.default_rng(0)
    frame = Groups.draw(groups, FEATURES, 0).frame(sizes(groups, 50, 2000, random), random)
    detector = jaxad.DeepSVDD(epochs=epochs, **NETWORK)
    with training.Stopwatch() as watch:
        jaxad.Fleet(detector, GROUP, min_rows=50, random_state=0).fit(frame)
    return {"programs": watch.compilations, "compile_seconds": watch.compile_seconds}


def same(settings: Mapping[str, Any]) -> list[Row]:
    """Whether fits with one seed are equal, also one that was killed and resumed."""
    how = {"groups": min(settings["groups"], SAME_GROUPS), "epochs": settings["epochs"]}
    with tempfile.TemporaryDirectory(prefix="jaxad-") as folder:
        kept, checkpoints = Path(folder, "programs"), Path(folder, "checkpoints")
        worker = partial(Worker, "benchmarks.speed.fleet", variables={"JAXAD_CACHE": str(kept)})
        whole, again = (_whole(worker(), how) for _ in range(2))
        killed = _killed(worker(), how, checkpoints)
        resumed = _whole(worker(), how | {"checkpoints": str(checkpoints)})
    cases = {"two fits": whole == again}
    cases[f"killed after {killed} of {whole[1]} waves, and resumed"] = resumed == whole
    rows = [Row("same", name, {"equal": [float(met)]}) for name, met in cases.items()]
    return rows + [
        target(name, "equal to the bit", "equal" if met else "different", met)
        for name, met in cases.items()
    ]


def _whole(worker: Worker, how: Mapping[str, Any]) -> tuple[str, int]:
    with worker:
        digest, waves = worker.call("fit_in_waves", **how).result
    return digest, waves


def _killed(worker: Worker, how: Mapping[str, Any], folder: Path) -> int:
    """Start a fit and kill it once two waves are saved; returns the number of waves there."""
    with worker:
        worker.send("fit_in_waves", **how, checkpoints=str(folder))
        while len(list(folder.glob("wave-*.safetensors"))) < 2:
            time.sleep(0.001)
    return len(list(folder.glob("wave-*.safetensors")))


def fit_in_waves(groups: int, epochs: int, checkpoints: str | None = None) -> tuple[str, int]:
    """A hash of everything a fleet scores and knows, and its waves; in a process of its own."""
    random = np.random.default_rng(0)
    frame = Groups.draw(groups, FEATURES, 0).frame(sizes(groups, 200, 600, random), random)
    waves = internals.small_waves(frame, 10)
    detector = jaxad.DeepSVDD(epochs=epochs, **NETWORK)
    fleet = jaxad.Fleet(detector, GROUP, random_state=0).fit(frame, checkpoints=checkpoints)
    digest = hashlib.sha256()
    for one in (fleet.score(frame), fleet.groups_):
        digest.update(hash_pandas_object(one).to_numpy().tobytes())
    return digest.hexdigest(), waves
