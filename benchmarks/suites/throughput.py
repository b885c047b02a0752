"""Rows a second, training and scoring: every detector against PyTorch, PyOD and DeepOD."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks import cases, environment, schema
from benchmarks.comparison import (
    Target,
    against_best,
    at_least,
    label,
    not_measured,
    on_each_core_count,
    timed,
)
from benchmarks.options import Options
from benchmarks.parts import Part, run_parts
from benchmarks.rates import COLUMNS, as_rates, rate_target, timed_rows
from benchmarks.suites import convolution, throughput_peers

DESCRIPTION = "rows/s of every detector, training and scoring, against PyTorch, PyOD and DeepOD"
PARTS = ("papers", "sizes", "published", "controls", "scoring", "images")
DEFAULTS: dict[str, Any] = {
    "parts": PARTS,
    "methods": cases.METHODS,
    "sizes": tuple(cases.SIZES),
    "repeats": 5,
    "steps": 240,
    "scored_rows": 2**20,
    "published_rows": 20_480,
    "compile": True,
    "compile_sizes": False,
}
CHOICES: dict[str, Sequence[str]] = {
    "parts": PARTS,
    "methods": cases.METHODS,
    "sizes": tuple(cases.SIZES),
}
# Case -> kind of PyTorch loop (a piece of its name) -> how many times our time it takes at least.
GOALS: dict[str, dict[str, float | None]] = {
    "Deep SVDD 30-128-64-32": {"autograd": 3.8, "by hand": 1.3},
    "Deep SAD 30-128-64-32": {"autograd": None},
    "autoencoder 30-128-64-32": {"autograd": None},
    "DAGMM KDD": {"eager": 3.0, "compiled": 2.5},
    "GOAD KDD": {"autograd": 1.6},
    "GOAD thyroid": {"autograd": 5.0},
}
# Case -> million rows a second that one core scores at least.
SCORING_GOALS = {"Deep SVDD 30-128-64-32": 4.0, "DAGMM KDD": 1.5, "GOAD KDD": 0.05}
# Rows at a time at which PyTorch scores fastest, of those tried.
PYTORCH_CHUNK = {"goad": 64}
SAD_OVER_SVDD = 0.9
NOTE = (
    "Medians [quartiles] of whole runs in steady state: same rows, architecture and batch for all\n"
    "variants of a case, interleaved. `first s` is a variant's first run; `compile s` is what it\n"
    "took longer than a later one (programs are shared: on one core, it has compiled for all).\n"
    "`times jaxad`: the variant's time over ours. A variant ten times slower than the fastest is\n"
    "run once. At common sizes PyTorch is compiled only if `compile_sizes` is set: it takes up to\n"
    "half a minute a case. PyOD and DeepOD run in a process of their own, torch's thread count."
)


def run(options: Options) -> None:
    """Measure part by part; print the table and the targets, write ``rows.json``."""
    settings = options.settings
    parts: dict[str, Part] = {}
    chosen = settings["methods"]
    for part in settings["parts"]:
        if part in ("papers", "scoring"):
            measure = against_pytorch if part == "papers" else scoring
            for name, case in ((n, c) for m in chosen for n, c in cases.papers(m).items()):
                parts[f"{part}: {name}"] = partial(measure, name, case, settings)
        elif part == "sizes":
            for method, size in ((m, s) for m in chosen for s in settings["sizes"]):
                parts[f"{method}, {size}"] = partial(at_size, method, size, settings)
        elif part == "published":
            peers = [p for p in throughput_peers.PEERS if p.method in chosen]
            parts |= {f"published: {p.name}": partial(p.measure, settings) for p in peers}
        elif part == "controls":
            parts[part] = partial(throughput_peers.against_controls, settings)
        else:
            parts |= {f"images: {n}": partial(images, n, settings) for n in _IMAGES}
    run_parts(options, parts, columns=COLUMNS, note=NOTE)


def _pytorch(
    case: cases.Case, compiled: bool, failures: dict[str, str]
) -> dict[str, Callable[[int], None]]:
    """The loops there are; what there is not goes into ``failures``."""
    try:
        return cases.loops(case, compiled=compiled)
    except ImportError as error:
        failures["pytorch"] = str(error)
        return {}


def against_pytorch(
    name: str, case: cases.Case, settings: Mapping[str, Any]
) -> tuple[list[schema.Row], list[Target]]:
    """A paper's setting, on one core and on all."""
    failures: dict[str, str] = {}
    train = case.trainer()
    loops: dict[str, Callable[[int], object]] = {"jaxad": lambda cores: train()}
    if case.method == "deep_sad":
        (svdd,) = (case.trainer() for case in cases.papers("deep_svdd").values())
        loops["jaxad Deep SVDD"] = lambda cores: svdd()
    loops |= _pytorch(case, settings["compile"], failures)
    cores = environment.usable_cores()
    variants, counts = on_each_core_count(loops)
    first, later = timed(name, variants, settings["repeats"], failures=failures)
    environment.pin(cores)
    ours = label("jaxad", counts[-1])
    measured = case.rows * case.epochs
    rows = timed_rows(name, first, later, failures, reference=ours, rows=measured)
    goals = GOALS[name]
    targets = against_best(name, goals, later, counts)
    for kind, goal in goals.items():
        if not any(kind in variant for variant in later):
            reason = next(iter(failures.values()), "not chosen")
            targets.append(not_measured(f"{name}: pytorch {kind} / {ours}", goal, reason))
    if case.method == "deep_sad":
        what = f"{name}: rows/s over Deep SVDD's"
        other = later[label("jaxad Deep SVDD", counts[-1])]
        targets.append(at_least(what, other, later[ours], SAD_OVER_SVDD))
    return rows, targets


