"""``python -m benchmarks.run report``: the newest results as one Markdown page with pictures."""

import argparse
import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import schema, table
from benchmarks.comparison import bounds_of, targets_of
from benchmarks.options import OptionError
from benchmarks.report_plots import PICTURES

RESULTS = Path(__file__).parent / "results"
PUBLISHED = Path(__file__).parent / "published.toml"
PAGE = Path("docs/benchmarks.md")
CERTAINTY = {
    "paper": "read in the paper",
    "third party": "quoted by a third party",
    "code": "printed in public code",
    "prototype": "measured before this project",
    "memory": "**from memory, unconfirmed**",
}


class Found(NamedTuple):
    """A results folder and its record."""

    folder: Path
    record: schema.Record

    @property
    def platform(self) -> str:
        """The kind of device: ``cpu``, ``gpu``, ..."""
        return str(self.record.machine["devices"][0]).partition(":")[0]

    @property
    def parts(self) -> dict[str, set[str]]:
        """Which parts of its suite the run was of: the settings that are lists of names."""
        lists = {k: v for k, v in self.record.config.items() if isinstance(v, list | tuple)}
        return {k: set(map(str, v)) for k, v in lists.items()}

    @property
    def efforts(self) -> dict[tuple[str, str], int]:
        """The share of the papers' epochs, in per cent, of each row that has one."""
        rows = (row for row in self.record.rows if "effort" in row.details)
        return {(row.details["setting"], row.dataset): row.details["effort"] for row in rows}

    def limit(self, setting: str) -> float:
        """A setting that is a number; what is chosen by itself is the most."""
        value = self.record.config.get(setting)
        return value if isinstance(value, int) else math.inf

    def covered_by(self, newer: "Found") -> bool:
        """Whether ``newer`` is of the same suite and device, and of these parts at least.

        An empty list of names means all there are. A run of fewer seeds, epochs or rows covers
        nothing.
        """
        alike = newer.record.suite == self.record.suite and newer.platform == self.platform
        alike = alike and len(newer.record.seeds) >= len(self.record.seeds)
        alike = alike and all(newer.limit(k) >= self.limit(k) for k in ("epochs", "max_rows"))
        efforts = newer.efforts
        alike = alike and all(efforts.get(k, 0) >= effort for k, effort in self.efforts.items())
        theirs = newer.parts
        return alike and all(
            not theirs.get(k) or (own and own <= theirs[k]) for k, own in self.parts.items()
        )


def collect(folders: Iterable[Path]) -> tuple[list[Found], list[str]]:
    """The newest results of every suite on every kind of device, and what could not be read.

    A result is left out where a newer one of its suite covers all its parts (tables, rows, sets);
    results of different parts stand side by side.

    Args:
      folders: results folders, or folders of such.

    Raises:
      OptionError: one of them does not exist.
    """
    found, unread = [], []
    for folder in folders:
        if not folder.is_dir():
            raise OptionError(f"{folder} is no folder of results")
        for file in sorted((*folder.glob("rows.json"), *folder.glob("*/rows.json"))):
            try:
                one = Found(file.parent, schema.read(file))
                _ = one.record.suite, one.platform, one.parts, one.efforts
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                unread.append(f"{file.parent.name}: {error}")
                continue
            found.append(one)
    newest: list[Found] = []
    for one in sorted(found, key=lambda f: (f.record.finished, f.folder.name), reverse=True):
        if not any(one.covered_by(newer) for newer in newest):
            newest.append(one)
    return newest, unread


def page(
    found: Sequence[Found], unread: Sequence[str], suites: Mapping[str, str], out: Path
) -> str:
    """The page's text; draws its pictures beside ``out``.

    Args:
      found: of `collect`.
      unread: of `collect`.
      suites: name -> description of all suites there are, in order.
      out: where the text will lie.
    """
    order = {name: i for i, name in enumerate(suites)}
    found = sorted(found, key=lambda f: (order.get(f.record.suite, len(order)), f.platform))
    parts = [
        "# Benchmarks",
        "Written by `python -m benchmarks.run report` from the newest results of every suite. "
        "Ratios are medians of repetitions that were interleaved in one run; their quartiles or "
        "intervals are in brackets. Compare ratios, not times of different machines.",
        *_targets(found),
        *_pictures(found, out),
        "## Results",
    ]
    for one in found:
        parts += _section(one, suites, out)
    parts += _absent(found, unread, suites)
    parts += ["## Published reference numbers", _published()]
    return "\n\n".join(parts) + "\n"


