"""Sets that ship with scikit-learn, split for one-class detection."""

from typing import NamedTuple

import numpy as np
from sklearn import datasets

NORMAL_DIGIT = 8
KNOWN = 10  # anomalies that detectors with labels may learn from


class Dataset(NamedTuple):
    """Rows ``[N, D]`` float32, or images ``[N, H, W, C]``, and which of them are anomalous."""

    name: str
    x: np.ndarray
    is_anomaly: np.ndarray
    images: bool
    description: str


class Split(NamedTuple):
    """Training rows, all normal, some known anomalies, and test rows with what they are."""

    train: np.ndarray
    known: np.ndarray
    test: np.ndarray
    is_anomaly: np.ndarray


NAMES = ("breast_cancer", "digits", "digits_images")


def load(name: str) -> Dataset:
    """Load a set by name; the error names the valid ones."""
    if name not in NAMES:
        raise ValueError(f"unknown dataset {name!r}; valid: {', '.join(NAMES)}")
    if name == "breast_cancer":
        x, benign = datasets.load_breast_cancer(return_X_y=True)
        text = "30 features of cell nuclei; benign is normal, malignant anomalous"
        return Dataset(name, x.astype(np.float32), benign == 0, False, text)
    x, digit = datasets.load_digits(return_X_y=True)
    x, images = x.astype(np.float32), name == "digits_images"
    text = f"8x8 digits as 64 features; {NORMAL_DIGIT} is normal, the others anomalous"
    if images:
        x = x.reshape(-1, 8, 8, 1)
        text = f"the same digits as 8x8x1 images; {NORMAL_DIGIT} is normal"
    return Dataset(name, x, digit != NORMAL_DIGIT, images, text)


def split(dataset: Dataset, seed: int) -> Split:
    """Train on a random half of the normal rows; test on the other half and the anomalies.

    `KNOWN` anomalies are taken out of the test rows, for the detectors that learn from labels.
    """
    rng = np.random.default_rng(seed)
    normal = rng.permutation(np.flatnonzero(~dataset.is_anomaly))
    anomalous = rng.permutation(np.flatnonzero(dataset.is_anomaly))
    half = len(normal) // 2
    test = np.concatenate([normal[half:], anomalous[KNOWN:]])
    return Split(
        train=dataset.x[normal[:half]],
        known=dataset.x[anomalous[:KNOWN]],
        test=dataset.x[test],
        is_anomaly=dataset.is_anomaly[test],
    )
