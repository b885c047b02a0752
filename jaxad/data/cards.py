"""The cards of the named sets: size, source, licence, citation, overlaps, and the files.

They are written down in ``cards.toml``.
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
      path: below the data folder.
      url: a public address; None where none is known to serve the file of that hash.
      sha256: of the published file; None where unknown.
    """

    path: str
    url: str | None = None
    sha256: str | None = None


class Copy(NamedTuple):
    """One form in which a set is found: the files, and how they are read."""

    format: str
    files: tuple[File, ...]


class Overlap(NamedTuple):
    """Other sets that share rows with a set, and how."""

    sets: tuple[str, ...]
    how: str


@dataclass(frozen=True)
class Card:
    """What a set is, and what its file must hold.

    Attributes:
      name: as `jaxad.data.load` takes it.
      rows: N.
      shape: of one row: ``(D,)``, or ``(H, W, C)``.
      anomalies: how many rows are; None for images, where it depends on the class.
      classes: how many classes the rows fall into, where they do.
      train_rows: rows of the published training part, where there is one.
      source: where the set is published.
      licence: its terms.
      citation: what to cite.
      note: what else to know before use.
      overlaps: the sets that share rows with it: averages over both count them twice.
      copies: the forms in which it is found, the preferred one first.
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
        """Numbers in a row, D."""
        return math.prod(self.shape)


def _files(entries: list[Mapping[str, Any]], url: str | None) -> tuple[File, ...]:
    def file(path: str, sha256: str | None = None) -> File:
        # An address whose content cannot be checked is not used.
        checked = url.format(file=path.split("/")[-1]) if url and sha256 else None
        return File(path, checked, sha256)

    return tuple(file(**entry) for entry in entries)


def _card(name: str, entry: dict[str, Any], overlaps: tuple[Overlap, ...]) -> Card:
    """A card from its table in the TOML file, the collection's entries included."""
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
