"""Plots of explanations: contributions of one row, and heat maps of images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from jaxad.plotting.figures import ANOMALOUS, BOUNDARY, NORMAL, new_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def contributions(
    parts: Any,
    base: float,
    *,
    values: Sequence[Any] | None = None,
    threshold: float | None = None,
    most: int = 10,
    title: str = "What the features contribute to the score",
) -> "Figure":
    """Plot the contributions of one row as bars, each from where the one below it ends.

    The lowest bar starts at the base, and the top one, of the feature that contributes most, ends
    at the row's score.

    Args:
      parts: contributions ``[D]`` of one row, as `jaxad.Detector.explain` returns them: an array,
        a pandas Series with names, or a frame of one row.
      base: the score that they start from.
      values: values of the row's features ``[D]``, shown beside their names.
      threshold: drawn as a line.
      most: so many features have a bar; the others share one.
      title: title of the plot.

    Raises:
      ValueError: ``parts`` are those of several rows, or ``values`` has another length.

    Example:
      >>> figure = contributions(pd.Series({"heat": 3.0, "speed": -0.5}), base=1.0)
      >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
      ['speed', 'heat']
    """
    row = _one_row(parts)
    names = [str(name) for name in row.index]
    if values is not None:
        shown = list(np.ravel(np.asarray(values, object)))
        if len(shown) != len(names):
            raise ValueError(f"values has {len(shown)} entries for {len(names)} contributions")
        names = [f"{name} = {_short(value)}" for name, value in zip(names, shown, strict=True)]
    size = row.to_numpy(float)
    order = np.argsort(-np.abs(size), kind="stable")
    first, others = order[:most], order[most:]
    bars = [(names[i], float(size[i])) for i in first]
    if len(others):
        bars.append((f"{len(others)} other features", float(size[others].sum())))
    bars.reverse()  # the largest on top, next to the score
    ends = base + np.cumsum([length for _, length in bars])
    starts = np.concatenate([[base], ends[:-1]])
    figure = new_figure(7, 1.5 + 0.34 * len(bars))
    axes = new_axes(figure, title, "anomaly score", "")
    places = np.arange(len(bars))
    colours = [ANOMALOUS if length > 0 else NORMAL for _, length in bars]
    axes.barh(places, ends - starts, left=starts, color=colours, height=0.62)
    axes.set_yticks(places, [name for name, _ in bars])
    limits = [base, *ends] if threshold is None else [base, *ends, threshold]
    low, high = min(limits), max(limits)
    span = max(high - low, 1e-12)
    for place, start, end in zip(places, starts, ends, strict=True):
        right = max(start, end)
        text = f"{end - start:+.3g}"
        look = {"va": "center", "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.5}}
        axes.annotate(text, (right, place), (4, 0), textcoords="offset points", **look)
        if place + 1 < len(bars):  # where the next bar starts
            axes.plot([end, end], [place, place + 1], color=BOUNDARY, lw=0.8, alpha=0.5)
    axes.set_xlim(low - 0.05 * span, high + 0.16 * span)
    axes.axvline(base, color=BOUNDARY, lw=1, linestyle=":", label=f"base {base:.3g}")
    axes.axvline(ends[-1], color=BOUNDARY, lw=1.2, label=f"score {ends[-1]:.3g}")
    if threshold is not None:
        axes.axvline(
            threshold, color=BOUNDARY, lw=1.2, linestyle="--", label=f"threshold {threshold:.3g}"
        )
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    return figure


def heat_maps(
    images: ArrayLike, maps: ArrayLike, *, title: str = "Where the scores come from"
) -> "Figure":
    """Show images, and below each the contributions of its pixels to its score.

    Orange pixels raise the score, blue ones lower it. Each map has a scale of its own, whose ends
    are the 99.5 % quantile of its absolute values.

    Args:
      images: ``[N, H, W]`` or ``[N, H, W, C]`` with 1 or 3 channels. All share one scale.
      maps: contributions ``[N, H, W]``, as `jaxad.Detector.explain` returns them for images.
      title: title of the figure.

    Raises:
      ValueError: the arrays are not images, or their shapes differ.

    Example:
      >>> len(heat_maps(np.zeros((3, 8, 8)), np.ones((3, 8, 8))).axes)
      6
    """
    x, heat = np.asarray(images, float), np.asarray(maps, float)
    x = x[..., None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[-1] not in (1, 3) or not len(x):
        raise ValueError(f"images are [N, H, W] or [N, H, W, 1 or 3], not of shape {x.shape}")
    if heat.shape != x.shape[:3]:
        raise ValueError(
            f"maps has shape {heat.shape}, but images of shape {x.shape} need {x.shape[:3]}"
        )
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("contributions", [NORMAL, "white", ANOMALOUS])
    per_line = min(len(x), 8)
    lines = -(-len(x) // per_line)
    figure = new_figure(1.1 * per_line + 0.6, 2.45 * lines + 0.5)
    figure.suptitle(title)
    grid = figure.subplots(2 * lines, per_line, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    low, high = x.min(), max(x.max(), x.min() + 1e-12)
    for i, (image, own) in enumerate(zip(x, heat, strict=True)):
        line, column = divmod(i, per_line)
        above, below = grid[2 * line, column], grid[2 * line + 1, column]
        shown = np.clip((image - low) / (high - low), 0, 1)
        grey = {"cmap": "gray", "vmin": 0, "vmax": 1}
        above.imshow(shown[..., 0] if shown.shape[-1] == 1 else shown, **grey)
        limit = max(float(np.quantile(np.abs(own), 0.995)), 1e-12)
        below.imshow(own, cmap=colours, vmin=-limit, vmax=limit)
        below.spines[:].set(visible=True, color=BOUNDARY, linewidth=0.5)
        if column == 0:
            above.set_ylabel("image", fontsize=8)
            below.set_ylabel("contributions", fontsize=8)
    return figure


def _one_row(parts: Any) -> pd.Series:
    if not isinstance(parts, pd.Series):
        columns = getattr(parts, "columns", None)
        array = np.asarray(parts, float)
        if array.ndim == 2 and len(array) == 1:
            array = array[0]
        if array.ndim != 1 or not array.size:
            raise ValueError(
                f"parts has shape {array.shape}: give the contributions of one row, such as "
                "parts[:1] of a frame or parts[0] of an array"
            )
        names = range(len(array)) if columns is None else list(columns)
        parts = pd.Series(array, [f"feature {n}" for n in names] if columns is None else names)
    return parts


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
