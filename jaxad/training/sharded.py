"""State that lies on the devices of several processes, as a folder written by orbax.

Every process writes and reads what it has. The folder is complete when `write` returns; the
digests of its files tell later whether it still is.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax

from jaxad.typing import Array


def require() -> Any:
    """The library, or an ImportError that says how to get it."""
    try:
        import orbax.checkpoint
    except ImportError as error:
        raise ImportError(
            "checkpoints of several processes need orbax: pip install 'jaxad[orbax]'"
        ) from error
    return orbax.checkpoint


def write(folder: Path, arrays: dict[str, Array]) -> dict[str, str]:
    """Write named arrays, whatever devices they lie on; return each file's SHA-256.

    A folder that is there already is replaced. Called by all processes.
    """
    orbax = require()
    with orbax.Checkpointer(orbax.StandardCheckpointHandler()) as writer:
        writer.save(folder, args=orbax.args.StandardSave(arrays), force=True)
    return _digests(folder)


def whole(folder: Path, digests: dict[str, str]) -> bool:
    """Whether the folder still holds what was written."""
    return folder.is_dir() and _digests(folder) == digests


def read(folder: Path, like: dict[str, Array]) -> dict[str, Array]:
    """Read named arrays onto the devices that those of ``like`` lie on. Called by all processes."""
    orbax = require()
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
