"""Run a benchmark suite: ``python -m benchmarks.run [SUITE] [options]``."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from benchmarks import environment
from benchmarks.options import OptionError, Options, check_known, read_config, resolve
from benchmarks.suites import (
    adbench,
    convolution,
    methods,
    population,
    quick,
    scaling,
    speed,
    tabular_papers,
)

SUITES: dict[str, ModuleType] = {
    "quick": quick,
    "speed": speed,
    "methods": methods,
    "population": population,
    "scaling": scaling,
    "convolution": convolution,
    "odds": tabular_papers,
    "adbench": adbench,
}


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, SUITES))
    listing = "\n".join(f"  {name:<{width}}  {s.DESCRIPTION}" for name, s in SUITES.items())
    settings = "\n".join(
        f"  {name:<{width}}  {', '.join(s.DEFAULTS)}" for name, s in SUITES.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Run a benchmark suite, print its table and keep its results.",
        epilog=f"suites:\n{listing}\n\nsettings a config file may hold:\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = {"type": lambda text: text.split(","), "metavar": "A,B"}
    parser.add_argument("suite", nargs="?", metavar="SUITE", help="default: quick")
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N-1")
    parser.add_argument("--datasets", help="only these data sets", **names)
    parser.add_argument("--detectors", help="only these detectors", **names)
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: results/SUITE-UTC-TIME"
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings from a file")
    parser.add_argument("--threads", type=int, metavar="N", help="use only N processor cores")
    return parser


def _confine(threads: int | None) -> None:
    """Keep this process, and the thread pools it has yet to start, on some of its cores."""
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
    check_known("suite", [name], list(SUITES))
    if configured not in (None, name):
        raise OptionError(f"{arguments.config} is for suite {configured!r}, not {name!r}")
    given = {k: getattr(arguments, k) for k in ("seeds", "datasets", "detectors")}
    given = config | {k: v for k, v in given.items() if v is not None}
    settings = resolve(SUITES[name], given)
    out = arguments.out or Path("results") / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return Options(name, out, settings, arguments.threads)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status, 2 for something asked for that does not exist."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        options = _options(arguments)
        _confine(options.threads)
        options.out.mkdir(parents=True, exist_ok=True)
        SUITES[options.suite].run(options)
    except OptionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"results: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
