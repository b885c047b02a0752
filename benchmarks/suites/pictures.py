"""The pictures of the quick suite, drawn by `jaxad.plotting` from the fits of seed 0."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.datasets import Dataset, Split
from jaxad import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Fitted(NamedTuple):
    """A fitted detector and what it was fitted on."""

    dataset: Dataset
    split: Split
    model: Any


def draw(fits: Mapping[tuple[str, str], Fitted], out: Path) -> list[Path]:
    """Draw what the fits allow: a picture whose detector or set was left out is not drawn.

    Args:
      fits: (data set, detector) -> the fit.
      out: the folder pictures go to.
    """
    figures = {}
    learned = {key: fit for key, fit in fits.items() if hasattr(fit.model, "history_")}
    if learned:
        first = next(iter(learned))[0]
        curves = {d: fit.model.history_ for (name, d), fit in learned.items() if name == first}
        figures["loss_curves"] = plotting.loss_curves(curves, title=f"{first}: training loss")
    svdd = [(name, fit) for (name, detector), fit in fits.items() if detector == "deep_svdd"]
    if svdd:
        name, (_, split, model) = svdd[0]
        figures["score_histogram"] = plotting.score_histogram(
            model.anomaly_score(split.test),
            split.is_anomaly,
            model.threshold_,
            title=f"Deep SVDD on {name}: test scores",
        )
        figures["latent_scatter"] = plotting.latent_scatter(
            model.transform(split.test),
            split.is_anomaly,
            model.stats_["centre"],
            np.sqrt(model.threshold_),
            title=f"Deep SVDD on {name}: latent space",
        )
    images = [f for (_, d), f in fits.items() if d == "autoencoder" and f.dataset.images]
    if images:
        figures["reconstructions"] = _reconstructions(images[0])
    paths = []
    for name, figure in figures.items():
        paths.append(out / f"{name}.png")
        figure.savefig(paths[-1])
    return paths


def _reconstructions(fit: Fitted, count: int = 8) -> "Figure":
    """A line of normal test images above a line of anomalous ones, the first of each."""
    _, split, model = fit
    chosen = [np.flatnonzero(split.is_anomaly == a)[:count] for a in (False, True)]
    x = split.test[np.concatenate(chosen)]
    flagged = model.anomaly_score(x) > model.threshold_
    title = f"{fit.dataset.name}: {count} normal digits, then {count} anomalous ones"
    return plotting.reconstructions(x, model.reconstruct(x), flagged, title=title)
