"""A folder of snapshots: named arrays and JSON, of which the newest whole ones are kept.

A snapshot is the file ``epochs-N.safetensors``, written last, atomically and with a checksum. With
orbax the arrays that lie on devices are in the folder ``epochs-N.orbax`` beside it, and the file
holds that folder's checksums.
"""

import errno
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxad import persistence
from jaxad.training import sharded
from jaxad.training.leaves import storable
from jaxad.training.processes import agreed, of_each
from jaxad.typing import Array


class Snapshot(NamedTuple):
    """A whole snapshot: its file, its arrays on the host, its metadata."""

    path: Path
    arrays: dict[str, Any]
    metadata: dict[str, Any]


class Snapshots:
    """The snapshots in a folder, which is made if it is not there.

    Args:
      folder: where; all processes must see it.
      keep: how many to keep.
      orbax: whether each process writes its own part of the device arrays.
      joined: whether several processes are one run; else there is this one.
    """

    def __init__(self, folder: Path, keep: int, *, orbax: bool, joined: bool):
        self.folder, self._keep, self._orbax, self._joined = folder, keep, orbax, joined
        self._leads = not joined or jax.process_index() == 0
        self._damaged: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def newest(self) -> Snapshot | None:
        """The newest whole one; a warning names each that is not.

        Raises:
          RuntimeError: the processes see different ones.
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
        if self._joined and len(set(numbers := of_each(number).tolist())) > 1:
            raise RuntimeError(
                f"{self.folder}: the processes find different checkpoints there, of epochs "
                f"{numbers}: give a folder on a disk that they share"
            )
        return found

    def read(self, snapshot: Snapshot, like: dict[str, Array]) -> dict[str, Any]:
        """The device arrays of a snapshot, on the host or on the devices of ``like``."""
        if "files" in snapshot.metadata:
            return sharded.read(_beside(snapshot.path), like)
        return snapshot.arrays["state"]

    def write(
        self,
        number: int,
        state: dict[str, Array],
        arrays: dict[str, Any],
        metadata: dict[str, Any],
    ) -> None:
        """Write one, then remove those that are too many or damaged.

        Args:
          number: N of its name.
          state: device arrays by name.
          arrays: host arrays, nested; the same in all processes.
          metadata: what JSON can hold.

        Raises:
          OSError: there is not enough space; the snapshots before are as they were.
        """
        size = size_of((state, arrays))
        self.check_space(size)
        path = self.folder / f"epochs-{number:08d}.safetensors"
        if self._orbax:
            metadata = metadata | {"files": sharded.write(_beside(path), state)}
        else:
            arrays = arrays | {"state": {name: storable(leaf) for name, leaf in state.items()}}
        if not self._leads:
            return
        try:
            persistence.write(path, arrays, metadata)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise self._no_space(size) from error  # someone else was quicker
        self._damaged.discard(path)
        whole = [other for other in self._files() if other not in self._damaged]
        self.clear((*self._damaged, *whole[self._keep :]))
        self._damaged.clear()

    def clear(self, files: Iterable[Path] = ()) -> None:
        """Remove snapshots, and what a killed process left of one that it was writing."""
        if not self._leads:
            return
        for path in (*files, *self.folder.glob(".epochs-*.tmp")):
            path.unlink(missing_ok=True)
        for path in self.folder.glob("epochs-*.orbax*"):
            if not path.with_name(f"{path.name.split('.')[0]}.safetensors").exists():
                shutil.rmtree(path)

    def check_space(self, size: int) -> None:
        """Raise an OSError if ``size`` bytes are more than are free."""
        lacks = shutil.disk_usage(self.folder).free < size
        if agreed(lacks) if self._joined else lacks:
            raise self._no_space(size)

    def _no_space(self, size: int) -> OSError:
        free = shutil.disk_usage(self.folder).free
        told = (
            f"a checkpoint needs {size} bytes, {free} are free: make room, or give another "
            "folder; the checkpoints before it are as they were"
        )
        return OSError(errno.ENOSPC, told, str(self.folder))

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("epochs-*.safetensors"), reverse=True)


def size_of(tree: Any) -> int:
    """Bytes that a tree of arrays takes on disk, roughly and not less."""
    return (1 << 16) + sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def _read(path: Path) -> Snapshot:
    arrays, metadata = persistence.read(path)
    if "files" in metadata and not sharded.whole(_beside(path), metadata["files"]):
        raise persistence.FileFormatError(f"{_beside(path)}: damaged")
    return Snapshot(path, arrays, metadata)


def _beside(path: Path) -> Path:
    return path.with_suffix(".orbax")
