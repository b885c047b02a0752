"""Plots of a fitted detector: losses, scores, latent space and reconstructions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from jaxad.plotting.figures import (
    ANOMALOUS,
    BOUNDARY,
    CYCLE,
    NORMAL,
    linear_width,
    new_axes,
    new_figure,
    same_length,
    spans_decades,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_curves(history: Mapping[str, Any], *, title: str = "Loss") -> "Figure":
    """Plot the training loss, and the validation loss if there is one, against the epoch.

    Args:
      history: an estimator's ``history_`` with ``"loss"`` and perhaps ``"validation_loss"``, each
        ``[epochs]``, or ``[P, epochs]`` for the members of an ensemble. Or a mapping from names to
        several histories.
      title: title of the plot.

    Raises:
      ValueError: the history is empty, as after ``epochs=0``.

    Example:
      >>> figure = loss_curves({"loss": [1.0, 0.5, 0.3], "validation_loss": [1.1, 0.6, 0.5]})
      >>> len(figure.axes[0].lines)
      2
    """
    several = history if "loss" not in history else {"": history}
    figure = new_figure(6, 4)
    axes = new_axes(figure, title, "epoch", "mean loss")
    axes.locator_params(axis="x", integer=True)
    drawn = []
    for (name, curves), colour in zip(several.items(), CYCLE * len(several), strict=False):
        for key, style in (("loss", "-"), ("validation_loss", "--")):
            values = np.atleast_2d(np.asarray(curves.get(key, ()), float)).T  # [epochs, P]
            if not values.size:
                continue
            part = "training" if key == "loss" else "validation"
            label = f"{name}, {part}" if name and "validation_loss" in curves else name or part
            marker = "o" if len(values) < 30 else None
            epochs = np.arange(1, len(values) + 1)
            lines = axes.plot(epochs, values, style, color=colour, marker=marker, ms=3)
            lines[0].set_label(label)  # one legend entry for all members
            drawn.append(values[np.isfinite(values)])
    if not drawn:
        raise ValueError("the history holds no loss: was the detector fitted with epochs=0?")
    if spans_decades(np.concatenate(drawn)):
        axes.set_yscale("log")
    axes.legend(frameon=False)
    return figure


def score_histogram(
    scores: ArrayLike,
    is_anomaly: ArrayLike,
    threshold: float | None = None,
    *,
    title: str = "Anomaly scores",
) -> "Figure":
    """Plot histograms of the scores of normal rows and of anomalies, each with a total of 1.

    Args:
      scores: ``[N]``, higher = more anomalous. If they span decades the axis is logarithmic, or
        linear around 0 and logarithmic beyond if some scores are 0 or negative.
      is_anomaly: ``[N]`` bool.
      threshold: drawn as a line. Rows that score above it are flagged.
      title: title of the plot.

    Raises:
      ValueError: the lengths differ.

    Example:
      >>> figure = score_histogram([0.1, 0.2, 3.0], [False, False, True], threshold=1.0)
      >>> figure.axes[0].get_xlabel()
      'anomaly score'
    """
    scores, is_anomaly = same_length(scores, is_anomaly)
    figure = new_figure(6, 4)
    axes = new_axes(figure, title, "anomaly score", "share of the class's rows")
    low, high = scores.min(), scores.max()
    if spans_decades(scores):
        axes.set_xscale("log")
        edges = np.geomspace(low, high, 41)
    elif width := linear_width(scores):
        axes.set_xscale("asinh", linear_width=width)
        edges = width * np.sinh(np.linspace(np.arcsinh(low / width), np.arcsinh(high / width), 41))
        edges[[0, -1]] = low, high  # exactly, so that rounding excludes no row
    else:
        edges = np.linspace(low, high if high > low else low + 1, 41)
    for rows, colour, name in ((~is_anomaly, NORMAL, "normal"), (is_anomaly, ANOMALOUS, "anomaly")):
        if not rows.any():
            continue
        share = np.full(rows.sum(), 1 / rows.sum())
        style = {"bins": edges, "weights": share, "color": colour}
        axes.hist(scores[rows], alpha=0.35, **style)
        axes.hist(
            scores[rows], histtype="step", linewidth=1.5, label=f"{name} ({rows.sum()})", **style
        )
    if threshold is not None:
        axes.axvline(threshold, color=BOUNDARY, linestyle="--", label="threshold")
    axes.legend(frameon=False)
    return figure


def latent_scatter(
    z: ArrayLike,
    is_anomaly: ArrayLike,
    centre: ArrayLike | None = None,
    radius: float | None = None,
    *,
    title: str = "Latent space",
) -> "Figure":
    """Plot latent vectors in the plane, with the centre and the boundary around it.

    If L is larger than 2, vectors are projected onto the two principal axes of the rows. The
    boundary, a ball, is drawn as a disc. A row outside the ball may then appear inside the disc.

    Args:
      z: ``[N, L]``, L at least 2.
      is_anomaly: ``[N]`` bool.
      centre: ``[L]``.
      radius: radius of the boundary, in the units of ``z``. It is drawn only with a centre.
      title: title of the plot.

    Raises:
      ValueError: L is 1, or the lengths differ.

    Example:
      >>> figure = latent_scatter([[0.0, 0.1], [3.0, 3.0]], [False, True], [0.0, 0.0], 1.0)
      >>> figure.axes[0].get_aspect()
      1.0
    """
    z, is_anomaly = same_length(z, is_anomaly)
    if z.ndim != 2 or z.shape[1] < 2:
        raise ValueError(f"z must be [N, L] with L at least 2, not of shape {z.shape}")
    middle = None if centre is None else np.asarray(centre, float)
    names = "first latent dimension", "second latent dimension"
    if z.shape[1] > 2:
        z, middle, shares = _principal_plane(z, middle)
        names = [f"principal axis {i + 1} ({shares[i]:.0%} of the variance)" for i in range(2)]
    figure = new_figure(5.5, 5.5)
    axes = new_axes(figure, title, *names)
    for rows, colour, marker, name in (
        (is_anomaly, ANOMALOUS, "x", "anomaly"),
        (~is_anomaly, NORMAL, "o", "normal"),
    ):
        if rows.any():
            label = f"{name} ({rows.sum()})"
            style: dict[str, Any] = {"color": colour, "marker": marker, "linewidths": 1}
            rarer = 2 * rows.sum() < len(rows)
            style |= {"zorder": 1.5, "alpha": 0.9} if rarer else {"zorder": 1, "alpha": 0.6}
            axes.scatter(z[rows, 0], z[rows, 1], s=16, label=label, **style)
    if middle is not None:
        axes.plot(*middle, "+", color=BOUNDARY, ms=12, mew=2, linestyle="none", label="centre")
    if middle is not None and radius is not None:
        angle = np.linspace(0, 2 * np.pi, 200)
        x, y = middle[0] + radius * np.cos(angle), middle[1] + radius * np.sin(angle)
        axes.plot(x, y, "--", color=BOUNDARY, label="boundary")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(frameon=False)
    return figure


def _principal_plane(
    z: np.ndarray, centre: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Project rows and centre onto the two principal axes of the rows.

    Returns:
      Rows ``[N, 2]``, centre ``[2]``, and the share of the variance along every axis ``[L]``.
    """
    mean = z.mean(axis=0)
    variance, directions = np.linalg.eigh((z - mean).T @ (z - mean))
    share = variance[::-1] / max(variance.sum(), np.finfo(float).tiny)
    plane = directions[:, ::-1][:, :2]
    return (z - mean) @ plane, None if centre is None else (centre - mean) @ plane, share


