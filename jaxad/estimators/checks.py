"""Checks of what a user passes, made before anything is compiled.

Rows go through scikit-learn's own validation, so that its conventions and messages hold. What is
added says where the offending value is, and what to do about it.
"""

import math
import numbers
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.validation import check_array, validate_data


def check_rows(X: Any, *, images: bool, estimator: Any = None, reset: bool) -> np.ndarray:
    """Validated rows: ``[N, D]`` of a table, or ``[N, H, W, C]`` of images.

    They are float32 where that holds every value of the input's type exactly (small integers,
    float32), else float64.

    Args:
      X: array-like or DataFrame. Grey images may also be ``[N, H, W]``.
      images: whether the network takes images.
      estimator: gets ``n_features_in_``, ``feature_names_in_`` and, for images, ``input_shape_``
        when ``reset``; is compared with them otherwise.
      reset: True when fitting (at least two rows are needed), False when scoring.

    Raises:
      ValueError: X cannot be used; the message names the place and the remedy.
      TypeError: an element of X is no number at all.
    """
    if sparse.issparse(X):
        raise ValueError(
            "Sparse data was passed for X, but dense data is required: use X.toarray()"
        )
    X = X if hasattr(X, "shape") else _as_array(X)
    _check_columns(X)
    _check_rank(X, images)
    options: dict[str, Any] = {
        "dtype": "numeric",
        "ensure_2d": not images,
        "allow_nd": images,
        "ensure_all_finite": False,  # checked below, with the place
        "ensure_min_samples": 2 if reset else 1,
    }
    try:
        rows = np.asarray(
            check_array(X, input_name="X", **options)
            if estimator is None
            else validate_data(estimator, X, reset=reset, **options)
        )
    except (TypeError, ValueError) as error:
        remedy = _remedy(X, estimator, reset)
        if not remedy:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{str(error).strip().rstrip('.')}. {remedy}") from error
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"X has type {rows.dtype}, not numbers: encode it as numbers")
    exact = np.can_cast(rows.dtype, np.float32)
    rows = rows.astype(np.float32 if exact else np.float64, copy=False)
    _check_finite(rows, X)
    return _check_images(rows, estimator, reset) if images else rows


def _as_array(X: Any) -> np.ndarray:
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(f"X is not rectangular, give every row the same length: {error}") from None


def _check_columns(X: Any) -> None:
    if not isinstance(X, pd.DataFrame):
        return
    numeric = ("integer", "floating", "mixed-integer-float", "boolean", "decimal", "empty")
    wrong = [
        repr(name)
        for name, column in X.items()
        if not pd.api.types.is_numeric_dtype(column.dtype)
        and not (column.dtype == object and pd.api.types.infer_dtype(column) in numeric)
    ]
    if wrong:
        columns = f"column {wrong[0]} is" if len(wrong) == 1 else f"columns {', '.join(wrong)} are"
        raise ValueError(
            f"X: {columns} not numeric: encode or drop {'it' if len(wrong) == 1 else 'them'}"
        )


def _check_rank(X: Any, images: bool) -> None:
    shape = tuple(X.shape)
    if images and len(shape) not in (3, 4):
        raise ValueError(
            f"X has shape {shape}, but this network takes images [N, H, W] or [N, H, W, C]: "
            "reshape X, or choose a network for tables"
        )
    if not images and len(shape) > 2:
        raise ValueError(
            f"Found array with dim {len(shape)}, while dim <= 2 is required: X has shape {shape}; "
            "choose a network for images, or use X.reshape(len(X), -1)"
        )