def _targets(found: Sequence[Found]) -> list[str]:
    body, every = [], []
    verdict = {True: "yes", False: "**no**", None: "-"}
    for one in found:
        several = sum(_name(other) == _name(one) for other in found) > 1
        name = one.folder.name if several else _name(one)
        for target in targets_of(one.record.rows):
            cells = [target.what, target.goal, target.measured, verdict[target.met]]
            body.append([name, *(cell.replace("|", "/") for cell in cells)])
            every.append(target)
    if not body:
        return []
    header = ["suite", "target", "goal", "measured", "met"]
    text = ["## What was to be reached", table.markdown(header, body)]
    if bounds := bounds_of(every):
        text.append("What bounds those that were missed (figures of 2 cores of an AMD EPYC):")
        text.append("\n".join(f"* {bound}" for bound in bounds))
    return text


def _pictures(found: Sequence[Found], out: Path) -> list[str]:
    parts, drawn = ["## Pictures"], []
    for name, (suite, title, draw) in PICTURES.items():
        of_suite = [one for one in found if one.record.suite == suite]
        if not of_suite:
            parts.append(f"{title}: missing, no results of `{suite}`.")
        for number, one in enumerate(of_suite, 1):
            path = out.parent / f"{out.stem}_{name}_{one.platform}.png"
            if path in drawn:
                path = path.with_stem(f"{path.stem}_{number}")
            try:
                draw(one.record, path)
            except (ValueError, KeyError, IndexError) as error:
                parts.append(f"{title} ({one.platform}): missing, {error!r}.")
                continue
            drawn.append(path)
            parts.append(f"![{title} ({one.platform})]({path.name})")
    return parts


def _name(one: Found) -> str:
    return one.record.suite if one.platform == "cpu" else f"{one.record.suite}, {one.platform}"


def _section(one: Found, suites: Mapping[str, str], out: Path) -> list[str]:
    record, machine = one.record, one.record.machine
    versions = ", ".join(f"{k} {v}" for k, v in record.versions.items())
    memory = machine.get("memory_bytes")
    facts = [
        f"* {record.started} to {record.finished}, commit `{str(record.commit['sha'])[:12]}`"
        + (" with changes" if record.commit.get("dirty") else ""),
        f"* {machine['cpu']}, {machine['usable_cores']} of {machine['cores']} cores"
        + (f", {memory / 2**30:.0f} GiB" if memory else "")
        + f"; devices: {', '.join(machine['devices'])}"
        + ("" if record.threads is None else f"; confined to {record.threads} cores"),
        f"* {versions}",
    ]
    parts = [
        f"### {_name(one)} ({one.folder.name})",
        suites.get(record.suite, "a suite that is no longer there") + ".",
    ]
    parts.append("\n".join(facts))
    absent = [row for row in record.rows if row.missing is not None]
    if absent:
        lines = [f"* {row.dataset}, {row.detector}: {row.missing}" for row in absent]
        parts.append("Missing:\n\n" + "\n".join(lines))
    printed = one.folder / "table.txt"
    if printed.exists():
        parts.append(f"```\n{printed.read_text().rstrip()}\n```")
    link = os.path.relpath(one.folder, out.parent)
    parts.append(f"[Every repetition]({link}/rows.json)")
    return parts


def _absent(found: Sequence[Found], unread: Sequence[str], suites: Mapping[str, str]) -> list[str]:
    there = {one.record.suite for one in found}
    lines = [f"* `{name}`: no results" for name in suites if name not in there]
    lines += [f"* {line}" for line in unread]
    return ["## Missing", "\n".join(lines)] if lines else []


def published() -> list[dict[str, str]]:
    """The entries of ``published.toml``: method, what, value, source, certainty."""
    return tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["figure"]


def _published() -> str:
    header = ["method", "what", "value", "source", "known how"]
    body = [
        [e["method"], e["what"], e["value"], e["source"], CERTAINTY[e["certainty"]]]
        for e in published()
    ]
    return table.markdown(header, body, left=5)


def main(argv: Sequence[str], suites: Mapping[str, str]) -> int:
    """Write the page; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run report",
        description="Render the newest results as one Markdown page with pictures beside it.",
    )
    parser.add_argument(
        "--results",
        type=Path,
        nargs="+",
        default=[RESULTS],
        metavar="FOLDER",
        help="results folders, or folders of them (default: benchmarks/results)",
    )
    parser.add_argument(
        "--out", type=Path, default=PAGE, metavar="FILE.md", help=f"default: {PAGE}"
    )
    arguments = parser.parse_args(argv)
    found, unread = collect(arguments.results)
    if not found:
        raise OptionError(
            f"no results in {', '.join(map(str, arguments.results))}: run a suite with --out first"
            + "".join(f"\n  unreadable: {line}" for line in unread)
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    text = page(found, unread, suites, arguments.out)
    arguments.out.write_text(text, encoding="utf-8")
    print(f"report: {arguments.out}")
    return 0
