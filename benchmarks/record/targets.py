"""Targets: figures to reach, held against what was measured, as rows of a result."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.record import tables
from benchmarks.record.rows import Row
from benchmarks.record.timing import Timing, label, ratio

TARGET = "target"  # the data set's name in rows that hold a target


class Goal(NamedTuple):
    """A ratio to reach (None: it is only reported), and a sentence on what bounds it."""

    ratio: float | None = None
    bound: str = ""

    def __str__(self) -> str:
        return "-" if self.ratio is None else f">= {self.ratio:g}"


NO_GOAL = Goal()


def target(what: str, goal: str, measured: str, met: bool | None, bound: str = "") -> Row:
    """A row that holds a goal, what was measured, and a sentence on what bounds it.

    ``met=None`` means that there is no goal or no measurement.
    """
    details = {"goal": goal, "measured": measured, "met": met}
    return Row(TARGET, what, details=details | ({"bound": bound} if bound else {}))


def at_least(what: str, slow: Timing, fast: Timing, goal: Goal = NO_GOAL) -> Row:
    """The target that ``slow`` takes at least ``goal`` times as long as ``fast``."""
    over = ratio(slow, fast)
    met = None if goal.ratio is None else over.median >= goal.ratio
    return target(what, str(goal), str(over), met, goal.bound)


def not_measured(what: str, goal: Goal, reason: str) -> Row:
    """A target without a measurement."""
    return target(what, str(goal), f"missing: {reason}", None)


def against(
    what: str,
    other: str,
    ours: str,
    later: Mapping[str, Timing],
    goal: Goal,
    failures: Mapping[str, str],
) -> Row:
    """The target that ``other`` takes so many times as long as ``ours``, if it was measured."""
    if other in later:
        return at_least(f"{what}: {other} / {ours}", later[other], later[ours], goal)
    return not_measured(f"{what}: {other} / {ours}", goal, failures[other])


def against_best(
    what: str, goals: Mapping[str, Goal], later: Mapping[str, Timing], counts: Sequence[int]
) -> list[Row]:
    """Compare the best loop of each kind with ours, on all cores and then on one.

    Args:
      what: names the part.
      goals: kind (a piece of a loop's name) -> how many times our time it takes at least.
      later: the repeated timings; ours are named ``jaxad``.
      counts: core counts that were measured.
    """
    found = []
    for among, ours in dict.fromkeys(((tuple(counts), counts[-1]), ((1,), 1))):
        endings = tuple(label("", count) for count in among)
        for kind, goal in goals.items():
            names = [name for name in later if kind in name and name.endswith(endings)]
            if names:
                best = min(names, key=lambda name: later[name].median)
                reference = label("jaxad", ours)
                title = f"{what}: {best} / {reference}"
                found.append(at_least(title, later[best], later[reference], goal))
    return found


def text(rows: Sequence[Row]) -> str:
    """A table of the targets among rows, with the bounds of those that were missed."""
    found = [row for row in rows if row.dataset == TARGET]
    if not found:
        return ""
    verdict = {True: "yes", False: "no", None: "-"}
    body = [
        [row.detector, row.details["goal"], row.details["measured"], verdict[row.details["met"]]]
        for row in found
    ]
    lines = [tables.text(["target", "goal", "measured", "met"], body, left=1, grouped=False)]
    missed = [row for row in found if row.details["met"] is False and "bound" in row.details]
    lines += [f"\n{row.detector}: {row.details['bound']}" for row in missed]
    return "\n".join(lines)
