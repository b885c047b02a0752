"""Ours against the published figure: how far apart, and what to say of it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats

from benchmarks.quality.paper_rows import Published
from benchmarks.record.rows import mean_std

LEAST_TOLERANCE = 1.0  # points
CONFIDENCE = 0.95
VERDICTS = ("reproduced", "above", "below", "not testable")


class Verdict(NamedTuple):
    """The outcome of a comparison.

    Attributes:
      word: one of `VERDICTS`.
      reason: why, in a few words.
      errors: ours less published, in standard errors of ours; NaN where undefined.
    """

    word: str
    reason: str
    errors: float = math.nan


def judge(
    values: Sequence[float],
    published: Published | None,
    rerun: Published | None = None,
    *,
    missing: str | None = None,
) -> Verdict:
    """Compare our figures, in % and one per seed, with a published mean.

    "reproduced": as near as one published standard deviation over runs, and in any case one point,
    with a standard error that is no larger. Where that fails, another published run of the same
    method counts too, and the reason says so. "above" and "below": further off, and the 95 %
    confidence interval of ours leaves the published mean out (Student's t). What is neither is
    "not testable".

    Example:
      >>> judge([93.5, 94.0, 94.5], Published(94.9, "confirmed", "table 1", std=0.8)).word
      'reproduced'
      >>> judge([93.0, 94.0, 95.0], None).reason
      'no published figure'
    """
    known = [v for v in values if not math.isnan(v)]
    if missing or not known:
        return Verdict("not testable", missing or "no seed could be measured")
    if published is None:
        return Verdict("not testable", "no published figure")
    mean, std = mean_std(known)
    difference = mean - published.mean
    if len(known) < 2:
        return Verdict("not testable", f"{difference:+.1f}, but one seed says little")
    error = std / math.sqrt(len(known))
    errors = difference / error if error > 0 else math.nan
    near = _tolerance(published)
    if abs(difference) <= near and error <= near:
        return Verdict("reproduced", f"{difference:+.1f}, within {_told(published)}", errors)
    margin = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1))
    apart = f"{difference:+.1f}"
    uncertain = abs(difference) <= max(near, margin)
    if rerun is not None:
        beside, close = mean - rerun.mean, _tolerance(rerun)
        if abs(beside) <= close and error <= close:
            told = f"within {_told(rerun)} of {rerun.mean:.1f}: {rerun.source}"
            return Verdict("reproduced", f"{difference:+.1f}, but {told}", errors)
        uncertain |= abs(beside) <= max(close, margin)
        apart += f" ({beside:+.1f} from {rerun.source})"
    if uncertain:
        reason = f"{apart}, but {len(known)} seeds deviate by {std:.1f}"
        return Verdict("not testable", reason, errors)
    reason = f"{apart}, more than {_told(published)}"
    return Verdict("above" if difference > 0 else "below", reason, errors)


def passes(mean: float, published: Published) -> bool:
    """Whether a mean is within the tolerance of "reproduced"."""
    return abs(mean - published.mean) <= _tolerance(published)


def _tolerance(published: Published) -> float:
    return max(LEAST_TOLERANCE, _deviation(published))


def _deviation(published: Published) -> float:
    """The published deviation over runs, or 0. One over classes says nothing about the mean."""
    return published.std or 0.0 if published.std_over == "runs" else 0.0


def _told(published: Published) -> str:
    if _deviation(published) > LEAST_TOLERANCE:
        return f"a published standard deviation of {published.std}"
    return "one point"
