"""What a fleet learns about its groups before any model is trained.

Every group's rows are split into rows to train on and rows held out to calibrate its threshold. The
survey takes each group's moments, and some of its rows for the global model. All of it depends on
the group's own rows, its identifier and the seed alone, so that surveys of partitions, joined,
equal the survey of the whole.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxad.checks import check_labels
from jaxad.estimators import Detector
from jaxad.fleet.scaling import Moments
from jaxad.fleet.scaling import join as join_moments
from jaxad.fleet.scaling import moments as moments_of
from jaxad.fleet.tables import Grouped, Table, name_of

Key = tuple

HELD_OUT = 0.2  # share of a group's rows that only calibrate
_DRAWN = 20_000  # about so many rows train the global model
WAVE_BYTES = 2**28  # bytes of rows in memory at a time, beside the table


class Split(NamedTuple):
    """Numbers of a group's rows, in ascending order, and the order in which rows are drawn.

    Attributes:
      train: rows to train on.
      held_out: rows that only calibrate; never known anomalies.
      drawn: ``train`` in random order.
      drawn_held_out: ``held_out`` in random order.
    """

    train: np.ndarray
    held_out: np.ndarray
    drawn: np.ndarray
    drawn_held_out: np.ndarray


class Drawn(NamedTuple):
    """Rows of one group for the global model, in random order.

    Attributes:
      x: ``[n, D]`` rows.
      label: ``[n]`` labels.
      train: the first so many rows are for training; the others calibrate.
    """

    x: np.ndarray
    label: np.ndarray
    train: int

    def first(self, train: int, held_out: int) -> "Drawn":
        """At most so many rows of either kind."""
        cut = min(train, self.train)
        place = np.r_[:cut, self.train : min(len(self.x), self.train + held_out)]
        return Drawn(self.x[place], self.label[place], cut)


class Survey(NamedTuple):
    """What is known of G groups.

    Attributes:
      columns: names of the features.
      keys: their identifiers.
      rows: ``[G]`` all rows of each.
      moments: of the rows to train on.
      drawn: rows of each for the global model.
      labels: labels that occur in any group.
    """

    columns: tuple[Any, ...]
    keys: list[Key]
    rows: np.ndarray
    moments: Moments
    drawn: list[Drawn]
    labels: frozenset[int]

    @staticmethod
    def join(parts: Sequence["Survey"]) -> "Survey":
        """The survey of all groups of the parts, in the order of their identifiers.

        Raises:
          ValueError: a group is in several parts, or the parts differ in their columns.
        """
        columns = parts[0].columns
        for part in parts:
            if part.columns != columns:
                raise ValueError(
                    f"partitions have different features, {columns} and {part.columns}: give all "
                    "of them the same columns in the same order, or name them with columns=[...]"
                )
        keys = [key for part in parts for key in part.keys]
        check_distinct(keys)
        order = in_order(keys)
        moments = join_moments([part.moments for part in parts])
        drawn = [one for part in parts for one in part.drawn]
        return Survey(
            columns,
            [keys[i] for i in order],
            np.concatenate([part.rows for part in parts])[order],
            Moments(*(values[order] for values in moments)),
            [drawn[i] for i in order],
            frozenset().union(*(part.labels for part in parts)),
        )

    def order_of(self, keys: Sequence[Key]) -> list[int]:
        """The numbers of these groups in the survey."""
        place = {key: i for i, key in enumerate(self.keys)}
        return [place[key] for key in keys]

    def train_rows(self, keys: Sequence[Key]) -> np.ndarray:
        """Rows to train on of these groups, ``[G]``."""
        return self.moments.rows[self.order_of(keys)].astype(np.int64)

    def drawn_evenly(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows ``[n, D]`` of all groups evenly, labels ``[n]``, and which rows only calibrate."""
        train, held_out = draws(len(self.keys))
        parts = [one.first(train, held_out) for one in self.drawn]
        calibrates = [np.arange(len(part.x)) >= part.train for part in parts]
        x, label = (np.concatenate(values) for values in list(zip(*parts, strict=True))[:2])
        return x, label, np.concatenate(calibrates)


