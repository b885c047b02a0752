"""Weights of training rows: ``sample_weight``."""

from typing import Any

import numpy as np

from jaxad.rows import ArrayRows, Rows


def weighted(rows: Rows, sample_weight: Any) -> ArrayRows:
    """The rows with a positive weight, whose weights have the mean 1.

    Rows of weight 0 are left out at once, so that they change nothing.

    Args:
      rows: rows in memory.
      sample_weight: ``[N]``.

    Raises:
      ValueError: the rows are a stream, or the weights are not one finite number for each row, at
        least 0, of which two are positive.

    Example:
      >>> from jaxad.rows import as_rows
      >>> weighted(as_rows([[1.0], [2.0], [3.0]]), [1, 0, 3]).weight
      array([0.5, 1.5], dtype=float32)
    """
    if not isinstance(rows, ArrayRows):
        raise ValueError(
            "sample_weight is given beside a stream, whose rows all count once: leave it out, or "
            "fit an array"
        )
    given = _numbers(sample_weight)
    if given.shape != (len(rows.x),):
        raise ValueError(
            f"sample_weight has shape {given.shape}, but X has {len(rows.x)} rows: give one weight "
            f"for each row, [{len(rows.x)}]"
        )
    wrong = ~np.isfinite(given) | (given < 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(
            f"sample_weight[{at}]={given[at]} is not a finite number of at least 0: replace it, "
            "for example by 0 to leave the row out"
        )
    counts = np.flatnonzero(given)
    if not len(counts):
        raise ValueError(
            "sample_weight is zero for every row: give at least 2 rows a positive weight"
        )
    if len(counts) < 2:
        raise ValueError(
            f"sample_weight has {len(counts)} positive weights: at least 2 rows are needed to fit"
        )
    kept = rows if len(counts) == len(given) else rows.take(counts)
    share = given[counts] / given.max()  # sums of huge weights overflow
    weight = np.ones(len(share)) if np.ptp(share) == 0 else share / share.mean()
    return ArrayRows(kept.x, kept.label, weight.astype(np.float32))


def _numbers(sample_weight: Any) -> np.ndarray:
    try:
        return np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sample_weight is not an array of numbers [N]: {error}") from None


def in_proportion(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """As many values, ascending, each as often as its share of the weight asks.

    Example:
      >>> in_proportion(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0, 1.0]))
      array([2., 3., 3., 4.])
    """
    order = np.argsort(values)
    reached = np.cumsum(weight[order], dtype=np.float64)
    middles = (np.arange(len(values)) + 0.5) / len(values) * reached[-1]
    return values[order][np.searchsorted(reached, middles)]
