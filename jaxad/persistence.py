"""Files of arrays and metadata: safetensors with a JSON document in the header.

Any safetensors reader can open the files. They contain no code (nothing is unpickled) and keep
arrays bit for bit. The header's metadata has three entries: ``jaxad``, a JSON document with the
format version, the library versions, the nesting of the arrays and the caller's metadata;
``sha256``, the digest of that document and of every tensor; and ``header_sha256``, the digest of
the header alone, so that a file can be opened without reading its tensors. Files written before
there was a ``header_sha256`` lack it.

The format is 8 bytes with the length of the header, the header in JSON, and the tensors one after
the other (https://github.com/huggingface/safetensors#format). This module reads and writes it
directly: the safetensors library makes files that only their owner can read, reports a full disk as
an error of its own, and orders the metadata at random.
"""

import contextlib
import errno
import hashlib
import json
import os
import platform
import secrets
import zlib
from collections.abc import Iterable, Iterator
from importlib import metadata as distributions
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "jaxad"
VERSION = 1

# The types of numpy that safetensors has, with its names for them. bfloat16 is not among them.
_CODES = {"bool": "BOOL", "complex64": "C64"}
_CODES |= {f"float{bits}": f"F{bits}" for bits in (16, 32, 64)}
_CODES |= {f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)}
_CODES |= {f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)}
_DTYPES = {code: np.dtype(name).newbyteorder("<") for name, code in _CODES.items()}


# What code that reads a crafted file may raise.
_AMISS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


class FileFormatError(ValueError):
    """The file is truncated, damaged, not written by jaxad, or in a newer format."""


@contextlib.contextmanager
def made_from(path: Any, kind: str) -> Iterator[None]:
    """Raise a `FileFormatError` if the contents of a file do not make an object of this kind.

    Example:
      >>> with made_from("a.safetensors", "DeepSVDD"):
      ...     {}["params"]
      Traceback (most recent call last):
      jaxad.persistence.FileFormatError: a.safetensors: holds no DeepSVDD that this jaxad can ...
    """
    try:
        yield
    except FileFormatError:
        raise
    except _AMISS as error:
        raise FileFormatError(
            f"{path}: holds no {kind} that this jaxad can read ({type(error).__name__}: {error}); "
            "save it again, or read it with the version that saved it"
        ) from error


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # full disk, used-up quota, limit of a file


@contextlib.contextmanager
def needing_room(path: str | os.PathLike) -> Iterator[None]:
    """Name the file and the remedy in the error of a disk that has no room for it.

    Example:
      >>> with needing_room("rows.jsonl"):
      ...     raise OSError(errno.ENOSPC, "No space left on device")
      Traceback (most recent call last):
      OSError: [Errno 28] it could not be written (No space left on device): make room, or give ...
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        message = (
            f"it could not be written ({error.strerror}): make room, or give another folder; what "
            "was saved before is as it was"
        )
        raise OSError(error.errno, message, str(path)) from error


def write(path: str | os.PathLike, arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Write nested arrays and JSON metadata to one file, atomically.

    The bytes go to a temporary file in the same folder, which is renamed to ``path`` when it is
    complete and on disk. If anything fails, an existing file is unchanged.

    Args:
      path: the file to create or replace. Its folder must exist.
      arrays: nested dict with string keys; leaves are numpy or JAX arrays or Python numbers.
      metadata: any dict that JSON can hold.

    Raises:
      TypeError: a key is not a string, the format lacks an array's type, or JSON cannot hold the
        metadata.
      FileNotFoundError: the folder does not exist.
      OSError: there is no room for the file; an existing one is unchanged.

    Example:
      >>> import os, tempfile
      >>> path = os.path.join(tempfile.mkdtemp(), "detector.safetensors")
      >>> write(path, {"params": {"w": np.ones(2)}}, {"kind": "DeepSVDD"})
      >>> read(path)
      ({'params': {'w': array([1., 1.])}}, {'kind': 'DeepSVDD'})
    """
    write_bytes(path, _encoded(arrays, metadata))


