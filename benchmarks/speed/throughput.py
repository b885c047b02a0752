"""Rows a second, training and scoring: every detector against PyTorch, PyOD and DeepOD."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from benchmarks.record import environment, plots, tables
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from benchmarks.record.timing import (
    NO_GOAL,
    TARGET,
    Goal,
    Timing,
    Timings,
    at_least,
    best,
    not_measured,
    reached,
    timed_rows,
)
from benchmarks.speed import convolution, libraries, methods
from benchmarks.speed.methods import Case, counted, if_torch
from benchmarks.speed.peak import share_of_peak, step_flops

DESCRIPTION = "rows/s of every detector, training and scoring, against PyTorch, PyOD and DeepOD"
PARTS = ("papers", "sizes", "published", "controls", "scoring", "images")
CHOICES: dict[str, Sequence[str]] = {
    "parts": PARTS,
    "methods": methods.METHODS,
    "sizes": tuple(methods.SIZES),
}
DEFAULTS: dict[str, Any] = CHOICES | {
    "repeats": 5,
    "steps": 240,
    "scored_rows": 2**20,
    "published_rows": 20_480,
    "compile": True,
    "compile_sizes": False,
}
# Case -> kind of PyTorch loop (a piece of its name) -> how many times our time it takes.
GOALS: dict[str, dict[str, Goal]] = {
    "Deep SVDD 30-128-64-32": {
        "autograd": Goal(3.6, "Most of a step are the products and activations of 128 rows."),
        "by hand": Goal(1.9, "Most of a step are the products and activations of 128 rows."),
    },
    "Deep SAD 30-128-64-32": {"autograd": NO_GOAL},
    "autoencoder 30-128-64-32": {"autograd": NO_GOAL},
    "DAGMM KDD": {
        "eager": Goal(3.7, "The autoencoder's products alone take most of a step."),
        "compiled": Goal(2.5, "The autoencoder's products alone take most of a step."),
    },
    "GOAD KDD": {
        "autograd": Goal(2.2, "A step is mostly matrix products, at which PyTorch is as good.")
    },
    "GOAD thyroid": {
        "autograd": Goal(5.0, "Exponentials of 256 x 256 distances a row cost both the same.")
    },
    "K-DSM 30-64-64": {
        "autograd": Goal(3.0, "A third of a step draws noise, most of the rest are products.")
    },
    "DTE-C 30-256-512-256": {
        "autograd": Goal(3.0, "A step is mostly matrix products, at which PyTorch is as good.")
    },
    "DTE-C 30-64-64": {
        "autograd": Goal(3.0, "Small layers are mostly PyTorch's overhead, of which ours has none.")
    },
    "ICL 30-200-400-200": {
        "autograd": Goal(20.0, "A step is products of 3,712 rows, at which PyTorch is as good.")
    },
    "ICL 6-32-16": {
        "autograd": Goal(20.0, "Beside 640 windows a step PyTorch's overhead is small.")
    },
}
# Case -> what training reaches of the rate at which one core multiplies matrices.
SHARES_OF_PEAK = {
    "Deep SVDD 30-128-64-32": Goal(
        0.62, "A step also shuffles, gathers and activates rows, and runs an optimizer."
    ),
}
# Case -> million rows a second that one core scores at least.
SCORING_GOALS = {
    "Deep SVDD 30-128-64-32": Goal(4.0, "Scoring is matrix products, near a core's peak."),
    "DAGMM KDD": Goal(1.5, "Layers of 1 to 118 units: narrow products are far from the peak."),
    "GOAD KDD": Goal(0.05, "A row takes 2 MFLOP: 64 maps, five layers for each, distances."),
}
# Rows at a time at which PyTorch scores fastest, of those tried.
PYTORCH_CHUNK = {"goad": 64}
SAD_OVER_SVDD = Goal(0.9)
IMAGES = ("lenet_8_4", "autoencoder_32_64")


def _compile_seconds(row: Row) -> list[float] | None:
    if "first_seconds" not in row.metrics:
        return None
    later = Timing(tuple(row.metrics["seconds"]))
    return [max(0.0, row.metrics["first_seconds"][0] - later.median)]


COLUMNS = (
    tables.Column("rows/s", tables.per_second, tables.quartiles(0)),
    tables.Column("times jaxad", "ratio", tables.quartiles(2)),
    tables.Column("steady s", "seconds", tables.quartiles(3)),
    tables.Column("first s", "first_seconds", tables.first(2)),
    tables.Column("compile s", _compile_seconds, tables.first(2)),
)
NOTE = (
    "Medians [quartiles] of whole runs in steady state: same rows, architecture and batch for all\n"
    "variants of a case, interleaved. `first s` is a variant's first run; `compile s` is what it\n"
    "took longer than a later one (PyTorch's programs are shared: on one core, it has compiled\n"
    "for all). On one core ours is in a process of its own, whose XLA has one thread.\n"
    "`times jaxad`: the variant's time over ours. A variant ten times slower than the fastest is\n"
    "run once. At common sizes PyTorch is compiled only if `compile_sizes` is set: it takes up to\n"
    "half a minute a case. PyOD and DeepOD run in a process of their own, torch's thread count."
)


def pictures(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, tuple[str, Figure]]:
    """How many times as long others take, at the papers' settings and at common sizes."""
    cases = partial(_cases, _best(rows))
    main = {
        "training, a paper's setting": cases(lambda d: d in GOALS or d.startswith("images")),
        "scores on one core": cases(lambda d: d.startswith("scoring: ")),
        "through their own fit and score": cases(lambda d: d.endswith((", fit", ", score"))),
    }
    sizes = {m: cases(lambda d, m=m: d.startswith(f"{m}, ")) for m in methods.SIZED}
    found = {}
    for name, title, content, columns in (
        ("throughput", "Training and scoring against PyTorch, PyOD and DeepOD", main, 1),
        ("common_sizes", "Training at common sizes against PyTorch", sizes, 2),
    ):
        if content := {panel: cases for panel, cases in content.items() if cases}:
            found[name] = title, plots.times_slower(content, columns=columns)
    return found


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """Rows per second of each kind's best variant, without common sizes."""
    fastest = {d: v for d, v in _best(rows).items() if d.split(", ")[0] not in methods.SIZED}
    cells = {
        (dataset, plots.KINDS[kind][0]): f"{speeds[kind]:,.0f}"
        for kind in plots.KINDS
        for dataset, speeds in fastest.items()
        if kind in speeds
    }
    return tables.pivot("rows a second", cells)


