"""Reading the published image sets; the training part comes first."""

import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.data.tables import arrays


def _joined(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> dict[str, Any]:
    x = np.concatenate([x_train, x_test])
    label = np.concatenate([y_train.ravel(), y_test.ravel()]).astype(np.int64)
    return {
        "x": x if x.ndim == 4 else x[..., None],
        "label": label,
        "is_train": np.arange(len(x)) < len(x_train),
    }


def _keras(paths: list[Path]) -> dict[str, Any]:
    """One npz with ``x_train``, ``y_train``, ``x_test`` and ``y_test``."""
    return _joined(*arrays(paths[0], "x_train", "y_train", "x_test", "y_test"))


def _idx(paths: list[Path]) -> dict[str, Any]:
    """MNIST's own format: four files, in the order of `_joined`."""
    return _joined(*map(_idx_array, paths))


def _idx_array(path: Path) -> np.ndarray:
    """Two zero bytes, the type (8: uint8), the rank, the lengths as big-endian words, the data."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} is no IDX file of bytes")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _cifar(paths: list[Path]) -> dict[str, Any]:
    """The binary archive: rows of one label byte and 3 x 32 x 32 bytes, channels first."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    with tarfile.open(paths[0]) as archive:
        members = [archive.extractfile(f"cifar-10-batches-bin/{name}.bin") for name in names]
        parts = [np.frombuffer(m.read(), np.uint8).reshape(-1, 3073) for m in members if m]
    train, test = np.concatenate(parts[:-1]), parts[-1]

    def pixels(rows: np.ndarray) -> np.ndarray:
        return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

    return _joined(pixels(train), train[:, 0], pixels(test), test[:, 0])


READERS: dict[str, Callable[[list[Path]], dict[str, Any]]] = {
    "keras": _keras,
    "idx": _idx,
    "cifar": _cifar,
}