def _remedy(X: Any, estimator: Any, reset: bool) -> str:
    """What to add to scikit-learn's message about ``X``, or nothing where it says enough."""
    shape = tuple(X.shape)
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if kind == "c":
        return "Pass X.real and X.imag as columns of their own."
    if kind in ("O", "S", "U"):
        for index, value in np.ndenumerate(np.asarray(X, dtype=object)):
            if value is not None and not isinstance(value, numbers.Number):
                return f"X has {value!r}{_place(index, X)}: encode it as a number or drop it."
    if len(shape) > 1 and shape[0] < (2 if reset else 1):
        return "Pass more rows of X."
    if len(shape) == 2 and shape[1] == 0:
        return "Pass at least one column of X."
    if not reset and len(shape) == 2 and shape[1] != getattr(estimator, "n_features_in_", shape[1]):
        return "Pass the columns of X that the detector was fitted on."
    return ""


def _check_finite(rows: np.ndarray, X: Any) -> None:
    finite = np.isfinite(rows)
    if finite.all():
        return
    index = tuple(np.unravel_index(int(np.argmin(finite)), finite.shape))
    what = "NaN" if np.isnan(rows[index]) else "infinity"
    affected = int((~finite).reshape(len(rows), -1).any(axis=1).sum())
    raise ValueError(
        f"Input X contains {what}: first{_place(index, X)}, {affected} of {len(rows)} rows "
        "have NaN or infinite values. Replace them (NaN for example with "
        "sklearn.impute.SimpleImputer in a Pipeline) or drop these rows"
    )


def _place(index: Sequence[Any], X: Any) -> str:
    place = f" at row {index[0]}" if len(index) else ""
    if len(index) == 2:
        place += f", column {index[1]}"
        if isinstance(X, pd.DataFrame):
            place += f" ({X.columns[index[1]]!r})"
    elif len(index) > 2:
        place += f", pixel {tuple(int(i) for i in index[1:])}"
    return place


def _check_images(rows: np.ndarray, estimator: Any, reset: bool) -> np.ndarray:
    rows = rows if rows.ndim == 4 else rows[..., None]
    if rows.size == 0:
        raise ValueError(f"X has shape {rows.shape}: images need at least one pixel and channel")
    if estimator is not None and reset:
        estimator.input_shape_ = rows.shape[1:]
        estimator.n_features_in_ = math.prod(rows.shape[1:])
    elif estimator is not None and rows.shape[1:] != tuple(estimator.input_shape_):
        raise ValueError(
            f"X has images of shape {rows.shape[1:]}, but {type(estimator).__name__} is expecting "
            f"{tuple(estimator.input_shape_)}: resize or crop them as for fitting"
        )
    return rows


def check_interval(
    name: str,
    value: Any,
    low: float,
    high: float,
    *,
    closed: Literal["both", "left", "right", "neither"] = "both",
) -> float:
    """``value`` as a float, if it lies between ``low`` and ``high``.

    Raises:
      TypeError: not a real number.
      ValueError: outside, or NaN.

    Example:
      >>> check_interval("nu", 1.7, 0, 1, closed="right")
      Traceback (most recent call last):
      ValueError: nu=1.7 is outside (0, 1]: choose 0 < nu <= 1
    """
    left, right = closed in ("both", "left"), closed in ("both", "right")
    interval = f"{'[' if left else '('}{low:g}, {high:g}{']' if right else ')'}"
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not a number: choose one in {interval}")
    number = float(value)
    above = number >= low if left else number > low
    below = number <= high if right else number < high
    if not (above and below):
        lower = f"{low:g} {'<=' if left else '<'} " if math.isfinite(low) else ""
        upper = f" {'<=' if right else '<'} {high:g}" if math.isfinite(high) else ""
        raise ValueError(f"{name}={value} is outside {interval}: choose {lower}{name}{upper}")
    return number


