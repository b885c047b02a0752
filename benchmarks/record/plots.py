"""What the pictures of suites share: colours, markers and axes with named rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# A piece of a variant's name -> how it is called, its colour and its marker.
KINDS = {
    "jaxad": ("jaxad", "#1f5fa8", "o"),
    "compiled": ("PyTorch, compiled", "#c23b22", "D"),
    "by hand": ("PyTorch, gradients by hand", "#8a4fa0", "^"),
    "pytorch": ("PyTorch, eager", "#e07b39", "s"),
    "PyOD": ("PyOD", "#5b8c3a", "v"),
    "DeepOD": ("DeepOD", "#2f6f5e", "P"),
    "forest": ("isolation forest", "#8a8a8a", "X"),
    "neighbours": ("5 nearest neighbours", "#555555", "*"),
}


def kind_of(detector: str) -> str | None:
    """The kind of a variant; None for those that are there to compare with in one case only."""
    if detector.startswith(("jaxad Deep SVDD", "flax")):
        return None
    return next((kind for kind in KINDS if kind in detector), None)


def panels(
    heights: Sequence[int], *, width: float = 8.0, columns: int = 1, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of panels below each other, or in ``columns``, each as high as its rows need."""
    lines = [max(heights[i : i + columns]) + 1 for i in range(0, len(heights), columns)]
    figure = Figure((width, 1.1 + 0.22 * sum(lines)), dpi=100, layout="constrained")
    grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=lines, **shared)
    for spare in grid.flat[len(heights) :]:
        spare.set_visible(False)
    return figure, list(grid.flat[: len(heights)])


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Names at y = 0, 1, ... from the top."""
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="x", color="#eeeeee")
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def times_slower(
    panels_of: Mapping[str, Mapping[str, Mapping[str, float]]], *, columns: int = 1
) -> Figure:
    """How many times longer others take than jaxad: title -> case -> kind -> rows a second."""
    figure, axes = panels([len(p) for p in panels_of.values()], columns=columns, sharex=True)
    seen = {}
    for ax, (title, cases) in zip(axes, panels_of.items(), strict=True):
        for at, speeds in enumerate(cases.values()):
            slower = {kind: speeds["jaxad"] / v for kind, v in speeds.items() if kind != "jaxad"}
            ax.plot([1, *slower.values()], [at] * (len(slower) + 1), color="#dddddd", zorder=1)
            for kind, times in slower.items():
                label, colour, marker = KINDS[kind]
                seen[label] = ax.scatter(times, at, 28, colour, marker=marker, zorder=2)
        ax.axvline(1, color=KINDS["jaxad"][1], linewidth=1.5)
        name_rows(ax, list(cases))
        ax.set_title(title, loc="left", fontsize=9)
        ax.set(xscale="log")
    ticks = [
        t for t in (0.5, 1, 2, 5, 10, 20, 50) if axes[0].get_xlim()[0] < t < axes[0].get_xlim()[1]
    ]
    for ax in axes:
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.set_xticks([], minor=True)
    for ax in axes[-columns:]:  # the lowest of every column
        ax.tick_params(labelbottom=True)
    figure.supxlabel("times as long as jaxad (the line at 1): right of it jaxad is faster", size=9)
    legend(figure, seen)
    return figure


def legend(figure: Figure, handles: Mapping[str, Any], order: Iterable[str] = ()) -> None:
    """One legend above all panels, in the order of `KINDS` unless another is given."""
    order = list(order) or [label for label, *_ in KINDS.values() if label in handles]
    figure.legend(
        *([handles[label] for label in order], order),
        loc="outside upper center",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
