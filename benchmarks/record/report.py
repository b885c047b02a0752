"""``python -m benchmarks.run report``: the newest results as one Markdown page with pictures."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from benchmarks.record import machines, rows, store, tables
from benchmarks.record.rows import Record
from benchmarks.record.suite import pictures, summary, text
from benchmarks.settings import OptionError

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path("docs/benchmarks.md")
_SHOWN = ("jax", "torch")  # versions


class Found(NamedTuple):
    """The newest rows of a suite on one kind of device, and the folders they are in."""

    record: Record
    folders: Sequence[Path]

    @property
    def name(self) -> str:
        """The suite's name, followed by the kind of device if it is not a CPU."""
        platform = self.record.newest.platform
        return self.record.suite if platform == "cpu" else f"{self.record.suite}, {platform}"


def collect(folders: Iterable[Path]) -> tuple[list[Found], list[str]]:
    """The newest rows of every suite on every kind of device, and what could not be read.

    Folders hold results, or folders of such.
    """
    found: dict[tuple[str, str], dict[Path, Record]] = {}
    unread = []
    for folder in folders:
        if not folder.is_dir():
            raise OptionError(f"{folder} is no folder of results")
        for one in (folder, *sorted(folder.iterdir())):
            if one.is_dir() and rows.file_in(one):
                try:
                    record = rows.read(one)
                except OptionError as error:
                    unread.append(str(error))
                    continue
                found.setdefault((record.suite, record.newest.platform), {})[one] = record
    return [Found(store.newest(list(r.values())), list(r)) for r in found.values()], unread


def settings_of(record: Record, suite: ModuleType) -> dict[str, Any]:
    """The settings of the newest run; lists of names are united over all runs."""
    settings = dict(suite.DEFAULTS) | dict(record.newest.config)
    for key, known in suite.CHOICES.items():
        named = {name for run in record.runs for name in run.config.get(key, ())}
        settings[key] = [name for name in known if name in named]
    return settings


def keep(found: Sequence[Found], suites: Mapping[str, ModuleType], out: Path) -> None:
    """Write the newest rows of every suite to a folder of its own, with their table."""
    for one in found:
        suite, run = suites[one.record.suite], one.record.newest
        folder = out / f"{one.record.suite}-{run.platform}"
        folder.mkdir(parents=True, exist_ok=True)
        rows.write(folder / rows.FILE, one.record)
        on = [run.machine for run in one.record.runs]
        shown = text(suite, one.record.rows, settings_of(one.record, suite), on)
        (folder / "table.txt").write_text(f"{shown.rstrip()}\n")


def page(
    found: Sequence[Found], unread: Sequence[str], suites: Mapping[str, ModuleType], out: Path
) -> str:
    """The page's text; draws its pictures beside ``out``."""
    order = {name: i for i, name in enumerate(suites)}
    found = sorted(found, key=lambda f: (order.get(f.record.suite, len(order)), f.name))
    drawn, sections = [], []
    for one in (one for one in found if one.record.suite in suites):
        suite, platform = suites[one.record.suite], one.record.newest.platform
        measured, settings = one.record.rows, settings_of(one.record, suite)
        rates = _rates(one.record)
        for name, (title, figure) in pictures(suite, measured, settings).items():
            path = out.parent / f"{out.stem}_{name}_{platform}.png"
            figure.savefig(path, dpi=90)
            heading = title if platform == "cpu" else f"{title} ({platform})"
            drawn += [f"## {heading}", f"![{heading}]({path.name})", *rates]
        places = ", ".join(f"`{_place(folder)}`" for folder in one.folders)
        sections += [f"## `{one.name}`: {suite.DESCRIPTION}", summary(suite, measured, settings)]
        sections += [*rates, f"Every repetition: {places}."]
    intro = (
        "Written by `python -m benchmarks.run report` from the newest results of every suite. "
        "Ratios are medians of repetitions that were interleaved in one run, quartiles in "
        "brackets; ± is a standard deviation unless it says otherwise. Compare ratios, not times "
        "of different machines, and ratios to PyTorch with the rates at which both multiply. "
        "`--keep FOLDER` also writes every suite's whole table."
    )
    parts = ["# Benchmarks", intro, *drawn, *sections, *_missing(found, unread, suites)]
    return "\n\n".join([*parts, "## What was run", _runs(found)]) + "\n"


