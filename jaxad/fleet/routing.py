"""Whole groups from a table whose partitions cut through them, in the order of their rows.

The shuffles of engines promise no order of rows within a group, which the bits of its model depend
on. So the partitions are counted, whole groups are given to new partitions here, and each new
partition takes its rows from the old ones in the order of these.
"""

from typing import Any

import numpy as np
import pandas as pd

from jaxad.fleet.engines import Engine, Handle
from jaxad.fleet.survey import Key, waves
from jaxad.fleet.tables import Table


def route(
    engine: Engine, frame: Any, fleet: Any, known: tuple[Any, ...] | None = None
) -> list[Handle]:
    """Partitions of whole groups, lists of pandas frames with about the same number of rows each.

    Args:
      engine: where the frame is.
      frame: a frame of the engine.
      fleet: an unfitted fleet, for its parameters.
      known: names of the features, if they are known.

    Raises:
      ValueError: a partition is no table for the fleet, they differ in their columns, or there are
        no rows.
    """
    given = engine.partitions(frame)
    shared = engine.share(fleet)
    counted = engine.gather(
        [engine.call(_count, part, i, shared, known) for i, part in enumerate(given)]
    )
    _check_columns([columns for *_, columns in counted])
    codes, place = _places([(keys, rows) for keys, rows, _ in counted])
    taken: dict[int, list[Handle]] = {}
    for i, part in enumerate(given):
        to = place[codes[i]]
        targets = np.unique(to)
        if not len(targets):
            continue
        args = part, i, shared, known, counted[i][1], np.searchsorted(targets, to)
        handles = engine.call(_split, *args, parts=len(targets))
        for target, handle in zip(targets.tolist(), handles, strict=True):
            taken.setdefault(target, []).append(handle)
    return engine.keep([engine.call(_listed, *taken[target]) for target in sorted(taken)])


def _count(
    frame: pd.DataFrame, number: int, fleet: Any, known: tuple[Any, ...] | None
) -> tuple[list[Key], np.ndarray, tuple[Any, ...] | None]:
    """The groups of a partition in order of first appearance, their rows, and the features."""
    if not len(frame):
        return [], np.zeros(0, np.int64), None
    table = _opened(frame, number, fleet, known)
    return table.keys, table.counts, table.columns


def _split(
    frame: pd.DataFrame,
    number: int,
    fleet: Any,
    known: tuple[Any, ...] | None,
    counts: np.ndarray,
    to: np.ndarray,
) -> list[pd.DataFrame]:
    """The rows of a partition for each new one, with the columns that are needed."""
    table = _opened(frame, number, fleet, known, check=True)
    if not np.array_equal(table.counts, counts):
        raise ValueError(
            f"partition {number} has other rows than when it was counted: persist the frame first"
        )
    target = to[table.codes]
    order = np.argsort(target, kind="stable")
    ends = np.searchsorted(target[order], np.arange(to.max() + 2))
    label = [] if table.label is None else [table.label]
    needed = frame[[*table.group, *table.columns, *label]]
    return [needed.iloc[order[a:b]] for a, b in zip(ends, ends[1:], strict=False)]


def _listed(*frames: pd.DataFrame) -> list[pd.DataFrame]:
    return list(frames)


def _opened(
    frame: pd.DataFrame,
    number: int,
    fleet: Any,
    known: tuple[Any, ...] | None,
    *,
    check: bool = False,
) -> Table:
    """A partition as a table, with all values finite if asked; errors say which partition it is."""
    try:
        table = fleet._open(frame, known)
        for start, stop in waves(table) if check else ():
            table.read(start, stop, check=True)
    except (ValueError, TypeError) as error:
        raise type(error)(f"partition {number}: {error}") from None
    return table


def _check_columns(found: list[tuple[Any, ...] | None]) -> None:
    """Raise an error unless all partitions with rows have the same features in the same order."""
    with_rows = {i: columns for i, columns in enumerate(found) if columns is not None}
    if not with_rows:
        raise ValueError("the frame has no rows")
    first = next(iter(with_rows))
    for i, columns in with_rows.items():
        if columns != with_rows[first]:
            raise ValueError(
                f"partitions {first} and {i} have different features, {with_rows[first]} and "
                f"{columns}: give all of them the same columns in the same order, or name them "
                "with columns=[...]"
            )


def _places(counted: list[tuple[list[Key], np.ndarray]]) -> tuple[list[np.ndarray], np.ndarray]:
    """Numbers of the groups of each partition, and the new partition of each group.

    Groups are numbered in order of first appearance. There are at most as many new partitions as
    old ones with rows; each takes consecutive groups, and about as many rows as the others.

    Example:
      >>> codes, place = _places([(["a", "b"], np.array([5, 1])), (["c", "a"], np.array([2, 2]))])
      >>> [code.tolist() for code in codes], place.tolist()
      ([[0, 1], [2, 0]], [0, 1, 1])
    """
    numbers: dict[Key, int] = {}
    codes = [
        np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
        for keys, _ in counted
    ]
    rows = np.zeros(len(numbers), np.int64)
    for code, (_, counts) in zip(codes, counted, strict=True):
        rows[code] += counts
    parts = sum(len(code) > 0 for code in codes)
    middle = np.cumsum(rows) - rows / 2
    return codes, (middle * parts / rows.sum()).astype(np.int64)
