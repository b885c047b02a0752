"""Ours against the published figure: how far apart, and what to say of it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.papers.configs import Published
from benchmarks.schema import mean_std

LEAST_TOLERANCE = 1.0  # points
SIGNIFICANT = 2.0  # standard errors
VERDICTS = ("reproduced", "above", "below", "not testable")


class Verdict(NamedTuple):
    """What a comparison comes to.

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

    "reproduced": as near as one published standard deviation, and in any case one point. Where that
    fails, another published run of the same method counts too, and the reason says so. "above" and
    "below" take two standard errors as well.

    Example:
      >>> judge([93.0, 94.0, 95.0], Published(94.9, "confirmed", "table 1", std=0.8)).word
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
    errors = difference / max(std / math.sqrt(len(known)), 1e-9) if len(known) > 1 else math.nan
    tolerance = _tolerance(published)
    if abs(difference) <= tolerance:
        return Verdict("reproduced", f"{difference:+.1f}, within {_told(published)}", errors)
    if rerun is not None and abs(mean - rerun.mean) <= _tolerance(rerun):
        reason = f"{difference:+.1f}, but within {_told(rerun)} of {rerun.mean:.1f}: {rerun.source}"
        return Verdict("reproduced", reason, errors)
    if not abs(errors) >= SIGNIFICANT:
        return Verdict("not testable", f"{difference:+.1f}, but {_noise(known, std)}", errors)
    if difference > 0:
        return Verdict("above", f"{difference:+.1f}", errors)
    return Verdict("below", f"{difference:+.1f}, more than {_told(published)}", errors)


def _noise(known: Sequence[float], std: float) -> str:
    if len(known) < 2:
        return "one seed says little"
    return f"{len(known)} seeds deviate by {std:.1f}"


def _tolerance(published: Published) -> float:
    return max(LEAST_TOLERANCE, published.std or 0.0)


def _told(published: Published) -> str:
    if (published.std or 0.0) > LEAST_TOLERANCE:
        return f"a published standard deviation of {published.std}"
    return "one point"
