"""Plots of a fleet: alarm rates of its groups, and one group's scores."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special

from jaxad.plotting.figures import (
    ANOMALOUS,
    BOUNDARY,
    NORMAL,
    linear_width,
    new_axes,
    new_figure,
    same_length,
    spans_decades,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def alarm_rates(
    groups: pd.DataFrame,
    rate: float,
    *,
    alarm_rate: str = "alarm_rate",
    title: str = "Alarm rates of groups",
) -> "Figure":
    """Plot each group's alarm rate against its number of rows, with the budget and its double.

    The title counts the groups within double the budget. Groups without an alarm rate (NaN) are
    not drawn. The axis of rates is linear around 0 and logarithmic beyond the budget.

    Args:
      groups: one row for each group, such as a fleet's ``groups_``, with the columns ``rows``,
        ``threshold_from`` (``"own"``, ``"pooled"`` or ``"global"``) and the one that ``alarm_rate``
        names.
      rate: the budget, the alarm rate that was asked for, in (0, 1).
      alarm_rate: column of the rates to draw, such as ``"recent_alarm_rate"``.
      title: title of the plot.

    Raises:
      ValueError: a column is missing, no group has an alarm rate, or ``rate`` is not in (0, 1).

    Example:
      >>> frame = {"rows": [200, 900], "threshold_from": ["pooled", "own"], "alarm_rate": [0, 0.03]}
      >>> alarm_rates(pd.DataFrame(frame), 0.01).axes[0].get_title()
      'Alarm rates of groups\\n1 of 2 (50.0 %) within double the budget'
    """
    groups = _rated(groups, rate, alarm_rate, "rows", "threshold_from")
    rates, rows = groups[alarm_rate].to_numpy(float), groups["rows"].to_numpy(float)
    within = int((rates <= 2 * rate * (1 + 1e-9)).sum())  # rounding excludes no group
    share = f"{within:,} of {len(rates):,} ({within / len(rates):.1%})".replace("%", " %")
    figure = new_figure(6.5, 4.5)
    text = f"{title}\n{share} within double the budget"
    axes = new_axes(figure, text, "rows of the group", "alarm rate")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_yscale("asinh", linear_width=rate)
    for factor, style, name in ((1, "-", "budget"), (2, "--", "double the budget")):
        label = f"{name} ({_percent(factor * rate)})"
        axes.axhline(factor * rate, color=BOUNDARY, linestyle=style, lw=1, label=label, zorder=3)
    kinds = groups["threshold_from"].to_numpy(str)
    size = float(np.clip(2000 / len(rates), 5, 25))
    names, counts = np.unique(kinds, return_counts=True)
    for kind in names[np.argsort(-counts)]:  # the rarest is drawn last
        colour, marker = _SOURCES.get(kind, _OTHER_SOURCE)
        chosen = kinds == kind
        label = f"{kind} threshold ({chosen.sum():,})"
        points: dict[str, Any] = {"color": colour, "marker": marker, "lw": 0}
        alpha = 0.8 if len(rates) < 1000 else 0.4
        axes.scatter(rows[chosen], rates[chosen], s=size, alpha=alpha, label=label, **points)
    _rate_axis(axes.yaxis, rates, rate)
    legend = figure.legend(
        loc="outside lower center", ncols=2, frameon=False, markerscale=(25 / size) ** 0.5
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return figure


_SOURCES = {"own": ("#0072B2", "o"), "pooled": ("#E69F00", "s"), "global": ("#CC79A7", "^")}
_OTHER_SOURCE = ("#009E73", "D")


def furthest_groups(
    groups: pd.DataFrame,
    rate: float,
    count: int = 20,
    *,
    alarm_rate: str = "recent_alarm_rate",
    rows: str = "recent_rows",
    title: str = "Groups furthest from the budget",
) -> "Figure":
    """Plot the groups that are surely furthest from the budget, as bars from it with intervals.

    An interval is the exact one of Clopper and Pearson (1934) at 95 %, for independent rows. Groups
    are ordered by the ratio between the budget and the nearest end of their interval, so that a
    group with few rows does not lead by chance. Of many groups that keep to the budget, up to one
    in twenty has an interval without it.

    Args:
      groups: one row for each group, such as a fleet's ``groups_``, with the columns that
        ``alarm_rate`` and ``rows`` name. The index has the groups' names.
      rate: the budget, the alarm rate that was asked for, in (0, 1).
      count: the number of groups to show.
      alarm_rate: column of the alarm rates.
      rows: column with the number of rows that each rate was counted on.
      title: title of the plot.

    Raises:
      ValueError: a column is missing, no group has an alarm rate, ``rate`` is not in (0, 1), or
        ``count`` is less than 1.

    Example:
      >>> frame = {"recent_rows": [100, 500], "recent_alarm_rate": [0.01, 0.2]}
      >>> figure = furthest_groups(pd.DataFrame(frame, index=["calm", "loud"]), 0.01)
      >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
      ['loud (100 of 500)', 'calm (1 of 100)']
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    groups = _rated(groups, rate, alarm_rate, rows)
    total = groups[rows].to_numpy(float)
    rates = groups[alarm_rate].to_numpy(float)
    alarms = np.round(rates * total)
    low, high = _interval(alarms, total)
    shown = np.argsort(-np.maximum(low / rate, rate / high), kind="stable")[:count]
    names = [_name(group) for group in groups.index[shown]]
    alarms, total, rates, low, high = (a[shown] for a in (alarms, total, rates, low, high))
    figure = new_figure(7.5, 1.6 + 0.24 * len(shown))
    text = f"{title}\n{len(shown):,} of {len(groups):,}"
    axes = new_axes(figure, text, "alarm rate", "")
    axes.set_xscale("asinh", linear_width=rate)
    places = np.arange(len(shown))
    for chosen, colour, name in (
        (low > rate, ANOMALOUS, "above the budget"),
        (high < rate, NORMAL, "below the budget"),
        ((low <= rate) & (rate <= high), "#999999", "not surely off the budget"),
    ):
        if chosen.any():
            lengths = rates[chosen] - rate
            axes.barh(places[chosen], lengths, 0.7, rate, color=colour, alpha=0.6, label=name)
    ends = np.stack([rates - low, high - rates])
    bars: dict[str, Any] = {"fmt": "o", "color": BOUNDARY, "ms": 3, "lw": 1.2, "capsize": 2.5}
    axes.errorbar(rates, places, xerr=np.maximum(ends, 0), label="rate, 95 % interval", **bars)
    axes.axvline(rate, color=BOUNDARY, linestyle="--", lw=1, label=f"budget ({_percent(rate)})")
    labels = zip(names, alarms, total, strict=True)
    axes.set_yticks(places, [f"{name} ({k:,.0f} of {n:,.0f})" for name, k, n in labels], fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)  # the furthest at the top
    axes.tick_params(axis="y", length=0)
    _rate_axis(axes.xaxis, high, rate)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def group_scores(
    scores: ArrayLike,
    threshold: float,
    *,
    is_anomaly: ArrayLike | None = None,
    index: Any = None,
    title: str = "Anomaly scores",
) -> "Figure":
    """Plot a group's scores over its rows, with the threshold and the flagged rows marked.

    Args:
      scores: ``[N]``, higher = more anomalous. If they span decades the axis is logarithmic, or
        linear around 0 and logarithmic beyond if some scores are 0 or negative.
      threshold: drawn as a line.
      is_anomaly: ``[N]`` bool, the flagged rows; those that score above the threshold if None.
      index: ``[N]`` numbers or times of the rows, in any order; row numbers if None. Times with a
        zone are drawn as they read.
      title: title of the plot.

    Raises:
      ValueError: there are no rows, the lengths differ, or the index has neither numbers nor times.

    Example:
      >>> figure = group_scores([0.1, 0.2, 3.0], 1.0, index=[10, 20, 30])
      >>> figure.axes[0].collections[0].get_offsets().tolist()
      [[30.0, 3.0]]
    """
    values = np.asarray(scores, float)
    scores, flagged = same_length(values, values > threshold if is_anomaly is None else is_anomaly)
    places = pd.RangeIndex(len(scores)) if index is None else pd.Index(index)
    if not len(scores) or len(places) != len(scores):
        raise ValueError(f"{len(scores)} scores and an index of {len(places)}: give one for each")
    times = isinstance(places, pd.DatetimeIndex)
    if not times and not pd.api.types.is_numeric_dtype(places):
        raise ValueError(
            f"index must have numbers or times, got {places.dtype}; convert it with "
            "pandas.to_datetime, or leave it out to draw row numbers"
        )
    x = (places.tz_localize(None) if isinstance(places, pd.DatetimeIndex) else places).to_numpy()
    order = np.argsort(x, kind="stable")
    x, scores, flagged = x[order], scores[order], flagged[order]
    figure = new_figure(8, 4)
    axes = new_axes(figure, title, "" if times else "row" if index is None else "", "anomaly score")
    finite = np.append(scores[np.isfinite(scores)], threshold)
    if spans_decades(finite):
        axes.set_yscale("log")
    elif width := linear_width(finite):
        axes.set_yscale("asinh", linear_width=width)
    marker = "o" if len(scores) <= 300 else None
    axes.plot(x, scores, color=NORMAL, lw=0.8, marker=marker, ms=2.5, label="score")
    label = f"flagged ({flagged.sum():,} of {len(flagged):,})"
    style: dict[str, Any] = {"color": ANOMALOUS, "marker": "x", "s": 28, "linewidths": 1.2}
    axes.scatter(x[flagged], scores[flagged], zorder=3, label=label, **style)
    axes.axhline(threshold, color=BOUNDARY, linestyle="--", lw=1, label="threshold")
    axes.margins(x=0.02)
    if times:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _rated(groups: pd.DataFrame, rate: float, alarm_rate: str, *others: str) -> pd.DataFrame:
    """The groups that have an alarm rate, after checks."""
    if not 0 < rate < 1:
        raise ValueError(f"rate is the alarm rate asked for, in (0, 1); got {rate}")
    for column in (alarm_rate, *others):
        if column not in groups.columns:
            raise ValueError(
                f"groups has no column {column!r}, only {list(groups.columns)}; pass a fleet's "
                "groups_, or name the column"
            )
    rated = groups.loc[groups[alarm_rate].notna()]
    if rated.empty:
        raise ValueError(
            f"no group has a value in {alarm_rate!r}: score rows first, or name another column"
        )
    return rated


def _interval(alarms: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clopper and Pearson's interval at 95 % for ``alarms`` of ``rows``, each ``[G]``."""
    missed = rows - alarms
    low = special.betaincinv(np.maximum(alarms, 1), missed + 1, 0.025)
    high = special.betaincinv(alarms + 1, np.maximum(missed, 1), 0.975)
    return np.where(alarms > 0, low, 0.0), np.where(missed > 0, high, 1.0)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _rate_axis(axis: Any, rates: np.ndarray, rate: float) -> None:
    """Ticks at 0, the budget and multiples of it, up to the largest rate."""
    multiples = rate * np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    top = max(rates.max(), 2 * rate)
    ticks = [0.0, *multiples[multiples <= top]]
    axis.set_ticks(ticks, labels=[_percent(tick) for tick in ticks])
    axis.set_ticks([], minor=True)
    end = np.arcsinh(top / rate)
    axis.axes.set(**{f"{axis.axis_name}lim": rate * np.sinh([-0.05 * end, 1.05 * end])})


def _name(group: Any, longest: int = 40) -> str:
    """A group's identifier as text; a long one loses its middle."""
    text = " / ".join(map(str, group)) if isinstance(group, tuple) else str(group)
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[: longest - 1 - half]}…{text[-half:]}"
