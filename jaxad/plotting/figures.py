"""What all plots share: colours, figures without pyplot, scales, and checks."""

import io
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, safe for colour blindness. Line styles and markers differ as well.
NORMAL, ANOMALOUS, BOUNDARY = "#0072B2", "#D55E00", "#222222"
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def new_figure(width: float, height: float) -> "Figure":
    """A figure of a size in inches that notebooks show without pyplot."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("jaxad.plotting needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    # Notebooks call this method. Their own support for figures needs pyplot, which is global.
    vars(figure)["_repr_png_"] = partial(_png, figure)
    return figure


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def new_axes(
    figure: "Figure", title: str, x: str, y: str, *, place: tuple[int, int, int] = (1, 1, 1)
) -> "Axes":
    """Axes with a title and names of ``x`` and ``y``; ``place`` is rows, columns and a number."""
    axes = figure.add_subplot(*place)
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def spans_decades(values: np.ndarray) -> bool:
    """Whether the values are positive and need a logarithmic axis."""
    return bool(np.all(values > 0) and values.max() > 30 * values.min())


def linear_width(values: np.ndarray) -> float:
    """Where an asinh axis turns logarithmic, or 0 if a linear axis shows the values."""
    if np.ptp(values) > 30 * np.ptp(np.quantile(values, (0.1, 0.9))) > 0:
        return float(np.median(np.abs(values[values != 0])))
    return 0.0


def same_length(values: ArrayLike, flags: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Values ``[N, ...]`` and bool flags ``[N]`` as arrays, or an error."""
    values, flags = np.asarray(values, float), np.asarray(flags, bool)
    if flags.ndim != 1 or len(values) != len(flags):
        raise ValueError(f"{len(values)} rows but flags of shape {flags.shape}")
    return values, flags
