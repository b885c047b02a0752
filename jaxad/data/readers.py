"""Readers of the published file formats.

Each takes the paths of a set's files and returns fields of `jaxad.data.Dataset`. Image sets hold
the published training part first.
"""

import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxad.data.protocols import as_marks

_KDD_COLUMNS = (
    "duration protocol_type service flag src_bytes dst_bytes land wrong_fragment urgent hot "
    "num_failed_logins logged_in num_compromised root_shell su_attempted num_root "
    "num_file_creations num_shells num_access_files num_outbound_cmds is_host_login "
    "is_guest_login count srv_count serror_rate srv_serror_rate rerror_rate srv_rerror_rate "
    "same_srv_rate diff_srv_rate srv_diff_host_rate dst_host_count dst_host_srv_count "
    "dst_host_same_srv_rate dst_host_diff_srv_rate dst_host_same_src_port_rate "
    "dst_host_srv_diff_host_rate dst_host_serror_rate dst_host_srv_serror_rate "
    "dst_host_rerror_rate dst_host_srv_rerror_rate"
).split()
_KDD_SYMBOLIC = ["protocol_type", "service", "flag"]


def _mat(paths: list[Path]) -> dict[str, Any]:
    """Read a MATLAB file of ODDS, with ``X`` and ``y``."""
    from scipy.io import loadmat  # slow to import

    content = loadmat(paths[0])
    return _table(content["X"], content["y"])


def _npz(paths: list[Path]) -> dict[str, Any]:
    """Read an npz file of ADBench, with ``X`` and ``y``."""
    return _table(*_arrays(paths[0], "X", "y"))


def _kdd(paths: list[Path]) -> dict[str, Any]:
    """Read the raw KDD'99 file: 38 numeric columns, then one per value of each symbolic column.

    That makes 118 columns. Binary columns stay one column each; one-hot encoding those as well
    would make 121.
    """
    frame = pd.read_csv(paths[0], header=None, names=[*_KDD_COLUMNS, "label"])
    label = frame.pop("label").to_numpy(str)
    encoded = pd.get_dummies(frame, columns=_KDD_SYMBOLIC, prefix_sep="=", dtype=np.uint8)
    return {
        "x": encoded.to_numpy(np.float64),
        "is_anomaly": label == "normal.",
        "label": label,
        "features": tuple(encoded.columns),
    }


def _kdd_npz(paths: list[Path]) -> dict[str, Any]:
    """Read the scaled copy of KDD'99; its last column marks the anomalies."""
    (kdd,) = _arrays(paths[0], "kdd")
    return _table(kdd[:, :-1], kdd[:, -1])


def _keras(paths: list[Path]) -> dict[str, Any]:
    """Read one npz file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``."""
    return _images(*_arrays(paths[0], "x_train", "y_train", "x_test", "y_test"))


def _idx(paths: list[Path]) -> dict[str, Any]:
    """Read MNIST's four IDX files: training images and labels, test images and labels."""
    return _images(*map(_idx_array, paths))


def _idx_array(path: Path) -> np.ndarray:
    """Read an IDX file: two zero bytes, type 8 (uint8), rank, big-endian lengths, values."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} is not an IDX file of uint8 values")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _cifar(paths: list[Path]) -> dict[str, Any]:
    """Read CIFAR-10's binary archive: rows of a label byte and 3 x 32 x 32 bytes."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    with tarfile.open(paths[0]) as archive:
        members = [archive.extractfile(f"cifar-10-batches-bin/{name}.bin") for name in names]
        parts = [np.frombuffer(m.read(), np.uint8).reshape(-1, 3073) for m in members if m]
    train, test = np.concatenate(parts[:-1]), parts[-1]

    def pixels(rows: np.ndarray) -> np.ndarray:
        return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

    return _images(pixels(train), train[:, 0], pixels(test), test[:, 0])


def _arrays(path: Path, *keys: str) -> tuple[np.ndarray, ...]:
    """Read arrays of an npz file."""
    # Opened here because numpy does not close a damaged file.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
        return tuple(content[key] for key in keys)


def _table(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    return {"x": np.asarray(x, np.float64), "is_anomaly": as_marks(np.ravel(y))}


def _images(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> dict[str, Any]:
    x = np.concatenate([x_train, x_test])
    return {
        "x": x if x.ndim == 4 else x[..., None],
        "label": np.concatenate([y_train.ravel(), y_test.ravel()]).astype(np.int64),
        "is_train": np.arange(len(x)) < len(x_train),
    }


READERS: dict[str, Callable[[list[Path]], dict[str, Any]]] = {
    "mat": _mat,
    "npz": _npz,
    "kdd": _kdd,
    "kdd_npz": _kdd_npz,
    "keras": _keras,
    "idx": _idx,
    "cifar": _cifar,
}
