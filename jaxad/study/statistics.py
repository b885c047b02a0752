"""Detectors compared over sets: intervals, paired tests, average ranks and practical equivalence.

In shape descriptions ``S`` is sets and ``K`` is contenders. A figure is a metric of one contender
on one set, averaged over seeds; higher is better.

References:
  Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006.
  Benavoli, Corani and Mangili, "Should We Really Use Post-Hoc Tests Based on Mean-Ranks?", JMLR
  2016: pairs are tested by Wilcoxon's test, since a test on mean ranks of two depends on the
  others.
  Benavoli, Corani, Demšar and Zaffalon, "Time for a Change: a Tutorial for Comparing Multiple
  Classifiers Through Bayesian Analysis", JMLR 2017.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

DIGITS = 12  # decimals of a difference; the others are rounding, which must not break ties


class Paired(NamedTuple):
    """The differences of two contenders over the sets that have a figure of both.

    ``error`` is the standard error of the mean; on ``wins`` sets the first is higher. ``p`` is of
    the paired t-test, two-sided; NaN where all differences are equal.
    """

    sets: int
    mean: float
    error: float
    median: float
    wins: int
    ties: int
    losses: int
    p: float


class Interval(NamedTuple):
    """A mean with the ends of its interval; NaN where there are too few values for one."""

    mean: float
    low: float
    high: float


class Posterior(NamedTuple):
    """Probabilities that the first of two contenders is typically better, equal or worse.

    Equal means: within the region of practical equivalence. Typically means: of the three, it is
    the likeliest for the mean difference of two sets drawn at random.
    """

    better: float
    equal: float
    worse: float


class Ranking(NamedTuple):
    """Contenders by average rank.

    Attributes:
      ranks: average rank of each contender, the best first.
      cliques: contenders of which no two differ, each group as large as can be; see `cliques`.
      critical_difference: of Nemenyi's test, for reference; see `critical_difference`.
      friedman: p-value of Friedman's test; see `friedman`.
      sets: number of sets.
    """

    ranks: pd.Series
    cliques: list[tuple[str, ...]]
    critical_difference: float
    friedman: float
    sets: int


def differences(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """``first`` minus ``second`` on the sets that have both, rounded to 12 decimals.

    Example:
      >>> differences([0.9, 0.8, float("nan")], [0.7, 0.8, 0.5]).tolist()
      [0.2, 0.0]
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    return np.round(difference[~np.isnan(difference)], DIGITS)


def paired(first: ArrayLike, second: ArrayLike) -> Paired:
    """How far ``first`` lies above ``second``, one figure per set; NaN where there is none.

    Example:
      >>> found = paired([0.9, 0.6, 0.7], [0.8, 0.6, 0.5])
      >>> round(found.mean, 3), round(found.error, 3), found.wins, found.ties, found.losses
      (0.1, 0.058, 2, 1, 0)
    """
    difference = differences(first, second)
    sets = len(difference)
    mean = float(difference.mean()) if sets else math.nan
    error = float(difference.std(ddof=1) / math.sqrt(sets)) if sets > 1 else math.nan
    median = float(np.median(difference)) if sets else math.nan
    varies = error > 1e-12 * abs(mean)  # not by rounding alone
    p = float(2 * stats.t.sf(abs(mean) / error, sets - 1)) if varies else math.nan
    sign = np.sign(difference)
    wins, ties, losses = (int((sign == s).sum()) for s in (1, 0, -1))
    return Paired(sets, mean, error, median, wins, ties, losses, p)


def mean_interval(values: ArrayLike, level: float = 0.05) -> Interval:
    """The mean and its interval by Student's t, at ``1 - level``; NaN are left out.

    Example:
      >>> [round(end, 2) for end in mean_interval([0.7, 0.8, 0.9])]
      [0.8, 0.55, 1.05]
    """
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    mean = float(known.mean()) if len(known) else math.nan
    if len(known) < 2:
        return Interval(mean, math.nan, math.nan)
    half = stats.t.isf(level / 2, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known))
    return Interval(mean, float(mean - half), float(mean + half))


def bootstrap_interval(
    difference: ArrayLike, level: float = 0.05, resamples: int = 9999, seed: int = 0
) -> Interval:
    """The mean and its bootstrap interval at ``1 - level``, the same in every call.

    It is the percentile interval, expanded for few values: a plain one of ten normal values covers
    the true mean 91 times in a hundred instead of 95. Below six values it still covers too little.

    Args:
      difference: ``[S]``, one for each set, without NaN.
      level: one minus the confidence.
      resamples: number of bootstrap samples.
      seed: of the bootstrap samples.

    References:
      Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 2015,
      on the expanded percentile interval.

    Example:
      >>> [round(end, 3) for end in bootstrap_interval([0.01, 0.02, 0.0, 0.03, 0.04, 0.02])]
      [0.02, 0.005, 0.035]
    """
    values = np.asarray(difference, float)
    mean, count = float(values.mean()) if len(values) else math.nan, len(values)
    if count < 2:
        return Interval(mean, math.nan, math.nan)
    outside = stats.norm.sf(math.sqrt(count / (count - 1)) * stats.t.isf(level / 2, count - 1))
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=1 - 2 * outside,
        method="percentile",
        random_state=np.random.default_rng(seed),  # pyright: ignore[reportCallIssue]
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))


