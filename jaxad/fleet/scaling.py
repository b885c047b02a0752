"""Scalers of groups: each group's own moments, shrunk towards what the fleet shares.

A group of few rows knows its mean and its variance badly, so each is a weighted average of its own
value and the fleet's. The weights are estimated from the fleet itself, column by column:

* Means by credibility: the weight of a group of ``n`` rows is ``n / (n + k)``. The strength ``k``
  of the fleet is the variance within groups over the variance between their means, so fleets of
  groups that differ are left alone. Source: Buehlmann, "Experience rating and credibility", ASTIN
  Bulletin 1967; for groups of unequal sizes Buehlmann & Straub, "Glaubwuerdigkeit fuer
  Schadensaetze", 1970. A mean moves by at most two of its standard errors, so that a group unlike
  all others is not drawn to them; this is the limited translation of Efron & Morris, "Limiting the
  risk of Bayes and empirical Bayes estimators, part II", JASA 1972.
* Variances by moderation: ``(d0 s0^2 + d s^2) / (d0 + d)``, where the group's variance ``s^2`` has
  ``d = n - 1`` degrees of freedom and the fleet's ``s0^2`` counts as ``d0`` degrees. Both follow
  from the mean and the variance of the groups' log variances. Source: Smyth, "Linear models and
  empirical Bayes methods for assessing differential expression in microarray experiments", 2004,
  section 6.2. Here ``d0`` is at least 1, so a column that is nearly constant in a group does not
  explode.

A column that is exactly constant in a group gets the fleet's typical spread ``s0``: a later
deviation then counts in the units of the other groups. If it is constant in all, its scale is 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_MOST_ERRORS = 2.0  # how many standard errors a group's mean is moved at most
_LEAST_DEGREES = 1.0  # of the fleet's variance


class Moments(NamedTuple):
    """Moments of ``G`` groups of rows with ``D`` columns, in float64.

    Attributes:
      rows: ``[G]`` numbers of rows.
      mean: ``[G, D]``.
      variance: ``[G, D]``, the sum of squares divided by ``rows``.
      constant: ``[G, D]`` bool, all values are equal, whatever rounding does to their mean.
    """

    rows: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    constant: np.ndarray


class Prior(NamedTuple):
    """What the fleet knows of a group's columns before it sees the group; ``[D]`` float64 each.

    Attributes:
      mean: the credibility-weighted mean of the groups' means.
      strength: the number of rows that ``mean`` counts as, in [0, inf].
      variance: the typical variance within a group, Smyth's ``s0^2``; positive.
      degrees: the degrees of freedom that ``variance`` counts as, in [1, inf].
    """

    mean: np.ndarray
    strength: np.ndarray
    variance: np.ndarray
    degrees: np.ndarray


def moments(x: np.ndarray, offsets: np.ndarray) -> Moments:
    """The moments of each group, from its own rows alone: other groups do not change a bit.

    Args:
      x: ``[N, D]`` finite rows of any real type, group by group.
      offsets: ``[G + 1]``: group ``g`` has rows ``offsets[g]`` to ``offsets[g + 1]``, at least one.

    Raises:
      ValueError: the offsets do not cover the rows, a group has no row, or a column of a group has
        a value that is not finite or a variance that float64 cannot hold.

    Example:
      >>> moments(np.array([[1.0], [3.0], [7.0]]), np.array([0, 2, 3])).mean.tolist()
      [[2.0], [7.0]]
    """
    offsets = np.asarray(offsets)
    if x.ndim != 2 or offsets.ndim != 1 or offsets[0] != 0 or offsets[-1] != len(x):
        raise ValueError(f"offsets={offsets} do not cover x of shape {x.shape} from 0 to its end")
    count = np.diff(offsets)
    if (count < 1).any():
        raise ValueError(
            f"group {int(np.argmin(count))} has {count.min()} rows: leave out groups without rows"
        )
    mean, variance = np.empty((2, len(count), x.shape[1]))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for group, (start, stop) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
            # Columns in rows of memory: numpy's loops are then long for any number of columns.
            columns = np.array(x[start:stop].T, np.float64, order="C")
            # Exact where the column is constant, and it keeps the sums small.
            first = columns[:, :1].copy()
            columns -= first
            rest = columns.sum(1, keepdims=True) / count[group]
            columns -= rest
            np.multiply(columns, columns, out=columns)
            mean[group] = (first + rest)[:, 0]
            variance[group] = columns.sum(1) / count[group]
    finite = np.isfinite(mean) & np.isfinite(variance)
    if not finite.all():
        group, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"column {column} of group {group} has values that are not finite or too far apart for "
            "float64: drop or clip them"
        )
    return Moments(count.astype(np.float64), mean, variance, variance == 0)


def join(parts: Sequence[Moments]) -> Moments:
    """The moments of the groups of all parts, part after part.

    Raises:
      ValueError: there is no part.
    """
    if not parts:
        raise ValueError("parts is empty: pass the moments of at least one group")
    return Moments(*map(np.concatenate, zip(*parts, strict=True)))


def fit_prior(moments: Moments) -> Prior:
    """Estimate from ``G`` groups what they share; see the module's docstring for the rule.

    With a single group, or where groups differ by no more than chance, the prior's strength or
    degrees are infinite: such groups share one mean or variance.
    """
    mean, strength = _fit_mean(moments)
    variance, degrees = _fit_variance(moments)
    return Prior(mean, strength, variance, degrees)


def shrunk(prior: Prior, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale ``[G, D]`` of each group's scaler, ``(x - shift) * scale``.

    A group's result depends on its own moments and on the prior, not on the groups beside it.

    Example:
      >>> groups = moments(np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 2, 4]))
      >>> shift, scale = shrunk(fit_prior(groups), groups)
      >>> shift.round(1).tolist()
      [[1.1], [10.9]]
    """
    count, degrees = moments.rows[:, None], moments.rows[:, None] - 1
    # The weight d / (d0 + d) of the group's own variance, 0 for infinite d0.
    own = np.where(moments.constant, 0, degrees / (prior.degrees + np.maximum(degrees, 1)))
    unbiased = moments.variance * (count / np.maximum(degrees, 1))
    variance = own * unbiased + (1 - own) * prior.variance
    error = np.sqrt(variance / count)
    pull = (1 - count / (count + prior.strength)) * (prior.mean - moments.mean)
    limit = _MOST_ERRORS * error
    return moments.mean + np.clip(pull, -limit, limit), 1 / np.sqrt(variance)


