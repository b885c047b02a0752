"""`Dataset`, and `load`, which reads a public set by its name and compares it with its card."""

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch

from jaxad.data.cards import CARDS, Card, Copy
from jaxad.data.files import locate
from jaxad.data.readers import READERS

NAMES: tuple[str, ...] = tuple(CARDS)
# The most that a set's unpacked file may take: bytes of a value, columns beside the features
# (labels, and the names of KDD'99), and bytes of headers and padding.
_BYTES, _MORE, _HEADERS = 16, 8, 1 << 20


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as published: no row is scaled, removed or shuffled.

    Attributes:
      x: ``[N, D]`` float64, or images ``[N, H, W, C]`` uint8.
      card: size, source, licence, citation and overlaps with other sets.
      is_anomaly: ``[N]`` bool. None for images, where the user chooses the normal class.
      label: ``[N]`` class of each row, or None.
      is_train: ``[N]`` bool, true for the published training part, or None; the other rows are the
        test part.
      features: names of the D columns, or None.

    Example:
      >>> Dataset(np.zeros((3, 2)), Card("demo", 3, (2,)), np.array([True, False, False]))
      Dataset('demo', x: (3, 2) float64, 1 anomaly)
    """

    x: np.ndarray
    card: Card
    is_anomaly: np.ndarray | None = None
    label: np.ndarray | None = None
    is_train: np.ndarray | None = None
    features: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        parts = [repr(self.card.name), f"x: {self.x.shape} {self.x.dtype}"]
        if self.is_anomaly is not None:
            count = int(self.is_anomaly.sum())
            parts.append(f"{count} anomal{'y' if count == 1 else 'ies'}")
        if self.card.classes is not None:
            parts.append(f"{self.card.classes} classes")
        return f"Dataset({', '.join(parts)})"

    @property
    def continuous(self) -> np.ndarray:
        """``[D]`` bool: whether a column has a value other than 0 and 1.

        GOAD standardises only these columns of KDD'99; indicators and constants stay unchanged.
        """
        return ((self.x != 0) & (self.x != 1)).any(axis=0)


def load(name: str, *, download: bool = True) -> Dataset:
    """Read a public set from the folder JAXAD_DATA names, or from its public address.

    The folder holds ``odds/thyroid.mat``, ``adbench/2_annthyroid.npz``, ``images/mnist.npz``,
    ``kdd/kddcup.data_10_percent.gz`` and so on; ``card.copies`` lists the paths. Without
    JAXAD_DATA, a file is downloaded once, checked against its SHA-256 and kept in the user's cache.

    Args:
      name: one of `NAMES`.
      download: whether a missing file may be downloaded.

    Raises:
      ValueError: no set has this name, or a file is damaged or differs from its card.
      FileNotFoundError: the file is missing and cannot be downloaded; the message says where to get
        it.
      DownloadError: the download failed, or its hash is not that of the published file.

    Example:
      >>> load("thyroid")  # doctest: +SKIP
      Dataset('thyroid', x: (3772, 6) float64, 93 anomalies)
    """
    if name not in CARDS:
        close = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"no set is called {name!r}; {hint}valid: {', '.join(NAMES)}")
    card = CARDS[name]
    copy, paths = locate(card, download)
    dataset = _read(card, copy, paths)
    _check(dataset, paths[0])
    return dataset


def _read(card: Card, copy: Copy, paths: list[Path]) -> Dataset:
    most = _BYTES * card.rows * (card.features + _MORE) + _HEADERS
    try:
        content = READERS[copy.format](paths, most)
    except MemoryError:
        raise
    except Exception as error:  # libraries raise errors of their own for damaged files
        hashes = "; ".join(
            f"{path} has SHA-256 {pooch.file_hash(path)}"
            + (f", the published file {file.sha256}" if file.sha256 else "")
            for path, file in zip(paths, copy.files, strict=True)
        )
        raise ValueError(
            f"{card.name!r} cannot be read: its file is damaged or another file ({error!r}). "
            f"{hashes}. Get it from {card.source}"
        ) from error
    return Dataset(card=card, **content)


def _check(dataset: Dataset, path: Path) -> None:
    """Raise a ValueError that names ``path`` unless the set agrees with its card."""
    card = dataset.card
    classes = None if dataset.label is None else len(np.unique(dataset.label))
    compared = {
        "rows": (len(dataset.x), card.rows),
        "shape of a row": (dataset.x.shape[1:], card.shape),
        "anomalies": (_count(dataset.is_anomaly), card.anomalies),
        "classes": (classes if card.classes else None, card.classes),
        "training rows": (_count(dataset.is_train), card.train_rows),
    }
    wrong = [
        f"{name}: {found}, not {expected}"
        for name, (found, expected) in compared.items()
        if found != expected
    ]
    lengths = {
        len(part)
        for part in (dataset.is_anomaly, dataset.label, dataset.is_train)
        if part is not None
    }
    if lengths - {len(dataset.x)}:
        wrong.append(f"marks or labels for {sorted(lengths)} rows")
    if wrong:
        raise ValueError(
            f"{path} is not the set {card.name!r} that its card describes ({'; '.join(wrong)}): "
            f"get it from {card.source}"
        )


def _count(marks: np.ndarray | None) -> int | None:
    return None if marks is None else int(marks.sum())
