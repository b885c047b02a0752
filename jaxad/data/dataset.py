"""Rows, what they are, and the card they came with."""

from dataclasses import dataclass

import numpy as np

from jaxad.data.cards import Card


@dataclass(frozen=True, eq=False)
class Dataset:
    """A set as it was published: nothing is scaled, left out or shuffled.

    Attributes:
      x: ``[N, D]`` float64, or images ``[N, H, W, C]`` uint8.
      card: size, source, licence, citation and overlaps.
      is_anomaly: ``[N]`` bool; None for images, where it depends on the class that is normal.
      label: ``[N]`` the class of each row, where rows have one.
      is_train: ``[N]`` bool, the published training part, where there is one; the rest is the test.
      features: names of the D columns, where known.
    """

    x: np.ndarray
    card: Card
    is_anomaly: np.ndarray | None = None
    label: np.ndarray | None = None
    is_train: np.ndarray | None = None
    features: tuple[str, ...] | None = None

    @property
    def continuous(self) -> np.ndarray:
        """``[D]`` bool: columns with a value other than 0 and 1.

        On KDD'99 GOAD standardises these only; indicators and constants stay as they are.
        """
        return ((self.x != 0) & (self.x != 1)).any(axis=0)


def check(dataset: Dataset, origin: str) -> None:
    """Compare a set with its card.

    Raises:
      ValueError: rows, shape, anomalies, classes or training rows differ; ``origin`` is named.
    """
    card = dataset.card
    counted = {
        "rows": (len(dataset.x), card.rows),
        "shape of a row": (dataset.x.shape[1:], card.shape),
        "anomalies": (_count(dataset.is_anomaly), card.anomalies),
        "classes": (None if card.classes is None else _distinct(dataset.label), card.classes),
        "training rows": (_count(dataset.is_train), card.train_rows),
    }
    wrong = [
        f"{what}: {found}, not {expected}"
        for what, (found, expected) in counted.items()
        if found != expected
    ]
    lengths = {
        len(part)
        for part in (dataset.is_anomaly, dataset.label, dataset.is_train)
        if part is not None
    }
    if lengths - {len(dataset.x)}:
        wrong.append(f"labels of {lengths} rows")
    if wrong:
        raise ValueError(
            f"{origin} is not the set {card.name!r} that its card describes ({'; '.join(wrong)}): "
            f"get it from {card.source}"
        )


def _count(marks: np.ndarray | None) -> int | None:
    return None if marks is None else int(marks.sum())


def _distinct(label: np.ndarray | None) -> int | None:
    return None if label is None else len(np.unique(label))