def at_size(
    method: str, size: str, settings: Mapping[str, Any]
) -> tuple[list[schema.Row], list[Target]]:
    """A common size, all cores; the eager loop also with one thread, which small steps prefer."""
    case, failures = cases.sized(method, size, settings["steps"]), {}
    count = len(environment.usable_cores())
    variants: dict[str, Callable[[], object]] = {"jaxad": case.trainer()}
    for loop, run in _pytorch(case, settings["compile_sizes"], failures).items():
        for threads in sorted({1, count}) if loop.endswith("eager") else [count]:
            ending = f", {threads} thread{'s' * (threads > 1)}"
            variants[loop + ending] = partial(run, threads)
    name = f"{method}, {size}"
    first, later = timed(name, variants, min(3, settings["repeats"]), failures=failures)
    measured = case.rows * case.epochs
    return timed_rows(name, first, later, failures, reference="jaxad", rows=measured), []


def scoring(
    name: str, case: cases.Case, settings: Mapping[str, Any]
) -> tuple[list[schema.Row], list[Target]]:
    """Rows on the host to scores on the host, on one core."""
    # GOAD's scores cost a hundred times the others'.
    count = settings["scored_rows"] // (32 if case.method == "goad" else 1)
    x, failures = case.data(count), {}
    cores = environment.usable_cores()
    environment.pin(cores[-1:])
    variants: dict[str, Callable[[], object]] = {"jaxad": partial(cases.scorer(case), x)}
    try:
        variants |= _pytorch_scoring(case, x, settings["compile"])
    except ImportError as error:
        failures["pytorch"] = str(error)
    part = f"scoring: {name}, 1 core"
    first, later = timed(part, variants, settings["repeats"], failures=failures)
    environment.pin(cores)
    rows = timed_rows(part, first, later, failures, reference="jaxad", rows=count)
    targets = [rate_target(part, rows[0].metrics["rows_per_second"], SCORING_GOALS.get(name))]
    peers = [variant for variant in later if variant != "jaxad"]
    if peers:
        best = min(peers, key=lambda variant: later[variant].median)
        targets.append(at_least(f"{part}: {best} / jaxad", later[best], later["jaxad"], None))
    return rows, targets


def _pytorch_scoring(case: cases.Case, x: Any, compiled: bool) -> dict[str, Callable]:
    from benchmarks.peers import pytorch
    from benchmarks.peers.pytorch.loop import score_rows

    pytorch.torch.set_num_threads(1)
    data = pytorch.torch.from_numpy(x)
    score = getattr(pytorch, case.method).scorer(data[:1024], **case.options)
    chunk = PYTORCH_CHUNK.get(case.method, 1024)
    kinds = {"pytorch eager": False} | ({"pytorch compiled": True} if compiled else {})
    return {
        kind: score_rows(score, data, chunk=chunk, compile=compile)
        for kind, compile in kinds.items()
    }


_IMAGES = ("lenet_8_4", "autoencoder_32_64")


def images(name: str, settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """An image network of the convolution suite, on one core."""
    how = {"images": 2000, "steps": 4, "cores": 1, "repeats": settings["repeats"]}
    rows, targets = convolution.on_cores(name, how)
    images = convolution.CASES[name].batch_size * how["steps"]
    part = f"images: {name}, 1 core"
    return [as_rates(row, part, images) for row in rows], targets
