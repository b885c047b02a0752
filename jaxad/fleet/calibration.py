"""Thresholds and p-values of groups, from each group's held-out scores or from all groups'.

Held-out scores of a group promise it a rate of false alarms by themselves if they are many: with
``n`` of them the conformal threshold for a rate ``a`` is the ``k``-th highest, ``k = floor(a (n +
1))``, and its true rate follows the beta distribution ``B(k, n + 1 - k)`` (Vovk, "Conditional
validity of inductive conformal predictors", 2012). They *suffice* if the true rate is above ``2 a``
with a probability of at most 5 %, even for the least ``n`` of this ``k``: from 399 for ``a`` = 1 %.

Other groups share a pool. The scores of different models have different units, so they are
standardised by the group's centre and spread, `centre_and_spread` of its training rows. There are
more of those; and a group's held-out row and its new row are exchangeable after it, so the pool
also holds how much higher new rows score than trained ones. A group's pool comes from the groups of
a similar number of training rows, because models of few rows overfit more.
"""

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from jaxad.thresholds import alarms_allowed, p_values_from_sorted

_DOUBLE, _RISK = 2.0, 0.05  # own scores suffice: P(rate > _DOUBLE * asked) <= _RISK
_FROM_GROUP = 256  # held-out scores of a group that enter its pool at most
_POOL = 65_536  # scores of a pool at most
_ENOUGH = 20  # a pool holds at least so many scores above the threshold, if it can


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Held-out scores of ``M`` groups and what makes them p-values; made by `calibrate`.

    Attributes:
      scores: ``[T]`` float32, held-out scores, ascending within each group.
      offsets: ``[M + 1]`` int64: group ``m`` has scores ``offsets[m]`` to ``offsets[m + 1]``.
      centre: ``[M]`` float64, subtracted from the group's scores before pooling.
      spread: ``[M]`` float64, positive; divides them then.
      pool: ``[M]`` int64, the pool of each group.
      pools: ``[Q]`` float64, standardised scores, ascending within each pool.
      pool_offsets: ``[C + 1]`` int64: where each pool begins and ends.
      rate: the rate of false alarms asked for, in (0, 1).
    """

    scores: np.ndarray
    offsets: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    pool: np.ndarray
    pools: np.ndarray
    pool_offsets: np.ndarray
    rate: float

    def by_group(self) -> list[np.ndarray]:
        """The held-out scores of each group, as views."""
        ends = self.offsets.tolist()
        scores = np.asarray(self.scores)
        return [scores[start:stop] for start, stop in pairwise(ends)]

    def threshold(self) -> tuple[np.ndarray, np.ndarray]:
        """The highest score of each group that is not flagged, and whether it is from own scores.

        A row is flagged if it scores higher, which is the same as a p-value of at most ``rate``.
        The threshold is infinite where even the pool has too few scores for the rate.

        Returns:
          ``[M]`` float64 and ``[M]`` bool.
        """
        counts = np.diff(self.offsets)
        own = suffice(counts, self.rate)
        values = np.empty(len(counts))
        values[own] = self.scores[self.offsets[1:][own] - alarms_allowed(counts[own], self.rate)]
        sizes = np.diff(self.pool_offsets)
        allowed = alarms_allowed(sizes, self.rate)
        highest = np.full(len(sizes), np.inf)
        can = allowed > 0
        highest[can] = self.pools[self.pool_offsets[1:][can] - allowed[can]]
        rest = np.flatnonzero(~own)
        values[rest] = self._highest(rest, highest[self.pool[rest]])
        return values, own

    def p_values(self, group: int, scores: np.ndarray) -> np.ndarray:
        """P-values ``[N]`` in (0, 1] of rows that group number ``group`` scores ``[N]``, float32.

        A p-value is the share of held-out scores that are at least as high, the row itself counted
        in: of the group's own scores where they suffice, else of its pool.
        """
        start, stop = self.offsets[group : group + 2]
        if suffice(stop - start, self.rate):
            return p_values_from_sorted(self.scores[start:stop], np.asarray(scores, np.float32))
        start, stop = self.pool_offsets[self.pool[group] :][:2]
        return p_values_from_sorted(self.pools[start:stop], self._standardised(group, scores))

    def alarm_rates(self) -> np.ndarray:
        """The share ``[M]`` of each group's held-out scores that is flagged; NaN without any."""
        values, _ = self.threshold()
        counts = np.diff(self.offsets)
        flagged = self.scores > np.repeat(values, counts)
        total = np.concatenate([[0], np.cumsum(flagged)])[self.offsets]
        return np.divide(np.diff(total), counts, out=np.full(len(counts), np.nan), where=counts > 0)

    def true_rates(self) -> tuple[np.ndarray, np.ndarray]:
        """The beta distribution of each group's true rate of alarms: two parameters ``[M]``.

        Above a threshold from ``n`` own scores it is the one in the module's docstring. The rates
        of other groups vary as far as the alarms among the held-out scores of all of them show.
        """
        counts = np.diff(self.offsets)
        own = suffice(counts, self.rate)
        high = alarms_allowed(counts, self.rate).astype(np.float64)
        low = counts + 1 - high
        pooled = ~own & (counts > 0)
        rates = self.alarm_rates()[pooled]
        high[~own], low[~own] = spread_of_rates(rates, counts[pooled], self.rate)
        return high, low

    def _standardised(self, group: np.ndarray | int, scores: np.ndarray) -> np.ndarray:
        return (np.asarray(scores, np.float64) - self.centre[group]) / self.spread[group]

    def _highest(self, groups: np.ndarray, standardised: np.ndarray) -> np.ndarray:
        """The highest float32 score of each group that is at most ``standardised`` in the pool."""
        with np.errstate(over="ignore"):
            values = (self.centre[groups] + self.spread[groups] * standardised).astype(np.float32)
            # Rounding may have moved it by a step.
            for _ in range(2):
                over = self._standardised(groups, values) > standardised
                values = np.where(over, np.nextafter(values, np.float32(-np.inf)), values)
            for _ in range(2):
                higher = np.nextafter(values, np.float32(np.inf))
                under = self._standardised(groups, higher) <= standardised
                values = np.where(under, higher, values)
        return values.astype(np.float64)


