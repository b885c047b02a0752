"""Two detectors compared on the same sets."""

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
