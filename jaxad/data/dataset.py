"""Rows, what they are, and the card they came with."""

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch

from jaxad.data.cards import CARDS, Card, Copy
from jaxad.data.files import locate
from jaxad.data.readers import READERS

NAMES: tuple[str, ...] = tuple(CARDS)


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


def load(name: str, *, download: bool = True) -> Dataset:
    """A public set: from the folder JAXAD_DATA names, else from its public address.

    The folder holds ``odds/thyroid.mat``, ``adbench/2_annthyroid.npz``, ``images/mnist.npz``,
    ``kdd/kddcup.data_10_percent.gz`` and so on: ``card.copies`` has the path of each. Without
    JAXAD_DATA a file is downloaded once, checked against its SHA-256, and kept in the user's cache.

    Args:
      name: one of `NAMES`.
      download: whether a missing file may be downloaded.

    Raises:
      ValueError: no such set; or a file that is damaged or not what the card says.
      FileNotFoundError: the file is not there and is not to be had; says where to get it.
      DownloadError: the download failed, or was not the published file.

    Example:
      >>> load("thyroid").x.shape  # doctest: +SKIP
      (3772, 6)
    """
    if name not in CARDS:
        close = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"no set is called {name!r}; {hint}valid: {', '.join(NAMES)}")
    card = CARDS[name]
    copy, paths = locate(card, download)
    dataset = _read(card, copy, paths)
    check(dataset, str(paths[0]))
    return dataset


def _read(card: Card, copy: Copy, paths: list[Path]) -> Dataset:
    try:
        content = READERS[copy.format](paths)
    except MemoryError:
        raise
    except Exception as error:  # each format's library has its own errors for a damaged file
        hashes = "; ".join(
            f"{path} has SHA-256 {pooch.file_hash(path)}"
            + (f", the published file {file.sha256}" if file.sha256 else "")
            for path, file in zip(paths, copy.files, strict=True)
        )
        raise ValueError(
            f"{card.name!r} cannot be read, its file is damaged or another ({error!r}): {hashes}. "
            f"Get it from {card.source}"
        ) from error
    return Dataset(card=card, **content)


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
