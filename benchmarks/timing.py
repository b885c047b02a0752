"""Times whose ratio can be trusted: variants interleaved in one process, medians and spread."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of the repetitions of one variant, in the order they were taken."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle repetition."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Where the middle half of the repetitions lies; the extremes if there are under four."""
        return _quartiles(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """How many times longer one variant takes than another, median and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interleaved(
    variants: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    give_up: float = math.inf,
    pause: float = 0.0,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
    failed: Callable[[str, Exception], bool] = lambda name, error: False,
) -> tuple[dict[str, Timing], dict[str, Timing]]:
    """Time every variant once, then ``repeats`` times in turn, so that drift hits all alike.

    Each round starts with another variant. A variant must wait for its own results.

    Args:
      variants: name -> what to time.
      repeats: timed rounds after the first.
      give_up: a variant this many times slower than the fastest in the first timed round is not
        repeated (threads that wait for a busy core can be a hundred times slower).
      pause: seconds of rest before every run: the threads of a pool that has just worked go on
        spinning for a while, on the next variant's account.
      progress: wraps the iteration over runs, for a progress bar.
      failed: told of a variant that raised an error; where it returns True the variant is left out
        of the result, else the error goes on.

    Returns:
      The first run of each variant (with what it compiles), and the rounds after it.
    """
    names = list(variants)
    rounds = [names] + [names[i % len(names) :] + names[: i % len(names)] for i in range(repeats)]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for name in progress([name for order in rounds for name in order]):
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
            if not failed(name, error):
                raise
            del taken[name]
            continue
        taken[name].append(time.perf_counter() - start)
    first = {name: Timing((seconds[0],)) for name, seconds in taken.items()}
    return first, {name: Timing(tuple(seconds[1:])) for name, seconds in taken.items()}


def ratio(slow: Timing, fast: Timing) -> Ratio:
    """``slow`` over ``fast``, round by round, as far as both were repeated.

    Example:
      >>> print(ratio(Timing((2.0, 4.0, 9.0)), Timing((1.0, 2.0, 3.0))))
      2.00 [2.00, 3.00]
    """
    ratios = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=False)]
    low, high = _quartiles(ratios)
    return Ratio(statistics.median(ratios), low, high)


def _quartiles(values) -> tuple[float, float]:
    if len(values) < 4:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