def reconstructions(
    x: ArrayLike, r: ArrayLike, flagged: ArrayLike, *, title: str = "Reconstructions"
) -> "Figure":
    """Show images above their reconstructions, with a frame around those that are flagged.

    Args:
      x: images ``[N, H, W]`` or ``[N, H, W, C]`` with 1 or 3 channels. All share one scale.
      r: reconstructions, an array of the same shape.
      flagged: ``[N]`` bool.
      title: title of the figure.

    Raises:
      ValueError: the lengths or shapes differ, or the arrays are not images.

    Example:
      >>> pictures = np.zeros((4, 8, 8, 1))
      >>> len(reconstructions(pictures, pictures, [False, False, True, True]).axes)
      8
    """
    x, flagged = same_length(x, flagged)
    r = np.asarray(r, float)
    if x.shape != r.shape:
        raise ValueError(f"x has shape {x.shape}, its reconstructions {r.shape}")
    if x.ndim == 3:
        x, r = x[..., None], r[..., None]
    if x.ndim != 4 or x.shape[-1] not in (1, 3):
        raise ValueError(f"images are [N, H, W] or [N, H, W, 1 or 3], not of shape {x.shape}")
    count = len(x)
    per_line = min(count, 8)
    lines = -(-count // per_line)
    figure = new_figure(1.1 * per_line + 0.6, 2.45 * lines + 0.5)
    figure.suptitle(title)
    low, high = x.min(), max(x.max(), x.min() + 1e-12)
    grid = figure.subplots(2 * lines, per_line, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for i in range(count):
        line, column = divmod(i, per_line)
        for offset, image, name in ((0, x[i], "original"), (1, r[i], "reconstruction")):
            axes = grid[2 * line + offset, column]
            shown = np.clip((image - low) / (high - low), 0, 1)
            axes.imshow(
                shown.squeeze(-1) if shown.shape[-1] == 1 else shown, cmap="gray", vmin=0, vmax=1
            )
            if column == 0:
                axes.set_ylabel(name, fontsize=8)
            if flagged[i]:
                axes.spines[:].set(visible=True, color=ANOMALOUS, linewidth=3)
                if offset == 0:
                    axes.set_title("flagged", color=ANOMALOUS, fontsize=8)
    return figure
