"""Deep anomaly detection in JAX: whole training runs compiled, alone or by the hundred."""

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxad import callbacks as callbacks
    from jaxad import checks as checks
    from jaxad import data as data
    from jaxad import deployment as deployment
    from jaxad import estimators as estimators
    from jaxad import fleet as fleet
    from jaxad import losses as losses
    from jaxad import metrics as metrics
    from jaxad import networks as networks
    from jaxad import objectives as objectives
    from jaxad import persistence as persistence
    from jaxad import plotting as plotting
    from jaxad import pyod as pyod
    from jaxad import registry as registry
    from jaxad import rows as rows
    from jaxad import search as search
    from jaxad import study as study
    from jaxad import thresholds as thresholds
    from jaxad import training as training
    from jaxad import tuning as tuning
    from jaxad import typing as typing
    from jaxad.deployment import load_exported as load_exported
    from jaxad.estimators import *  # noqa: F403
    from jaxad.fleet import Fleet as Fleet
    from jaxad.loading import load as load
    from jaxad.persistence import FileFormatError as FileFormatError
    from jaxad.registry import register_loss as register_loss
    from jaxad.search import cross_val as cross_val
    from jaxad.search import fit_many as fit_many
    from jaxad.search import sweep as sweep
    from jaxad.training import NonFiniteError as NonFiniteError
    from jaxad.tuning import tune as tune

__version__ = "0.1.0"

logging.getLogger("jaxad").addHandler(logging.NullHandler())

# Where a public name comes from, if not from `jaxad.estimators`. It is imported when it is first
# used, so that ``import jaxad`` costs next to nothing.
_HOMES = {
    "FileFormatError": "persistence",
    "Fleet": "fleet",
    "NonFiniteError": "training",
    "cross_val": "search",
    "fit_many": "search",
    "load": "loading",
    "load_exported": "deployment",
    "register_loss": "registry",
    "sweep": "search",
    "tune": "tuning",
}
_MODULES = (
    "callbacks",
    "checks",
    "data",
    "deployment",
    "estimators",
    "fleet",
    "losses",
    "metrics",
    "networks",
    "objectives",
    "persistence",
    "plotting",
    "pyod",
    "registry",
    "rows",
    "search",
    "study",
    "thresholds",
    "training",
    "tuning",
    "typing",
)
_FUNCTIONS = ("argument", "explain", "labels_from_anomalies")  # of `jaxad.estimators`


def __getattr__(name: str) -> Any:
    if name == "__all__":  # asked for by a star import
        return [public for public in __dir__() if not public.startswith("_")]
    if name in _MODULES:
        return importlib.import_module(f"jaxad.{name}")
    home = importlib.import_module(f"jaxad.{_HOMES.get(name, 'estimators')}")
    if name not in _HOMES and not _is_public(name) or not hasattr(home, name):
        raise AttributeError(f"module 'jaxad' has no attribute {name!r}")
    value = globals()[name] = getattr(home, name)
    return value


def _is_public(name: str) -> bool:
    """Whether a name of `jaxad.estimators` is a class or one of its public functions."""
    return name[0].isupper() or name in _FUNCTIONS


def __dir__() -> list[str]:
    from jaxad import estimators

    return sorted({"__version__", *_HOMES, *_MODULES, *filter(_is_public, dir(estimators))})
