"""Run a benchmark suite: ``python -m benchmarks.run [SUITE] [options]``.

``report``, ``compare`` and ``peers`` in a suite's place do something with results or peers.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.peers import environment as peers
from benchmarks.quality import (
    adbench,
    audit,
    ensembles,
    oddbench,
    papers,
    quick,
    reference_numbers,
    variants,
    younger,
)
from benchmarks.record import compare, environment, report, suite
from benchmarks.settings import OptionError, Options, check_known, read_config, resolve
from benchmarks.speed import (
    convolution,
    fleet,
    latency,
    population,
    scaling,
    streaming,
    throughput,
)
from benchmarks.speed.worker import WorkerError

SUITES: dict[str, ModuleType] = {
    "quick": quick,
    "throughput": throughput,
    "latency": latency,
    "population": population,
    "scaling": scaling,
    "convolution": convolution,
    "streaming": streaming,
    "fleet": fleet,
    "adbench": adbench,
    "oddbench": oddbench,
    "younger": younger,
    "audit": audit,
    "variants": variants,
    "ensembles": ensembles,
    "papers": papers,
}


# Name -> what it does, and what does it.
COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    "report": (
        "render the newest results as one Markdown page with pictures",
        lambda argv: report.main(argv, SUITES, reference_numbers.markdown()),
    ),
    "compare": (
        "OLD NEW: what became slower between two results, and how sure that is",
        compare.main,
    ),
    "peers": ("[FOLDER]: make the environment that PyOD and DeepOD are measured in", peers.main),
}

_NAMES: dict[str, Any] = {"type": lambda text: text.split(","), "metavar": "A,B"}
_NUMBER: dict[str, Any] = {"type": int, "metavar": "N"}
# Settings that the command line takes beside a config file.
_SETTINGS: dict[str, dict[str, Any]] = {
    "seeds": _NUMBER | {"help": "seeds 0 to N-1"},
    "datasets": _NAMES | {"help": "only these data sets"},
    "detectors": _NAMES | {"help": "only these detectors"},
    "settings": _NAMES | {"help": "only these settings of adbench"},
    "max_rows": _NUMBER | {"help": "draw sets of more rows down to as many"},
    "tables": _NAMES | {"help": "only these tables of papers"},
    "rows": _NAMES | {"help": "only these rows of them"},
    "claims": _NAMES | {"help": "only these claims of audit"},
    "effort": {
        "type": int,
        "metavar": "PERCENT",
        "help": "epochs in per cent of the papers', 1 to 100; rows of defaults keep theirs",
    },
}
_OTHERS: dict[str, dict[str, Any]] = {
    "out": {"type": Path, "metavar": "FOLDER", "help": "default: results/SUITE-UTC-TIME"},
    "config": {"type": Path, "metavar": "FILE.toml", "help": "settings from a file"},
    "threads": _NUMBER | {"help": "use only N processor cores"},
}


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, [*SUITES, *COMMANDS]))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, (text, _) in COMMANDS.items())
    listing = "\n".join(f"  {name:<{width}}  {s.DESCRIPTION}" for name, s in SUITES.items())
    settings = "\n".join(
        f"  {name:<{width}}  {', '.join(s.DEFAULTS)}" for name, s in SUITES.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Run a benchmark suite, print its table and store its results.",
        epilog=f"suites:\n{listing}\n\ncommands (each with its own --help):\n{commands}\n\n"
        f"settings a config file may hold:\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suite", nargs="?", metavar="SUITE", help="default: quick")
    for name, how in (_SETTINGS | _OTHERS).items():
        parser.add_argument(f"--{name.replace('_', '-')}", **how)
    return parser


def _confine(threads: int | None) -> None:
    """Pin this process to ``threads`` cores, before it starts any thread pool."""
    if threads is None:
        return
    cores = environment.usable_cores()
    if not 1 <= threads <= len(cores):
        raise OptionError(f"--threads {threads}: this process may use 1 to {len(cores)} cores")
    if not environment.pin(cores[-threads:]):
        raise OptionError("--threads needs a system that can pin a process (Linux)")


def _options(arguments: argparse.Namespace) -> Options:
    config = read_config(arguments.config) if arguments.config else {}
    configured = config.pop("suite", None)
    name = arguments.suite or configured or "quick"
    check_known("suite", [name], [*SUITES, *COMMANDS])
    if configured not in (None, name):
        raise OptionError(f"{arguments.config} is for suite {configured!r}, not {name!r}")
    given = {k: getattr(arguments, k) for k in _SETTINGS}
    given = config | {k: v for k, v in given.items() if v is not None}
    settings = resolve(SUITES[name], given)
    out = arguments.out or Path("results") / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return Options(name, out, settings, arguments.threads)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status, 2 for something asked for that does not exist."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv and argv[0] in COMMANDS:
            return COMMANDS[argv[0]][1](argv[1:])
        options = _options(_parser().parse_args(argv))
        _confine(options.threads)
        # Compilation is measured as if for the first time, whatever earlier runs have kept.
        os.environ["JAXAD_CACHE"] = "off"
        return _run(options)
    except (OptionError, WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: Options) -> int:
    try:
        suite.run(SUITES[options.suite], options)
    except KeyboardInterrupt:
        print(f"\ninterrupted: what was measured so far is in {options.out}", file=sys.stderr)
        return 130
    print(f"results: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
