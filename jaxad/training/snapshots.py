"""A folder of snapshots: named arrays and JSON. The newest undamaged ones are kept.

A snapshot is the file ``epochs-N.safetensors``, written last, atomically and with a checksum. With
orbax, every process writes its part of the device arrays to the folder ``epochs-N.orbax``, and the
file holds that folder's checksums.
"""

import errno
import hashlib
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxad import persistence
from jaxad.training.hosts import broadcast, gather_arrays
from jaxad.training.trees import storable
from jaxad.typing import Array


class Snapshot(NamedTuple):
    """An undamaged snapshot: its file, its arrays on the host, its metadata."""

    path: Path
    arrays: dict[str, Any]
    metadata: dict[str, Any]


class Snapshots:
    """The snapshots in a folder.

    Args:
      folder: created if missing; must be visible to all processes.
      keep: how many snapshots to keep.
      orbax: whether each process writes its own part of the device arrays.
      joined: whether several processes are one run.
    """

    def __init__(self, folder: Path, keep: int, *, orbax: bool, joined: bool):
        self.folder, self._keep, self._orbax, self._joined = folder, keep, orbax, joined
        self._leads = not joined or jax.process_index() == 0
        self._damaged: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def newest(self) -> Snapshot | None:
        """The newest undamaged snapshot; a warning names each damaged one.

        Raises:
          RuntimeError: the processes find different snapshots.
        """
        found = None
        for path in self._files():
            try:
                found = _read(path)
                break
            except persistence.FileFormatError as error:
                self._damaged.add(path)
                warnings.warn(
                    f"a checkpoint is not whole and is skipped ({error}); going on from the one "
                    "before it, or else from the start",
                    stacklevel=5,
                )
        number = -1 if found is None else int(found.path.stem.split("-")[1])
        if self._joined and len(set(numbers := gather_arrays(number).tolist())) > 1:
            raise RuntimeError(
                f"{self.folder}: the processes find different checkpoints there, of epochs "
                f"{numbers}: give a folder on a disk that they share"
            )
        return found

    def read(self, snapshot: Snapshot, like: dict[str, Array]) -> dict[str, Any]:
        """The saved device arrays, on the host or, with orbax, on the devices of ``like``."""
        if "files" in snapshot.metadata:
            return _read_sharded(_orbax_folder(snapshot.path), like)
        return snapshot.arrays["state"]

    def write(
        self,
        number: int,
        state: dict[str, Array],
        arrays: dict[str, Any],
        metadata: dict[str, Any],
    ) -> None:
        """Write a snapshot, then remove damaged and surplus ones.

        Args:
          number: N in the file name.
          state: device arrays by name.
          arrays: nested host arrays, equal in all processes.
          metadata: anything that JSON can hold.

        Raises:
          OSError: there is not enough space; earlier snapshots are unchanged.
        """
        size = size_of((state, arrays))
        self.check_space(size)
        path = self.folder / f"epochs-{number:08d}.safetensors"
        if self._orbax:
            metadata = metadata | {"files": _write_sharded(_orbax_folder(path), state)}
        else:
            arrays = arrays | {"state": {name: storable(leaf) for name, leaf in state.items()}}
        if not self._leads:
            return
        try:
            persistence.write(path, arrays, metadata)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise self._no_space(size) from error  # another program took the space
        self._damaged.discard(path)
        whole = [other for other in self._files() if other not in self._damaged]
        self.clear((*self._damaged, *whole[self._keep :]))
        self._damaged.clear()

    def clear(self, files: Iterable[Path] = ()) -> None:
        """Remove these files, and unfinished snapshots of killed processes."""
        if not self._leads:
            return
        for path in (*files, *self.folder.glob(".epochs-*.tmp")):
            path.unlink(missing_ok=True)
        for path in self.folder.glob("epochs-*.orbax*"):
            if not path.with_name(f"{path.name.split('.')[0]}.safetensors").exists():
                shutil.rmtree(path)

    def check_space(self, size: int) -> None:
        """Raise an OSError if fewer than ``size`` bytes are free."""
        lacks = shutil.disk_usage(self.folder).free < size
        if broadcast(lacks) if self._joined else lacks:
            raise self._no_space(size)

    def _no_space(self, size: int) -> OSError:
        free = shutil.disk_usage(self.folder).free
        message = (
            f"a checkpoint needs {size} bytes, {free} are free: make room, or give another "
            "folder; the checkpoints before it are as they were"
        )
        return OSError(errno.ENOSPC, message, str(self.folder))

    def _files(self) -> list[Path]:
        found = self.folder.glob("epochs-*.safetensors")
        return sorted((path for path in found if path.stem[7:].isdigit()), reverse=True)


def size_of(tree: Any) -> int:
    """An upper estimate of the bytes that a tree of arrays takes on disk."""
    return (1 << 16) + sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _read(path: Path) -> Snapshot:
    arrays, metadata = persistence.read(path)
    if "files" in metadata and not _is_whole(_orbax_folder(path), metadata["files"]):
        raise persistence.FileFormatError(f"{_orbax_folder(path)}: damaged")
    return Snapshot(path, arrays, metadata)


def _orbax_folder(path: Path) -> Path:
    return path.with_suffix(".orbax")


def require_orbax() -> Any:
    """Import orbax, or raise an ImportError that says how to install it."""
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise ImportError(
            "checkpoints of several processes need orbax: pip install 'jaxad[orbax]'"
        ) from error
    return orbax.checkpoint


def _write_sharded(folder: Path, arrays: dict[str, Array]) -> dict[str, str]:
    """Write named arrays on devices of any processes; return the SHA-256 of every file.

    All processes must call it; each writes its own part. An existing folder is replaced.
    """
    orbax = require_orbax()
    with orbax.Checkpointer(orbax.StandardCheckpointHandler()) as writer:
        writer.save(folder, args=orbax.args.StandardSave(arrays), force=True)
    return _digests(folder)


def _is_whole(folder: Path, digests: dict[str, str]) -> bool:
    """Whether the folder's files have these digests."""
    return folder.is_dir() and _digests(folder) == digests


def _read_sharded(folder: Path, like: dict[str, Array]) -> dict[str, Array]:
    """Read named arrays onto the devices of ``like``. All processes must call it."""
    orbax = require_orbax()
    wanted = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for name, leaf in like.items()
    }
    with orbax.Checkpointer(orbax.StandardCheckpointHandler()) as reader:
        return reader.restore(folder, args=orbax.args.StandardRestore(wanted))


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
