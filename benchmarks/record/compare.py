"""``python -m benchmarks.run compare OLD NEW``: what became slower or faster, and how surely."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks.record import rows, tables
from benchmarks.record.rows import Record, Row
from benchmarks.settings import OptionError

TOLERANCE = 0.05
# How the names begin of what is not ours.
PEERS = ("pytorch", "PyOD", "DeepOD", "flax", "isolation", "nearest", "fifth", "5 nearest")
_DRAWS = 4000
# What a single measurement says nothing sure about.
_APART = ("first_seconds", "compile_seconds", "import_seconds")


class Change(NamedTuple):
    """The new median of a time over the old one.

    95 % of the ratios of resampled repetitions lie between ``low`` and ``high``; both are NaN for
    fewer than three repetitions.
    """

    dataset: str
    detector: str
    metric: str
    ratio: float
    low: float
    high: float

    @property
    def ours(self) -> bool:
        """Whether it is the time of something in this project."""
        return not self.detector.startswith(PEERS)

    def verdict(self, tolerance: float) -> str:
        """``slower`` or ``faster`` where the whole interval is beyond the tolerance, else empty."""
        if self.low > 1 + tolerance:
            return "slower"
        return "faster" if self.high < 1 / (1 + tolerance) else ""


def changes(old: Record, new: Record) -> list[Change]:
    """Every time that both results have, in the order of the new one."""
    before = {_key(row): row for row in old.rows}
    found = []
    for row in new.rows:
        if _key(row) not in before:
            continue
        other = before[_key(row)].metrics
        for metric, values in row.metrics.items():
            if metric.endswith("seconds") and metric in other and metric not in _APART:
                interval = _ratio(other[metric], values)
                if np.isfinite(interval[0]):
                    found.append(Change(row.dataset, row.detector, metric, *interval))
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
    """Why the two may not be comparable."""
    before, after = old.newest, new.newest
    pairs = {
        f"the machines differ, {name}": (before.machine.get(name), after.machine.get(name))
        for name in ("processor", "usable_cores", "devices")
    }
    pairs["--threads differs"] = before.threads, after.threads
    said = [f"warning: {what}: {a!r} and {b!r}" for what, (a, b) in pairs.items() if a != b]
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
    header = ["dataset", "detector", "time", "new / old", "95 % interval", ""]
    lines = [tables.text(header, body, left=3)]
    others = [c.ratio for c in found if not c.ours]
    if others and len(others) < len(found):
        mine = np.median([c.ratio for c in found if c.ours])
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
    print(text(found, arguments.tolerance))
    for line in missing(old, new):
        print(line)
    slower = [c for c in found if c.ours and c.verdict(arguments.tolerance) == "slower"]
    print(f"{len(slower)} of our times are slower beyond noise and tolerance")
    return 1 if slower else 0
