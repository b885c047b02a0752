"""What more devices are worth: one model and a population on 1, 2, 4 devices and 2 processes."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks import collectives, environment, schema, table
from benchmarks.comparison import finish, show_spread
from benchmarks.options import Options
from benchmarks.processes import free_address, run_together

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


class Topology(NamedTuple):
    """So many processes with so many devices each."""

    processes: int
    devices: int

    def __str__(self) -> str:
        devices = f"{self.devices} device{'s' * (self.devices > 1)}"
        return devices if self.processes == 1 else f"{self.processes} processes, {devices} each"


TOPOLOGIES = (Topology(1, 1), Topology(1, 2), Topology(1, 4), Topology(2, 1))
# What is measured -> the names of its training programs.
PROGRAMS = {"model": "jit_train", "population": "jit__each"}
CALLS = 3  # timed in a process; a round counts their median


def run(options: Options) -> None:
    """Measure every topology in processes of its own, round by round, and print the table."""
    begun = schema.begin()
    settings = options.settings
    found: dict[Topology, list[dict]] = {topology: [] for topology in TOPOLOGIES}
    talk: dict[Topology, dict[str, collectives.Collectives]] = {}
    rounds = [topology for _ in range(settings["repeats"]) for topology in TOPOLOGIES]
    for topology in tqdm(rounds, desc="scaling", unit="run"):
        with tempfile.TemporaryDirectory() as folder:
            found[topology].append(_measure(topology, settings, Path(folder)))
            talk[topology] = {
                what: collectives.found_in(_text(Path(folder), name))
                for what, name in PROGRAMS.items()
            }
    rows = [row for what in PROGRAMS for row in _rows(what, found, talk, settings)]
    finish(options, rows, [], begun, columns=COLUMNS, note=_note(settings))


def _measure(topology: Topology, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What `benchmarks.scaled` measures in the first process, whose programs go to ``folder``."""
    given = {k: v for k, v in settings.items() if k != "repeats"} | {"repeats": CALLS}
    address, commands = free_address(), []
    for process in range(topology.processes):
        if topology.processes > 1:
            given["join"] = {"address": address, "process": process}
            given["join"]["processes"] = topology.processes
        commands.append([sys.executable, "-m", "benchmarks.scaled", json.dumps(given)])
    names = "|".join(PROGRAMS.values())
    dump = f"--xla_dump_to={folder} --xla_dump_hlo_as_text --xla_dump_hlo_module_re={names}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {dump}"
    variables = {"XLA_FLAGS": flags, "JAX_NUM_CPU_DEVICES": str(topology.devices)}
    printed = run_together(commands, variables)[0]
    return json.loads(printed.splitlines()[-1])  # the network's library prints, too


def _text(folder: Path, name: str) -> str:
    """The text of a program as it was compiled; of those of one name, the longest."""
    texts = [path.read_text() for path in folder.glob(f"*{name}*after_optimizations.txt")]
    return max(texts, key=len)


def _rows(what, found, talk, settings) -> list[schema.Row]:
    models = settings["members"] if what == "population" else 1
    member = "member_" if models > 1 else ""
    size, epochs = settings[f"{member}batch_size"], settings[f"{member}epochs"]
    steps = epochs * -(-settings["rows"] // size) * models
    alone = [run[what]["seconds"] for run in found[TOPOLOGIES[0]]]
    name = f"one model, batch {size}" if models == 1 else f"population of {models}, batch {size}"
    rows = []
    for topology, runs in found.items():
        seconds = [run[what]["seconds"] for run in runs]
        counts, size = talk[topology][what]
        metrics = {
            "seconds": seconds,
            "first_seconds": [run[what]["first_seconds"] for run in runs],
            "microseconds_per_step": [1e6 * s / steps for s in seconds],
            "speed": [a / s for a, s in zip(alone, seconds, strict=True)],
            "collectives": [sum(counts.values())],
            "kilobytes": [size / 1000],
        }
        rows.append(schema.Row(name, str(topology), metrics, {"collectives": counts}))
    return rows


COLUMNS = (
    table.Column("us per step and model", "microseconds_per_step", show_spread(1)),
    table.Column("speed / 1 device", "speed", show_spread(2)),
    table.Column("collectives", "collectives", table.middle(0)),
    table.Column("kB", "kilobytes", table.middle(1)),
    table.Column("first run s", "first_seconds", show_spread(1)),
)


def _note(settings: Mapping[str, Any]) -> str:
    cores = len(environment.usable_cores())
    return (
        f"Medians [quartiles] of {settings['repeats']} rounds, each topology in processes of its "
        f"own; whole calls.\nThe devices are virtual ones of a processor with {cores} usable "
        "core(s): where there are more of them than cores,\nand beside another process, they wait "
        "for each other. Collectives: those in the compiled training program, nearly all of them "
        "in\nits step, and the size of their results on one device."
    )
