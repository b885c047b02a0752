"""Deep SVDD in the plane: three blobs are normal, and training finds the gaps between them.

900 normal rows in three blobs train the detector with its defaults, as a single model. The test is
300 new rows of the blobs and 100 outliers anywhere in [-5, 5]^2. An untrained network of the same
kind knows the middle and the extent of the rows, but not the gaps: training raises AUROC, and
precision and recall at the threshold. The picture ``plane`` shows why: the line is the threshold,
set so that it flags 5% of the training rows, and training draws it around each blob.

With --biases the network may map every row to the centre, and trained long enough it does: the
library warns. How the vanishing scores still rank is then an accident of the seed.
"""

import argparse
import warnings
from collections.abc import Mapping, Sequence

import common
import numpy as np
from matplotlib.figure import Figure

from jaxad import CollapseWarning, DeepSVDD, networks, plotting

CENTRES = np.array([(-2.5, -2.0), (2.5, -1.5), (0.0, 2.5)])
PASSES_TO_COLLAPSE = 5000


def blobs(rng: np.random.Generator, count: int) -> np.ndarray:
    """Normal rows ``[3 * count, 2]``, ``count`` around each centre."""
    return np.concatenate([rng.normal(centre, 0.4, size=(count, 2)) for centre in CENTRES])


def plane(detectors: Mapping[str, DeepSVDD], x: np.ndarray, is_outlier: np.ndarray) -> Figure:
    """Scores over the plane, darker where they are higher, with the threshold as a line."""
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-5, 5, 120)]), -1)
    figure = Figure((9, 4.2), layout="constrained")
    panels = np.ravel(figure.subplots(1, len(detectors)))
    for ax, (name, detector) in zip(panels, detectors.items(), strict=True):
        score = detector.anomaly_score(grid.reshape(-1, 2)).reshape(grid.shape[:2])
        times = np.log10(np.maximum(score, 1e-12) / detector.threshold_)
        ax.contourf(grid[..., 0], grid[..., 1], times, 15, cmap="Greys", alpha=0.7)
        ax.contour(grid[..., 0], grid[..., 1], times, [0.0], colors="#d55e00")
        for marks, colour, label in (
            (~is_outlier, "#0072b2", "normal"),
            (is_outlier, "k", "outlier"),
        ):
            ax.scatter(*x[marks].T, 6, colour, label=label)
        ax.set_title(f"Deep SVDD, {name}")
    panels[-1].legend(loc="lower right", fontsize=8)
    return figure


def example(arguments: argparse.Namespace) -> None:
    """Fit, compare with the untrained copy on new rows, draw."""
    rng = np.random.default_rng(arguments.seed)
    train, normal = blobs(rng, 300), blobs(rng, 100)
    x = np.concatenate([normal, rng.uniform(-5, 5, size=(100, 2))])
    is_outlier = np.arange(len(x)) >= len(normal)
    options = {"n_members": 1, "contamination": 0.05, "random_state": arguments.seed}
    if arguments.biases:
        network = networks.MLP((16, 2), activation="relu", use_bias=True)
        options |= {"network": network, "learning_rate": 1e-3, "batch_size": len(train)}
    epochs = arguments.epochs or (PASSES_TO_COLLAPSE if arguments.biases else "auto")
    untrained = DeepSVDD(epochs=0, **options).fit(train)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        detector = DeepSVDD(epochs=epochs, **options).fit(train)
    detectors = {"untrained": untrained, "trained": detector}
    for name, fitted in detectors.items():
        common.report(name, fitted.anomaly_score(x), is_outlier, fitted.threshold_)
    for warning in caught:
        print(f"{warning.category.__name__}: {warning.message}")
    if not caught:
        print("no collapse")
    common.save_pictures(
        arguments.out,
        plane=plane(detectors, x, is_outlier),
        loss_curves=plotting.loss_curves(detector.history_, title="Deep SVDD on blobs"),
        score_histogram=plotting.score_histogram(
            detector.anomaly_score(x), is_outlier, detector.threshold_, title="Scores of new rows"
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = common.parser("blobs", __doc__)
    parser.add_argument("--biases", action="store_true", help="a network that can collapse")
    parser.add_argument("--epochs", type=int, help="passes over the training rows")
    return common.run(parser, argv, example)


if __name__ == "__main__":
    raise SystemExit(main())
