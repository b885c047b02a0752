"""Sets that ship with scikit-learn, split for one-class detection."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn import datasets as sklearn_datasets

NORMAL_DIGIT = 8
KNOWN = 10  # anomalies that detectors with labels may learn from


@dataclass(frozen=True)
class Dataset:
    """Rows and which of them are anomalous.

    Attributes:
      name: its name in `NAMES`.
      x: ``[N, D]`` float32, or ``[N, H, W, C]``.
      is_anomaly: ``[N]`` bool.
      images: whether rows are images.
      description: what is normal and what is not, in one line.
    """

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


def _breast_cancer() -> Dataset:
    x, benign = sklearn_datasets.load_breast_cancer(return_X_y=True)
    text = "30 features of cell nuclei; benign is normal, malignant anomalous"
    return Dataset("breast_cancer", x.astype(np.float32), benign == 0, False, text)


def _digits() -> Dataset:
    x, digit = sklearn_datasets.load_digits(return_X_y=True)
    text = f"8x8 digits as 64 features; {NORMAL_DIGIT} is normal, the others anomalous"
    return Dataset("digits", x.astype(np.float32), digit != NORMAL_DIGIT, False, text)


def _digits_images() -> Dataset:
    table = _digits()
    text = f"the same digits as 8x8x1 images; {NORMAL_DIGIT} is normal"
    images = table.x.reshape(-1, 8, 8, 1)
    return Dataset("digits_images", images, table.is_anomaly, True, text)


_LOADERS: dict[str, Callable[[], Dataset]] = {
    "breast_cancer": _breast_cancer,
    "digits": _digits,
    "digits_images": _digits_images,
}
NAMES = tuple(_LOADERS)


def load(name: str) -> Dataset:
    """Load a set by name.

    Raises:
      ValueError: no such set; the message names those there are.
    """
    if name not in _LOADERS:
        raise ValueError(f"unknown dataset {name!r}; valid: {', '.join(NAMES)}")
    return _LOADERS[name]()


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
