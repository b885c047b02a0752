"""How fast: training against PyTorch, the first and second fit, scoring in chunks."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

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
from benchmarks.first_fit import in_fresh_process
from benchmarks.options import Options
from benchmarks.timing import Timing, ratio
from jaxad import networks, objectives, training

DESCRIPTION = "training against PyTorch loops, time to a first and second fit, scoring in chunks"
PARTS = ("training", "first_fit", "scoring")
DEFAULTS: dict[str, Any] = {
    "parts": PARTS,
    "repeats": 7,
    "epochs": 10,
    "rows": 20_000,
    "scored_rows": 1_000_000,
    "compile": True,
}
CHOICES: dict[str, Sequence[str]] = {"parts": PARTS}
FEATURES, WIDTHS, BATCH_SIZE, LEARNING_RATE = 30, (128, 64, 32), 128, 1e-4


def run(options: Options) -> None:
    """Measure each part; print its table and the targets, write ``rows.json``."""
    begun = schema.begin()
    rows, targets = [], []
    parts = {"training": train_speed, "first_fit": first_fit, "scoring": scoring_speed}
    for part in options.settings["parts"]:
        new_rows, new_targets = parts[part](options.settings)
        rows += new_rows
        targets += new_targets
    finish(options, rows, targets, begun)


def _objective() -> Any:
    return objectives.DeepSVDD(encoder=networks.MLP(widths=WIDTHS))


def _data(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, FEATURES)).astype(np.float32)


def train_speed(settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """One-class Deep SVDD without batch norm: the whole call, from host rows to trained weights."""
    x, epochs = _data(settings["rows"]), settings["epochs"]
    steps = epochs * -(-len(x) // BATCH_SIZE)
    recipe = training.Recipe(epochs=epochs, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE)
    loops = {"jaxad": lambda cores: training.fit(_objective(), recipe, jax.random.key(0), x)}
    try:
        loops |= _pytorch_loops(x, epochs, settings["compile"])
        missing = None
    except ImportError as error:
        missing = str(error)
    cores = environment.usable_cores()
    variants, counts = on_each_core_count(loops)
    first, later = timed("training", variants, settings["repeats"])
    environment.pin(cores)
    rows = timed_rows("training", first, later, label("jaxad", counts[-1]), steps)
    if missing is not None:
        rows.append(schema.Row("training", "pytorch", missing=missing))
        return rows, [not_measured("training: best autograd loop / jaxad", 3, missing)]
    goals = {"autograd": 3.0, "by hand": None}
    return rows, against_best("training", goals, later, counts)


def _pytorch_loops(x: np.ndarray, epochs: int, compiled: bool) -> dict[str, Callable[[int], None]]:
    """The loops by name; each is told how many threads to use."""
    from benchmarks.peers import pytorch

    data = pytorch.torch.from_numpy(x)

    def loop(train: Callable, threads: int) -> None:
        pytorch.torch.set_num_threads(threads)
        _, losses = train(
            data,
            epochs=epochs,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            widths=WIDTHS,
        )
        losses.tolist()

    loops = {"pytorch autograd": partial(loop, pytorch.deep_svdd.train)}
    if compiled:
        train = partial(pytorch.deep_svdd.train, compile=True)
        loops["pytorch autograd, compiled"] = partial(loop, train)
    loops["pytorch by hand"] = partial(loop, pytorch.deep_svdd_by_hand.train)
    return loops


def first_fit(settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """The estimator in fresh processes: 4,000 x 6 rows, 10 epochs, nothing cached."""
    count = max(1, settings["repeats"] // 2)
    runs = [in_fresh_process() for _ in tqdm(range(count), desc="first fit", unit="process")]
    values = {key: [run[key] for run in runs] for key in runs[0]}
    first, second = Timing(tuple(values["first_seconds"])), Timing(tuple(values["second_seconds"]))
    share = ratio(second, first)
    again = max(values["second_compilations"])
    rows = [
        schema.Row("first fit", "jaxad, first", {"seconds": first.seconds}, values),
        schema.Row("first fit", "jaxad, second", {"seconds": second.seconds}),
    ]
    return rows, [
        Target("first fit, compile included", "<= 3 s", _seconds(first), first.median <= 3),
        Target("second fit: programs compiled", "0", f"{again:g}", again == 0),
        Target("second fit / first", "< 0.15", str(share), share.median < 0.15),
    ]


def scoring_speed(settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """A million rows on the host, scored in chunks that fit the cache or all at once."""
    x, objective = _data(settings["scored_rows"]), _objective()
    params, stats, *_ = training.fit(
        objective, training.Recipe(epochs=1), jax.random.key(0), x[:2000]
    )
    at_once = jax.jit(objective.score)
    variants = {
        "jaxad, chunks": lambda: training.score(objective, params, stats, x),
        "all at once": lambda: np.asarray(at_once(params, stats, x)),
    }
    first, later = timed("scoring", variants, settings["repeats"])
    rows = timed_rows("scoring", first, later, "jaxad, chunks", len(x))
    what = "scoring: all at once / chunks"
    return rows, [at_least(what, later["all at once"], later["jaxad, chunks"], 2)]


def _seconds(timing: Timing) -> str:
    low, high = timing.quartiles
    return f"{timing.median:.2f} s [{low:.2f}, {high:.2f}]"
