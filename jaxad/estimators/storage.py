"""Fitted detectors as files."""

import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad import persistence, training
from jaxad.estimators import calibration
from jaxad.estimators.scaling import AffineScaler
from jaxad.persistence import FileFormatError, made_from
from jaxad.registry import DETECTORS, function_named, import_path, name_of, named
from jaxad.training.forks import check_not_forked

# Fitted attributes that are not arrays.
_FACTS = (
    "n_features_in_",
    "input_shape_",
    "threshold_",
    "best_epoch_",
    "n_steps_",
    "n_skipped_",
    "n_members_",
)
NOT_WRITTEN = object()
_FUNCTION, _RECIPE = "function", "recipe"  # marks of arguments that are no plain values


def save(detector: Any, path: Any) -> None:
    """Write a fitted detector to one file; see `jaxad.persistence.write`."""
    persistence.write(path, *pack(detector))


def pack(detector: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A fitted detector as nested arrays and metadata ready for JSON.

    Raises:
      ValueError: the detector's class is not registered.
    """
    kind = type(detector)
    if DETECTORS.get(name_of(kind)) is not kind:
        if name_of(kind) in DETECTORS:
            raise ValueError(
                f"{kind.__name__} was defined again after this detector was made: fit it anew, or "
                f"set detector.__class__ = {kind.__name__}"
            )
        raise ValueError(
            f"{kind.__name__} is not registered, so its file could not be loaded: define the class "
            "in a module, under a name of its own, without register=False"
        )
    given = detector.get_params(deep=False).items()
    parameters = {k: plain(v) for k, v in given if k != "device"}  # the reader has others
    modules = sorted(k for k, v in parameters.items() if v is NOT_WRITTEN)
    names = getattr(detector, "feature_names_in_", None)
    metadata = {
        "detector": name_of(kind),
        "objective": name_of(type(detector.objective_)),
        "parameters": {k: v for k, v in parameters.items() if v is not NOT_WRITTEN},
        "given_at_load": modules,
        "row_shape": list(detector.scaler_.shift.shape),
        "facts": {k: getattr(detector, k) for k in _FACTS if hasattr(detector, k)},
        "feature_names": None if names is None else [str(name) for name in names],
    }
    arrays = {
        "params": detector.params_,
        "stats": detector.stats_,
        "scaler": {"shift": detector.scaler_.shift, "scale": detector.scaler_.scale},
        "history": detector.history_,
        "combination": detector.combination_,
    }
    if hasattr(detector, "reference_scores_"):
        arrays["reference_scores"] = detector.reference_scores_
    if hasattr(detector, "held_out_scores_"):
        arrays["held_out_scores"] = detector.held_out_scores_
    if hasattr(detector, "calibration_"):
        metadata["calibration"] = detector.calibration_.method
        arrays["calibration"] = detector.calibration_.arrays()
    if getattr(detector, "background_", None) is not None:
        arrays["background"] = detector.background_
    return arrays, metadata


def load(path: Any, losses: Mapping[str, Callable] | None = None, **modules: Any) -> Any:
    """Read a detector that ``save`` wrote; see `jaxad.load`.

    Example:
      >>> import jaxad, numpy as np, tempfile
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> path = f"{tempfile.mkdtemp()}/detector.safetensors"
      >>> jaxad.DeepSVDD(epochs=1, random_state=0).fit(x).save(path)
      >>> load(path).n_features_in_
      4
    """
    return unpack(path, *persistence.read(path), losses or {}, modules)


def unpack(
    path: Any,
    arrays: dict[str, Any],
    metadata: dict[str, Any],
    losses: Mapping[str, Callable],
    modules: dict[str, Any],
) -> Any:
    """The inverse of `pack`, for arrays and metadata that the file ``path`` holds.

    Raises:
      jaxad.FileFormatError: the file holds no detector, or names a function, that is known here.
      ValueError: a module is missing or not needed.
    """
    check_not_forked()
    with made_from(path, "detector"):
        try:
            kind = named(DETECTORS, metadata.get("detector"))
        except LookupError as error:
            raise FileFormatError(f"{path}: {error.args[0]}") from None
        needed = [k for k in metadata["given_at_load"] if k != "random_state"]
        if not set(needed) <= set(kind._get_param_names()):
            raise LookupError(f"{needed!r:.200} are not all arguments")
    if set(modules) != set(needed):
        raise ValueError(
            f"{path}: this detector was made with {needed or 'no'} arguments that are not stored "
            f"as text; got {sorted(modules)}: pass exactly those to jaxad.load"
        )
    with made_from(path, kind.__name__):
        return _made(path, kind, arrays, metadata, losses, modules)


def _made(
    path: Any,
    kind: Any,
    arrays: dict[str, Any],
    metadata: dict[str, Any],
    losses: Mapping[str, Callable],
    modules: dict[str, Any],
) -> Any:
    """A detector of a class, made from a file."""
    try:
        parameters = {k: _restored(v, losses) for k, v in metadata["parameters"].items()}
    except LookupError as error:
        raise FileFormatError(f"{path}: {error.args[0]}") from None
    # Files of versions without ensembles hold single models.
    if "n_members" in kind._get_param_names():  # earlier files of single models do not say
        parameters = {"n_members": 1} | parameters
    detector = kind(**parameters, **modules)
    detector.n_members_ = 1
    for name, value in metadata["facts"].items():
        if name not in _FACTS or not _is_fact(value):
            raise FileFormatError(
                f"{path}: damaged, a detector has no attribute {name!r} of the value {value!r:.60}"
            )
        setattr(detector, name, tuple(value) if isinstance(value, list) else value)
    if metadata["feature_names"] is not None:
        detector.feature_names_in_ = np.asarray(metadata["feature_names"], dtype=object)
    detector.scaler_ = AffineScaler(**arrays["scaler"])
    detector.params_ = _on_device(arrays["params"])
    detector.stats_ = _on_device(arrays["stats"])
    detector.history_ = arrays["history"]
    identity = {"shift": np.zeros(1), "scale": np.ones(1)}
    detector.combination_ = arrays.get("combination", identity)
    if "reference_scores" in arrays:  # earlier files have none
        detector.reference_scores_ = arrays["reference_scores"]
    if "held_out_scores" in arrays:
        detector.held_out_scores_ = arrays["held_out_scores"]
    if (method := metadata.get("calibration")) is not None:
        if method not in calibration.KINDS:
            raise FileFormatError(f"{path}: calibrated by {method!r}, which is not known here")
        detector.calibration_ = calibration.KINDS[method].from_arrays(arrays["calibration"])
    detector.background_ = arrays.get("background")  # None in files of earlier versions
    detector.objective_ = detector._full_objective(tuple(metadata["row_shape"]), 1)
    trained_for, now = metadata.get("objective"), name_of(type(detector.objective_))
    if trained_for not in (None, now):  # early files do not name it
        raise FileFormatError(
            f"{path}: was trained for {trained_for!r}, but this {kind.__name__} makes {now!r}: use "
            "the version of the class that saved it"
        )
    return detector


def _is_fact(value: Any) -> bool:
    """Whether ``value`` is a number, None, or a list of these."""
    items = value if isinstance(value, list) else [value]
    return all(item is None or isinstance(item, int | float) for item in items)


def _on_device(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: _on_device(v) for k, v in tree.items()}
    return jnp.asarray(tree)


def plain(value: Any) -> Any:
    """``value`` ready for JSON, or `NOT_WRITTEN`. Functions and recipes are marked dicts."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        value = value.item()
    if isinstance(value, types.FunctionType) or hasattr(value, "__wrapped__"):
        return {_FUNCTION: import_path(value)}
    if isinstance(value, training.Recipe):
        value = {_RECIPE: {field.name: getattr(value, field.name) for field in fields(value)}}
    if isinstance(value, Mapping):
        items = {str(k): plain(v) for k, v in value.items()}
        return NOT_WRITTEN if any(v is NOT_WRITTEN for v in items.values()) else items
    if isinstance(value, tuple | list):
        items = [plain(v) for v in value]
        return NOT_WRITTEN if any(v is NOT_WRITTEN for v in items) else items
    return value if value is None or isinstance(value, str | int | float) else NOT_WRITTEN


def _restored(value: Any, losses: Mapping[str, Callable]) -> Any:
    """The inverse of `plain`."""
    if isinstance(value, list):
        return tuple(_restored(v, losses) for v in value)
    if not isinstance(value, dict):
        return value
    if isinstance(value.get(_FUNCTION), str):  # a number may have that name, too
        return function_named(value[_FUNCTION], losses)
    found = {k: _restored(v, losses) for k, v in value.items()}
    return training.Recipe(**found[_RECIPE]) if isinstance(found.get(_RECIPE), dict) else found
