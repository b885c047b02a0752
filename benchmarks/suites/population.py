"""How cheap: many models as one program, against one at a time and PyTorch loops."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import matplotlib.figure
import numpy as np

from benchmarks import environment, flops, peak, schema
from benchmarks.comparison import Target, at_least, finish, not_measured, timed, timed_rows
from benchmarks.options import Options
from benchmarks.timing import Timing
from jaxad import networks, objectives, training
from jaxad.training import batching, engine
from jaxad.training.recipe import as_leaves

DESCRIPTION = "populations: cost of a member, against single runs, pmap and PyTorch loops"
PARTS = ("wide", "narrow", "members")
DEFAULTS: dict[str, Any] = {
    "parts": PARTS,
    "repeats": 5,
    "rows": 10_000,
    "epochs": 10,
    "members": 16,
    "most_members": 64,
}
CHOICES: dict[str, Sequence[str]] = {"parts": PARTS}
FEATURES, BATCH_SIZE, LEARNING_RATE = 30, 128, 1e-4
WIDTHS = {"wide": (128, 64, 32), "narrow": (16, 16, 16)}
# Part -> what is compared with a population -> how many times a member's time it takes at least.
GOALS: dict[str, dict[str, float | None]] = {
    "wide": {
        "jaxad, single": 1 / 0.55,
        "jaxad, pmap": None,
        "pytorch autograd": 7.5,
        "pytorch by hand": 2.6,
    },
    "narrow": {"jaxad, single": 1 / 0.3, "pytorch autograd": None, "pytorch by hand": None},
}


# Of the rate at which all cores multiply matrices, what a population of wide members reaches.
SHARE_OF_PEAK, PEAK = 0.6, "matrix products"


def run(options: Options) -> None:
    """Make every core a device, measure each part, print tables and targets, draw the costs."""
    begun = schema.begin()
    environment.cores_as_devices()
    rows, targets = [], []
    for part in options.settings["parts"]:
        if part == "members":
            measured, costs = cost_of_members(options.settings)
            rows += measured
            draw(costs, options.out / "cost_of_members.png")
        else:
            measured, reached = against_singles(part, options.settings)
            rows += measured
            targets += reached
    finish(options, rows, targets, begun)


def _data(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, FEATURES)).astype(np.float32)


def against_singles(
    part: str, settings: Mapping[str, Any]
) -> tuple[list[schema.Row], list[Target]]:
    """Deep SVDD: seconds of one member, each with its own exact shuffles."""
    x, size, epochs = _data(settings["rows"]), settings["members"], settings["epochs"]
    widths, goals = WIDTHS[part], GOALS[part]
    objective = objectives.deep_svdd(networks.MLP(widths))
    recipe = training.Recipe(epochs=epochs, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE)
    keys = jax.random.split(jax.random.key(0), size)
    population = f"jaxad, {size} members"
    variants: dict[str, Callable] = {
        population: lambda: training.fit_population(objective, recipe, keys, x),
        "jaxad, single": lambda: training.fit(objective, recipe, keys[0], x),
    }
    divides = size % jax.local_device_count() == 0 and epochs <= engine.HISTORY
    if "jaxad, pmap" in goals and divides:
        variants["jaxad, pmap"] = _pmap(objective, recipe, keys, x)
    most = peak.matrix_products()
    if part == "wide":
        variants[PEAK] = most.run
    missing = None
    try:
        variants |= _pytorch(x, epochs, widths)
    except ImportError as error:
        missing = str(error)
    first, later = timed(part, variants, settings["repeats"], math.inf)
    members = {population: size, "jaxad, pmap": size}
    first, later = (
        {name: _each(timing, members.get(name, 1)) for name, timing in timings.items()}
        for timings in (first, later)
    )
    steps = epochs * -(-len(x) // BATCH_SIZE)
    targets = []
    if PEAK in later:
        step = flops.training_step((FEATURES, *widths), rows=len(x))
        work = peak.Work(variants[population], epochs * step)
        targets.append(_share_of_peak(part, work, later[population], most, later.pop(PEAK)))
    rows = timed_rows(part, first, later, population, steps)
    for name, goal in goals.items():
        what = f"{part}: {name} / a member of {size}"
        found = [key for key in later if key.startswith(name)]
        if found:
            best = min(found, key=lambda key: later[key].median)
            targets.append(at_least(f"{what} ({best})", later[best], later[population], goal))
        else:
            reason = f"{size} members, {epochs} epochs" if "pmap" in name else str(missing)
            rows.append(schema.Row(part, name, missing=reason))
            targets.append(not_measured(what, goal, reason))
    return rows, targets


def _share_of_peak(
    part: str, work: peak.Work, timing: Timing, most: peak.Work, most_timing: Timing
) -> Target:
    """The operations of training steps alone, over the time of the whole call."""
    what = f"{part}: share of all cores' rate of matrix products"
    target = at_least(what, most.each(most_timing), work.each(timing), SHARE_OF_PEAK)
    reached, peak_rate = (
        Timing(tuple(rates)).median / 1e9 for rates in (work.rates(timing), most.rates(most_timing))
    )
    return target._replace(measured=f"{target.measured} ({reached:.0f} of {peak_rate:.0f} GFLOP/s)")


def _each(timing: Timing, members: int) -> Timing:
    return Timing(tuple(seconds / members for seconds in timing.seconds))


def _pmap(objective: Any, recipe: training.Recipe, keys: Any, x: np.ndarray) -> Callable:
    """The engine under the older ``jax.pmap``, as far as a user would write it."""
    devices = jax.local_device_count()
    objective, how = as_leaves((objective, recipe))
    rows = batching.pad_rows(batching.as_rows(x), batching.bucket(len(x)))
    count = np.int32(len(x))

    def train(key):
        params, stats = engine.initialise(objective, key, rows.x[:1])
        stats = engine.refresh(objective, params, stats, rows, np.bool_(True))
        state = engine.start(how, key, params, stats)
        state, _ = engine.train(objective, how, state, rows, count, None, how.epochs)
        return state.params, engine.refresh(
            objective, state.params, state.stats, rows, np.bool_(False)
        )

    mapped = jax.pmap(lambda keys: jax.lax.map(train, keys))
    return lambda: jax.block_until_ready(mapped(keys.reshape(devices, -1)))


def _pytorch(x: np.ndarray, epochs: int, widths: tuple[int, ...]) -> dict[str, Callable]:
    from benchmarks.peers import pytorch

    data = pytorch.torch.from_numpy(x)

    def loop(train: Callable, threads: int) -> None:
        pytorch.torch.set_num_threads(threads)
        options = {"epochs": epochs, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE}
        train(data, widths=widths, **options)[1].tolist()

    peers = {"autograd": pytorch.deep_svdd.train, "by hand": pytorch.deep_svdd_by_hand.train}
    counts = sorted({1, len(environment.usable_cores())})
    return {
        f"pytorch {name}, {count} thread{'s' * (count > 1)}": partial(loop, train, count)
        for name, train in peers.items()
        for count in counts
    }


def _methods() -> dict[str, Any]:
    tanh: dict[str, Any] = {"activation": "tanh", "use_bias": True}
    encoder = networks.MLP((64, 32))
    return {
        "Deep SVDD": objectives.deep_svdd(encoder),
        "Deep SAD": objectives.deep_sad(encoder),
        "autoencoder": objectives.autoencoder(encoder, networks.MLP((64, FEATURES))),
        "DAGMM": objectives.DAGMM(
            networks.MLP((16, 4), **tanh),
            networks.MLP((16, FEATURES), **tanh),
            networks.MLP((10, 4), dropout=0.5, **tanh),
        ),
        "GOAD": objectives.goad(encoder, n_transforms=16, transform_dim=16),
    }


def cost_of_members(
    settings: Mapping[str, Any],
) -> tuple[list[schema.Row], dict[str, dict[int, Timing]]]:
    """Seconds of one member for every objective and P = 1, 4, 16, ..."""
    x = _data(settings["rows"] // 5)
    sizes = [p for p in (4**i for i in range(12)) if p <= settings["most_members"]]
    recipe = training.Recipe(
        epochs=settings["epochs"], batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE
    )
    rows, costs = [], {}
    for name, objective in _methods().items():
        variants = {
            f"{name}, P = {p}": partial(
                training.fit_population,
                objective,
                recipe,
                jax.random.split(jax.random.key(0), p),
                x,
                mesh=training.make_mesh(1) if p == 1 else None,  # alone: no copies on the others
            )
            for p in sizes
        }
        first, later = timed(name, variants, settings["repeats"], math.inf)
        first, later = (
            {key: _each(timings[key], p) for key, p in zip(variants, sizes, strict=True)}
            for timings in (first, later)
        )
        steps = settings["epochs"] * -(-len(x) // BATCH_SIZE)
        rows += timed_rows("a member", first, later, f"{name}, P = 1", steps)
        costs[name] = {p: later[key] for key, p in zip(variants, sizes, strict=True)}
    return rows, costs


def draw(costs: Mapping[str, Mapping[int, Timing]], path: Any) -> None:
    """Cost of a member against P, with quartiles, relative to a population of one."""
    figure = matplotlib.figure.Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, timings in costs.items():
        alone = timings[1].median
        middle = np.array([t.median for t in timings.values()]) / alone
        low, high = np.array([t.quartiles for t in timings.values()]).T / alone
        spread = np.clip([middle - low, high - middle], 0, None)
        axes.errorbar(list(timings), middle, spread, marker="o", capsize=3, label=name)
    axes.set(
        xscale="log",
        xlabel="members of the population",
        ylabel="time of a member / time alone",
        ylim=(0, None),
    )
    axes.set_xticks(list(next(iter(costs.values()))), [str(p) for p in next(iter(costs.values()))])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=120)