def _place(folder: Path) -> str:
    """A results folder's path inside the repository; outside of it, its name alone."""
    repository = RESULTS.parents[1]
    inside = folder.resolve().is_relative_to(repository)
    return folder.resolve().relative_to(repository).as_posix() if inside else folder.name


def _rates(record: Record) -> list[str]:
    """A paragraph on the machines, where a suite measured times of others against ours."""
    runs = [run for run in record.runs if any("ratio" in row.metrics for row in run.rows)]
    return [" ".join(machines.text(run.machine for run in runs).split())] if runs else []


def _missing(
    found: Sequence[Found], unread: Sequence[str], suites: Mapping[str, ModuleType]
) -> list[str]:
    there = {one.record.suite for one in found}
    lines = [f"`{name}`: no results" for name in suites if name not in there] + list(unread)
    for one in found:
        lines += [
            f"{one.name}: {row.dataset}, {row.detector}: {row.missing}"
            for row in one.record.rows
            if row.missing is not None
        ]
        reached = {row.part_name for row in one.record.rows}  # perhaps by a later run
        waiting = [p for run in one.record.runs for p in run.waiting if p not in reached]
        if waiting:
            lines.append(f"{one.name}: {len(waiting)} parts were not reached: {waiting[0]}, ...")
    return ["## Missing", "\n".join(f"* {line}" for line in lines)] if lines else []


def _runs(found: Sequence[Found]) -> str:
    """A table of all runs: suite, time, commit, machine and versions."""
    body = []
    for one, run in [(group, run) for group in found for run in group.record.runs]:
        devices, memory = run.machine["devices"], run.machine.get("memory_bytes")
        machine = [
            machines.processor_name(run.machine),
            f"{run.machine['usable_cores']} cores",
            *([f"{memory / 2**30:.0f} GiB"] if memory else []),
            f"{len(devices)} x {devices[0]}",
            *([] if run.threads is None else [f"confined to {run.threads} cores"]),
            f"products {machines.product_rates(run.machine)}",
        ]
        versions = [f"{name} {run.versions[name]}" for name in _SHOWN if name in run.versions]
        dirty = " with changes" if run.commit.get("dirty") else ""
        line = [one.name, str(len(run.rows)), run.finished[:16]]
        line += [f"`{str(run.commit['sha'])[:10]}`{dirty}", ", ".join(machine), ", ".join(versions)]
        body.append(line)
    return tables.markdown(["suite", "rows", "finished", "commit", "machine", "versions"], body)


def main(argv: Sequence[str], suites: Mapping[str, ModuleType], ending: str = "") -> int:
    """Write the page, which ends with ``ending``; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run report",
        description="Render the newest results as one Markdown page with pictures beside it.",
    )
    folder = {"type": Path, "metavar": "FOLDER"}
    told = "results folders, or folders of them (default: benchmarks/results)"
    parser.add_argument("--results", nargs="+", default=[RESULTS], help=told, **folder)
    told = f"default: {PAGE}"
    parser.add_argument("--out", type=Path, default=PAGE, metavar="FILE.md", help=told)
    told = "write the newest rows there too, one folder for each suite and kind of device"
    parser.add_argument("--keep", help=told, **folder)
    arguments = parser.parse_args(argv)
    found, unread = collect(arguments.results)
    if not found:
        raise OptionError(
            f"no results in {', '.join(map(str, arguments.results))}: run a suite with --out first"
            + "".join(f"\n  unreadable: {line}" for line in unread)
        )
    if arguments.keep:
        keep(found, suites, arguments.keep)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(page(found, unread, suites, arguments.out) + ending, encoding="utf-8")
    print(f"report: {arguments.out}")
    return 0