def draws(groups: int) -> tuple[int, int]:
    """Rows of each of so many groups that train the global model, and that calibrate it."""
    train = max(1, _DRAWN // groups)
    return train, max(1, round(train * HELD_OUT / (1 - HELD_OUT)))


def evenly(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Scores of groups together, ascending, not more of each than calibrate the global model.

    Args:
      groups: scores of each group, ascending.
    """
    _, most = draws(max(1, len(groups)))
    random = np.random.default_rng(0)
    drawn = [random.permutation(scores)[:most] for scores in groups]
    return np.sort(np.concatenate([np.zeros(0, np.float32), *drawn]))


def takes_labels(detector: Any) -> bool:
    """Whether a detector uses labels."""
    return type(detector)._labels is not Detector._labels


def survey(table: Table, seed: int, rate: float, groups: int, anomalies: bool) -> Survey:
    """Survey the groups of a table; every value is checked to be finite.

    Args:
      table: the table.
      seed: of splits and draws.
      rate: the false-alarm rate.
      groups: number of groups of the whole fleet.
      anomalies: whether known anomalies are trained on.

    Raises:
      ValueError: a value is not finite; the message names group, row and column.
    """
    parts = []
    train, held_out = draws(groups)
    for start, stop in waves(table):
        grouped = table.read(start, stop, check=True)
        labels, used, drawn = labels_of(grouped), np.zeros(len(grouped.x), bool), []
        for g in range(start, stop):
            first, last = grouped.offsets[g - start : g - start + 2]
            x, label = grouped.x[first:last], labels[first:last]
            parting = split(table.keys[g], label, seed, rate, anomalies)
            # Groups without rows to train on get no model, and their moments do not matter much.
            any_rows = (parting.train, parting.held_out, np.arange(len(x)))
            used[first + next(rows for rows in any_rows if len(rows))] = True
            place = np.r_[parting.drawn[:train], parting.drawn_held_out[:held_out]]
            drawn.append(Drawn(x[place], label[place], min(train, len(parting.drawn))))
        counts = np.add.reduceat(used, grouped.offsets[:-1], dtype=np.int64)
        moments = moments_of(grouped.x[used], np.r_[0, np.cumsum(counts)])
        keys, rows = table.keys[start:stop], table.counts[start:stop]
        known = frozenset(np.unique(labels).tolist())
        parts.append(Survey(table.columns, keys, rows, moments, drawn, known))
    return Survey.join(parts)


def labels_of(grouped: Grouped) -> np.ndarray:
    """Labels ``[n]`` of rows, int32: +1 known normal, -1 known anomaly, 0 unlabelled or no labels.

    Raises:
      ValueError: there are other values.
    """
    count = len(grouped.x)
    return (
        np.zeros(count, np.int32) if grouped.label is None else check_labels(grouped.label, count)
    )


def waves(table: Table) -> Iterable[tuple[int, int]]:
    """Ranges of groups whose rows fit into memory together; each has at least one group."""
    row = table.dtype.itemsize * len(table.columns)
    limit, start, held = max(1, WAVE_BYTES // row), 0, 0
    for g, count in enumerate(table.counts.tolist()):
        if g > start and held + count > limit:
            yield start, g
            start, held = g, 0
        held += count
    yield start, len(table.counts)


def split(
    key: Key, label: np.ndarray, seed: int, rate: float, anomalies: bool = True, update: int = 0
) -> Split:
    """Split a group's rows at random; identifier, seed and number of the update decide how.

    A fifth of the rows that are not known anomalies is held out, rounded up or down by the
    identifier so that also groups of one row calibrate the global model; at most 20 / rate, more
    than calibration needs. How many does not depend on the update. Known anomalies are trained on
    if ``anomalies``, else left out.
    """
    words = words_of(key)
    random = np.random.default_rng([seed, *words, update])
    normal = np.flatnonzero(label >= 0)
    order = random.permutation(normal)
    count = min(math.floor(HELD_OUT * len(normal) + words[0] / 2**32), math.ceil(20 / rate))
    held_out, train = order[:count], order[count:]
    if anomalies and len(normal) < len(label):
        train = random.permutation(np.r_[train, np.flatnonzero(label < 0)])
    return Split(np.sort(train), np.sort(held_out), train, held_out)


def words_of(key: Key) -> tuple[int, int]:
    """Two numbers that identify a group, for seeds: the same in every process and version."""
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def in_order(keys: Sequence[Key]) -> list[int]:
    """The order of identifiers: numbers before text."""
    return sorted(range(len(keys)), key=lambda i: [(isinstance(v, str), v) for v in keys[i]])


def keys_of(found: Any) -> list[Key]:
    """Identifiers as a file lists them.

    Raises:
      ValueError: one is neither text, a whole number nor True or False.
    """
    keys = [tuple(key) if isinstance(key, list) else key for key in found]
    for key in keys:
        if not isinstance(key, tuple) or not all(isinstance(part, str | int) for part in key):
            raise ValueError(f"{key!r:.60} is no identifier of a group")
    return keys


def check_distinct(keys: Sequence[Key]) -> None:
    """Raise a ValueError if a group occurs twice."""
    if len(set(keys)) < len(keys):
        seen: set[Key] = set()
        twice = next(key for key in keys if key in seen or seen.add(key))
        raise ValueError(
            f"group {name_of(twice)} is in several partitions: give each partition whole groups, "
            "for example by a shuffle on the group column"
        )
