"""Train and test rows by the papers' protocols."""

from typing import Any, NamedTuple

import numpy as np


class Split(NamedTuple):
    """Row numbers, ascending and disjoint: ``train`` holds normal rows only, ``test`` both."""

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
    return _checked(train[~anomaly[train]], test, anomaly)


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
    return _checked(train, np.concatenate([rest, np.flatnonzero(anomaly)]), anomaly)


def as_marks(is_anomaly: Any) -> np.ndarray:
    """``is_anomaly`` as ``[N]`` booleans.

    Raises:
      ValueError: not one-dimensional, or a value that is neither 0 nor 1.
    """
    marks = np.asarray(is_anomaly)
    if marks.ndim != 1:
        raise ValueError(f"is_anomaly has shape {marks.shape}: pass one mark per row, shape (N,)")
    wrong = ~np.isin(marks, (0, 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"is_anomaly[{row}]={marks.tolist()[row]!r} is neither 0 nor 1: "
            "pass 1 for an anomaly and 0 for a normal row"
        )
    return marks.astype(bool)


def _checked(train: np.ndarray, test: np.ndarray, anomaly: np.ndarray) -> Split:
    if not len(train):
        raise ValueError(
            f"is_anomaly marks {anomaly.sum()} of {len(anomaly)} rows, which leaves no normal row "
            "to train on: pass more normal rows, or check that 1 stands for an anomaly"
        )
    return Split(np.sort(train), np.sort(test))