def _fit_mean(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """The fleet's mean and its strength ``k``, by the estimators of Buehlmann & Straub."""
    count = moments.rows[:, None]
    rows, groups = count.sum(), len(count)
    within = (count * moments.variance).sum(0) / max(rows - groups, 1)
    centre = (count * moments.mean).sum(0) / rows
    excess = (count * (moments.mean - centre) ** 2).sum(0) - (groups - 1) * within
    effective = rows - (count**2).sum() / rows  # 0 for a single group
    between = np.maximum(excess, 0) / effective if effective > 0 else np.zeros_like(within)
    # Without any variance, neither mean is better: keep the groups' own.
    with np.errstate(divide="ignore", over="ignore"):
        strength = np.divide(within, between, out=np.zeros_like(within), where=within > 0)
        weight = np.where(np.isfinite(strength), count / (count + strength), count)
    return (weight * moments.mean).sum(0) / weight.sum(0), strength


def _fit_variance(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """The fleet's variance ``s0^2`` and its degrees ``d0``, from the groups' log variances."""
    from scipy import special  # slow to import

    used = ~moments.constant
    groups = used.sum(0)
    degrees = np.maximum(moments.rows - 1, 1)
    half = (degrees / 2)[:, None]
    unbiased = moments.variance * (moments.rows / degrees)[:, None]
    # Smyth's e_g, whose mean is log s0^2 + log(d0 / 2) - digamma(d0 / 2).
    logs = np.log(np.where(used, unbiased, 1)) - special.digamma(half) + np.log(half)
    logs = np.where(used, logs, 0)
    mean = logs.sum(0) / np.maximum(groups, 1)
    square = np.where(used, (logs - mean) ** 2, 0).sum(0) / np.maximum(groups - 1, 1)
    noise = np.where(used, special.polygamma(1, half), 0).sum(0) / np.maximum(groups, 1)
    excess = np.where(groups > 1, square - noise, 0)
    finite = excess > 0
    half0 = np.maximum(_inverse_trigamma(np.where(finite, excess, 1)), _LEAST_DEGREES / 2)
    bias = np.where(finite, special.digamma(half0) - np.log(half0), 0)
    variance = np.where(groups > 0, np.exp(mean + bias), 1)
    return variance, np.where(finite, 2 * half0, np.inf)


def _inverse_trigamma(y: np.ndarray) -> np.ndarray:
    """The ``x > 0`` with ``trigamma(x) = y``, by Newton's steps on ``1 / trigamma``.

    ``1 / trigamma`` is convex and almost linear, so the steps converge monotonically from the start
    ``1/2 + 1/y``. Source: Smyth 2004, appendix.
    """
    from scipy import special

    x = 0.5 + 1 / y
    for _ in range(20):
        trigamma = special.polygamma(1, x)
        x = x + trigamma * (1 - trigamma / y) / special.polygamma(2, x)
    return x
