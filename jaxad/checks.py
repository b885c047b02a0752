"""Checks of numbers, choices, labels and seeds, made before anything is compiled.

A check raises an error that names the argument, its value and the valid values. `Interval`,
`Whole`, `Choice`, `Flag`, `Special` and `Each` are checks that a class can attach to its fields.
"""

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

Closed = Literal["both", "left", "right", "neither"]


class Check(Protocol):
    """A function that raises an error if ``value`` is invalid for the argument ``name``."""

    def __call__(self, name: str, value: Any) -> Any:
        """Return the value, possibly converted."""
        ...


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number between two bounds; with ``whole`` it must be an integer.

    Example:
      >>> Interval(0, 1, "right")("nu", 0)
      Traceback (most recent call last):
      ValueError: nu=0 is outside (0, 1]: choose 0 < nu <= 1
    """

    low: float
    high: float = math.inf
    closed: Closed = "left"
    whole: bool = False

    def __call__(self, name: str, value: Any) -> float:
        """See `check_interval`."""
        number = check_interval(name, value, self.low, self.high, closed=self.closed)
        if self.whole and number % 1:
            raise ValueError(f"{name}={value!r} is not a whole number")
        return number


@dataclasses.dataclass(frozen=True)
class Whole:
    """An integer of at least 1.

    Example:
      >>> Whole()("latent_dim", np.int64(8))
      8
    """

    def __call__(self, name: str, value: Any) -> int:
        """See `check_positive_int`."""
        return check_positive_int(name, value)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several names.

    Example:
      >>> Choice(("mean", "rank"))("combine", "rank")
      'rank'
    """

    choices: tuple[str, ...]

    def __call__(self, name: str, value: Any) -> str:
        """See `check_choice`."""
        return check_choice(name, value, self.choices)


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or False.

    Example:
      >>> Flag()("verbose", 2)
      Traceback (most recent call last):
      TypeError: verbose=2 is not True or False
    """

    def __call__(self, name: str, value: Any) -> bool:
        """Raise a TypeError for other types."""
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name}={value!r} is not True or False")
        return bool(value)


@dataclasses.dataclass(frozen=True)
class Special:
    """A special value, such as None or "auto", or a value that passes another check.

    Example:
      >>> Special("auto", Whole())("epochs", "auto")
      'auto'
    """

    value: Any
    otherwise: Check

    def __call__(self, name: str, value: Any) -> Any:
        """Check the value unless it is the special value."""
        same = value is None if self.value is None else isinstance(value, str)
        return value if same and value == self.value else self.otherwise(name, value)


@dataclasses.dataclass(frozen=True)
class Each:
    """A sequence whose items pass another check.

    Example:
      >>> Each(Whole())("hidden", (64, 32))
      (64, 32)
    """

    check: Check

    def __call__(self, name: str, value: Any) -> Any:
        """Check every item."""
        several = isinstance(value, Sequence) or getattr(value, "ndim", None) == 1
        if not several or isinstance(value, str | bytes):
            raise TypeError(f"{name}={value!r} is not a sequence: give a tuple, such as ()")
        for item in value:
            self.check(name, item)
        return value


POSITIVE = Interval(0, closed="neither")
AT_LEAST_ZERO = Interval(0)


def check_interval(
    name: str,
    value: Any,
    low: float,
    high: float,
    *,
    closed: Closed = "both",
) -> float:
    """``value`` as a float, if it lies between ``low`` and ``high``.

    Raises:
      TypeError: the value is not a real number.
      ValueError: the value is NaN or outside the interval.

    Example:
      >>> check_interval("nu", 1.7, 0, 1, closed="right")
      Traceback (most recent call last):
      ValueError: nu=1.7 is outside (0, 1]: choose 0 < nu <= 1
    """
    if getattr(value, "ndim", None) == 0:  # a NumPy or JAX scalar
        value = value.item()
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
      TypeError: the value is not an integer.
      ValueError: the value is less than 1.

    Example:
      >>> check_positive_int("n_members", 0)
      Traceback (most recent call last):
      ValueError: n_members=0 is too small: choose at least 1
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
      ValueError: it is another value; the message lists the choices.

    Example:
      >>> check_choice("scaler", "max", ("standard", "minmax"))
      Traceback (most recent call last):
      ValueError: scaler='max' is not one of: 'standard', 'minmax'
    """
    if not isinstance(value, str) or value not in choices:
        valid = ", ".join(map(repr, choices))
        raise ValueError(f"{name}={value!r} is not one of: {valid}")
    return value


