"""How cheap: many models as one program, against one at a time, pmap and PyTorch loops."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import jaxad
from benchmarks import internals
from benchmarks.record import environment, tables
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from benchmarks.record.timing import NO_GOAL, Goal, Timing, at_least, best, not_measured, timed_rows
from benchmarks.speed import methods
from benchmarks.speed.methods import OBJECTIVES, counted, if_torch
from benchmarks.speed.peak import share_of_peak, step_flops
from jaxad import networks, training

DESCRIPTION = "populations: cost of a member, against single runs, pmap and PyTorch loops"
PARTS = ("wide", "narrow", "members", "defaults")
DEFAULTS: dict[str, Any] = {
    "parts": PARTS,
    "repeats": 5,
    "rows": 10_000,
    "epochs": 10,
    "members": 16,
    "most_members": 64,
    "small_members": 1000,
    "groups": 100,
    "scored_rows": 2**20,
}
CHOICES: dict[str, Sequence[str]] = {"parts": PARTS}
FEATURES, BATCH_SIZE = 30, 128
WIDTHS = {"wide": (128, 64, 32), "narrow": (16, 16, 16)}
# Part -> what is compared with a population -> how many times a member's time it takes.
_PEAK_BOUND = "The population's lead is all cores near the peak of matrix products."
GOALS: dict[str, dict[str, Goal]] = {
    "wide": {
        "jaxad, single": Goal(1 / 0.55),
        "jaxad, pmap": NO_GOAL,
        "pytorch autograd": Goal(8.5, _PEAK_BOUND),
        "pytorch by hand": Goal(2.6, _PEAK_BOUND),
    },
    "narrow": {
        "jaxad, single": Goal(
            1 / 0.3, "Networks this small cost as much to shuffle as to train, each member its own."
        ),
        "pytorch autograd": NO_GOAL,
        "pytorch by hand": NO_GOAL,
    },
}
# What users get without a set-up call -> how many times its time the other way takes.
DEFAULT_GOALS = {
    "DeepSVDD() fits and scores": Goal(1.6, "Five members are three rounds of two cores."),
    "fit_many": Goal(4.0, "A fit is nearly all matrix products, which two cores can only halve."),
    "small members": Goal(1.8, "All but the order of the rows is done by all cores."),
    "a single model scores": Goal(1.6, "XLA divides large products among cores, which costs time."),
}
# Of the rate at which all cores multiply matrices, what a population of wide members reaches.
SHARE_OF_PEAK = Goal(0.65, "Members also shuffle, gather and activate rows, and run an optimizer.")
COLUMNS, NOTE = tables.COMPARISON, tables.COMPARISON_NOTE


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """Populations against single runs, the cost of members, and what users get by default."""
    found: dict[str, Part] = {}
    for part in settings["parts"]:
        if part == "members":
            names = _methods()
            found |= {f"members: {n}": partial(cost_of_members, n, settings) for n in names}
        elif part == "defaults":
            found |= {n: partial(by_default, n, settings) for n in DEFAULT_GOALS}
        else:
            found[part] = partial(against_singles, part, settings)
    return found


def pictures(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, tuple[str, Figure]]:
    """Cost of a member against P, with quartiles, relative to a population of one."""
    costs: dict[str, dict[int, Timing]] = {}
    for row in rows:
        name, _, size = row.detector.partition(", P = ")
        if row.dataset == "a member" and row.metrics:
            costs.setdefault(name, {})[int(size)] = Timing(tuple(row.metrics["seconds"]))
    if not costs:
        return {}
    figure = Figure((6, 3.6), dpi=100, layout="constrained")
    axes = figure.subplots()
    for name, timings in costs.items():
        alone = timings[1].median
        middle = np.array([t.median for t in timings.values()]) / alone
        low, high = np.array([t.quartiles for t in timings.values()]).T / alone
        around = np.clip([middle - low, high - middle], 0, None)
        axes.errorbar(list(timings), middle, around, marker="o", capsize=3, label=name)
    axes.set(xscale="log", xlabel="members of the population", ylim=(0, None))
    axes.set_ylabel("time of a member / time alone")
    sizes = list(next(iter(costs.values())))
    axes.set_xticks(sizes, list(map(str, sizes)))
    axes.minorticks_off()
    axes.grid(axis="y", color="#eeeeee")
    axes.legend(frameon=False)
    return {"cost_of_members": ("Cost of a member by size of the population", figure)}


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """Time of a step of one member, of populations and of single runs."""
    against = [row for row in rows if row.dataset in WIDTHS]
    return tables.markdown(*tables.cells(against, tables.COMPARISON[1:3]))


def against_singles(part: str, settings: Mapping[str, Any]) -> list[Row]:
    """Seconds of one member of a Deep SVDD population, against single runs and PyTorch."""
    size, epochs, goals = settings["members"], settings["epochs"], GOALS[part]
    how = {"rows": settings["rows"], "batch_size": BATCH_SIZE, "epochs": epochs}
    case = methods.make("deep_svdd", WIDTHS[part], FEATURES, **how)
    population = f"jaxad, {size} members"
    variants: dict[str, Callable] = {
        population: case.population(size),
        "jaxad, single": case.trainer(),
    }
    if "jaxad, pmap" in goals and internals.pmap_divides(size, epochs):
        variants["jaxad, pmap"] = internals.pmap_population(case, size)
    missing: dict[str, str] = {}
    loops = if_torch(partial(methods.loops, case, compiled=False), missing)
    for name, loop in loops.items():
        for count in sorted({1, len(environment.usable_cores())}):
            title = f"{name.removesuffix(', eager')}, {counted(count, 'thread')}"
            variants[title] = partial(loop, count)
    members = {population: size, "jaxad, pmap": size}
    how = {"reference": population, "units": case.steps, "members": members}
    rows, later = timed_rows(part, variants, settings["repeats"], give_up=math.inf, **how)
    found = []
    if part == "wide":
        flops = size * epochs * step_flops(case, case.rows)
        run = variants[population]
        cores = environment.usable_cores()
        found.append(share_of_peak(part, run, flops, settings["repeats"], cores, SHARE_OF_PEAK))
    for name, goal in goals.items():
        what = f"{part}: {name} / a member of {size}"
        if other := best(later, (key for key in later if key.startswith(name))):
            found.append(at_least(f"{what} ({other})", later[other], later[population], goal))
        else:
            undivided = f"{size} members, {epochs} epochs on {jax.device_count()} device(s)"
            reason = undivided if "pmap" in name else missing["pytorch"]
            rows.append(Row(part, name, missing=reason))
            found.append(not_measured(what, goal, reason))
    return rows + found


def by_default(name: str, settings: Mapping[str, Any]) -> list[Row]:
    """Seconds of what users call without setting anything up, and of one core or call at a time."""
    shape = settings["rows"], FEATURES
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    variants, units, size = _BY_DEFAULT[name](x, settings)
    first, other = variants
    members = dict.fromkeys(variants, size)
    how = {"reference": first, "units": units, "members": members, "give_up": math.inf}
    rows, later = timed_rows(name, variants, settings["repeats"], **how)
    what = f"{name}: {other} / {first}"
    return [*rows, at_least(what, later[other], later[first], DEFAULT_GOALS[name])]


def _on_all_cores(run: Callable[[int | None], object]) -> dict[str, Callable]:
    """A function of the number of threads, by default and on one core."""
    return {"all cores": partial(run, None), "one thread": partial(run, 1)}


def _ensemble(x: np.ndarray, settings: Mapping[str, Any]) -> tuple[dict[str, Callable], int, int]:
    def run(threads: int | None) -> Any:
        return jaxad.DeepSVDD(random_state=0, threads=threads).fit(x).anomaly_score(x)

    return _on_all_cores(run), 1, 1


def _fit_many(x: np.ndarray, settings: Mapping[str, Any]) -> tuple[dict[str, Callable], int, int]:
    random, groups = np.random.default_rng(0), settings["groups"]
    subsets = [random.permutation(len(x))[:n] for n in random.integers(100, 1001, groups)]

    def detectors() -> list[jaxad.DeepSVDD]:
        return [jaxad.DeepSVDD(n_members=1, random_state=i) for i in range(groups)]

    def loop() -> None:
        for detector, rows in zip(detectors(), subsets, strict=True):
            detector.fit(x[rows])

    together = partial(jaxad.fit_many, X=x, subsets=subsets)
    return {"a population": lambda: together(detectors()), "a loop of fit": loop}, groups, 1


def _small(x: np.ndarray, settings: Mapping[str, Any]) -> tuple[dict[str, Callable], int, int]:
    size, x = settings["small_members"], x[:2048]
    recipe = training.Recipe(epochs=settings["epochs"], batch_size=BATCH_SIZE)
    keys = jax.random.split(jax.random.key(0), size)
    given = OBJECTIVES["deep_svdd"](networks.MLP((16, 8))), recipe, keys, x

    def run(threads: int | None) -> Any:
        return training.fit_population(*given, threads=threads)

    return _on_all_cores(run), settings["epochs"] * -(-len(x) // BATCH_SIZE), size


def _scores(x: np.ndarray, settings: Mapping[str, Any]) -> tuple[dict[str, Callable], int, int]:
    fitted = jaxad.DeepSVDD(n_members=1, epochs=1, random_state=0).fit(x)
    new = np.resize(x, (settings["scored_rows"], FEATURES))

    def run(threads: int | None) -> Any:
        return fitted.set_params(threads=threads).anomaly_score(new)

    return _on_all_cores(run), len(new), 1


_BY_DEFAULT = dict(zip(DEFAULT_GOALS, (_ensemble, _fit_many, _small, _scores), strict=True))


def _methods() -> dict[str, Any]:
    tanh: dict[str, Any] = {"activation": "tanh", "use_bias": True}
    encoder = networks.MLP((64, 32))
    return {
        "Deep SVDD": OBJECTIVES["deep_svdd"](encoder),
        "Deep SAD": OBJECTIVES["deep_sad"](encoder),
        "autoencoder": OBJECTIVES["autoencoder"](encoder, networks.MLP((64, FEATURES))),
        "DAGMM": OBJECTIVES["dagmm"](
            networks.MLP((16, 4), **tanh),
            networks.MLP((16, FEATURES), **tanh),
            networks.MLP((10, 4), dropout=0.5, **tanh),
        ),
        "GOAD": OBJECTIVES["goad"](encoder, n_transforms=16, transform_dim=16),
    }


def cost_of_members(name: str, settings: Mapping[str, Any]) -> list[Row]:
    """Seconds of one member of an objective for P = 1, 4, 16, ..."""
    shape = settings["rows"] // 5, FEATURES
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    objective, epochs = _methods()[name], settings["epochs"]
    recipe = training.Recipe(epochs=epochs, batch_size=BATCH_SIZE, learning_rate=1e-4)
    counts = (4**i for i in range(12))
    sizes = {f"{name}, P = {p}": p for p in counts if p <= settings["most_members"]}
    variants = {}
    for label, p in sizes.items():
        keys = jax.random.split(jax.random.key(0), p)
        variants[label] = partial(training.fit_population, objective, recipe, keys, x)
    how = {"reference": f"{name}, P = 1", "units": epochs * -(-len(x) // BATCH_SIZE)}
    how |= {"members": sizes, "give_up": math.inf}
    return timed_rows("a member", variants, settings["repeats"], **how)[0]
