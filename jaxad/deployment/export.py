"""Write a fitted detector as one program: StableHLO for JAX, ONNX for every other runtime."""

import os
from typing import Any

import jax
import numpy as np

from jaxad import persistence
from jaxad.checks import check_choice
from jaxad.deployment.onnx import onnx_bytes
from jaxad.deployment.program import row_program

FORMATS = ("stablehlo", "onnx")
KIND = "exported"  # of a StableHLO file, in its metadata
VERSION = 1  # of the metadata
PLATFORMS = ("cpu", "cuda", "tpu")  # on which a StableHLO file runs, wherever it was written


def export(detector: Any, path: str | os.PathLike, format: str = "stablehlo") -> None:
    """Write a fitted detector as one program; see ``Detector.export``."""
    check_choice("format", format, FORMATS)
    program, shape = row_program(detector), detector.scaler_.shift.shape
    outputs = jax.eval_shape(program, jax.ShapeDtypeStruct(shape, np.float32))
    metadata = _metadata(detector, shape, outputs)
    if format == "onnx":
        persistence.write_bytes(path, [onnx_bytes(program, shape, metadata)])
        return
    metadata["platforms"] = PLATFORMS
    code = np.frombuffer(_stablehlo(program, shape), np.uint8)
    persistence.write(path, {"program": code}, metadata)


def _metadata(detector: Any, shape: tuple[int, ...], outputs: dict[str, Any]) -> dict[str, Any]:
    """What a user of the file needs to know, ready for JSON."""
    names = getattr(detector, "feature_names_in_", None)
    return {
        "kind": KIND,
        "version": VERSION,
        "libraries": persistence.library_versions(),
        "detector": type(detector).__name__,
        "n_members": detector.n_members_,
        "threshold": detector.threshold_,
        "input": {
            "name": "X",
            "dtype": "float32",
            "shape": ["batch", *shape],
            "feature_names": None if names is None else [str(name) for name in names],
        },
        "outputs": {name: str(outputs[name].dtype) for name in sorted(outputs)},
    }


def _stablehlo(program: Any, shape: tuple[int, ...]) -> bytes:
    """The serialised `jax.export.Exported` of a program of one row, for any number of rows."""
    (batch,) = jax.export.symbolic_shape("batch")
    rows = jax.ShapeDtypeStruct((batch, *shape), np.float32)
    try:
        exported = jax.export.export(jax.jit(jax.vmap(program)), platforms=PLATFORMS)(rows)
        return bytes(exported.serialize())
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"the network cannot be exported as StableHLO: {reason}. Replace this operation in "
            "the network"
        ) from error