def write_bytes(path: str | os.PathLike, parts: Iterable[Any]) -> None:
    """Write ``parts``, bytes or views, one after the other to one file, atomically, as `write`."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; create it")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with needing_room(path), open(temporary, "xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file written by ``write``: ``(arrays, metadata)`` with numpy arrays.

    Raises:
      FileNotFoundError: the file does not exist.
      FileFormatError: the file is empty, truncated, damaged, not written by jaxad, or in a newer
        format.
    """
    path = Path(path)
    return _parse(path, np.fromfile(_existing(path), np.uint8), whole=True)


def dumps(arrays: dict[str, Any], metadata: dict[str, Any]) -> bytes:
    """The bytes of the file that ``write`` makes.

    Raises:
      TypeError: as ``write``.

    Example:
      >>> loads(dumps({"w": np.ones(2)}, {"kind": "Fleet"}))
      ({'w': array([1., 1.])}, {'kind': 'Fleet'})
    """
    return b"".join(_encoded(arrays, metadata))


def loads(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inverse of ``dumps``: ``(arrays, metadata)``; the arrays are read-only views of ``data``.

    Raises:
      FileFormatError: as ``read``.
    """
    return _parse(Path("bytes"), np.frombuffer(data, np.uint8), whole=True)


def memory_map(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """Open a file written by ``write`` without reading its arrays: ``(arrays, metadata)``.

    The arrays are read-only ``np.memmap`` views; an array's bytes are read when it is indexed. The
    header and the size of the file are checked, the arrays are not: keep `row_checksums` in the
    metadata to check the rows that are used. ``write`` replaces a file and never changes one, so
    open views keep what they had when the same name is written again. A file without a digest of
    its header, from before there was one, is checked whole.

    Raises:
      FileNotFoundError: the file does not exist.
      FileFormatError: the file is empty, truncated, not written by jaxad, or in a newer format, or
        its header is damaged.

    Example:
      >>> import os, tempfile
      >>> path = os.path.join(tempfile.mkdtemp(), "fleet.safetensors")
      >>> write(path, {"w": np.arange(6.0).reshape(3, 2)}, {"kind": "Fleet"})
      >>> arrays, metadata = memory_map(path)
      >>> np.asarray(arrays["w"][1])
      array([2., 3.])
    """
    path = Path(path)
    if not _existing(path).stat().st_size:  # an empty file cannot be mapped
        raise _empty(path)
    return _parse(path, np.memmap(path, np.uint8, mode="r"), whole=False)


def metadata_of(path: str | os.PathLike) -> dict[str, Any]:
    """Read the metadata of a file written by ``write``, without its arrays.

    Raises:
      FileNotFoundError, FileFormatError: as `memory_map`.
    """
    return memory_map(path)[1]


def row_checksums(arrays: dict[str, Any]) -> np.ndarray:
    """The CRC-32 of every row across all arrays, ``[G]`` uint32.

    Row ``g`` is ``leaf[g]`` of every leaf, in the order of the leaves' names. The checksum of a row
    does not depend on other rows, so a part of the rows can be checked alone.

    Args:
      arrays: nested dict with string keys and leaves ``[G, ...]``, as for ``write``.

    Raises:
      TypeError: as ``write``.
      ValueError: there is no leaf, or the leaves differ in their number of rows.

    Example:
      >>> arrays = {"w": np.ones((3, 2)), "b": np.zeros(3)}
      >>> part = {name: leaf[1:2] for name, leaf in arrays.items()}
      >>> bool(row_checksums(part)[0] == row_checksums(arrays)[1])
      True
    """
    tensors: dict[str, np.ndarray] = {}
    _flatten(arrays, "", tensors)
    rows = {leaf.shape[:1] for leaf in tensors.values()}
    if len(rows) != 1 or rows == {()}:
        shapes = {name: leaf.shape for name, leaf in tensors.items()}
        raise ValueError(
            f"arrays must have one number of rows, got the shapes {shapes}; "
            "stack the groups along the first axis"
        )
    checksums = [0] * rows.pop()[0]
    for name in sorted(tensors):
        data = _bytes(tensors[name])
        size = len(data) // max(len(checksums), 1)
        for row, checksum in enumerate(checksums):
            checksums[row] = zlib.crc32(data[row * size : (row + 1) * size], checksum)
    return np.array(checksums, np.uint32)


def _encoded(arrays: dict[str, Any], metadata: dict[str, Any]) -> list[Any]:
    """The parts of a file, one after the other, as bytes and views."""
    tensors: dict[str, np.ndarray] = {}
    document = json.dumps(
        {
            "format": FORMAT,
            "version": VERSION,
            "libraries": library_versions(),
            "structure": _flatten(arrays, "", tensors),
            "metadata": metadata,
        }
    )
    # The largest types come first, so that every tensor starts at a multiple of its item size.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header = _header(document, {name: tensors[name] for name in names})
    first = len(header).to_bytes(8, "little") + header
    return [first, *(_bytes(tensors[name]) for name in names)]


def _flatten(node: dict[str, Any], prefix: str, tensors: dict[str, np.ndarray]) -> dict:
    """Put the leaves of ``node`` into ``tensors``; return ``node`` with None in their place."""
    structure = {}
    for key, value in node.items():
        name = _join(prefix, key)
        if isinstance(value, dict):
            structure[key] = _flatten(value, name, tensors)
            continue
        # `ascontiguousarray` would make 0-d arrays 1-d.
        leaf = np.asarray(value, order="C")
        if leaf.dtype.name not in _CODES:
            raise TypeError(f"{name}: cannot save {leaf.dtype.name}; convert it, e.g. to float32")
        tensors[name] = leaf.astype(leaf.dtype.newbyteorder("<"), copy=False)
        structure[key] = None
    return structure


def _restore(structure: dict[str, Any], prefix: str, tensors: dict[str, np.ndarray]) -> dict:
    arrays = {}
    for key, below in structure.items():
        name = _join(prefix, key)
        arrays[key] = tensors[name] if below is None else _restore(below, name, tensors)
    return arrays


def _join(prefix: str, key: Any) -> str:
    """A tensor's name: a JSON pointer (RFC 6901), which escapes separators in keys."""
    if not isinstance(key, str):
        raise TypeError(f"keys of saved dicts are strings, got {key!r} under {prefix or '/'!r}")
    return f"{prefix}/{key.replace('~', '~0').replace('/', '~1')}"


def _bytes(leaf: np.ndarray) -> memoryview:
    """The bytes of a contiguous array, without a copy."""
    return leaf.reshape(-1).view(np.uint8).data


def _digest(document: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(document.encode())
    for name in sorted(tensors):
        leaf = tensors[name]
        digest.update(json.dumps([name, leaf.dtype.name, leaf.shape]).encode())
        digest.update(_bytes(leaf))
    return digest.hexdigest()


def _header(document: str, tensors: dict[str, np.ndarray]) -> bytes:
    """The header for tensors that follow one another, padded to a multiple of 8 bytes."""
    digests = {"sha256": _digest(document, tensors), "header_sha256": _NO_DIGEST}
    header: dict[str, Any] = {"__metadata__": {FORMAT: document, **digests}}
    end = 0
    for name, leaf in tensors.items():
        begin, end = end, end + leaf.nbytes
        code = _CODES[leaf.dtype.name]
        header[name] = {"dtype": code, "shape": leaf.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return text.replace(_entry(_NO_DIGEST), _entry(hashlib.sha256(text).hexdigest()))


_NO_DIGEST = "0" * 64  # stands in the header while its digest is computed


def _entry(digest: str) -> bytes:
    """The digest of the header as it stands there. Quotes in other texts are escaped in JSON."""
    return f'"header_sha256":"{digest}"'.encode()


def _parse(path: Path, data: np.ndarray, *, whole: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and metadata of a file with the bytes ``data``; the arrays are views of them.

    ``whole`` checks the tensors as well as the header.
    """
    text, header, entries = _split(path, data)
    try:
        document = json.loads(entries[FORMAT])
        version = document["version"]
        writer = document["libraries"]["jaxad"]
        newer = version > VERSION
    except _AMISS:
        raise _damaged(path) from None
    if newer:
        raise FileFormatError(
            f"{path}: written in format {version} by jaxad {writer}; this jaxad reads up to "
            f"format {VERSION}. Upgrade with `pip install --upgrade jaxad`"
        )
    if entries.keys() == {FORMAT, "sha256"}:
        whole = True
    elif entries.keys() == {FORMAT, "sha256", "header_sha256"}:
        digest = str(entries["header_sha256"])
        unsigned = text.replace(_entry(digest), _entry(_NO_DIGEST))
        if hashlib.sha256(unsigned).hexdigest() != digest:
            raise _damaged(path)
    else:
        raise _damaged(path)
    try:
        body = data[8 + len(text) :]
        tensors = {name: _view(body, **tensor) for name, tensor in header.items()}
        if whole and _digest(entries[FORMAT], tensors) != entries["sha256"]:
            raise _damaged(path)
        if not isinstance(document["metadata"], dict):
            raise _damaged(path)
        return _restore(document["structure"], "", tensors), document["metadata"]
    except FileFormatError:
        raise
    except _AMISS as error:
        raise _damaged(path) from error


def _split(path: Path, data: np.ndarray) -> tuple[bytes, dict[str, Any], dict[str, str]]:
    """The header of a file, its tensors' places, and its metadata; tell apart what is amiss."""
    if not len(data):
        raise _empty(path)
    length = int.from_bytes(data[:8].tobytes(), "little")
    text = data[8 : 8 + length].tobytes()
    if len(data) > 8 and not text.startswith(b"{"):
        raise _foreign(path)
    if len(data) < 8 + length:
        raise _truncated(path)
    try:
        header = json.loads(text, object_pairs_hook=_distinct)
        entries = header.pop("__metadata__", {})
        places = sorted(tensor["data_offsets"] for tensor in header.values())
        body = max((end for _, end in places), default=0)
        missing = 8 + length + body - len(data)
        # Tensors that share bytes would let a small file fill the memory.
        apart = all(end == begin for (_, end), (begin, _) in pairwise([(0, 0), *places]))
    except _AMISS:
        raise (_damaged(path) if FORMAT.encode() in text else _foreign(path)) from None
    if not isinstance(entries, dict) or FORMAT not in entries:
        raise _foreign(path)
    if missing > 0:
        raise _truncated(path)
    if missing < 0 or not apart:
        raise _damaged(path)
    return text, header, entries


_CLAIMED = 1 << 16  # the longest that a tensor without elements may be in a small file


def _view(body: np.ndarray, *, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    begin, end = data_offsets
    # -1 would be inferred, and a tensor without elements could claim any length.
    most = max(len(body), _CLAIMED)
    if not all(type(length) is int and 0 <= length <= most for length in shape):
        raise ValueError(f"{shape} is no shape")
    return body[begin:end].view(_DTYPES[dtype]).reshape(shape)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The entries of a JSON object; two of one name are an error."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one JSON object")
    return found


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; check the name, or save a detector there first"
        )
    return path


def _empty(path: Path) -> FileFormatError:
    return FileFormatError(f"{path}: the file is empty; restore it or save the detector again")


def _truncated(path: Path) -> FileFormatError:
    return FileFormatError(
        f"{path}: truncated, its end is missing; copy it again or save the detector again"
    )


def _damaged(path: Path) -> FileFormatError:
    return FileFormatError(
        f"{path}: damaged, its contents do not match their checksum; copy it again or save the "
        "detector again"
    )


def _foreign(path: Path) -> FileFormatError:
    return FileFormatError(
        f"{path}: not a file saved by jaxad; give the file that a detector's `save` made"
    )


def library_versions() -> dict[str, str]:
    """The versions of Python, jaxad, jax and numpy; "unknown" for one that is not installed."""
    versions = {"python": platform.python_version()}
    for name in ("jaxad", "jax", "numpy"):
        try:
            versions[name] = distributions.version(name)
        except distributions.PackageNotFoundError:
            versions[name] = "unknown"
    return versions
