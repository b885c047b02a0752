"""Reading the published tables: MATLAB files of ODDS, npz files of ADBench."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from jaxad.data.protocols import as_marks


def arrays(path: Path, *keys: str) -> tuple[np.ndarray, ...]:
    """Arrays of an npz file."""
    # Opened here: numpy leaves a damaged file open.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
        return tuple(content[key] for key in keys)


def _rows(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    return {"x": np.asarray(x, np.float64), "is_anomaly": as_marks(np.ravel(y))}


def _mat(paths: list[Path]) -> dict[str, Any]:
    content = loadmat(paths[0])
    return _rows(content["X"], content["y"])


def _npz(paths: list[Path]) -> dict[str, Any]:
    return _rows(*arrays(paths[0], "X", "y"))


READERS: dict[str, Callable[[list[Path]], dict[str, Any]]] = {"mat": _mat, "npz": _npz}
