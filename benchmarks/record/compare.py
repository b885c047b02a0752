"""``python -m benchmarks.run compare OLD NEW``: what became slower or faster, and how surely."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks.record import machines, rows, tables
from benchmarks.record.rows import Record, Row
from benchmarks.settings import OptionError

TOLERANCE = 0.05
# How the names begin of what is not ours.
PEERS = ("pytorch", "PyOD", "DeepOD", "flax", "isolation", "nearest", "fifth", "5 nearest")
_DRAWS = 4000
# What a single measurement says nothing sure about.
_APART = ("first_seconds", "compile_seconds", "import_seconds")


class Change(NamedTuple):
    """The new median of a time, or of a ratio of times of one run, over the old one.

    95 % of the ratios of resampled repetitions lie between ``low`` and ``high``; both are NaN for
    fewer than three repetitions. ``machines`` says how the machines of the two differ, or is empty.
    """

    dataset: str
    detector: str
    metric: str
    ratio: float
    low: float
    high: float
    machines: str = ""

    @property
    def ours(self) -> bool:
        """Whether it is the time of something in this project."""
        return not self.detector.startswith(PEERS)

    def verdict(self, tolerance: float) -> str:
        """``slower`` or ``faster`` where the whole interval is beyond the tolerance, else empty.

        A time of another machine has the verdict ``other machine``, and a ratio has none.
        """
        if self.metric == "ratio":
            return ""
        if self.machines:
            return "other machine"
        if self.low > 1 + tolerance:
            return "slower"
        return "faster" if self.high < 1 / (1 + tolerance) else ""


def changes(old: Record, new: Record) -> list[Change]:
    """Every time that both results have, in the order of the new one.

    Rows of different machines are also compared by their ratios to another time of the same run.
    """
    before = {_key(row): (run, row) for run in old.runs for row in run.rows}
    found = []
    for later, row in [(run, row) for run in new.runs for row in run.rows]:
        if _key(row) not in before:
            continue
        earlier, other = before[_key(row)]
        differing = "; ".join(machines.differences(earlier, later))
        for metric, values in row.metrics.items():
            time = metric.endswith("seconds") and metric not in _APART
            ratio = differing and metric == "ratio" and set(values) != {1.0}  # to itself
            if (time or ratio) and metric in other.metrics:
                interval = _ratio(other.metrics[metric], values)
                if np.isfinite(interval[0]):
                    found.append(Change(row.dataset, row.detector, metric, *interval, differing))
    return found


def _key(row: Row) -> tuple[str, ...]:
    """What tells a row from others; other work is another time."""
    work = row.details.get("units", row.details.get("rows"))  # a word of its own in old files
    named = [row.details.get(name) for name in ("setting", "members", "steps")]
    return row.dataset, row.detector, *map(str, [work, *named])


def _ratio(old: Sequence[float], new: Sequence[float]) -> tuple[float, float, float]:
    """New median over old, and the interval of resampled repetitions."""
    before, after = (np.array([v for v in values if np.isfinite(v)]) for values in (old, new))

    def ratio(new: np.ndarray, old: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.median(new, axis) / np.median(old, axis)

    if not len(before) or not len(after):
        return np.nan, np.nan, np.nan
    if min(len(before), len(after)) < 3:
        return float(ratio(after, before)), np.nan, np.nan
    how = {"n_resamples": _DRAWS, "method": "percentile", "random_state": 0}
    interval = stats.bootstrap((after, before), ratio, **how).confidence_interval
    return float(ratio(after, before)), float(interval.low), float(interval.high)


def warnings(old: Record, new: Record) -> list[str]:
    """Why the two may not be comparable, besides different machines."""
    before, after = old.newest, new.newest
    devices = [len(run.machine["devices"]) for run in (before, after)]
    pairs = {"--threads": (before.threads, after.threads), "the number of devices": devices}
    said = [f"warning: {what} differs: {a!r} and {b!r}" for what, (a, b) in pairs.items() if a != b]
    said += [
        f"warning: {name} has no rates of matrix products: its machine is known by name and cores"
        for name, run in (("OLD", before), ("NEW", after))
        if not run.machine.get("product_gflops")
    ]
    differing = [k for k in before.config if before.config[k] != after.config.get(k)]
    return said + ([f"warning: settings differ: {', '.join(differing)}"] if differing else [])


def missing(old: Record, new: Record) -> list[str]:
    """What the old result measured and the new one has not."""
    measured = {_key(row) for row in new.rows if row.metrics}
    gone = [row for row in old.rows if row.metrics and _key(row) not in measured]
    return [f"not in NEW: {row.dataset}, {row.detector}" for row in gone]


def text(found: Sequence[Change], tolerance: float) -> str:
    """The changes as a table, and in a last line how much the peers drifted by themselves."""
    body = [
        [c.dataset, c.detector, c.metric, f"{c.ratio:.3f}"]
        + ["-" if np.isnan(c.low) else f"[{c.low:.3f}, {c.high:.3f}]", c.verdict(tolerance)]
        for c in found
    ]
    header = ["dataset", "detector", "measured", "new / old", "95 % interval", ""]
    lines = [tables.text(header, body, left=3)]
    times = [c for c in found if not c.machines]
    others = [c.ratio for c in times if not c.ours]
    if others and len(others) < len(times):
        mine = np.median([c.ratio for c in times if c.ours])
        lines.append(
            f"\nmedian of all: ours {mine:.3f}, the others {np.median(others):.3f} "
            "(what they drifted, the machine did)"
        )
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Print the comparison; 1 where something of ours became slower beyond noise, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run compare",
        description="Compare the times of two results; exit status 1 if ours became slower.",
    )
    parser.add_argument("old", type=Path, metavar="OLD", help="results folder, or the file in it")
    parser.add_argument("new", type=Path, metavar="NEW")
    told = f"a change up to this is no change (default: {TOLERANCE})"
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, metavar="SHARE", help=told)
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.tolerance < float("inf"):
        raise OptionError(f"--tolerance {arguments.tolerance}: must be at least 0")
    old, new = rows.read(arguments.old), rows.read(arguments.new)
    if old.suite != new.suite:
        raise OptionError(f"OLD is of suite {old.suite!r}, NEW of {new.suite!r}: nothing in common")
    for line in warnings(old, new):
        print(line, file=sys.stderr)
    found = changes(old, new)
    if not found:
        raise OptionError("the two results have no measured time in common")
    differing = dict.fromkeys(change.machines for change in found if change.machines)
    for line in differing:
        print(f"different machines: {line}")
    for name, one in (("OLD", old), ("NEW", new)) if differing else ():
        rates = machines.rates_of_all(run.machine for run in one.runs)
        print(f"matrix products in {name}: {rates}")
    print(text(found, arguments.tolerance))
    for line in missing(old, new):
        print(line)
    slower = [c for c in found if c.ours and c.verdict(arguments.tolerance) == "slower"]
    if differing:
        count = sum(bool(c.machines) and c.metric != "ratio" for c in found)
        print(f"{count} times are of different machines: not called slower or faster")
        print("ratios within a run can be compared, with the rates of products in mind")
    print(f"{len(slower)} of our times are slower beyond noise and tolerance")
    return 1 if slower else 0
