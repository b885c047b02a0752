"""DeepOD's GOAD through its public API, at its own settings, to measure against.

Importing this module without DeepOD raises an error that says how to get it.
"""

from typing import Any

try:
    from deepod.models.tabular import GOAD  # pyright: ignore[reportMissingImports]
except ImportError as error:
    message = "needs DeepOD, without its old pins: pip install --no-deps deepod"
    raise ImportError(message) from error


def goad(epochs: int, seed: int = 0) -> Any:
    """A detector with ``fit(x)`` and ``decision_function(x)``."""
    return GOAD(epochs=epochs, device="cpu", verbose=0, random_state=seed)
