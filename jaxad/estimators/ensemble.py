"""How an ensemble's members make one score: fixed by their scores of the calibration rows.

What is kept says for every member how its scores are read, whatever they are read beside, so a
row's score never depends on other rows.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

RULES = ("mean", "z", "rank")
_BLOCK = 65_536  # rows
KNOTS = 1024  # of an empirical distribution function: what is kept does not grow with the rows

Combination = dict[str, np.ndarray]


def fit_combination(rule: str, scores: np.ndarray) -> Combination:
    """What `combine` has to know of P members, from their scores ``[P, N]`` of calibration rows.

    Args:
      rule: ``"mean"`` of the scores as they are; ``"z"``: of scores less their mean, over their
        standard deviation; ``"rank"``: of the shares of calibration rows that score lower.
      scores: ``[P, N]``.

    Returns:
      ``shift`` and ``scale`` ``[P]``; and for ``"rank"`` ``knots`` and ``levels`` ``[P, K]``, K at
      most 1,024: scores, ascending, and the shares of rows below them.

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
    """The ensemble's scores ``[N]`` from those of its members ``[P, N]``, row by row.

    Example:
      >>> by_rank = fit_combination("rank", np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 900.0]]))
      >>> combine(by_rank, np.array([[2.0], [20.0]])).tolist()
      [0.5]
    """
    combined = np.empty(scores.shape[1])
    for start in range(0, len(combined), _BLOCK):  # for less memory, to the bit the same
        block = slice(start, start + _BLOCK)
        combined[block] = average(in_units(combination, scores[:, block]))
    return combined


def spread(combination: Combination, scores: np.ndarray) -> np.ndarray:
    """Standard deviation ``[N]`` of what `combine` averages: how far the members disagree."""
    values = in_units(combination, scores)
    middle = average(values)
    return np.sqrt(average([np.square(value - middle) for value in values]))


def in_units(combination: Combination, scores: np.ndarray) -> list[np.ndarray]:
    """Every member's scores ``[N]`` in the unit that can be averaged, a rising function of each."""
    scores = np.asarray(scores, np.float64)
    standard = (scores - combination["shift"][:, None]) / combination["scale"][:, None]
    if "knots" not in combination:
        return list(standard)
    tables = zip(combination["knots"], combination["levels"], combination["scale"], strict=True)
    return [_level(*table, member) for table, member in zip(tables, scores, strict=True)]


def average(values: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of P arrays, summed one after the other: to the bit the same for a part of the rows."""
    return reduce(np.add, values) / len(values)


def _distribution(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the empirical distribution function ``[K]``; equal scores share their mid-rank."""
    values, counts = np.unique(scores, return_counts=True)
    levels = (np.cumsum(counts) - counts / 2) / len(scores)
    # Where there are fewer values than knots some are there twice, which changes nothing.
    places = np.linspace(0, len(values) - 1, min(len(scores), KNOTS)).round().astype(int)
    return values[places], levels[places]


def _level(knots: np.ndarray, levels: np.ndarray, scale: float, scores: np.ndarray) -> np.ndarray:
    """Interpolated between the knots, and rising as a logarithm beyond them.

    A row beyond all calibration rows ranks by how far, but one member's distance, which may be
    great, does not outweigh the others'.
    """
    above = np.maximum(scores - knots[-1], 0) / scale
    below = np.maximum(knots[0] - scores, 0) / scale
    return np.interp(scores, knots, levels) + np.log1p(above) - np.log1p(below)
