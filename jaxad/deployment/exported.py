"""Detectors that were exported as StableHLO, ready to run."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from jaxad import persistence
from jaxad.checks import first_nonfinite
from jaxad.deployment.export import KIND, VERSION
from jaxad.persistence import FileFormatError, made_from

_SIZES = (1, 4, 16, 64, 256, 1024)  # rows of a compiled program; fewer rows are padded


class Exported:
    """A detector that was exported as StableHLO. It needs jax, but none of jaxad's networks.

    Rows are computed in float32, in programs for 1, 4, 16, 64, 256 and 1,024 rows. A program is
    compiled when a number of rows first needs it.

    Attributes:
      metadata: what the file says about itself, a dict: ``detector``, ``n_members``,
        ``threshold``, ``platforms``, ``libraries`` (their versions), ``input`` (name, dtype, shape,
        feature names) and ``outputs`` (the dtype of each).
    """

    def __init__(self, metadata: dict[str, Any], program: jax.export.Exported):
        self.metadata = metadata
        self._shape = tuple(metadata["input"]["shape"][1:])
        self._names = metadata["input"]["feature_names"]
        self._call = jax.jit(program.call)

    def __repr__(self) -> str:
        """The detector, the shape of its input, and the outputs."""
        shape = ", ".join(map(str, self.metadata["input"]["shape"]))
        outputs = ", ".join(self.metadata["outputs"])
        return f"Exported({self.metadata['detector']}: X [{shape}] -> {outputs})"

    def run(self, X: Any) -> dict[str, np.ndarray]:
        """All outputs of rows ``X`` ``[N, ...]``, each ``[N]``.

        ``score`` is float32, higher = more anomalous. ``is_anomaly`` says whether it is above the
        threshold. Calibrated detectors also have ``p_value``, float32.

        Args:
          X: rows as for the detector: an array or a DataFrame with the same columns. Grey images
            may be ``[N, H, W]``.

        Raises:
          ValueError: X has another shape or other columns, values that are not finite, or values
            too far from the fitted ones for float32.
        """
        rows = self._rows(X)
        parts = [self._run(rows[i : i + _SIZES[-1]]) for i in range(0, len(rows), _SIZES[-1])]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if first_nonfinite(outputs["score"][:, None]):
            row = int(np.argmin(np.isfinite(outputs["score"])))
            raise ValueError(
                f"row {row} of X is too far from the fitted values for float32: clip X to a "
                "plausible range"
            )
        return outputs

    def anomaly_score(self, X: Any) -> np.ndarray:
        """Anomaly scores ``[N]``, float32, higher = more anomalous; see `run`."""
        return self.run(X)["score"]

    def predict(self, X: Any) -> np.ndarray:
        """-1 for anomalies, +1 for the other rows, ``[N]``; see `run`."""
        return np.where(self.run(X)["is_anomaly"], -1, 1)

    def p_value(self, X: Any) -> np.ndarray:
        """Conformal p-values ``[N]``, float32; see `run`.

        Raises:
          ValueError: the detector was not calibrated when it was exported, or as `run`.
        """
        if "p_value" not in self.metadata["outputs"]:
            raise ValueError(
                "the detector was exported without a calibration: calibrate it on held-out normal "
                "rows and export it again"
            )
        return self.run(X)["p_value"]

    def _run(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        size = next(size for size in _SIZES if size >= len(rows))
        padded = rows
        if size > len(rows):
            padded = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])
        outputs = jax.device_get(self._call(padded))
        return {name: values[: len(rows)] for name, values in outputs.items()}

    def _rows(self, X: Any) -> np.ndarray:
        """Checked float32 rows ``[N, ...]``, at least one."""
        if self._names and hasattr(X, "columns") and [*map(str, X.columns)] != self._names:
            raise ValueError(
                f"X has the columns {[*map(str, X.columns)]}, the detector was fitted on "
                f"{self._names}: give X[{self._names}]"
            )
        try:
            rows = np.asarray(X, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"X does not hold numbers only: {error}") from None
        if rows.shape[1:] == self._shape[:-1] and self._shape[-1] == 1 and rows.ndim == 3:
            rows = rows[..., None]
        if rows.shape[1:] != self._shape or not len(rows):
            wanted = ", ".join(["N", *map(str, self._shape)])
            raise ValueError(
                f"X has shape {rows.shape}, the detector takes [{wanted}] with at least one row"
            )
        if found := first_nonfinite(rows):
            raise ValueError(
                f"X contains {found.kind}: first at row {found.index[0]}; replace such values or "
                "drop the row"
            )
        with np.errstate(over="ignore"):  # `run` says so
            return rows.astype(np.float32)


def load_exported(path: str | os.PathLike) -> Exported:
    """Open a detector that ``detector.export(path)`` wrote as StableHLO.

    A file that was written on a machine with a GPU also runs on a CPU, and the other way round. It
    is a program: open only files from a source that you trust (see SECURITY.md).

    Args:
      path: the file.

    Raises:
      FileNotFoundError: the file does not exist.
      jaxad.FileFormatError: the file is truncated, damaged, from a newer version, or not one that
        ``export`` wrote as StableHLO.

    Example:
      >>> import jaxad, numpy as np, os, tempfile
      >>> X = np.random.default_rng(0).normal(size=(200, 4))
      >>> detector = jaxad.DeepSVDD(epochs=1, n_members=1, random_state=0).fit(X)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = os.path.join(folder, "detector.jaxad")
      ...     detector.export(path)
      ...     exported = jaxad.load_exported(path)
      >>> exported
      Exported(DeepSVDD: X [batch, 4] -> is_anomaly, score)
      >>> bool(np.allclose(exported.anomaly_score(X), detector.anomaly_score(X), rtol=1e-5))
      True
    """
    if Path(path).suffix == ".onnx" and Path(path).exists():
        raise FileFormatError(f"{path}: an ONNX model; run it by onnxruntime.InferenceSession")
    arrays, metadata = persistence.read(path)
    if metadata.get("kind") != KIND:
        raise FileFormatError(
            f"{path}: holds a detector or fleet, not an exported program: open it by jaxad.load, "
            "or make a file by detector.export"
        )
    version = metadata.get("version", 1)
    if not isinstance(version, int):
        raise FileFormatError(f"{path}: damaged, its format is {version!r}")
    if version > VERSION:
        raise FileFormatError(
            f"{path}: exported in format {version}; this jaxad reads up to format "
            f"{VERSION}. Upgrade with `pip install --upgrade jaxad`"
        )
    try:
        program = jax.export.deserialize(bytearray(arrays["program"].tobytes()))
    except Exception as error:
        raise FileFormatError(
            f"{path}: this jax {jax.__version__} cannot read the program ({error}): use the "
            "version of jax that wrote it, or export the detector again"
        ) from error
    with made_from(path, "exported program"):
        _check_described(program, metadata)
        exported = Exported(metadata, program)
        repr(exported)  # reads what the metadata must hold
    return exported


def _check_described(program: jax.export.Exported, metadata: dict[str, Any]) -> None:
    """Raise a ValueError unless the program takes and gives what its file says."""
    (rows,) = program.in_avals
    outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
    found = str(rows.dtype), [*rows.shape[1:]], {k: str(v.dtype) for k, v in outputs.items()}
    told = metadata["input"]["dtype"], metadata["input"]["shape"][1:], metadata["outputs"]
    if found != told or program.nr_devices != 1:
        raise ValueError(f"it takes and gives {found}, its file says {told}")
