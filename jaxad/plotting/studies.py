"""Plots of a study: average ranks."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from jaxad.plotting.figures import ANOMALOUS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Ranked(Protocol):
    """Average ranks to draw, such as `jaxad.study.statistics.Ranking`.

    ``ranks`` ascend, ``cliques`` are groups of contenders of which no two differ, and
    ``critical_difference`` is of Nemenyi's test, drawn as a scale.
    """

    @property
    def ranks(self) -> pd.Series: ...  # noqa: D102
    @property
    def cliques(self) -> Sequence[Sequence[str]]: ...  # noqa: D102
    @property
    def critical_difference(self) -> float: ...  # noqa: D102


def average_ranks(rankings: Mapping[str, Ranked]) -> "Figure":
    """Plot average ranks on a scale, the best left, one diagram above the other.

    A bar joins contenders of which no two differ; a dot marks each. A contender below the bar
    without a dot differs from one of them.

    Args:
      rankings: title -> ranks and cliques, such as a report's ``ranking``.

    Raises:
      ValueError: there is nothing to draw, or a ranking has fewer than two contenders.

    References:
      Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006.

    Example:
      >>> from jaxad.study.statistics import ranking
      >>> found = ranking(pd.DataFrame({"a": [0.5, 0.6], "b": [0.7, 0.8], "c": [0.6, 0.8]}))
      >>> average_ranks({"AUROC": found}).axes[0].get_title()
      'AUROC'
    """
    if not rankings or min(len(one.ranks) for one in rankings.values()) < 2:
        raise ValueError("rankings must have at least one ranking of two contenders or more")
    heights = [
        1.3 + 0.27 * math.ceil(len(one.ranks) / 2) + 0.12 * len(one.cliques)
        for one in rankings.values()
    ]
    figure = new_figure(8, sum(heights))
    panels = figure.subplots(len(rankings), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, ranked) in zip(panels, rankings.items(), strict=True):
        _rank_diagram(axes, ranked)
        axes.set_title(title, fontsize=10)
    return figure


def _rank_diagram(axes: "Axes", ranked: Ranked) -> None:
    """Ranks on a scale at the top; names below it on either side, bars between."""
    names = [str(name) for name in ranked.ranks.index]
    ranks, count = ranked.ranks.to_numpy(float), len(names)
    position = dict(zip(names, ranks, strict=True))
    axes.hlines(0, 1, count, color="black", linewidth=1)
    for tick in range(1, count + 1):
        axes.vlines(tick, 0, 0.25, color="black", linewidth=1)
        axes.text(tick, 0.35, str(tick), ha="center", va="bottom", fontsize=9)
    difference = ranked.critical_difference
    axes.hlines(1.6, 1, 1 + difference, color="black", linewidth=2)
    label = f"Nemenyi's critical difference {difference:.2f}"
    axes.text(1, 1.75, label, ha="left", va="bottom", fontsize=9)
    for line, clique in enumerate(ranked.cliques):
        level, at = -0.4 - 0.35 * line, [position[name] for name in clique]
        style: dict[str, Any] = {"color": ANOMALOUS, "zorder": 3}
        axes.plot([min(at), max(at)], [level, level], linewidth=3, **style)
        axes.plot(at, [level] * len(at), "o", markersize=5, **style)
    for place, (rank, name) in enumerate(zip(ranks, names, strict=True)):
        left = place < math.ceil(count / 2)
        edge, side = (0.85, "right") if left else (count + 0.15, "left")
        row = place if left else count - 1 - place
        level = -0.8 - 0.35 * len(ranked.cliques) - 0.75 * row
        axes.plot([rank, rank, edge], [0, level, level], color="#222222", linewidth=0.9)
        axes.text(edge, level, f" {name} ({rank:.2f}) ", ha=side, va="center", fontsize=9)
    axes.set(xlim=(1 - 0.35 * count, 1.35 * count), ymargin=0.12)
    axes.axis("off")