def wilcoxon(difference: ArrayLike) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test of differences ``[S]``.

    It is exact, with ties and zeros as well: the share of all signs of the differences for which
    the smaller sum of ranks is at most the observed one. Differences of the same size share their
    ranks; ranks of zeros are split evenly between both signs (Demšar 2006, section 3.1.3). The
    p-value is 1 if all differences are 0, and NaN if there are none.

    Example:
      >>> wilcoxon([0.01, 0.02, 0.03, 0.04, 0.05])  # five wins of five are not enough for .05
      0.0625
    """
    values = np.asarray(difference, float)
    if not len(values):
        return math.nan
    ranks = np.round(2 * stats.rankdata(np.abs(values))).astype(int)  # doubled, so whole
    positive, negative = (int(ranks[sign * values > 0].sum()) for sign in (1, -1))
    chance = np.ones(1)  # of each sum of the positive ranks
    for rank in ranks[values != 0]:
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    return min(1.0, 2 * float(chance[: min(positive, negative) + 1].sum()))


def holm(p: ArrayLike) -> list[float]:
    """p-values of tests made together, corrected for their number (Holm 1979); NaN stays.

    Example:
      >>> holm([0.01, 0.04, 0.03])
      [0.03, 0.06, 0.06]
    """
    corrected, highest = np.array(p, float), 0.0
    order = [i for i in np.argsort(corrected, kind="stable") if not math.isnan(corrected[i])]
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * corrected[i]))
        corrected[i] = highest
    return corrected.tolist()


def fewest_sets(level: float = 0.05, tests: int = 1) -> int:
    """The number of sets below which Wilcoxon's test cannot reach ``level``, all sets won.

    Holm's correction multiplies the smallest of the p-values by the number of ``tests``.

    Example:
      >>> fewest_sets(0.05), fewest_sets(0.05, tests=10)
      (6, 9)
    """
    return math.ceil(round(math.log2(2 * tests / level), 9))


def sets_to_show(effect: float, spread: float, level: float = 0.05, power: float = 0.8) -> int:
    """About how many sets show a mean difference of ``effect`` with probability ``power``.

    A normal approximation for differences of standard deviation ``spread``. Wilcoxon's test needs
    pi / 3 times the sets of a t-test on normal differences.

    Example:
      >>> sets_to_show(0.01, 0.03)  # a point, if sets differ by three
      74
    """
    standard = stats.norm.isf(level / 2) + stats.norm.isf(1 - power)
    count = math.pi / 3 * (standard * spread / effect) ** 2
    return max(fewest_sets(level), math.ceil(count))


def signed_rank_posterior(
    difference: ArrayLike, rope: float = 0.01, samples: int = 10_000, seed: int = 0
) -> Posterior:
    """The Bayesian signed-rank test of differences ``[S]``, by the library baycomp.

    A probability is known to about 0.005, from ``samples`` draws; the same in every call. With few
    sets it is surer than the data allow: the test knows no differences but those that it has seen.

    Args:
      difference: ``[S]``, one for each set, without NaN.
      rope: half the width of the region of practical equivalence, in units of the differences.
      samples: draws from the posterior.
      seed: of the draws.

    Raises:
      ImportError: baycomp is not installed.

    References:
      Benavoli et al. (2017), section 4.2; the prior is one half of a set with difference 0.

    Example:
      >>> signed_rank_posterior([0.05, 0.03, 0.06, 0.04, 0.02, 0.05]).better > 0.95
      True
    """
    try:
        import baycomp  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "the Bayesian signed-rank test needs baycomp: pip install 'jaxad[study]'"
        ) from error
    values = np.asarray(difference, float)
    if not len(values):
        return Posterior(math.nan, math.nan, math.nan)
    test: Any = baycomp.two_on_multiple
    found = test(values, np.zeros_like(values), rope=rope, nsamples=samples, random_state=seed)
    better, equal, worse = map(float, found)
    return Posterior(better, equal, worse)


def show_p(value: float) -> str:
    """A p-value as text.

    Example:
      >>> show_p(0.03), show_p(1e-9), show_p(math.nan)
      ('0.0300', '<.0001', '-')
    """
    return "-" if math.isnan(value) else "<.0001" if value < 1e-4 else f"{value:.4f}"


def average_ranks(figures: np.ndarray) -> np.ndarray:
    """Average ranks ``[K]`` of figures ``[S, K]``; the highest has rank 1, ties share theirs.

    Example:
      >>> average_ranks(np.array([[0.9, 0.8, 0.7], [0.5, 0.6, 0.5]])).tolist()
      [1.75, 1.5, 2.75]
    """
    return stats.rankdata(-np.round(figures, DIGITS), axis=1).mean(axis=0)


def friedman(figures: np.ndarray) -> float:
    """The p-value of Friedman's test that all contenders rank alike, of figures ``[S, K]``.

    NaN with fewer than three contenders or two sets.

    Example:
      >>> figures = np.array([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6], [0.9, 0.7, 0.5]])
      >>> round(friedman(figures), 3)
      0.05
    """
    sets, contenders = figures.shape
    if contenders < 3 or sets < 2 or (figures == figures[:, :1]).all():
        return math.nan
    return float(stats.friedmanchisquare(*figures.T).pvalue)


def critical_difference(contenders: int, sets: int, level: float = 0.05) -> float:
    """How far average ranks must lie apart to differ, all pairs tested (Nemenyi's test).

    Example:
      >>> round(critical_difference(4, 14), 2)  # Demšar, section 3.2.2: 1.25 with q rounded
      1.25
    """
    q = stats.studentized_range.ppf(1 - level, contenders, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(contenders * (contenders + 1) / (6 * sets)))


def pairwise(figures: np.ndarray) -> np.ndarray:
    """p-values ``[K, K]`` of Wilcoxon's test of every two columns of ``[S, K]``, Holm-corrected.

    The diagonal is 1.

    Example:
      >>> pairwise(np.array([[0.9, 0.8], [0.8, 0.7], [0.9, 0.7]])).tolist()
      [[1.0, 0.25], [0.25, 1.0]]
    """
    count = figures.shape[1]
    upper = np.triu_indices(count, 1)
    p = [wilcoxon(differences(figures[:, i], figures[:, j])) for i, j in zip(*upper, strict=True)]
    table = np.ones((count, count))
    table[upper] = holm(p)
    return np.minimum(table, table.T)


def cliques(p: np.ndarray, level: float = 0.05) -> list[tuple[int, ...]]:
    """Groups of at least two of which no pair differs, as large as can be.

    Args:
      p: ``[K, K]`` corrected p-values, symmetric; see `pairwise`. A pair differs if its p-value is
        at most ``level``.
      level: the level of significance.

    Returns:
      Groups of ascending indices, in order. They may overlap: not to differ is not transitive.

    References:
      Ismail Fawaz et al., "Deep learning for time series classification: a review", DMKD 2019.

    Example:
      >>> cliques(np.array([[1.0, 0.2, 0.01], [0.2, 1.0, 0.3], [0.01, 0.3, 1.0]]))
      [(0, 1), (1, 2)]
    """
    alike = [{int(j) for j in np.flatnonzero(row > level)} - {i} for i, row in enumerate(p)]
    found = []

    def grow(chosen: tuple[int, ...], candidates: set[int], done: set[int]) -> None:
        """Bron and Kerbosch's search (1973), with a pivot: all of 30 are found in 30 steps."""
        if not candidates and not done:
            if len(chosen) > 1:
                found.append(tuple(sorted(chosen)))
            return
        pivot = max(candidates | done, key=lambda i: len(alike[i] & candidates))
        for i in sorted(candidates - alike[pivot]):
            grow((*chosen, i), candidates & alike[i], done & alike[i])
            candidates, done = candidates - {i}, done | {i}

    grow((), set(range(len(p))), set())
    return sorted(found)


def ranking(figures: pd.DataFrame, level: float = 0.05) -> Ranking:
    """Average ranks of contenders, with the groups that Wilcoxon's tests cannot tell apart.

    Args:
      figures: a row for each set and a column for each contender; sets that lack a figure are left
        out.
      level: the level of significance.

    Raises:
      ValueError: no set has a figure of every contender.

    Example:
      >>> found = ranking(pd.DataFrame({"a": [0.5, 0.6], "b": [0.7, 0.8], "c": [0.6, 0.8]}))
      >>> found.ranks.to_dict()
      {'b': 1.25, 'c': 1.75, 'a': 3.0}
      >>> found.cliques  # two sets cannot show a difference
      [('b', 'c', 'a')]
    """
    complete = figures.dropna()
    if complete.empty:
        raise ValueError(
            f"no set has a figure of every contender ({', '.join(map(str, figures))}): leave out "
            "contenders that lack sets"
        )
    ranks = pd.Series(average_ranks(complete.to_numpy(float)), complete.columns)
    ranks = ranks.sort_values(kind="stable")
    values = complete[list(ranks.index)].to_numpy(float)
    groups = cliques(pairwise(values), level)
    distance = critical_difference(len(ranks), len(values), level) if len(ranks) > 1 else math.nan
    named = [tuple(str(ranks.index[i]) for i in group) for group in groups]
    return Ranking(ranks, named, distance, friedman(values), len(values))