def calibrate(
    held_out: Sequence[np.ndarray],
    centre: np.ndarray,
    spread: np.ndarray,
    sizes: np.ndarray,
    rate: float,
) -> Calibration:
    """Calibrate ``M`` groups.

    Args:
      held_out: ``M`` arrays of finite scores of normal rows that were held out from training; they
        may be empty.
      centre: ``[M]``, and
      spread: ``[M]``, at least 0: `centre_and_spread` of the scores of the training rows.
      sizes: ``[M]`` numbers of training rows.
      rate: the share of normal rows to flag, in (0, 1).

    Raises:
      ValueError: there is no group, lengths differ, the rate is out of range, or a score, centre or
        spread is not finite.
    """
    counts = np.array([len(scores) for scores in held_out], np.int64)
    groups = len(counts)
    if not groups:
        raise ValueError("held_out is empty: pass the scores of at least one group")
    named = {"centre": centre, "spread": spread, "sizes": sizes}
    for name, values in named.items():
        if np.shape(values) != (groups,):
            raise ValueError(
                f"{name} has shape {np.shape(values)}: pass one value for each of {groups} groups"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{name}[{int(np.argmin(np.isfinite(values)))}] is not finite")
    scores = np.concatenate([np.asarray(part, np.float32) for part in held_out])
    offsets = _offsets(counts)
    owner = np.repeat(np.arange(groups), counts)
    if not np.isfinite(scores).all():
        first = int(np.argmin(np.isfinite(scores)))
        raise ValueError(
            f"held_out[{owner[first]}][{first - offsets[owner[first]]}]={scores[first]} is not "
            "finite: pass the group as one without a model"
        )
    centre = np.array(centre, np.float64)
    # A group whose rows all score the same differs from rounding by more than rounding.
    least = np.maximum(np.abs(centre) * 2.0**-20, np.finfo(np.float32).tiny)
    spread = np.maximum(np.asarray(spread, np.float64), least)
    ascending = scores[np.lexsort((scores, owner))]
    drawn = _drawn(owner, offsets)
    standardised = ((ascending - centre[owner]) / spread[owner])[drawn]
    step = np.floor(2 * np.log2(np.maximum(sizes, 1))).astype(np.int64)
    rate = _checked_rate(rate)
    pool, pools, pool_offsets = _pooled(standardised, step[owner][drawn], step, rate)
    return Calibration(ascending, offsets, centre, spread, pool, pools, pool_offsets, rate)


def centre_and_spread(scores: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and spread ``[M]`` of each group's scores: their mean and standard deviation.

    Args:
      scores: ``[T]`` finite scores of training rows, group by group.
      offsets: ``[M + 1]``: group ``m`` has scores ``offsets[m]`` to ``offsets[m + 1]``, at least 1.
    """
    scores = np.asarray(scores, np.float64)
    counts = np.diff(offsets)
    centre = np.add.reduceat(scores, offsets[:-1]) / counts
    square = np.add.reduceat((scores - np.repeat(centre, counts)) ** 2, offsets[:-1])
    return centre, np.sqrt(square / counts)


def suffice(counts: np.ndarray | int, rate: float) -> np.ndarray:
    """Whether so many held-out scores promise the rate by themselves; see the module's docstring.

    Example:
      >>> suffice(np.array([50, 300, 500]), 0.01).tolist()
      [False, False, True]
    """
    from scipy import special  # slow to import

    allowed = np.maximum(alarms_allowed(counts, rate), 1)
    # The risk jumps up with each further score above the threshold, and falls from there on. Only
    # the jumps are compared, or more scores could turn "suffice" into "do not".
    jump = np.maximum(np.ceil(allowed / rate - 1e-6) - 1, 1).astype(np.int64)
    # The true rate is above r if at most k - 1 of n scores are in the highest share r.
    risk = special.bdtr(allowed - 1.0, jump, min(_DOUBLE * rate, 1.0))
    return (np.asarray(counts) >= jump) & (risk <= _RISK)


def threshold(ascending: np.ndarray, rate: float) -> float:
    """The highest of held-out scores that is not flagged; infinite if they are too few."""
    allowed = int(alarms_allowed(len(ascending), rate))
    return float(ascending[len(ascending) - allowed]) if allowed else math.inf


def flags(values: np.ndarray, rate: float) -> np.ndarray:
    """Whether rows with these p-values are flagged."""
    return values <= rate + 1e-12


def spread_of_rates(
    alarm_rates: np.ndarray, counts: np.ndarray, rate: float
) -> tuple[float, float]:
    """The beta distribution of groups' true rates of alarms, by moments of their held-out ones.

    Args:
      alarm_rates: ``[G]`` shares of held-out scores that are flagged.
      counts: ``[G]`` numbers of held-out scores.
      rate: the mean of the distribution.

    Returns:
      The two parameters. Without a spread beyond that of chance they are large.
    """
    excess = np.square(alarm_rates - rate) - rate * (1 - rate) / counts
    weight = counts / max(1, counts.sum())
    known = rate * (1 - rate) / max(1, counts.sum())  # how well the threshold itself is known
    variance = max(float(np.sum(excess * weight)), 0.0) + known
    size = max(rate * (1 - rate) / variance - 1, 1.0)
    return rate * size, (1 - rate) * size


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _drawn(owner: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Which scores enter the pools: of each group at most `_FROM_GROUP`, drawn at random."""
    order = np.lexsort((np.random.default_rng(0).random(len(owner)), owner))
    place = np.empty(len(owner), np.int64)
    place[order] = np.arange(len(owner)) - offsets[:-1][owner]
    return place < _FROM_GROUP


def _pooled(
    scores: np.ndarray, steps: np.ndarray, groups: np.ndarray, rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One pool for each half octave of group sizes, widened by half octaves until it holds enough.

    Args:
      scores: standardised scores.
      steps: the half octave of each score's group.
      groups: ``[M]``, the half octave of each group.
      rate: as in `calibrate`.

    Returns:
      The pool of each group, all pools, and their offsets.
    """
    present, pool = np.unique(groups, return_inverse=True)
    enough = math.ceil(_ENOUGH / rate)
    parts = []
    for middle in present:
        distance = np.abs(steps - middle)
        within = np.sort(distance)
        reach = within[min(enough, len(within)) - 1] if len(within) else 0
        part = np.sort(scores[distance <= reach])
        if len(part) > _POOL:  # evenly spaced ranks keep its quantiles
            part = part[np.linspace(0, len(part) - 1, _POOL).round().astype(np.int64)]
        parts.append(part)
    return pool, np.concatenate(parts), _offsets(np.array([len(part) for part in parts]))


def _checked_rate(rate: float) -> float:
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate} is outside (0, 1): choose the share of normal rows to flag")
    return float(rate)