@dataclasses.dataclass(frozen=True)
class NonFinite:
    """The first value that is NaN or infinite.

    Attributes:
      index: its index.
      kind: "NaN" or "infinity".
      rows: number of rows with NaN or infinite values.
    """

    index: tuple[int, ...]
    kind: str
    rows: int


def first_nonfinite(x: np.ndarray) -> NonFinite | None:
    """The first value of ``x`` ``[N, ...]`` that is NaN or infinite, or None.

    Example:
      >>> first_nonfinite(np.array([[1.0, 2.0], [np.nan, np.inf]]))
      NonFinite(index=(1, 0), kind='NaN', rows=1)
    """
    finite = np.isfinite(x)
    if finite.all():
        return None
    index = tuple(map(int, np.unravel_index(int(np.argmin(finite)), finite.shape)))
    affected = int((~finite).reshape(len(x), -1).any(axis=1).sum())
    return NonFinite(index, "NaN" if np.isnan(x[index]) else "infinity", affected)


def check_labels(y: Any, n: int) -> np.ndarray:
    """Labels ``[n]`` as int32: +1 known normal, -1 known anomaly, 0 unlabelled.

    Raises:
      ValueError: wrong shape or values, or booleans, whose False could mean "normal" or "unknown".

    Example:
      >>> check_labels([0, -1, 1], 3)
      array([ 0, -1,  1], dtype=int32)
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


def check_signs(labels: set[int]) -> None:
    """Check that labels are not 0/1 marks of anomalies: +1 beside 0 needs a -1, too.

    Args:
      labels: the labels that occur.

    Raises:
      ValueError: +1 and 0 occur, and no -1.
    """
    if labels == {0, 1}:
        raise ValueError(
            "y has values 0 and 1 and no -1: labels are -1 known anomaly, 0 unlabelled, +1 known "
            "normal. If 1 marks the anomalies, convert it with jaxad.labels_from_anomalies(y); if "
            "it marks known normal rows, and no anomaly is known, leave y out"
        )


def labels_from_anomalies(y: Any, known: Any = None, *, normal_known: bool = False) -> np.ndarray:
    """Convert 0/1 or boolean marks of anomalies to labels for semi-supervised fitting.

    Args:
      y: ``[N]`` 1 or True for anomalies, 0 or False for other rows.
      known: ``[N]`` boolean, rows whose mark is used; the others become unlabelled. None uses all.
      normal_known: whether a mark of 0 means known normal (+1) or unlabelled (0).

    Returns:
      ``[N]`` int32: -1 known anomaly, 0 unlabelled, +1 known normal.

    Raises:
      ValueError: ``y`` is not one-dimensional, ``y`` has other values, or ``known`` is not a
        boolean mask of the same length.

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
    numeric = values.dtype.kind in "biuf"
    wrong = ~np.isin(values, valid) if numeric else ~np.array([_is_in(v, valid) for v in values])
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name}[{row}]={values.tolist()[row]!r} is not one of {valid}: {meaning}")


def _is_in(value: Any, valid: tuple[int, ...]) -> bool:
    try:
        return value in valid
    except TypeError:  # comparison with pandas.NA is neither true nor false
        return False


def seed_from(random_state: Any) -> int:
    """A seed in ``[0, 2**32)`` from scikit-learn's ``random_state``.

    Args:
      random_state: an int is the seed; a ``RandomState`` or ``Generator`` draws the seed and
        advances; None draws it from the operating system, never from numpy's global generator.

    Raises:
      TypeError: ``random_state`` has another type.
      ValueError: the int is outside the range.

    Example:
      >>> seed_from(7)
      7
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
