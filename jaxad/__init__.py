"""Deep anomaly detection in JAX: whole training runs compiled, alone or by the hundred."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxad import checks as checks
    from jaxad import data as data
    from jaxad import estimators as estimators
    from jaxad import losses as losses
    from jaxad import metrics as metrics
    from jaxad import networks as networks
    from jaxad import objectives as objectives
    from jaxad import persistence as persistence
    from jaxad import plotting as plotting
    from jaxad import rows as rows
    from jaxad import search as search
    from jaxad import thresholds as thresholds
    from jaxad import training as training
    from jaxad.checks import labels_from_anomalies as labels_from_anomalies
    from jaxad.estimators import DAGMM as DAGMM
    from jaxad.estimators import GOAD as GOAD
    from jaxad.estimators import AutoEncoder as AutoEncoder
    from jaxad.estimators import CollapseWarning as CollapseWarning
    from jaxad.estimators import DeepSAD as DeepSAD
    from jaxad.estimators import DeepSVDD as DeepSVDD
    from jaxad.estimators import Detector as Detector
    from jaxad.estimators import load as load
    from jaxad.persistence import FileFormatError as FileFormatError
    from jaxad.search import cross_val as cross_val
    from jaxad.search import fit_many as fit_many
    from jaxad.search import sweep as sweep
    from jaxad.training import NonFiniteError as NonFiniteError

__version__ = "0.1.0"

# Where each public name comes from. It is imported when it is first used, so that
# ``import jaxad`` costs next to nothing.
_HOMES = {
    "AutoEncoder": "estimators",
    "CollapseWarning": "estimators",
    "DAGMM": "estimators",
    "DeepSAD": "estimators",
    "DeepSVDD": "estimators",
    "Detector": "estimators",
    "FileFormatError": "persistence",
    "GOAD": "estimators",
    "NonFiniteError": "training",
    "cross_val": "search",
    "fit_many": "search",
    "labels_from_anomalies": "checks",
    "load": "estimators",
    "sweep": "search",
}
_MODULES = (
    "checks",
    "data",
    "estimators",
    "losses",
    "metrics",
    "networks",
    "objectives",
    "persistence",
    "plotting",
    "rows",
    "search",
    "thresholds",
    "training",
)
__all__ = [*_HOMES, *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"jaxad.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxad' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"jaxad.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
