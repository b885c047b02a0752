"""Files of arrays and metadata: safetensors with a JSON document in the header.

Any safetensors reader can open the files. They contain no code (nothing is unpickled) and keep
arrays bit for bit. The header's metadata has two entries: ``jaxad``, a JSON document with the
format version, the library versions, the nesting of the arrays and the caller's metadata; and
``sha256``, the digest of that document and of every tensor.
"""

import hashlib
import json
import os
import platform
import secrets
from importlib import metadata as distributions
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

FORMAT = "jaxad"
VERSION = 1

# Types that safetensors returns unchanged to numpy. Others are refused when writing: bfloat16, for
# example, could be written but not read.
_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_DTYPES = _INTEGERS | {"bool", "float16", "float32", "float64", "complex64"}


class FileFormatError(ValueError):
    """The file is truncated, damaged, not written by jaxad, or in a newer format."""


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

    Example:
      >>> import os, tempfile
      >>> path = os.path.join(tempfile.mkdtemp(), "detector.safetensors")
      >>> write(path, {"params": {"w": np.ones(2)}}, {"kind": "DeepSVDD"})
      >>> read(path)
      ({'params': {'w': array([1., 1.])}}, {'kind': 'DeepSVDD'})
    """
    path = Path(path)
    tensors: dict[str, np.ndarray] = {}
    document = json.dumps(
        {
            "format": FORMAT,
            "version": VERSION,
            "libraries": _libraries(),
            "structure": _flatten(arrays, "", tensors),
            "metadata": metadata,
        }
    )
    header = {FORMAT: document, "sha256": _digest(document, tensors)}
    data = safetensors.numpy.save(tensors, metadata=header)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; create it")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
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
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file; check the name, or save a detector there first"
        ) from None
    entries = _entries(path, data)
    try:
        document = json.loads(entries[FORMAT])
        version = document["version"]
        writer = document["libraries"]["jaxad"]
        newer = version > VERSION
    except (ValueError, TypeError, LookupError):
        raise _damaged(path) from None
    if newer:
        raise FileFormatError(
            f"{path}: written in format {version} by jaxad {writer}; this jaxad reads up to "
            f"format {VERSION}. Upgrade with `pip install --upgrade jaxad`"
        )
    try:
        tensors = safetensors.numpy.load(data)
    except Exception as error:  # safetensors, numpy and missing keys raise different types
        raise _damaged(path) from error
    if _digest(entries[FORMAT], tensors) != entries.get("sha256"):
        raise _damaged(path)
    return _restore(document["structure"], "", tensors), document["metadata"]


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
        if leaf.dtype.name not in _DTYPES:
            raise TypeError(f"{name}: cannot save {leaf.dtype.name}; convert it, e.g. to float32")
        tensors[name] = leaf.astype(leaf.dtype.newbyteorder("="), copy=False)
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


def _digest(document: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(document.encode())
    for name in sorted(tensors):
        leaf = tensors[name]
        digest.update(json.dumps([name, leaf.dtype.name, leaf.shape]).encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def _entries(path: Path, data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: 8 bytes of header length, a JSON header, tensor bytes.

    safetensors reports every defect as the same error; this function tells them apart.
    """
    if not data:
        raise FileFormatError(f"{path}: the file is empty; restore it or save the detector again")
    length = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + length]
    if len(data) > 8 and not text.startswith(b"{"):
        raise _foreign(path)
    if len(data) < 8 + length:
        raise _truncated(path)
    try:
        header = json.loads(text)
        entries = header.pop("__metadata__", {})
        body = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        size = 8 + length + body
    except (ValueError, TypeError, LookupError, AttributeError):
        raise (_damaged(path) if FORMAT.encode() in text else _foreign(path)) from None
    if not isinstance(entries, dict) or FORMAT not in entries:
        raise _foreign(path)
    if len(data) < size:
        raise _truncated(path)
    return entries


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


def _libraries() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("jaxad", "jax", "numpy"):
        try:
            versions[name] = distributions.version(name)
        except distributions.PackageNotFoundError:
            versions[name] = "unknown"
    return versions
