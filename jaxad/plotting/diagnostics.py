"""Plots of the diagnostics in a detector's history."""

import re
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxad.plotting.figures import CYCLE, new_axes, new_figure, spans_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OTHERS = {"loss", "validation_loss", "learning_rate", "skipped"}  # `loss_curves` draws losses
# The title of a diagnostic's panel, the name of its axis, and of one of several lines.
_KNOWN = {
    "scores": ("Scores", "quantile of the scores", lambda line: f"{int(line)} %"),
    "radius": ("Radius", "radius", str),
    "collapse": ("Collapse index", "spread / length of latent vectors", str),
    "effective_rank": ("Effective rank", "rank of the latent covariance", str),
    "occupation": ("Occupation", "mean responsibility", lambda line: f"component {line}"),
    "gradient_norm": ("Gradient norm", "norm before clipping", str),
}


def diagnostics(history: Mapping[str, Any]) -> "Figure":
    """Plot every diagnostic in a history against the epoch, a panel each.

    Layers, quantiles and mixture components share a panel. The members of an ensemble are thin
    lines of one colour. An axis is logarithmic if its values span decades.

    Args:
      history: an estimator's ``history_``: ``[epochs]`` by name, or ``[P, epochs]`` for the members
        of an ensemble.

    Raises:
      ValueError: the history holds no diagnostics, or no epochs.

    Example:
      >>> figure = diagnostics({"loss": [2.0, 1.0], "radius": [0.5, 0.4], "collapse": [0.9, 0.8]})
      >>> [axes.get_title() for axes in figure.axes]
      ['Radius', 'Collapse index']
    """
    panels = _panels(history)
    if not panels:
        raise ValueError(
            "the history holds no diagnostics: fit the detector with diagnostics='all', or some "
            "by name, and for at least one epoch"
        )
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = new_figure(4.5 * columns, 3.5 * lines)
    for place, (name, curves) in enumerate(panels.items(), 1):
        title, label, named = _KNOWN.get(name, (name, "", str))
        axes = new_axes(figure, title, "epoch", label, place=(lines, columns, place))
        _draw(axes, {line and named(line): values for line, values in curves.items()})
    return figure


def _panels(history: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """By diagnostic, the values ``[P, epochs]`` of its lines; a single line's name is empty."""
    panels: dict[str, dict[str, np.ndarray]] = {name: {} for name in _KNOWN}
    for record in history:
        values = np.atleast_2d(np.asarray(history[record], float))
        if record not in _OTHERS and values.size:
            several = re.fullmatch(r"([^/]+)/(.+)|(.+)_(\d+)", record)
            name, line = filter(None, several.groups()) if several else (record, "")
            panels.setdefault(name, {})[line] = values
    return {name: curves for name, curves in panels.items() if curves}


def _draw(axes: "Axes", curves: dict[str, np.ndarray]) -> None:
    """Draw the values ``[P, epochs]`` of each line, and name the lines if they have names."""
    axes.locator_params(axis="x", integer=True)
    styles = list(product(("-", "--", ":", "-."), CYCLE))
    for i, (name, values) in enumerate(curves.items()):
        style, colour = styles[i % len(styles)]
        members, epochs = values.shape
        look = {"lw": 1.5 if members == 1 else 0.6, "color": colour, "ms": 3}
        marker = "o" if epochs < 30 and members == 1 else None
        drawn = axes.plot(np.arange(1, epochs + 1), values.T, style, marker=marker, **look)
        drawn[0].set_label(name)  # one legend entry for all members
    finite = np.concatenate([values[np.isfinite(values)] for values in curves.values()])
    if finite.size and spans_decades(finite):
        axes.set_yscale("log")
    if any(curves):
        beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if len(curves) > 3 else {}
        legend = axes.legend(frameon=False, fontsize="small", **beside)
        for line in legend.get_lines():
            line.set_linewidth(1.5)
