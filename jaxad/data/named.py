"""The public sets by name."""

import difflib
from pathlib import Path

from jaxad.data import images, kdd, tables
from jaxad.data.cards import CARDS, Card, Copy
from jaxad.data.dataset import Dataset, check
from jaxad.data.files import locate, sha256

NAMES: tuple[str, ...] = tuple(CARDS)

_READERS = tables.READERS | kdd.READERS | images.READERS


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
        content = _READERS[copy.format](paths)
    except MemoryError:
        raise
    except Exception as error:  # each format's library has its own errors for a damaged file
        hashes = "; ".join(
            f"{path} has SHA-256 {sha256(path)}"
            + (f", the published file {file.sha256}" if file.sha256 else "")
            for path, file in zip(paths, copy.files, strict=True)
        )
        raise ValueError(
            f"{card.name!r} cannot be read, its file is damaged or another ({error!r}): {hashes}. "
            f"Get it from {card.source}"
        ) from error
    return Dataset(card=card, **content)
