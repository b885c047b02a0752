"""The report's pictures, each from the rows of one suite's record."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure

from benchmarks import schema
from benchmarks.suites import population
from benchmarks.timing import Timing

# A piece of a variant's name -> how it is called, its colour and its marker.
_KINDS = {
    "jaxad": ("jaxad", "#1f5fa8", "o"),
    "compiled": ("PyTorch, compiled", "#c23b22", "D"),
    "by hand": ("PyTorch, gradients by hand", "#8a4fa0", "^"),
    "pytorch": ("PyTorch, eager", "#e07b39", "s"),
    "PyOD": ("PyOD", "#5b8c3a", "v"),
    "DeepOD": ("DeepOD", "#2f6f5e", "P"),
    "forest": ("isolation forest", "#8a8a8a", "X"),
    "neighbours": ("5 nearest neighbours", "#555555", "*"),
}
_SIZE = re.compile(r"\w+, (batch|width|\d+k) ?")
_PANELS: dict[str, Callable[[str], bool]] = {
    "training, a paper's setting": lambda d: not _elsewhere(d),
    "training, common sizes": lambda d: bool(_SIZE.match(d)),
    "scores, one core": lambda d: d.startswith("scoring: "),
    "through their own fit and scores": lambda d: d.endswith((", fit", ", score")),
}


def _elsewhere(dataset: str) -> bool:
    apart = dataset.startswith("scoring: ") or dataset.endswith((", fit", ", score"))
    return apart or bool(_SIZE.match(dataset)) or dataset == "target"


def _kind(detector: str) -> str | None:
    """The kind of a variant; None for what is there to compare with in one case only."""
    if detector.startswith(("jaxad Deep SVDD", "flax")):
        return None
    return next((kind for kind in _KINDS if kind in detector), None)


def throughput(record: schema.Record, path: Path) -> None:
    """Rows a second by case and peer, each kind at its best, on a log axis."""
    best: dict[str, dict[str, float]] = {}
    for row in record.rows:
        kind = _kind(row.detector)
        if kind is not None and "rows_per_second" in row.metrics:
            speed = Timing(tuple(row.metrics["rows_per_second"])).median
            case = best.setdefault(row.dataset, {})
            case[kind] = max(speed, case.get(kind, 0.0))
    panels = {title: [d for d in best if fits(d)] for title, fits in _PANELS.items()}
    panels = {title: names for title, names in panels.items() if names}
    heights = [len(names) + 1 for names in panels.values()]
    figure = matplotlib.figure.Figure(figsize=(8, 1.6 + 0.24 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    seen = {}
    for ax, (title, names) in zip(axes, panels.items(), strict=True):
        for at, name in enumerate(names):
            speeds = best[name]
            ax.plot(
                [min(speeds.values()), max(speeds.values())], [at, at], color="#dddddd", zorder=1
            )
            for kind, speed in speeds.items():
                label, colour, marker = _KINDS[kind]
                seen[label] = ax.scatter(
                    speed, at, 28, colour, marker=marker, zorder=3 if kind == "jaxad" else 2
                )
        _named(ax, [name.removeprefix("scoring: ").removesuffix(", 1 core") for name in names])
        ax.set_title(title, loc="left", fontsize=9)
    axes[-1].set(xscale="log", xlabel="rows a second")
    order = [label for label, *_ in _KINDS.values() if label in seen]
    figure.legend(
        [seen[label] for label in order], order, loc="outside upper center", ncols=4, fontsize=8
    )
    figure.savefig(path, dpi=110)


def members(record: schema.Record, path: Path) -> None:
    """Cost of a member against the size of a population."""
    costs: dict[str, dict[int, Timing]] = {}
    for row in record.rows:
        name, _, size = row.detector.partition(", P = ")
        if row.dataset == "a member" and row.metrics:
            costs.setdefault(name, {})[int(size)] = Timing(tuple(row.metrics["seconds"]))
    population.draw(costs, path)


def peak(record: schema.Record, path: Path) -> None:
    """Share of the cores' peak by case, alone and as a population."""
    shares: dict[str, dict[str, Timing]] = {}
    for row in record.rows:
        if "percent" in row.metrics:
            timing = Timing(tuple(row.metrics["percent"]))
            shares.setdefault(row.dataset, {})[row.detector] = timing
    kinds = list(dict.fromkeys(kind for case in shares.values() for kind in case))
    figure = matplotlib.figure.Figure(figsize=(7, 1.4 + 0.4 * len(shares)), layout="constrained")
    ax = figure.subplots()
    for i, kind in enumerate(kinds):
        at, middle, low, high = [], [], [], []
        for j, case in enumerate(shares.values()):
            if kind in case:
                a, b = case[kind].quartiles
                m = case[kind].median
                at.append(j + 0.18 * (i - (len(kinds) - 1) / 2))
                middle.append(m)
                low.append(max(0, m - a))
                high.append(max(0, b - m))
        ax.errorbar(middle, at, xerr=[low, high], fmt="o^sD"[i % 4], capsize=3, label=kind)
    _named(ax, list(shares))
    ax.set(xlabel="% of the peak of matrix products on the same cores", xlim=(0, 100))
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=110)


def first_result(record: schema.Record, path: Path) -> None:
    """Import and first fit in a fresh process, stacked."""
    rows = [row for row in record.rows if "import_seconds" in row.metrics]
    bars: dict[str, Any] = {}
    figure = matplotlib.figure.Figure(figsize=(7, 1.3 + 0.26 * len(rows)), layout="constrained")
    ax = figure.subplots()
    for at, row in enumerate(rows):
        imported, fitted = (
            Timing(tuple(row.metrics[name])).median for name in ("import_seconds", "seconds")
        )
        label, colour, _ = _KINDS["jaxad" if row.detector.startswith("jaxad") else "PyOD"]
        bars["import"] = ax.barh(at, imported, 0.7, color="#c9c9c9")
        bars[f"first fit, {label}"] = ax.barh(at, fitted, 0.7, imported, color=colour)
    _named(ax, [f"{row.dataset}: {row.detector.removeprefix('jaxad, ')}" for row in rows])
    ax.set(xlabel="seconds in a fresh process")
    figure.legend(list(bars.values()), list(bars), loc="outside upper center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=110)


def _named(ax: Any, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="x", color="#eeeeee")
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


# Name of the picture -> the suite it is of, what it shows, and how it is drawn.
PICTURES: Mapping[str, tuple[str, str, Callable[[schema.Record, Path], None]]] = {
    "rows_per_second": ("throughput", "Rows a second by method and peer", throughput),
    "cost_of_members": ("population", "Cost of a member by size of the population", members),
    "share_of_peak": ("roofline", "Share of the machine's peak", peak),
    "first_result": ("latency", "Time to a first result", first_result),
}
