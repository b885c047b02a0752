"""Cards of the named sets: size, source, licence, citation, overlaps and files.

Their data is in ``cards.toml``.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple


class File(NamedTuple):
    """A file of a set.

    Attributes:
      path: relative to the data folder.
      url: public address that serves the file with this hash, or None if none is known.
      sha256: hash of the published file, or None if unknown.
    """

    path: str
    url: str | None = None
    sha256: str | None = None


class Copy(NamedTuple):
    """One published form of a set: its files and the name of their format."""

    format: str
    files: tuple[File, ...]


class Overlap(NamedTuple):
    """Names of other sets that share rows with a set, and how they overlap."""

    sets: tuple[str, ...]
    how: str


@dataclass(frozen=True)
class Card:
    """Description of a set, and the figures its files must agree with.

    Attributes:
      name: the argument of `jaxad.data.load`.
      rows: number of rows, N.
      shape: shape of one row, ``(D,)`` or ``(H, W, C)``.
      anomalies: number of anomalies; None for images, where the user chooses the normal class.
      classes: number of classes, or None.
      train_rows: number of rows in the published training part, or None.
      source: where the set is published.
      licence: terms of use.
      citation: reference to cite.
      note: further facts to know before use.
      overlaps: sets that share rows with this one. An average over both counts those rows twice.
      copies: published forms, the preferred one first.

    Example:
      >>> CARDS["thyroid"].rows, CARDS["thyroid"].features, CARDS["thyroid"].anomalies
      (3772, 6, 93)
    """

    name: str
    rows: int
    shape: tuple[int, ...]
    anomalies: int | None = None
    classes: int | None = None
    train_rows: int | None = None
    source: str = ""
    licence: str = ""
    citation: str = ""
    note: str = ""
    overlaps: tuple[Overlap, ...] = ()
    copies: tuple[Copy, ...] = ()

    @property
    def features(self) -> int:
        """The number of values in a row, D."""
        return math.prod(self.shape)


def _files(entries: list[Mapping[str, Any]], url: str | None) -> tuple[File, ...]:
    def file(path: str, sha256: str | None = None) -> File:
        # Without a hash the content of an address cannot be checked, so it is not used.
        checked = url.format(file=path.split("/")[-1]) if url and sha256 else None
        return File(path, checked, sha256)

    return tuple(file(**entry) for entry in entries)


def _card(name: str, entry: dict[str, Any], overlaps: tuple[Overlap, ...]) -> Card:
    """Make a card from its TOML table, which includes the entries of its collection."""
    one_file = {key: entry.pop(key) for key in ("path", "sha256") if key in entry}
    url, form = entry.pop("url", None), entry.pop("format", None)
    copies = entry.pop("copies", [{"format": form, "url": url, "files": [one_file]}])
    shape = tuple(entry.pop("shape", None) or [entry.pop("features")])
    return Card(
        name=name,
        shape=shape,
        overlaps=overlaps,
        copies=tuple(Copy(c["format"], _files(c["files"], c.get("url"))) for c in copies),
        **entry,
    )


def _read() -> dict[str, Card]:
    text = resources.files("jaxad.data").joinpath("cards.toml").read_text(encoding="utf-8")
    collections = tomllib.loads(text)
    shared = collections.pop("overlaps")
    cards = {}
    for collection in collections.values():
        sets = collection.pop("sets")
        for name, entry in sets.items():
            overlaps = tuple(
                Overlap(tuple(other for other in group["sets"] if other != name), group["how"])
                for group in shared
                if name in group["sets"]
            )
            cards[name] = _card(name, collection | entry, overlaps)
    return cards


CARDS: dict[str, Card] = _read()
