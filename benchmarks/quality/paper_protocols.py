"""The papers' protocols as experiments: what a detector may see, and what the test rows are."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxad import data
from jaxad.data import Dataset


class Case(NamedTuple):
    """All that a detector sees of an experiment: no field says which test rows are anomalous.

    Attributes:
      train: ``[n]`` rows to fit on.
      label: ``[n]`` +1, -1 and 0 for a detector with labels, or None.
      test: ``[m]`` rows to score.
      prepare: what is done to rows first, fitted on training rows alone.
    """

    train: np.ndarray
    label: np.ndarray | None
    test: np.ndarray
    prepare: Callable[[np.ndarray], np.ndarray]


class Experiment(NamedTuple):
    """A case, and what measures its scores.

    Attributes:
      case: for the detector.
      is_anomaly: ``[m]`` which test rows are, for the measure alone.
      flagged: how many test rows the published F1 flags, an **oracle's** choice: the share of
        anomalies that the paper gives for the set, or the count of those in the test.
      achieved: shares of known and polluting anomalies, where the set's few may lower them.
    """

    case: Case
    is_anomaly: np.ndarray
    flagged: int = 0
    achieved: data.Ratios | None = None


GIVEN = 3  # arguments of a protocol that are no options: set, rows and seed


def draw(count: int, most: int, seed: int) -> np.ndarray:
    """At most ``most`` of ``count`` row numbers, ascending."""
    rows = np.arange(count)
    if count <= most:
        return rows
    return np.sort(np.random.default_rng([seed, 1]).choice(rows, most, replace=False))


def one_class_images(
    dataset: Dataset, rows: np.ndarray, seed: int, *, normal: int, contrast: bool
) -> Experiment:
    """Deep SVDD's: one class trains, the whole test part is the test; no draw, so no seed."""
    del seed
    label, is_train = _labelled(dataset, rows)
    train, test = data.one_class(label, is_train, normal=normal)
    prepare = data.contrast_normalised if contrast else _as_is
    case = Case(rows[train], None, rows[test], prepare)
    return Experiment(case, label[test] != normal)


def deep_sad_images(
    dataset: Dataset, rows: np.ndarray, seed: int, *, known: float, pollution: float = 0.0
) -> Experiment:
    """Deep SAD's: seed s has class s mod 10 normal, and the next but s div 10 known.

    Ten seeds are one experiment for each normal class, ninety all pairs of the paper.
    """
    label, is_train = _labelled(dataset, rows)
    classes = np.unique(label)
    normal = seed % len(classes)
    other = (normal + 1 + seed // len(classes) % (len(classes) - 1)) % len(classes)
    split = data.deep_sad_images(
        label,
        is_train,
        normal=classes[normal],
        known_classes=[classes[other]],
        known=known,
        pollution=pollution,
        seed=seed,
    )
    case = Case(rows[split.train], split.label, rows[split.test], _as_is)
    return Experiment(case, label[split.test] != classes[normal])


def deep_sad_table(
    dataset: Dataset,
    rows: np.ndarray,
    seed: int,
    *,
    known: float,
    pollution: float,
    min_max: bool = False,
) -> Experiment:
    """Deep SAD's for ODDS; ``min_max`` scales by the whole training part, as the paper's code."""
    marks = _marks(dataset)[rows]
    split = data.deep_sad_table(marks, known=known, pollution=pollution, seed=seed)
    prepare = _min_max(dataset.x[rows[split.part]]) if min_max else _as_is
    case = Case(rows[split.train], split.label, rows[split.test], prepare)
    return Experiment(case, marks[split.test], achieved=split.achieved)


def dagmm(
    dataset: Dataset,
    rows: np.ndarray,
    seed: int,
    *,
    anomaly_ratio: float,
    reverse: bool = False,
    min_max: bool = False,
) -> Experiment:
    """DAGMM's: normal rows of a random half train; F1 flags the set's share of anomalies.

    ``min_max`` scales by the training rows.
    """
    rows, marks = _roles(dataset, rows, seed, reverse)
    train, test = data.half_split(marks, seed)
    prepare = _min_max(dataset.x[rows[train]]) if min_max else _as_is
    case = Case(rows[train], None, rows[test], prepare)
    return Experiment(case, marks[test], round(anomaly_ratio * len(test)))


def goad(
    dataset: Dataset,
    rows: np.ndarray,
    seed: int,
    *,
    reverse: bool = False,
    continuous: bool = False,
) -> Experiment:
    """GOAD's: half of the normal rows train; F1 flags as many rows as the test has anomalies.

    ``continuous`` standardises the columns that hold more than 0 and 1, and only those.
    """
    rows, marks = _roles(dataset, rows, seed, reverse)
    train, test = data.half_normals(marks, seed)
    prepare = _as_is
    if continuous:
        prepare = _standardised(dataset.x[rows[train]], dataset.continuous)
    case = Case(rows[train], None, rows[test], prepare)
    return Experiment(case, marks[test], int(marks[test].sum()))


PROTOCOLS: Mapping[str, Callable[..., Experiment]] = {
    "one_class_images": one_class_images,
    "deep_sad_images": deep_sad_images,
    "deep_sad_table": deep_sad_table,
    "dagmm": dagmm,
    "goad": goad,
}


def _roles(
    dataset: Dataset, rows: np.ndarray, seed: int, reverse: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The rows, and which of them are anomalous; KDD-Rev's, if the roles are exchanged."""
    marks = _marks(dataset)[rows]
    if not reverse:
        return rows, marks
    exchanged = data.kdd_rev(marks, seed)
    return rows[exchanged.rows], exchanged.is_anomaly


def _marks(dataset: Dataset) -> np.ndarray:
    if dataset.is_anomaly is None:
        raise ValueError(f"{dataset.card.name!r} does not say which rows are anomalous")
    return dataset.is_anomaly


def _labelled(dataset: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if dataset.label is None or dataset.is_train is None:
        raise ValueError(f"{dataset.card.name!r} has no classes in a training and a test part")
    return dataset.label[rows], dataset.is_train[rows]


def _as_is(x: np.ndarray) -> np.ndarray:
    return x


def _min_max(part: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    low, high = part.min(axis=0), part.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    return lambda x: (x - low) / span


def _standardised(part: np.ndarray, columns: Any) -> Callable[[np.ndarray], np.ndarray]:
    shift, scale = part.mean(axis=0), part.std(axis=0)
    shift, scale = np.where(columns, shift, 0), np.where(columns & (scale > 0), scale, 1)
    return lambda x: (x - shift) / scale
