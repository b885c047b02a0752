"""The files of named sets: in a folder of the user's, in the cache, or at a public address.

If the environment variable JAXAD_DATA is set, files are read from the folder it names and nothing
is downloaded. Otherwise pooch downloads each file once, checks its SHA-256 and keeps it in the
user's cache.
"""

import os
from pathlib import Path
from typing import Any

import pooch

from jaxad.data.cards import Card, Copy, File

_TIMEOUT_S = 60


class DownloadError(OSError):
    """A file could not be downloaded, or is not the published one. No part of it is kept."""


def folder() -> Path:
    """The folder that files are read from: the one JAXAD_DATA names, or else the cache."""
    own = os.environ.get("JAXAD_DATA")
    return Path(own) if own else Path(pooch.os_cache("jaxad")) / "data"


def locate(card: Card, download: bool = True) -> tuple[Copy, list[Path]]:
    """Find the files of a set, and download them if necessary.

    Raises:
      FileNotFoundError: the files are missing and cannot be downloaded; the message says what to
        do.
      DownloadError: a download failed, or its hash is not that of the published file.
    """
    root, own = folder(), bool(os.environ.get("JAXAD_DATA"))
    for copy in card.copies:
        paths = [root / file.path for file in copy.files]
        # Hashes are checked only in the cache, because a user may have repacked a file. `load` also
        # compares the content with the card.
        if all(map(Path.is_file, paths) if own else map(_intact, paths, copy.files)):
            return copy, paths
    public = next((copy for copy in card.copies if all(file.url for file in copy.files)), None)
    if public and download and not own:
        return public, [fetch(file, root) for file in public.files]
    raise FileNotFoundError(_advice(card, own, public is not None))


def fetch(file: File, root: Path) -> Path:
    """Return ``root / file.path``, downloaded unless it is there with the right hash.

    pooch downloads to a temporary file, checks the hash, and renames the file last, so an
    interrupted download leaves nothing under the final name.

    Raises:
      DownloadError: the address does not answer, or the file it sends has another hash.
    """
    path = root / file.path
    if file.url is None or file.sha256 is None:
        raise DownloadError(f"{file.path}: no public address is known whose content can be checked")
    # Without "identity" a server may send compressed bytes, whose hash differs.
    headers = {"User-Agent": "jaxad", "Accept-Encoding": "identity"}
    over_http: Any = pooch.HTTPDownloader(timeout=_TIMEOUT_S, headers=headers)
    try:
        pooch.retrieve(
            file.url, f"sha256:{file.sha256}", path.name, path.parent, downloader=over_http
        )
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):  # requests raises subclasses of it
            reason = f"cannot download {file.url}"
        else:  # pooch raises a ValueError if the hash differs
            reason = f"what {file.url} sent is damaged or another file"
        raise DownloadError(
            f"{file.path}: {reason} ({error}). Nothing was kept: try again, or put the file at "
            f"{file.path} in a folder of your own and set JAXAD_DATA to that folder"
        ) from error
    return path


def _intact(path: Path, file: File) -> bool:
    return path.is_file() and pooch.file_hash(path) == file.sha256


def _advice(card: Card, own: bool, public: bool) -> str:
    """The message for missing files: which ones, where to get them, and where to put them."""
    wanted = " or ".join(", ".join(file.path for file in copy.files) for copy in card.copies)
    if own:
        there = f"the folder JAXAD_DATA names, {folder()}, does not hold"
        instead = ", or unset JAXAD_DATA to have it downloaded" if public else ""
        return f"{there} {card.name!r} ({wanted}): get it from {card.source}{instead}"
    reason = "download=False forbids the download" if public else "no checked download is known"
    return (
        f"{card.name!r} ({wanted}) is not in the cache, and {reason}: get it from {card.source} "
        "and set JAXAD_DATA to the folder that holds it"
    )
