"""What more devices are worth: one model and a population on 1, 2, 4 devices and 2 processes."""

import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from benchmarks.internals import PROGRAMS
from benchmarks.record import tables
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from benchmarks.record.timing import timed
from benchmarks.speed.methods import OBJECTIVES, counted
from benchmarks.speed.worker import Worker, free_address
from jaxad import networks, training

DESCRIPTION = "1, 2, 4 devices of the processor and 2 processes: what is communicated, the cost"
DEFAULTS: dict[str, Any] = {
    "repeats": 3,
    "rows": 20_000,
    "epochs": 5,
    "batch_size": 1024,
    "member_batch_size": 128,
    "member_epochs": 2,
    "members": 16,
}
CHOICES: dict[str, Sequence[str]] = {}
FEATURES, WIDTHS = 30, (128, 64, 32)


class Topology(NamedTuple):
    """A number of processes, and of devices in each."""

    processes: int
    devices: int

    def __str__(self) -> str:
        devices = counted(self.devices, "device")
        return devices if self.processes == 1 else f"{self.processes} processes, {devices} each"


TOPOLOGIES = (Topology(1, 1), Topology(1, 2), Topology(1, 4), Topology(2, 1))
CALLS = 3  # timed in a process; a round counts their median
COLUMNS = (
    tables.Column("us per step and model", tables.microseconds, tables.quartiles(1)),
    tables.Column("speed / 1 device", "speed", tables.quartiles(2)),
    tables.Column("collectives", "collectives", tables.middle(0)),
    tables.Column("kB", "kilobytes", tables.middle(1)),
    tables.Column("first run s", "first_seconds", tables.quartiles(1)),
)
NOTE = (
    "Medians [quartiles] of rounds, each topology in processes of its own; whole calls.\n"
    "The devices are virtual ones of one processor: where there are more of them than usable\n"
    "cores, and beside another process, they wait for each other. Collectives: those in the\n"
    "compiled training program, nearly all of them in its step, and the size of their results on\n"
    "one device."
)


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """One part: rounds over all topologies are interleaved."""
    return {"topologies": partial(measure_topologies, settings)}


def measure_topologies(settings: Mapping[str, Any]) -> list[Row]:
    """Both kinds of run on every topology; rounds are interleaved, so they are one part."""
    found: dict[Topology, list[dict]] = {topology: [] for topology in TOPOLOGIES}
    programs: dict[Topology, dict[str, str]] = {}
    rounds = [topology for _ in range(settings["repeats"]) for topology in TOPOLOGIES]
    for topology in tqdm(rounds, desc="scaling", unit="run", leave=False):
        seconds, programs[topology] = _measure(topology, settings)
        found[topology].append(seconds)
    return [row for what in PROGRAMS for row in _rows(what, found, programs, settings)]


def _measure(topology: Topology, settings: Mapping[str, Any]) -> tuple[dict, dict[str, str]]:
    """Run `train` in processes of a topology: seconds, and the texts of its programs."""
    address = free_address()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        names = "|".join(PROGRAMS.values())
        dump = f"--xla_dump_to={folder} --xla_dump_hlo_as_text --xla_dump_hlo_module_re={names}"
        variables = {
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {dump}",
            "JAX_NUM_CPU_DEVICES": str(topology.devices),
        }
        workers = [
            stack.enter_context(Worker("benchmarks.speed.scaling", variables=variables))
            for _ in range(topology.processes)
        ]
        for process, worker in enumerate(workers):
            join = None
            if topology.processes > 1:
                join = {"address": address, "processes": topology.processes, "process": process}
            worker.send("train", settings=dict(settings), join=join)
        seconds, *_ = [worker.receive().result for worker in workers]
        return seconds, {what: _text(Path(folder), name) for what, name in PROGRAMS.items()}


def train(settings: Mapping[str, Any], join: Mapping[str, Any] | None) -> dict[str, Any]:
    """Seconds of the first call and the median of more, for one model and for a population.

    Every process has its share of the rows of one model, and all rows of the population.
    """
    if join:
        training.join_hosts(**join)
    x = np.random.default_rng(0).normal(size=(settings["rows"], FEATURES)).astype(np.float32)
    own = np.array_split(x, jax.process_count())[jax.process_index()]
    objective = OBJECTIVES["deep_svdd"](networks.MLP(WIDTHS))
    key = jax.random.key(0)
    keys = jax.random.split(key, settings["members"])
    mesh = training.make_mesh(1, jax.device_count()) if jax.device_count() > 1 else None
    one, each = (
        training.Recipe(
            settings[f"{kind}epochs"], batch_size=settings[f"{kind}batch_size"], learning_rate=1e-4
        )
        for kind in ("", "member_")
    )
    runs: dict[str, Callable[[], object]] = {
        "model": lambda: training.fit(objective, one, key, own, mesh=mesh),
        "population": lambda: training.fit_population(
            objective, each, keys, x, mesh=training.make_mesh()
        ),
    }
    measured = {}
    for name, call in runs.items():
        first, later = timed(name, {name: call}, CALLS, pause=0)
        measured[name] = {"first_seconds": first[name].median, "seconds": later[name].median}
    return measured


def _text(folder: Path, name: str) -> str:
    """The text of a compiled program; the longest if several have the name."""
    texts = [path.read_text() for path in folder.glob(f"*.{name}.*after_optimizations.txt")]
    return max(texts, key=len)


def _rows(
    what: str,
    found: Mapping[Topology, Sequence[Mapping]],
    programs: Mapping[Topology, Mapping[str, str]],
    settings: Mapping[str, Any],
) -> list[Row]:
    models = settings["members"] if what == "population" else 1
    member = "member_" if models > 1 else ""
    size, epochs = settings[f"{member}batch_size"], settings[f"{member}epochs"]
    steps = epochs * -(-settings["rows"] // size) * models
    alone = [run[what]["seconds"] for run in found[TOPOLOGIES[0]]]
    name = f"one model, batch {size}" if models == 1 else f"population of {models}, batch {size}"
    rows = []
    for topology, runs in found.items():
        seconds = [run[what]["seconds"] for run in runs]
        counts, volume = collectives(programs[topology][what])
        metrics = {
            "seconds": seconds,
            "first_seconds": [run[what]["first_seconds"] for run in runs],
            "speed": [a / s for a, s in zip(alone, seconds, strict=True)],
            "collectives": [sum(counts.values())],
            "kilobytes": [volume / 1000],
        }
        rows.append(Row(name, str(topology), metrics, {"collectives": counts, "units": steps}))
    return rows


_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
# `%name = f32[8,4]{1,0} all-reduce(...)`; the type may be a tuple, and the operation in two halves.
_CALL = re.compile(rf"= (\(.*?\)|\S+) ({'|'.join(_KINDS)})(?:-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")


def collectives(program: str) -> tuple[dict[str, int], int]:
    """The collective operations of a compiled program: kind -> count, and bytes of their results.

    A training program is a loop around a step: what stands in it once is done in every step, but
    for the few that belong to an epoch.

    Example:
      >>> collectives("%sum = f32[8,4]{1,0} all-reduce(%x), channel_id=1")
      ({'all-reduce': 1}, 128)
    """
    calls = _CALL.findall(program)
    volume = sum(
        math.prod(map(int, filter(None, shape.split(","))))
        * (1 if kind == "pred" else -(-int(bits) // 8))
        for result, _ in calls
        for kind, bits, shape in _ARRAY.findall(result)
    )
    return dict(Counter(kind for _, kind in calls)), volume
