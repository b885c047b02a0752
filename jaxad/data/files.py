"""Finding a set's files: in the user's folder, in the cache, or at their public address.

With the environment variable JAXAD_DATA set, files are read from the folder it names, and nothing
is downloaded. Without it they are downloaded once, checked, and kept in the user's cache.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from jaxad.data.cards import Card, Copy, File

_TIMEOUT_S = 60


class DownloadError(OSError):
    """A file could not be downloaded, or is not the published one; nothing of it was kept."""


def folder() -> Path:
    """Where files are read from: the folder JAXAD_DATA names, else the cache."""
    return Path(os.environ.get("JAXAD_DATA") or _cache())


def locate(card: Card, download: bool = True) -> tuple[Copy, list[Path]]:
    """The files of a set, downloaded if need be.

    Raises:
      FileNotFoundError: they are not there and cannot be downloaded; says what to do.
      DownloadError: a download failed, or was not the published file.
    """
    root, own = folder(), bool(os.environ.get("JAXAD_DATA"))
    for copy in card.copies:
        paths = [root / file.path for file in copy.files]
        # The cache is ours to vouch for; the user's folder is not, the card's figures decide there.
        if all(map(Path.is_file, paths) if own else map(_intact, paths, copy.files)):
            return copy, paths
    public = next((copy for copy in card.copies if all(file.url for file in copy.files)), None)
    if public and download and not own:
        return public, [fetch(file, root) for file in public.files]
    raise FileNotFoundError(_advice(card, own, public is not None))


def fetch(file: File, root: Path) -> Path:
    """``root / file.path``, downloaded and checked unless it is there already.

    The file appears under its name only when complete and right: a process that dies meanwhile
    leaves at most a temporary file.

    Raises:
      DownloadError: the address does not answer, or what it sent has another hash.
    """
    path = root / file.path
    if file.url is None or file.sha256 is None:
        raise DownloadError(f"{file.path}: no public address is known whose content can be checked")
    import pooch  # here, as it takes a tenth of the time of all other imports

    headers = {"User-Agent": "jaxad", "Accept-Encoding": "identity"}  # the bytes as published
    over_http: Any = pooch.HTTPDownloader(timeout=_TIMEOUT_S, headers=headers)
    try:
        found = pooch.retrieve(
            file.url, f"sha256:{file.sha256}", path.name, path.parent, downloader=over_http
        )
    except OSError as error:  # those of requests are too
        raise DownloadError(
            f"{file.path}: cannot download {file.url} ({error}). {_instead(file)}"
        ) from error
    except ValueError as error:
        raise DownloadError(
            f"{file.path}: what {file.url} sent is damaged or another file ({error}). "
            f"{_instead(file)}"
        ) from error
    return Path(found)


def _instead(file: File) -> str:
    return (
        f"Nothing was kept: try again, or put the file at {file.path} in a folder of your own and "
        "set JAXAD_DATA to that folder"
    )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jaxad" / "data"


def _intact(path: Path, file: File) -> bool:
    return path.is_file() and file.sha256 is not None and sha256(path) == file.sha256


def _advice(card: Card, own: bool, public: bool) -> str:
    """What is missing, where to get it and where to put it."""
    wanted = " or ".join(", ".join(file.path for file in copy.files) for copy in card.copies)
    if own:
        there = f"the folder JAXAD_DATA names, {folder()}, does not hold"
        instead = ", or unset JAXAD_DATA to have it downloaded" if public else ""
        return f"{there} {card.name!r} ({wanted}): get it from {card.source}{instead}"
    reason = "download=False forbids to fetch it" if public else "no checked download is known"
    return (
        f"{card.name!r} ({wanted}) is not in the cache, and {reason}: get it from {card.source} "
        "and set JAXAD_DATA to the folder that holds it"
    )
