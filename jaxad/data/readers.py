"""Readers of the published file formats.

Each takes the paths of a set's files and ``most``, the bytes that their content may take when it is
unpacked, and returns fields of `jaxad.data.Dataset`. A small file that unpacks to more is refused
before it fills the memory. Image sets hold the published training part first.
"""

import gzip
import io
import math
import tarfile
import zipfile
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


def _mat(paths: list[Path], most: int) -> dict[str, Any]:
    """Read a MATLAB file of ODDS, with ``X`` and ``y``."""
    from scipy.io import loadmat, whosmat  # slow to import

    try:
        for name, shape, _ in whosmat(paths[0]):
            _check_size(name, 8 * math.prod(shape), most)
        content = loadmat(paths[0], variable_names=("X", "y"))
    except MemoryError as error:  # the shapes are small, so a length within the file is wrong
        raise ValueError(f"{paths[0].name} claims more memory than there is") from error
    return _table(content["X"], content["y"])


def _npz(paths: list[Path], most: int) -> dict[str, Any]:
    """Read an npz file of ADBench, with ``X`` and ``y``."""
    return _table(*_arrays(paths[0], most, "X", "y"))


def _kdd(paths: list[Path], most: int) -> dict[str, Any]:
    """Read the raw KDD'99 file: 38 numeric columns, then one per value of each symbolic column.

    That makes 118 columns. Binary columns stay one column each; one-hot encoding those as well
    would make 121.
    """
    frame = pd.read_csv(
        io.BytesIO(_unpacked(paths[0], most)), header=None, names=[*_KDD_COLUMNS, "label"]
    )
    label = frame.pop("label").to_numpy(str)
    encoded = pd.get_dummies(frame, columns=_KDD_SYMBOLIC, prefix_sep="=", dtype=np.uint8)
    return {
        "x": encoded.to_numpy(np.float64),
        "is_anomaly": label == "normal.",
        "label": label,
        "features": tuple(encoded.columns),
    }


def _kdd_npz(paths: list[Path], most: int) -> dict[str, Any]:
    """Read the scaled copy of KDD'99; its last column marks the anomalies."""
    (kdd,) = _arrays(paths[0], most, "kdd")
    return _table(kdd[:, :-1], kdd[:, -1])


def _keras(paths: list[Path], most: int) -> dict[str, Any]:
    """Read one npz file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``."""
    return _images(*_arrays(paths[0], most, "x_train", "y_train", "x_test", "y_test"))


def _idx(paths: list[Path], most: int) -> dict[str, Any]:
    """Read MNIST's four IDX files: training images and labels, test images and labels."""
    return _images(*(_idx_array(path, most) for path in paths))


def _idx_array(path: Path, most: int) -> np.ndarray:
    """Read an IDX file: two zero bytes, type 8 (uint8), rank, big-endian lengths, values."""
    content = _unpacked(path, most)
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path.name} is not an IDX file of uint8 values")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _cifar(paths: list[Path], most: int) -> dict[str, Any]:
    """Read CIFAR-10's binary archive: rows of a label byte and 3 x 32 x 32 bytes."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    with tarfile.open(paths[0]) as archive:
        members = [archive.getmember(f"cifar-10-batches-bin/{name}.bin") for name in names]
        for member in members:
            _check_size(member.name, member.size, most)
        streams = map(archive.extractfile, members)
        parts = [np.frombuffer(s.read(), np.uint8).reshape(-1, 3073) for s in streams if s]
    train, test = np.concatenate(parts[:-1]), parts[-1]

    def pixels(rows: np.ndarray) -> np.ndarray:
        return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)

    return _images(pixels(train), train[:, 0], pixels(test), test[:, 0])


def _arrays(path: Path, most: int, *keys: str) -> tuple[np.ndarray, ...]:
    """Read arrays of an npz file."""
    with zipfile.ZipFile(path) as archive:
        return tuple(_array(archive, f"{key}.npy", most) for key in keys)


def _array(archive: zipfile.ZipFile, name: str, most: int) -> np.ndarray:
    """Read an array of an npz file; `numpy.load` would take the memory that its header claims."""
    size = archive.getinfo(name).file_size
    _check_size(name, size, most)
    with archive.open(name) as member:
        stream = io.BytesIO(member.read(size))
    version = np.lib.format.read_magic(stream)
    shape, by_column, dtype = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version](stream)
    values = np.frombuffer(stream.read(), dtype)  # refuses objects, which would be pickled
    array = values.reshape(shape[::-1]).T if by_column else values.reshape(shape)
    return array.copy()


def _unpacked(path: Path, most: int) -> bytes:
    """The content of a file, which gzip may have packed."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        content = stream.read(most + 1)
    _check_size(path.name, len(content), most)
    return content


def _check_size(name: str, size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"{name} holds {size} bytes or more, the published set at most {most}")


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


READERS: dict[str, Callable[[list[Path], int], dict[str, Any]]] = {
    "mat": _mat,
    "npz": _npz,
    "kdd": _kdd,
    "kdd_npz": _kdd_npz,
    "keras": _keras,
    "idx": _idx,
    "cifar": _cifar,
}
