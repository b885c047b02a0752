"""Train and test rows by the papers' one-class protocols, and the hash of a split."""

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np


class Split(NamedTuple):
    """Row numbers, ascending. Unless a protocol says otherwise ``train`` holds normal rows only.

    Attributes:
      train: ``[n]`` the rows to fit on.
      test: ``[m]`` the rows to score; none of them is in ``train``, unless a protocol says so.
    """

    train: np.ndarray
    test: np.ndarray


def half_split(is_anomaly: Any, seed: Any) -> Split:
    """The normal rows of a random half train; the other half, anomalies included, is the test.

    The protocol of DAGMM (Zong et al., ICLR 2018, section 4.4): the share of anomalies in the test
    is about that of the whole set. The anomalies of the training half are left out of both.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: ``is_anomaly`` is no such array, or the training half has no normal row.

    Example:
      >>> train, test = half_split([0, 0, 0, 1, 0, 0, 0, 1], seed=0)
      >>> len(test), set(train) & set(test)
      (4, set())
    """
    anomaly = as_marks(is_anomaly)
    order = np.random.default_rng(seed).permutation(len(anomaly))
    train, test = np.split(order, [len(order) // 2])
    return checked(train[~anomaly[train]], test, anomaly)


def half_normals(is_anomaly: Any, seed: Any) -> Split:
    """A random half of the normal rows trains; the other half and all anomalies are the test.

    The protocol of GOAD for tables (Bergman & Hoshen, ICLR 2020). It doubles the share of
    anomalies in the test: F1 and average precision are not comparable with `half_split`'s.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: ``is_anomaly`` is no such array, or has fewer than two normal rows.

    Example:
      >>> train, test = half_normals([0, 0, 0, 1, 0, 0, 0, 1], seed=0)
      >>> len(train), len(test)
      (3, 5)
    """
    anomaly = as_marks(is_anomaly)
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(~anomaly))
    train, rest = np.split(normal, [len(normal) // 2])
    return checked(train, np.concatenate([rest, np.flatnonzero(anomaly)]), anomaly)


def one_class(label: Any, is_train: Any, *, normal: Any) -> Split:
    """One class of the training part trains; all of the test part, its other classes, is the test.

    The protocol of Deep SVDD for images (Ruff et al., ICML 2018, section 4.2). Test rows of another
    class are the anomalies: ``label[test] != normal``.

    Args:
      label: ``[N]`` the class of each row.
      is_train: ``[N]`` booleans, or 0 and 1: the published training part.
      normal: the class that is normal.

    Raises:
      ValueError: the training part has no row of that class, or a mark is neither 0 nor 1.

    Example:
      >>> one_class([3, 5, 3, 3, 5], [1, 1, 1, 0, 0], normal=3).train.tolist()
      [0, 2]
    """
    label, in_train = np.asarray(label), as_marks(is_train, "is_train")
    check_class(label[in_train], "normal", normal)
    return Split(np.flatnonzero(in_train & (label == normal)), np.flatnonzero(~in_train))


def split_hash(split: Iterable[Any]) -> str:
    """The SHA-256 of a split's arrays: equal for equal rows in equal roles, on every machine.

    Args:
      split: a `Split` or another tuple; its integer arrays count, whatever their type.

    Example:
      >>> split_hash(half_normals([0, 0, 0, 1], seed=0))[:12]
      'a858dec6d2f7'
    """
    digest = hashlib.sha256()
    for rows in split:
        if isinstance(rows, np.ndarray):
            # The length keeps a row that moves from one array to the next from going unseen.
            digest.update(len(rows).to_bytes(8, "little") + rows.astype("<i8").tobytes())
    return digest.hexdigest()


def check_class(label: np.ndarray, name: str, value: Any) -> None:
    """Raise a ValueError that names the classes in ``label`` unless ``value`` is one of them."""
    if not (label == value).any():
        there = ", ".join(map(str, np.unique(label)[:20].tolist()))
        raise ValueError(f"{name}={value!r} is not among the classes to choose from: {there}")


def as_marks(is_anomaly: Any, name: str = "is_anomaly") -> np.ndarray:
    """``is_anomaly`` as ``[N]`` booleans; ``name`` is what errors call it.

    Raises:
      ValueError: not one-dimensional, or a value that is neither 0 nor 1.
    """
    marks = np.asarray(is_anomaly)
    if marks.ndim != 1:
        raise ValueError(f"{name} has shape {marks.shape}: pass one mark per row, shape (N,)")
    wrong = ~np.isin(marks, (0, 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        meaning = " for an anomaly and 0 for a normal row" if name == "is_anomaly" else " or 0"
        raise ValueError(
            f"{name}[{row}]={marks.tolist()[row]!r} is neither 0 nor 1: pass 1{meaning}"
        )
    return marks.astype(bool)


def checked(train: np.ndarray, test: np.ndarray, anomaly: np.ndarray) -> Split:
    """The split, sorted. Raises a ValueError where no row trains."""
    if not len(train):
        raise ValueError(
            f"is_anomaly marks {anomaly.sum()} of {len(anomaly)} rows, which leaves no normal row "
            "to train on: pass more normal rows, or check that 1 stands for an anomaly"
        )
    return Split(np.sort(train), np.sort(test))
