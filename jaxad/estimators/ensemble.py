"""Combine the scores of an ensemble's members into one.

Scores on calibration rows fix one increasing function per member. Later scores are mapped by it and
averaged, so a row's score never depends on other rows.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

RULES = ("mean", "z", "rank")
_BLOCK = 65_536  # rows
KNOTS = 1024  # most points of a distribution function, whatever the number of rows

Combination = dict[str, np.ndarray]


def fit_combination(rule: str, scores: np.ndarray) -> Combination:
    """Fit the functions that `combine` applies to the members' scores.

    Args:
      rule: ``"mean"`` keeps scores; ``"z"`` subtracts their mean and divides by their standard
        deviation; ``"rank"`` replaces them by the share of calibration rows with lower scores.
      scores: scores ``[P, N]`` of the calibration rows.

    Returns:
      ``shift`` and ``scale`` ``[P]``. For ``"rank"`` also ``knots`` and ``levels`` ``[P, K]``, K at
      most 1,024: scores in ascending order, and the shares of rows below them.

    Example:
      >>> fit_combination("z", np.array([[1.0, 3.0], [20.0, 60.0]]))["scale"].tolist()
      [1.0, 20.0]
    """
    if rule == "mean":
        return {"shift": np.zeros(len(scores)), "scale": np.ones(len(scores))}
    scores = np.asarray(scores, np.float64)
    spread = scores.std(axis=1)
    units = {"shift": scores.mean(axis=1), "scale": np.where(spread > 0, spread, 1.0)}
    if rule == "z":
        return units
    tables = [_distribution(member) for member in scores]
    knots, levels = (np.stack(column) for column in zip(*tables, strict=True))
    return units | {"knots": knots, "levels": levels}


def combine(combination: Combination, scores: np.ndarray) -> np.ndarray:
    """The ensemble's scores ``[N]`` from its members' scores ``[P, N]``.

    Example:
      >>> by_rank = fit_combination("rank", np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 900.0]]))
      >>> combine(by_rank, np.array([[2.0], [20.0]])).tolist()
      [0.5]
    """
    combined = np.empty(scores.shape[1])
    for start in range(0, len(combined), _BLOCK):  # saves memory; the result is bit-identical
        block = slice(start, start + _BLOCK)
        combined[block] = average(in_units(combination, scores[:, block]))
    return combined


def spread(combination: Combination, scores: np.ndarray) -> np.ndarray:
    """Standard deviation ``[N]`` over members of the values that `combine` averages."""
    values = in_units(combination, scores)
    middle = average(values)
    return np.sqrt(average([np.square(value - middle) for value in values]))


def in_units(combination: Combination, scores: np.ndarray) -> list[np.ndarray]:
    """Each member's scores ``[N]``, mapped by its function to comparable units."""
    scores = np.asarray(scores, np.float64)
    standard = (scores - combination["shift"][:, None]) / combination["scale"][:, None]
    if "knots" not in combination:
        return list(standard)
    tables = zip(combination["knots"], combination["levels"], combination["scale"], strict=True)
    return [_level(*table, member) for table, member in zip(tables, scores, strict=True)]


def average(values: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of P arrays, added in order, so that a subset of rows gives bit-identical values."""
    return reduce(np.add, values) / len(values)


def _distribution(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots and levels ``[K]`` of the empirical distribution; equal scores share their mid-rank."""
    values, counts = np.unique(scores, return_counts=True)
    levels = (np.cumsum(counts) - counts / 2) / len(scores)
    # If there are fewer values than knots, repeated knots do not change the interpolation.
    places = np.linspace(0, len(values) - 1, min(len(scores), KNOTS)).round().astype(int)
    return values[places], levels[places]


def _level(knots: np.ndarray, levels: np.ndarray, scale: float, scores: np.ndarray) -> np.ndarray:
    """Ranks, interpolated between the knots and extrapolated logarithmically beyond them.

    Rows beyond all calibration rows are thus still ordered, and no member dominates the mean.
    """
    above = np.maximum(scores - knots[-1], 0) / scale
    below = np.maximum(knots[0] - scores, 0) / scale
    return np.interp(scores, knots, levels) + np.log1p(above) - np.log1p(below)
