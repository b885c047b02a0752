"""Detectors compared over sets: paired differences, corrected tests, average ranks.

Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Paired(NamedTuple):
    """The differences of two detectors over the sets that have a figure of both.

    ``error`` is the standard error of the mean; on ``wins`` sets the first is higher. ``p`` is of
    the paired t-test, two-sided; NaN where all differences are equal.
    """

    sets: int
    mean: float
    error: float
    wins: int
    ties: int
    losses: int
    p: float


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """How far ``first`` lies above ``second``, one figure per set; NaN where there is none."""
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
    """p-values of tests made together, corrected for their number (Holm 1979); NaN stays."""
    p = np.asarray(p, float)
    order = [i for i in np.argsort(p, kind="stable") if not math.isnan(p[i])]
    corrected, highest = p.copy(), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[i]))
        corrected[i] = highest
    return corrected.tolist()


def difference_cells(found: Paired) -> list[str]:
    """Mean difference ± its standard error, and won/tied/lost."""
    if not found.sets:
        return ["-", "-"]
    error = "" if math.isnan(found.error) else f" ± {found.error:.1f}"
    return [f"{found.mean:+.1f}{error}", f"{found.wins}/{found.ties}/{found.losses}"]


def show_p(value: float) -> str:
    """A p-value as text."""
    return "-" if math.isnan(value) else "<.0001" if value < 1e-4 else f"{value:.4f}"


def average_ranks(figures: np.ndarray) -> np.ndarray:
    """Average ranks ``[K]`` of figures ``[sets, K]``; the highest has rank 1, ties share theirs.

    Example:
      >>> average_ranks(np.array([[0.9, 0.8, 0.7], [0.5, 0.6, 0.5]])).tolist()
      [1.75, 1.5, 2.75]
    """
    return stats.rankdata(-figures, axis=1).mean(axis=0)


def friedman(figures: np.ndarray) -> float:
    """The p-value of Friedman's test that all detectors rank alike, of figures ``[sets, K]``.

    It comes before Nemenyi's. NaN with fewer than three detectors or two sets.
    """
    sets, detectors = figures.shape
    if detectors < 3 or sets < 2 or (figures == figures[:, :1]).all():
        return math.nan
    return float(stats.friedmanchisquare(*figures.T).pvalue)


def critical_difference(detectors: int, sets: int, level: float = 0.05) -> float:
    """How far average ranks must lie apart to differ, all pairs tested (Nemenyi's test).

    Example:
      >>> round(critical_difference(4, 14), 2)  # Demšar, section 3.2.2: 1.25 with q rounded
      1.25
    """
    q = stats.studentized_range.ppf(1 - level, detectors, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(detectors * (detectors + 1) / (6 * sets)))


def indistinct(ranks: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """First and last of each longest run of sorted ranks that lie within ``difference``."""
    runs = []
    for first, rank in enumerate(ranks):
        last = int(np.searchsorted(ranks, rank + difference, side="right")) - 1
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs


def draw_ranks(rankings: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> "Figure":
    """Critical difference diagrams: title -> detectors and their figures ``[sets, detectors]``.

    A bar joins detectors that do not differ.
    """
    from matplotlib.figure import Figure

    lines = max(math.ceil(len(names) / 2) for names, _ in rankings.values())
    figure = Figure((8, (1.6 + 0.3 * lines) * len(rankings)), dpi=120, layout="constrained")
    panels = np.ravel(figure.subplots(len(rankings), squeeze=False))
    for axes, (title, (names, figures)) in zip(panels, rankings.items(), strict=True):
        _diagram(axes, names, figures)
        axes.set_title(title, fontsize=10)
    return figure


def _diagram(axes: "Axes", names: Sequence[str], figures: np.ndarray) -> None:
    """Ranks on a scale at the top, best left; names below it on either side, bars between."""
    ranks, count = average_ranks(figures), len(names)
    order = np.argsort(ranks, kind="stable")
    ranks, names = ranks[order], [names[i] for i in order]
    difference = critical_difference(count, len(figures))
    runs = indistinct(ranks, difference)
    axes.hlines(0, 1, count, color="black", linewidth=1)
    for tick in range(1, count + 1):
        axes.vlines(tick, 0, 0.25, color="black", linewidth=1)
        axes.text(tick, 0.35, str(tick), ha="center", va="bottom", fontsize=9)
    axes.hlines(1.6, 1, 1 + difference, color="black", linewidth=2)
    label = f"critical difference {difference:.2f}"
    axes.text(1 + difference / 2, 1.7, label, ha="center", va="bottom", fontsize=9)
    for line, (first, last) in enumerate(runs):
        level = -0.35 - 0.3 * line
        ends = ranks[first] - 0.04, ranks[last] + 0.04
        axes.hlines(level, *ends, color="#D55E00", linewidth=4)
    for place, (rank, name) in enumerate(zip(ranks, names, strict=True)):
        left = place < math.ceil(count / 2)
        edge, side = (0.85, "right") if left else (count + 0.15, "left")
        level = -1 - 0.3 * len(runs) - 0.75 * (place if left else count - 1 - place)
        axes.plot([rank, rank, edge], [0, level, level], color="#222222", linewidth=0.9)
        label = f" {name} ({rank:.2f}) "
        axes.text(edge, level, label, ha=side, va="center", fontsize=9)
    axes.set(xlim=(1 - 0.35 * count, 1.35 * count), ymargin=0.12)
    axes.axis("off")
