"""DeepOD's GOAD through its public API, at its own settings, to measure against.

Importing this module without DeepOD raises an error that says how to get it.
"""

import contextlib
import io

import numpy as np

try:
    from deepod.models.tabular import GOAD  # pyright: ignore[reportMissingImports]
except ImportError as error:
    message = "needs DeepOD, without its old pins: pip install --no-deps deepod"
    raise ImportError(message) from error


def goad(x: np.ndarray, epochs: int, seed: int = 0) -> np.ndarray:
    """Fit on ``x`` ``[N, D]`` and score the same rows, ``[N]``."""
    with contextlib.redirect_stdout(io.StringIO()):
        model = GOAD(epochs=epochs, device="cpu", verbose=0, random_state=seed)
        model.fit(x)
        return np.asarray(model.decision_function(x))
