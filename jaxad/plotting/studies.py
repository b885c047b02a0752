"""Plots of a study: average ranks, and differences from a baseline."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from jaxad.plotting.figures import ANOMALOUS, BOUNDARY, NORMAL, new_axes, new_figure, spans_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNDECIDED = "#999999"


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


def forest(
    differences: pd.DataFrame, *, rope: float = 0.01, title: str = "Differences from the baseline"
) -> "Figure":
    """Plot mean paired differences with their intervals, in points, one line for each contender.

    The band is the region of practical equivalence. Wins, ties and losses stand at the right.

    Args:
      differences: a report's ``differences``: the index has the names; the columns ``mean``,
        ``low`` and ``high`` are shares of 1, and ``median``, ``wins``, ``ties``, ``losses``.
      rope: half the width of the band, as a share of 1.
      title: title of the plot.

    Raises:
      ValueError: a column is missing, or no contender has a mean.

    Example:
      >>> line = {"mean": 0.02, "low": 0.01, "high": 0.03, "median": 0.02}
      >>> frame = pd.DataFrame([line | {"wins": 5, "ties": 0, "losses": 1}], index=["mine"])
      >>> [label.get_text() for label in forest(frame).axes[0].get_yticklabels()]
      ['mine']
    """
    columns = ("mean", "low", "high", "median", "wins", "ties", "losses")
    _check_columns(differences, columns, "a report's differences")
    shown: Any = differences[differences["mean"].notna()]
    if not len(shown):
        raise ValueError("no contender has a mean difference: score at least one shared set")
    shown = shown.iloc[np.argsort(-shown["mean"].to_numpy(float), kind="stable")]
    mean, low, high, median = (100 * shown[name].to_numpy(float) for name in columns[:4])
    places = np.arange(len(shown))
    figure = new_figure(7.5, 1.5 + 0.3 * len(shown))
    axes = new_axes(figure, title, "difference in points", "")
    axes.axvspan(-100 * rope, 100 * rope, color=UNDECIDED, alpha=0.2, lw=0, label=_within(rope))
    axes.axvline(0, color=BOUNDARY, lw=1)
    for chosen, colour, name in (
        (low > 0, NORMAL, "interval above 0"),
        (high < 0, ANOMALOUS, "interval below 0"),
        (~(low > 0) & ~(high < 0), UNDECIDED, "interval holds 0, or none"),
    ):
        if chosen.any():
            ends = np.nan_to_num(np.stack([mean - low, high - mean])[:, chosen])
            style: dict[str, Any] = {"fmt": "o", "color": colour, "ms": 5, "lw": 2}
            axes.errorbar(mean[chosen], places[chosen], xerr=ends, label=name, **style)
    axes.plot(median, places, "|", color=BOUNDARY, ms=10, label="median")
    for place, (_, line) in zip(places, shown.iterrows(), strict=True):
        text = f"{line['wins']:.0f}/{line['ties']:.0f}/{line['losses']:.0f}"
        axes.annotate(
            text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    axes.annotate(
        "won/tied/lost", (1.01, -0.8), xycoords=("axes fraction", "data"), fontsize=8, va="center"
    )
    axes.set_yticks(places, [str(name) for name in shown.index])
    axes.set_ylim(len(shown) - 0.4, -1.0)  # the highest at the top
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def differences_by_size(
    sets: pd.DataFrame, *, rope: float = 0.01, title: str = "Differences from the baseline"
) -> "Figure":
    """Plot each set's difference against its number of features, and of training rows.

    A line is the running median of up to seven neighbouring sets. The titles count wins and losses
    on either half of the sets, the smaller and the larger.

    Args:
      sets: a row for each set: ``difference`` as a share of 1, ``features`` and ``train_rows``,
        such as a report's ``by_set("mine")``.
      rope: half the width of the region of practical equivalence, as a share of 1.
      title: title of the plot.

    Raises:
      ValueError: a column is missing, or no set has a difference.

    Example:
      >>> frame = {"difference": [0.1, -0.1, 0.0], "features": [2, 9, 30]}
      >>> figure = differences_by_size(pd.DataFrame(frame | {"train_rows": [50, 500, 5000]}))
      >>> figure.axes[0].get_title()
      'by features: won 1, lost 1'
    """
    _check_columns(sets, ("difference", "features", "train_rows"), "a report's by_set(contender)")
    shown: Any = sets[sets["difference"].notna()]
    if not len(shown):
        raise ValueError("no set has a difference: score at least one shared set")
    difference = 100 * shown["difference"].to_numpy(float)
    figure = new_figure(9, 4)
    figure.suptitle(title)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column, name in zip(
        panels, ("features", "train_rows"), ("features", "training rows"), strict=True
    ):
        size = shown[column].to_numpy(float)
        axes.axhspan(-100 * rope, 100 * rope, color=UNDECIDED, alpha=0.2, lw=0, label=_within(rope))
        axes.axhline(0, color=BOUNDARY, lw=1)
        for chosen, colour, marker, label in (
            (difference > 0, NORMAL, "o", "won"),
            (difference == 0, UNDECIDED, "s", "tied"),
            (difference < 0, ANOMALOUS, "v", "lost"),
        ):
            if chosen.any():
                text = f"{label} ({chosen.sum()})"
                axes.scatter(
                    size[chosen], difference[chosen], 22, colour, marker=marker, label=text
                )
        if len(shown) > 2:
            order = np.argsort(size, kind="stable")
            middle = _running_median(difference[order], 7)
            axes.plot(size[order], middle, color=BOUNDARY, lw=1.5, label="running median")
        if spans_decades(size):
            axes.set_xscale("log")
        axes.set(xlabel=name, title=f"by {name}:{_counts(size, difference)}")
        axes.title.set_fontsize(9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("difference in points")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
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


def _running_median(values: np.ndarray, width: int) -> np.ndarray:
    """Medians of ``width`` neighbouring values; at the ends, of those that there are."""
    half = width // 2
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return np.array([np.median(window) for window in windows])


def _counts(size: np.ndarray, difference: np.ndarray) -> str:
    """Wins and losses; with ten sets or more on either side of the median size."""
    if len(size) < 10 or size.min() == size.max():
        return f" won {(difference > 0).sum()}, lost {(difference < 0).sum()}"
    middle = np.median(size)
    small, large = difference[size <= middle], difference[size > middle]
    parts = [
        f"won {(part > 0).sum()}, lost {(part < 0).sum()} {where} {middle:,.0f}"
        for part, where in ((small, "up to"), (large, "above"))
        if len(part)
    ]
    return "\n" + "; ".join(parts)


def _within(rope: float) -> str:
    return f"within {100 * rope:g} point{'' if rope == 0.01 else 's'}"


def _check_columns(frame: pd.DataFrame, columns: Sequence[str], source: str) -> None:
    for column in columns:
        if column not in frame.columns:
            raise ValueError(
                f"there is no column {column!r}, only {list(frame.columns)}; pass {source}"
            )