def check_positive_int(name: str, value: Any) -> int:
    """``value`` as an int, if it is a whole number of at least 1.

    Raises:
      TypeError: not an integer.
      ValueError: less than 1.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not an integer: choose one of at least 1")
    number = int(value)
    if number < 1:
        raise ValueError(f"{name}={number} is too small: choose at least 1")
    return number


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """``value``, if it is one of ``choices``.

    Raises:
      ValueError: it is not; the message lists them.
    """
    if not isinstance(value, str) or value not in choices:
        valid = ", ".join(map(repr, choices))
        raise ValueError(f"{name}={value!r} is not one of: {valid}")
    return value


def check_labels(y: Any, n: int) -> np.ndarray:
    """Labels ``[n]`` as int32: +1 known normal, -1 known anomaly, 0 unlabelled.

    Raises:
      ValueError: another shape, another value, or booleans, which do not say whether False is
        "normal" or "unknown".
    """
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise ValueError(f"y has shape {labels.shape}, but X has {n} rows: pass y of shape ({n},)")
    meaning = "labels are +1 known normal, -1 known anomaly, 0 unlabelled"
    if labels.dtype == bool or any(isinstance(label, bool) for label in labels.tolist()):
        raise ValueError(
            f"y is boolean, but {meaning}: convert it with jaxad.labels_from_anomalies(y)"
        )
    _check_values("y", labels, (-1, 0, 1), meaning)
    return labels.astype(np.int32)


def labels_from_anomalies(y: Any, known: Any = None, *, normal_known: bool = False) -> np.ndarray:
    """Labels for semi-supervised fitting from 0/1 or boolean marks of anomalies.

    Args:
      y: ``[N]`` 1 or True for an anomaly, 0 or False for everything else.
      known: ``[N]`` boolean, whose mark may be used; the other rows become unlabelled.
        All of them by default.
      normal_known: whether a 0 means "known to be normal" (+1) or "not known" (0).

    Returns:
      ``[N]`` int32: -1 known anomaly, 0 unlabelled, +1 known normal.

    Raises:
      ValueError: ``y`` is not one-dimensional or has other values, or ``known`` is not a boolean
        mask of the same length.

    Example:
      >>> labels_from_anomalies([0, 1, 0])
      array([ 0, -1,  0], dtype=int32)
      >>> labels_from_anomalies([0, 1, 0, 1], [True, True, False, False], normal_known=True)
      array([ 1, -1,  0,  0], dtype=int32)
    """
    marks = np.asarray(y)
    if marks.ndim != 1:
        raise ValueError(f"y has shape {marks.shape}: pass one mark per row, shape (N,)")
    _check_values("y", marks, (0, 1), "pass 1 for an anomaly and 0 otherwise")
    mask = np.ones(marks.shape, bool) if known is None else np.asarray(known)
    if mask.dtype != bool or mask.shape != marks.shape:
        raise ValueError(
            f"known has type {mask.dtype} and shape {mask.shape}: pass a boolean mask of shape "
            f"{marks.shape}"
        )
    labels = np.where(marks.astype(bool), -1, 1 if normal_known else 0)
    return np.where(mask, labels, 0).astype(np.int32)


def _check_values(name: str, values: np.ndarray, valid: tuple[int, ...], meaning: str) -> None:
    wrong = pd.isna(values) | ~pd.Series(values).isin(valid).to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name}[{row}]={values.tolist()[row]!r} is not one of {valid}: {meaning}")


def seed_from(random_state: Any) -> int:
    """A seed in ``[0, 2**32)`` from scikit-learn's ``random_state``.

    Args:
      random_state: an int is the seed; a ``RandomState`` or ``Generator`` is drawn from, and so
        advances; None draws from the operating system. numpy's global generator is never used.

    Raises:
      TypeError: something else.
      ValueError: an int outside the range.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**32, dtype=np.uint32))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32, dtype=np.uint32))
    if not isinstance(random_state, numbers.Integral) or isinstance(random_state, bool):
        raise TypeError(
            f"random_state={random_state!r}: pass an int, a numpy RandomState or Generator, or None"
        )
    seed = int(random_state)
    if not 0 <= seed < 2**32:
        raise ValueError(f"random_state={seed} is outside [0, 2**32): choose another int")
    return seed
