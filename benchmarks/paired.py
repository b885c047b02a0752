"""Two detectors compared on the same sets, and many such comparisons at once."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Paired(NamedTuple):
    """The differences of two detectors over the sets that have a figure of both.

    Attributes:
      sets: how many.
      mean: mean difference.
      error: its standard error.
      wins, ties, losses: sets on which the first is higher, as high, lower.
      p: of the paired t-test, two-sided; NaN where all differences are equal.
    """

    sets: int
    mean: float
    error: float
    wins: int
    ties: int
    losses: int
    p: float


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """How far ``first`` lies above ``second``, one figure per set; NaN where there is none.

    Example:
      >>> result = paired([3.0, 5.0, 4.0, math.nan], [1.0, 1.0, 4.0, 0.0])
      >>> result[:2], result[3:6], round(result.p, 3)
      ((3, 2.0), (2, 1, 0), 0.225)
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    difference = difference[~np.isnan(difference)]
    sets = len(difference)
    mean = float(difference.mean()) if sets else math.nan
    error = float(difference.std(ddof=1) / math.sqrt(sets)) if sets > 1 else math.nan
    varies = error > 1e-12 * abs(mean)  # not by rounding alone
    p = float(2 * stats.t.sf(abs(mean) / error, sets - 1)) if varies else math.nan
    sign = np.sign(difference)
    wins, ties, losses = (int((sign == s).sum()) for s in (1, 0, -1))
    return Paired(sets, mean, error, wins, ties, losses, p)


def holm(p: Sequence[float]) -> list[float]:
    """p-values of tests made together, corrected for their number (Holm 1979); NaN stays.

    Example:
      >>> [round(value, 3) for value in holm([0.01, 0.04, math.nan, 0.03])]
      [0.03, 0.06, nan, 0.06]
    """
    p = np.asarray(p, float)
    order = [i for i in np.argsort(p, kind="stable") if not math.isnan(p[i])]
    corrected, highest = p.copy(), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[i]))
        corrected[i] = highest
    return corrected.tolist()


def within(families: Sequence[str], p: Sequence[float]) -> list[float]:
    """`holm` for the tests of each family by itself.

    Example:
      >>> within(["a", "b", "a"], [0.01, 0.04, 0.03])
      [0.02, 0.04, 0.03]
    """
    corrected = np.asarray(p, float)
    for family in set(families):
        members = np.array([name == family for name in families])
        corrected[members] = holm(corrected[members])
    return corrected.tolist()
