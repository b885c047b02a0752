"""The five detectors in the plane: what each has learnt to call normal.

Two moons of 500 rows are normal. Every detector trains with its defaults; Deep SAD is also given 20
known anomalies (crosses). The darker a place, the higher its score. The line is the threshold,
which flags 5 % of the training rows. The test is 500 new rows of the moons and 100 outliers
anywhere in the frame, at least 0.35 away from every training row.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import common
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import make_moons
from sklearn.metrics import roc_auc_score

import jaxad

DETECTORS = ("DeepSVDD", "DeepSAD", "DAGMM", "GOAD", "AutoEncoder")
FRAME = (-1.75, 2.75), (-1.25, 1.75)


def outliers(rng: np.random.Generator, count: int, normal: np.ndarray) -> np.ndarray:
    """Rows ``[count, 2]`` anywhere in the frame, but not close to normal rows."""
    x = rng.uniform(*np.transpose(FRAME), size=(10 * count, 2))
    far = np.linalg.norm(x[:, None] - normal, axis=-1).min(1) > 0.35
    return x[far][:count]


def plane(
    detectors: Mapping[str, Any], train: np.ndarray, known: np.ndarray, titles: Sequence[str]
) -> Figure:
    """A panel for each detector: its scores over the frame, and the threshold as a line."""
    sides = [np.linspace(*limits, 150) for limits in FRAME]
    grid = np.stack(np.meshgrid(*sides), -1)
    figure = Figure((13, 2.6), layout="constrained", dpi=110)
    panels = np.ravel(figure.subplots(1, len(detectors), sharey=True))
    for ax, (name, detector), title in zip(panels, detectors.items(), titles, strict=True):
        of_grid = detector.anomaly_score(grid.reshape(-1, 2))
        of_train = np.sort(detector.anomaly_score(train))
        middle, scale = np.median(of_train), detector.threshold_ - np.median(of_train)
        times = np.arcsinh((of_grid - middle) / scale).reshape(grid.shape[:2])
        ax.contourf(*np.moveaxis(grid, -1, 0), times, 14, cmap="Blues", alpha=0.9)
        ax.contour(*np.moveaxis(grid, -1, 0), times, [np.arcsinh(1.0)], colors="#d55e00")
        ax.scatter(*train.T, 1.5, "k", alpha=0.5, linewidths=0)
        if name == "DeepSAD":
            ax.scatter(*known.T, 14, "#d55e00", marker="x", linewidths=1)
        ax.set(title=title, xlim=FRAME[0], ylim=FRAME[1], xticks=[], yticks=[])
    return figure


def example(arguments: argparse.Namespace) -> None:
    """Fit, report on new rows, draw."""
    rng = np.random.default_rng(arguments.seed)
    train, _ = make_moons(500, noise=0.06, random_state=arguments.seed)
    known = outliers(rng, 20, train)
    new, _ = make_moons(500, noise=0.06, random_state=arguments.seed + 1)
    x = np.concatenate([new, outliers(rng, 100, train)])
    is_outlier = np.arange(len(x)) >= len(new)
    options = {"contamination": 0.05, "random_state": arguments.seed}
    if arguments.epochs:
        options["epochs"] = arguments.epochs
    marks = np.arange(len(train) + len(known)) >= len(train)
    detectors = {}
    for name in DETECTORS:
        detector = getattr(jaxad, name)(**options)
        if name == "DeepSAD":
            labels = jaxad.labels_from_anomalies(marks)
            detectors[name] = detector.fit(np.concatenate([train, known]), labels)
        else:
            detectors[name] = detector.fit(train)
        common.report(name, detector.anomaly_score(x), is_outlier, detector.threshold_)
    titles = [
        f"{name}, AUROC {roc_auc_score(is_outlier, detector.anomaly_score(x)):.3f}"
        for name, detector in detectors.items()
    ]
    common.save_pictures(arguments.out, five_detectors=plane(detectors, train, known, titles))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = common.parser("five_detectors", __doc__)
    parser.add_argument("--epochs", type=int, help="passes over the training rows")
    return common.run(parser, argv, example)


if __name__ == "__main__":
    raise SystemExit(main())
