"""A convolutional autoencoder that finds the threes hidden among ones.

All ones of a digit set, and 1% as many threes mixed in unseen (5% of the small set); the labels
serve only to count what was found. Filters (32, 64), 16 latent dimensions, Adam at 1e-3 divided by
1 + 5e-5 per step, batches of 32, a fifth held out for the validation loss. The score of an image is
its mean squared error. The tutorial this follows flags the 0.1% largest; 1% is as many as there are
threes.

Reads images/mnist.npz in the folder JAXAD_DATA names, else scikit-learn's 8 by 8 digits.
"""

import argparse
from collections.abc import Sequence

import common
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from jaxad import AutoEncoder, data, load, plotting, thresholds

NORMAL, ANOMALY = 1, 3


def digits() -> tuple[str, np.ndarray, np.ndarray]:
    """What was read, images ``[N, H, W, 1]`` in [0, 1], and their digits."""
    try:
        mnist = data.load("mnist", download=False)
    except FileNotFoundError:
        x, y = load_digits(return_X_y=True)
        name = "scikit-learn's 8 by 8 digits (set JAXAD_DATA for MNIST)"
        return name, x.reshape(-1, 8, 8, 1).astype(np.float32) / 16, y
    train = mnist.is_train
    return "MNIST", mnist.x[train] / np.float32(255), mnist.label[train]


def contaminated(
    digit: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all normal digits and ``share`` as many anomalies, shuffled; and the other anomalies.

    Args:
      digit: ``[N]``.
      share: of the number of normal digits, rounded down, at least one.
      rng: draws which.
    """
    normal, anomalies = (rng.permutation(np.flatnonzero(digit == d)) for d in (NORMAL, ANOMALY))
    count = max(1, int(share * len(normal)))
    return rng.permutation(np.r_[normal, anomalies[:count]]), anomalies[count:]


def example(arguments: argparse.Namespace) -> None:
    """Train on the mixed images, flag, draw, save, and use the encoder for something else."""
    rng = np.random.default_rng(arguments.seed)
    name, images, digit = digits()
    share = arguments.contamination or (0.01 if len(images) > 10_000 else 0.05)
    rows, unseen = contaminated(digit, share, rng)
    x, is_anomaly = images[rows], digit[rows] == ANOMALY
    print(f"{name}: {len(x)} images, {is_anomaly.sum()} of them {ANOMALY}s")
    detector = AutoEncoder(
        network="conv",
        hidden=(32, 64),
        latent_dim=16,
        noise=0.0,
        epochs=arguments.epochs,
        batch_size=32,
        learning_rate=1e-3,
        time_decay=5e-5,
        validation_fraction=0.2,
        random_state=arguments.seed,
    ).fit(x)
    loss, validation = (detector.history_[k][-1] for k in ("loss", "validation_loss"))
    print(f"after {arguments.epochs} epochs: loss {loss:.4f}, validation loss {validation:.4f}")
    score = detector.anomaly_score(x)
    for q in (0.999, 1 - share):
        detector.threshold_ = thresholds.quantile(score, q)
        common.report(f"{q:g} quantile", score, is_anomaly, detector.threshold_)

    np.savez_compressed(arguments.out / "data.npz", x=x, is_anomaly=is_anomaly)
    detector.save(arguments.out / "model.safetensors")
    encoder = load(arguments.out / "model.safetensors")
    ones = rows[~is_anomaly][: len(unseen)]
    z = encoder.transform(images[np.r_[ones, unseen]])
    accuracy = cross_val_score(LogisticRegression(max_iter=1000), z, np.arange(len(z)) < len(ones))
    print(
        f"the loaded encoder reused: logistic regression on its {z.shape[1]} features tells "
        f"{len(ones)} ones from {len(unseen)} threes it never saw, accuracy {accuracy.mean():.3f}"
    )
    flagged = score > detector.threshold_
    shown = np.r_[np.flatnonzero(~flagged)[:8], np.argsort(-score)[:8]]
    common.save_pictures(
        arguments.out,
        loss_curves=plotting.loss_curves(detector.history_, title="Convolutional autoencoder"),
        score_histogram=plotting.score_histogram(score, is_anomaly, detector.threshold_),
        reconstructions=plotting.reconstructions(
            x[shown],
            detector.reconstruct(x[shown]),
            flagged[shown],
            title="Eight ordinary images, then the eight of the highest scores",
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = common.parser("conv_autoencoder", __doc__)
    parser.add_argument("--epochs", type=int, default=10, help="default 10; the tutorial's is 20")
    parser.add_argument("--contamination", type=float, metavar="SHARE", help="of threes")
    return common.run(parser, argv, example)


if __name__ == "__main__":
    raise SystemExit(main())
