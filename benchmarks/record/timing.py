"""Times whose ratio can be trusted, and targets that they are held against.

Variants are interleaved in one process; medians and quartiles are kept.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tqdm import tqdm

from benchmarks.record.rows import Row

GIVE_UP = 10.0
PAUSE = 0.3
TARGET = "target"  # the data set's name in rows that hold a target


@dataclass(frozen=True)
class Timing:
    """Repeated measurements in the order they were taken: seconds, or ratios of seconds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile; minimum and maximum of fewer than four values."""
        if len(self.values) < 4:
            return min(self.values), max(self.values)
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high

    def over(self, count: float) -> "Timing":
        """Seconds per unit of work, of which a repetition has ``count``."""
        return Timing(tuple(value / count for value in self.values))

    def show(self, spec: str = ".2f", unit: str = "") -> str:
        """The median with its unit, and the quartiles.

        Example:
          >>> Timing((1.0, 2.0, 4.0)).show(".1f", " s")
          '2.0 s [1.0, 4.0]'
        """
        low, high = self.quartiles
        return f"{self.median:{spec}}{unit} [{low:{spec}}, {high:{spec}}]"


Timings = dict[str, Timing]


def ratio(slow: Timing, fast: Timing) -> Timing:
    """``slow`` over ``fast`` in every round that both have.

    Example:
      >>> ratio(Timing((2.0, 4.0, 9.0)), Timing((1.0, 2.0, 3.0))).show()
      '2.00 [2.00, 3.00]'
    """
    return Timing(tuple(a / b for a, b in zip(slow.values, fast.values, strict=False)))


def timed(
    what: str,
    variants: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    give_up: float = GIVE_UP,
    failures: dict[str, str] | None = None,
    pause: float = PAUSE,
) -> tuple[Timings, Timings]:
    """Time every variant once, then ``repeats`` times in turn, so that drift hits all alike.

    Each round starts with another variant. A variant must wait for its own results.

    Args:
      what: names the work on the progress bar.
      variants: name -> what to time.
      repeats: timed rounds after the first.
      give_up: a variant this many times slower than the fastest in the first timed round is not
        repeated (threads that wait for a busy core can be a hundred times slower).
      failures: where given, a variant that fails and is not ours is left out of the result, and its
        reason is written here by its name.
      pause: seconds of rest before every run: the threads of a pool that has just worked go on
        spinning for a while, on the next variant's account.

    Returns:
      The first run of each variant (with what it compiles), and the rounds after it.
    """
    names = list(variants)
    rounds = [names] + [names[i % len(names) :] + names[: i % len(names)] for i in range(repeats)]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for name in tqdm([n for order in rounds for n in order], desc=what, unit="run", leave=False):
        if name not in taken:
            continue
        if all(len(seconds) > 1 for seconds in taken.values()):
            fastest = min(seconds[1] for seconds in taken.values())
            if taken[name][1] > give_up * fastest:
                continue
        time.sleep(pause)
        start = time.perf_counter()
        try:
            variants[name]()
        except Exception as error:
            if failures is None or name.startswith("jaxad"):
                raise
            lines = str(error).strip().splitlines()
            failures[name] = f"{type(error).__name__}: {lines[0] if lines else ''}"
            del taken[name]
            continue
        taken[name].append(time.perf_counter() - start)
    first = {name: Timing((seconds[0],)) for name, seconds in taken.items()}
    return first, {name: Timing(tuple(seconds[1:])) for name, seconds in taken.items()}


def timed_rows(
    dataset: str,
    variants: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    reference: str,
    units: int,
    members: Mapping[str, int] | None = None,
    failures: dict[str, str] | None = None,
    give_up: float = GIVE_UP,
) -> tuple[list[Row], Timings]:
    """Rows of `timed` variants (seconds, ratios to the reference, failures), and their timings.

    ``units`` are the steps or rows of a run; times are those of one of the ``members`` of a run.
    """
    first, later = timed(dataset, variants, repeats, give_up=give_up, failures=failures)
    for name, count in (members or {}).items():
        if name in later:
            first[name], later[name] = first[name].over(count), later[name].over(count)
    rows = []
    for name, timing in later.items():
        metrics = {
            "seconds": timing.values,
            "first_seconds": first[name].values,
            "ratio": ratio(timing, later[reference]).values,
        }
        rows.append(Row(dataset, name, metrics, {"units": units}))
    rows += [Row(dataset, name, missing=why) for name, why in (failures or {}).items()]
    return rows, later


def best(later: Timings, names: Iterable[str]) -> str | None:
    """The fastest of some variants; None without any."""
    return min(names, key=lambda name: later[name].median, default=None)


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


def reached(what: str, value: Timing, goal: Goal, shown: str = "", unit: str = "") -> Row:
    """The target that the median of ``value`` is at least the goal's."""
    met = None if goal.ratio is None else value.median >= goal.ratio
    aim = f"{goal}{'' if met is None else unit}"
    return target(what, aim, shown or value.show(), met, goal.bound)


def at_least(what: str, slow: Timing, fast: Timing, goal: Goal = NO_GOAL) -> Row:
    """The target that ``slow`` takes at least ``goal`` times as long as ``fast``."""
    return reached(what, ratio(slow, fast), goal)


def not_measured(what: str, goal: Goal, reason: str) -> Row:
    """A target without a measurement."""
    return target(what, str(goal), f"missing: {reason}", None)


def against(
    what: str, other: str, ours: str, later: Timings, goal: Goal, failures: Mapping[str, str]
) -> Row:
    """The target that ``other`` takes so many times as long as ``ours``, if it was measured."""
    title = f"{what}: {other} / {ours}"
    if other in later:
        return at_least(title, later[other], later[ours], goal)
    return not_measured(title, goal, failures[other])
