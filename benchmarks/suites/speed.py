"""How fast: training against PyTorch, the first and second fit, scoring in chunks."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from benchmarks import environment, schema, table
from benchmarks.options import Options
from benchmarks.timing import Timing, interleaved, ratio
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
GIVE_UP = 10.0


class Target(NamedTuple):
    """A figure to reach and what was measured."""

    what: str
    goal: str
    measured: str
    met: bool | None


def run(options: Options) -> None:
    """Measure each part; print its table and the targets, write ``rows.json``."""
    settings, started = options.settings, schema.now()
    rows, targets = [], []
    parts = {"training": train_speed, "first_fit": first_fit, "scoring": scoring_speed}
    for part in settings["parts"]:
        new_rows, new_targets = parts[part](settings)
        rows += new_rows
        targets += new_targets
    verdicts = [schema.Row("target", t.what, details=t._asdict()) for t in targets]
    result = schema.record(
        options.suite,
        rows + verdicts,
        seeds=[0],
        config=dict(settings),
        threads=options.threads,
        started=started,
    )
    schema.write(options.out / "rows.json", result)
    shown = f"{_rows_text(rows)}\n\n{_targets_text(targets)}\n"
    (options.out / "table.txt").write_text(shown)
    print(f"\n{shown}")


def _objective() -> objectives.DeepSVDD:
    return objectives.DeepSVDD(encoder=networks.MLP(widths=WIDTHS))


def _data(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, FEATURES)).astype(np.float32)


def _interleaved(what: str, variants: Mapping[str, Callable], repeats: int):
    bar = partial(tqdm, total=len(variants) * (repeats + 1), desc=what, unit="run")
    return interleaved(variants, repeats, give_up=GIVE_UP, progress=bar)


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
    counts = sorted({1, len(cores)}) if environment.pin(cores) else [len(cores)]
    variants = {
        _label(name, count): partial(_on_cores, cores[-count:], loop)
        for name, loop in loops.items()
        for count in counts
    }
    first, later = _interleaved("training", variants, settings["repeats"])
    environment.pin(cores)
    ours = later[_label("jaxad", len(cores))]
    rows = [
        _timed_row("training", name, first[name], later[name], ours, steps) for name in variants
    ]
    if missing is not None:
        rows.append(schema.Row("training", "pytorch", missing=missing))
        what = "training: best autograd loop / jaxad"
        return rows, [Target(what, ">= 3", f"missing: {missing}", None)]
    return rows, _training_targets(later, counts)


def _training_targets(later: Mapping[str, Timing], counts: Sequence[int]) -> list[Target]:
    """Each kind of loop at its best against ours on all cores, then both on one core."""
    targets = []
    for among, ours in dict.fromkeys(((tuple(counts), counts[-1]), ((1,), 1))):
        for kind, goal in (("autograd", 3.0), ("by hand", None)):
            endings = tuple(_label("", count) for count in among)
            names = [name for name in later if kind in name and name.endswith(endings)]
            if not names:
                continue
            best = min(names, key=lambda name: later[name].median)
            over = ratio(later[best], later[_label("jaxad", ours)])
            aim = "-" if goal is None else f">= {goal:g}"
            met = None if goal is None else over.median >= goal
            what = f"training: {best} / {_label('jaxad', ours)}"
            targets.append(Target(what, aim, str(over), met))
    return targets


def _label(name: str, count: int) -> str:
    return f"{name}, {count} core{'s' * (count > 1)}"


def _on_cores(cores: Sequence[int], loop: Callable[[int], object]) -> None:
    environment.pin(cores)
    loop(len(cores))


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
    uncached = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    runs = []
    for _ in tqdm(range(max(1, settings["repeats"] // 2)), desc="first fit", unit="process"):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.first_fit"],
            cwd=Path(__file__).parents[2],
            env=uncached,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"the first fit failed:\n{done.stderr}")
        runs.append(json.loads(done.stdout))
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
    first, later = _interleaved("scoring", variants, settings["repeats"])
    chunked = later["jaxad, chunks"]
    rows = [
        _timed_row("scoring", name, first[name], later[name], chunked, len(x)) for name in variants
    ]
    over = ratio(later["all at once"], chunked)
    return rows, [Target("scoring: all at once / chunks", ">= 2", str(over), over.median >= 2)]


def _timed_row(
    part: str, name: str, first: Timing, later: Timing, reference: Timing, units: int
) -> schema.Row:
    """Seconds of every repetition, per step or row, and against the reference."""
    metrics = {
        "seconds": later.seconds,
        "first_seconds": first.seconds,
        "microseconds_per_unit": [1e6 * s / units for s in later.seconds],
        "ratio": [a / b for a, b in zip(later.seconds, reference.seconds, strict=False)],
    }
    return schema.Row(part, name, metrics, {"units": units})


def _seconds(timing: Timing) -> str:
    low, high = timing.quartiles
    return f"{timing.median:.2f} s [{low:.2f}, {high:.2f}]"


def _show_spread(digits: int) -> table.Show:
    def show(values: Sequence[float]) -> str:
        timing = Timing(tuple(values))
        low, high = timing.quartiles
        return f"{timing.median:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"

    return show


COLUMNS = (
    table.Column("seconds", "seconds", _show_spread(3)),
    table.Column("us per step or row", "microseconds_per_unit", _show_spread(2)),
    table.Column("times jaxad", "ratio", _show_spread(2)),
    table.Column("first run s", "first_seconds", table.first(2)),
)


def _rows_text(rows: Sequence[schema.Row]) -> str:
    note = (
        "Medians [quartiles]; variants interleaved in one process, first runs (compilation) "
        "apart.\n"
        f"A variant {GIVE_UP:g} times slower than the fastest in the first round is not repeated."
    )
    return f"{note}\n\n{table.text(*table.cells(rows, COLUMNS))}"


def _targets_text(targets: Sequence[Target]) -> str:
    verdict = {True: "yes", False: "no", None: "-"}
    body = [[t.what, t.goal, t.measured, verdict[t.met]] for t in targets]
    return table.text(["target", "goal", "measured", "met"], body, left=1, grouped=False)
