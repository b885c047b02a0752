"""Times whose ratio can be trusted: variants interleaved in one process, medians and spread."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tqdm import tqdm

from benchmarks.record import environment
from benchmarks.record.rows import Row

GIVE_UP = 10.0
PAUSE = 0.3


@dataclass(frozen=True)
class Timing:
    """Seconds of the repetitions of one variant, in the order they were taken."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile; minimum and maximum of fewer than four repetitions."""
        return _quartiles(self.seconds)

    def over(self, count: float) -> "Timing":
        """Seconds per unit of work, of which a repetition has ``count``."""
        return Timing(tuple(seconds / count for seconds in self.seconds))


@dataclass(frozen=True)
class Ratio:
    """How many times longer one variant takes than another, median and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


Timings = dict[str, Timing]


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


def on_each_core_count(
    loops: Mapping[str, Callable[[int], object]],
) -> tuple[dict[str, Callable[[], None]], list[int]]:
    """Every loop on one core and on all, by label, and these core counts.

    A loop is called with its number of cores. Callers pin the process back to all cores in the end.
    """
    cores = environment.usable_cores()
    counts = sorted({1, len(cores)}) if environment.pin(cores) else [len(cores)]

    def confined(loop: Callable[[int], object], count: int) -> None:
        environment.pin(cores[-count:])
        loop(count)

    variants = {
        label(name, count): partial(confined, loop, count)
        for name, loop in loops.items()
        for count in counts
    }
    return variants, counts


def label(name: str, count: int) -> str:
    """The name of a loop on a number of cores."""
    return f"{name}, {count} core{'s' * (count > 1)}"


def ratio(slow: Timing, fast: Timing) -> Ratio:
    """``slow`` over ``fast`` in every round that both have.

    Example:
      >>> print(ratio(Timing((2.0, 4.0, 9.0)), Timing((1.0, 2.0, 3.0))))
      2.00 [2.00, 3.00]
    """
    ratios = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=False)]
    return Ratio(statistics.median(ratios), *_quartiles(ratios))


def timed_rows(
    dataset: str,
    first: Timings,
    later: Timings,
    *,
    reference: str,
    units: int,
    failures: Mapping[str, str] | None = None,
) -> list[Row]:
    """Seconds of every variant and their ratio to the reference, or why there are none.

    Args:
      dataset: what was measured.
      first, later: of `timed`.
      reference: the variant that is ours.
      units: steps or rows of a run.
      failures: variant -> reason.
    """
    rows = []
    for name, timing in later.items():
        pairs = zip(timing.seconds, later[reference].seconds, strict=False)
        metrics = {
            "seconds": timing.seconds,
            "first_seconds": first[name].seconds,
            "ratio": [a / b for a, b in pairs],
        }
        rows.append(Row(dataset, name, metrics, {"units": units}))
    return rows + [Row(dataset, name, missing=why) for name, why in (failures or {}).items()]


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 4:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