def _best(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Case -> kind -> rows per second of its best variant."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        kind = plots.kind_of(row.detector)
        if kind is not None and "seconds" in row.metrics:
            speed = row.details["units"] / Timing(tuple(row.metrics["seconds"])).median
            case = found.setdefault(row.dataset, {})
            case[kind] = max(speed, case.get(kind, 0.0))
    return {case: speeds for case, speeds in found.items() if "jaxad" in speeds}


def _cases(
    fastest: Mapping[str, Mapping[str, float]], fits: Callable[[str], bool]
) -> dict[str, Mapping[str, float]]:
    def short(name: str) -> str:
        name = name.removeprefix("scoring: ").removesuffix(", 1 core")
        return name.split(", ")[1] if name.split(", ")[0] in methods.SIZED else name

    return {short(d): speeds for d, speeds in fastest.items() if fits(d) and len(speeds) > 1}


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """Papers' settings, common sizes, other libraries, references, scores and images."""
    chosen, count = settings["methods"], settings["published_rows"]
    papers = [item for method in chosen for item in methods.papers(method).items()]
    sizes = [(m, size) for m in chosen if m in methods.SIZED for size in settings["sizes"]]
    peers = [d for d in libraries.DETECTORS if d.method in chosen]
    known: dict[str, dict[str, Part]] = {
        "papers": {f"papers: {n}": partial(against_pytorch, n, c, settings) for n, c in papers},
        "sizes": {f"{m}, {size}": partial(at_size, m, size, settings) for m, size in sizes},
        "published": {
            f"published: {d.name}": partial(libraries.against_library, d, count) for d in peers
        },
        "controls": {"controls": partial(libraries.against_references, count)},
        "scoring": {f"scoring: {n}": partial(scoring, n, c, settings) for n, c in papers},
        "images": {f"images: {n}": partial(images, n, settings) for n in IMAGES},
    }
    return {name: part for kind in settings["parts"] for name, part in known[kind].items()}


def against_pytorch(name: str, case: Case, settings: Mapping[str, Any]) -> list[Row]:
    """A paper's setting, on one core and on all."""
    with methods.OneCore() as one_core:
        return _against_pytorch(name, case, settings, one_core)


def _against_pytorch(
    name: str, case: Case, settings: Mapping[str, Any], one_core: methods.OneCore
) -> list[Row]:
    def trainer(name: str, case: Case) -> Callable[[int], object]:
        alone, everywhere = one_core.variant(name, case), case.trainer()
        return lambda cores: alone() if cores == 1 else everywhere()

    failures: dict[str, str] = {}
    loops = {"jaxad": trainer(name, case)}
    if case.method == "deep_sad":
        (svdd,) = methods.papers("deep_svdd").items()
        loops["jaxad Deep SVDD"] = trainer(*svdd)
    loops |= if_torch(partial(methods.loops, case, compiled=settings["compile"]), failures)
    cores = environment.usable_cores()
    counts = sorted({1, len(cores)}) if environment.pin(cores) else [len(cores)]

    def confined(loop: Callable[[int], object], count: int) -> None:
        environment.pin(cores[-count:])
        loop(count)

    variants = {
        f"{loop}, {counted(count, 'core')}": partial(confined, run, count)
        for loop, run in loops.items()
        for count in counts
    }
    everywhere = counted(counts[-1], "core")
    ours = f"jaxad, {everywhere}"
    how = {"reference": ours, "units": case.rows * case.epochs, "failures": failures}
    rows, later = timed_rows(name, variants, settings["repeats"], **how)
    environment.pin(cores)
    goals = GOALS[name]
    for among, count in dict.fromkeys(((tuple(counts), counts[-1]), ((1,), 1))):
        rows += _against_best(name, goals, later, among, count)
    for kind, goal in goals.items():
        if not any(kind in variant for variant in later):
            reason = next(iter(failures.values()), "not chosen")
            rows.append(not_measured(f"{name}: pytorch {kind} / {ours}", goal, reason))
    flops = case.epochs * step_flops(case, case.rows)
    goal = SHARES_OF_PEAK.get(name, NO_GOAL)
    run = partial(loops["jaxad"], 1)
    rows.append(share_of_peak(name, run, flops, settings["repeats"], cores[-1:], goal))
    if case.method == "deep_sad":
        what, svdd_time = (
            f"{name}: rows/s over Deep SVDD's",
            later[f"jaxad Deep SVDD, {everywhere}"],
        )
        rows.append(at_least(what, svdd_time, later[ours], SAD_OVER_SVDD))
    return rows


def _against_best(
    what: str, goals: Mapping[str, Goal], later: Timings, among: Sequence[int], count: int
) -> list[Row]:
    """The best loop of each kind, of those on ``among`` cores, against ours on ``count``."""
    endings, ours = tuple(counted(n, "core") for n in among), f"jaxad, {counted(count, 'core')}"
    rows = []
    for kind, goal in goals.items():
        names = (name for name in later if kind in name and name.endswith(endings))
        if peer := best(later, names):
            rows.append(at_least(f"{what}: {peer} / {ours}", later[peer], later[ours], goal))
    return rows


def at_size(method: str, size: str, settings: Mapping[str, Any]) -> list[Row]:
    """A common size, all cores; the eager loop also with one thread, which small steps prefer."""
    case, failures = methods.sized(method, size, settings["steps"]), {}
    count = len(environment.usable_cores())
    variants: dict[str, Callable[[], object]] = {"jaxad": case.trainer()}
    loops = partial(methods.loops, case, compiled=settings["compile_sizes"])
    for loop, run in if_torch(loops, failures).items():
        for threads in sorted({1, count}) if loop.endswith("eager") else [count]:
            variants[f"{loop}, {counted(threads, 'thread')}"] = partial(run, threads)
    how = {"reference": "jaxad", "units": case.rows * case.epochs, "failures": failures}
    return timed_rows(f"{method}, {size}", variants, min(3, settings["repeats"]), **how)[0]


def scoring(name: str, case: Case, settings: Mapping[str, Any]) -> list[Row]:
    """Rows on the host to scores on the host, on one core."""
    with methods.OneCore() as one_core:
        return _scoring(name, case, settings, one_core)


def _scoring(
    name: str, case: Case, settings: Mapping[str, Any], one_core: methods.OneCore
) -> list[Row]:
    # GOAD's scores cost a hundred times the others'.
    count = settings["scored_rows"] // (32 if case.method == "goad" else 1)
    x, failures = case.data(count), {}
    cores = environment.usable_cores()
    environment.pin(cores[-1:])
    variants = {"jaxad": one_core.variant(name, case, count)}
    variants |= if_torch(partial(_pytorch_scoring, case, x, settings["compile"]), failures)
    part = f"scoring: {name}, 1 core"
    how = {"reference": "jaxad", "units": count, "failures": failures}
    rows, later = timed_rows(part, variants, settings["repeats"], **how)
    environment.pin(cores)
    ours = later.pop("jaxad")
    rate = Timing(tuple(count / seconds / 1e6 for seconds in ours.values))
    goal, shown = SCORING_GOALS.get(name, NO_GOAL), rate.show(".3g", " M/s")
    rows.append(reached(f"{part}: jaxad", rate, goal, shown, " M/s"))
    if peer := best(later, later):
        rows.append(at_least(f"{part}: {peer} / jaxad", later[peer], ours))
    return rows


def _pytorch_scoring(case: Case, x: Any, compiled: bool) -> dict[str, Callable]:
    from benchmarks.peers.pytorch import loop, methods, torch

    torch.set_num_threads(1)
    data = torch.from_numpy(x)
    score = methods.METHODS[case.method].scorer(data[:1024], **case.options)
    chunk = PYTORCH_CHUNK.get(case.method, 1024)
    kinds = {"pytorch eager": False} | ({"pytorch compiled": True} if compiled else {})
    return {
        kind: loop.score_rows(score, data, chunk=chunk, compile=compile)
        for kind, compile in kinds.items()
    }


def images(name: str, settings: Mapping[str, Any]) -> list[Row]:
    """An image network of the convolution suite, on one core; units are images."""
    how = {"images": 2000, "steps": 4, "cores": 1, "repeats": settings["repeats"]}
    units = convolution.BATCH_SIZE * how["steps"]
    made = []
    for row in convolution.measure(name, how):
        if row.dataset != TARGET:
            details = {"units": units} if row.metrics else {}
            row = dataclasses.replace(row, dataset=f"images: {name}, 1 core", details=details)
        made.append(row)
    return made
