"""Sets of rows with a known test, and how each seed divides them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxad.data.protocols import as_marks, split


@dataclass(frozen=True, eq=False)
class Set:
    """A table with a fixed split.

    Attributes:
      train: ``[N, D]`` rows to fit on.
      test: ``[M, D]`` rows to score.
      is_anomaly: ``[M]`` marks of the anomalies among them.

    Example:
      >>> Set(train=np.zeros((20, 3)), test=np.ones((4, 3)), is_anomaly=[0, 0, 1, 1]).test.shape
      (4, 3)
    """

    train: Any
    test: Any
    is_anomaly: Any


class Task(NamedTuple):
    """What a contender is given for one set and seed, and what only the report sees.

    Attributes:
      name: of the set.
      seed: of the split, of the contender, and of what it draws.
      train: ``[N, D]`` rows to fit on.
      known: ``[A, D]`` known anomalies, for contenders that learn from labels; often none.
      test: ``[M, D]`` rows to score, in a random order, so that their order says nothing.
      is_anomaly: ``[M]`` marks of the test rows.
      split: a hash of all of it.

    Example:
      >>> rows = np.zeros((4, 3))
      >>> task = Task("demo", 0, rows, rows[:0], rows, np.array([False, False, True, True]), "ab12")
      >>> task.facts["features"], task.facts["anomalies"]
      (3, 2)
    """

    name: str
    seed: int
    train: np.ndarray
    known: np.ndarray
    test: np.ndarray
    is_anomaly: np.ndarray
    split: str

    @property
    def facts(self) -> dict[str, Any]:
        """Its sizes and its hash, as columns of a table of runs."""
        return {
            "train_rows": len(self.train),
            "features": int(np.prod(self.train.shape[1:])),
            "test_rows": len(self.test),
            "anomalies": int(self.is_anomaly.sum()),
            "split": self.split,
        }

    def with_labels_of_the_test_shuffled(self) -> "Task":
        """The same task, but for the marks of the test rows."""
        shuffled = np.random.default_rng([self.seed, 5]).permutation(self.is_anomaly)
        if (shuffled == self.is_anomaly).all():
            shuffled = ~self.is_anomaly
        return self._replace(is_anomaly=shuffled)


def task(name: str, given: Any, seed: int, setting: str | None, known_anomalies: int) -> Task:
    """The task of one set and seed; see `jaxad.study.compare` for the arguments.

    Raises:
      ValueError: the set is invalid; the message names it.
    """
    if known_anomalies and setting == "unsupervised_all":
        raise ValueError(
            f"known_anomalies={known_anomalies}: setting='unsupervised_all' trains on the test's "
            "rows, so a known anomaly would be there twice; use another setting"
        )
    found = _split(name, given, seed, setting)
    train, test = (_rows(f"{name}.{part}", getattr(found, part)) for part in ("train", "test"))
    marks = as_marks(found.is_anomaly, f"{name}.is_anomaly")
    if len(marks) != len(test):
        raise ValueError(f"{name}: is_anomaly has {len(marks)} marks for {len(test)} test rows")
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"{name}: training rows of shape {train.shape[1:]} and test rows of shape "
            f"{test.shape[1:]}: give both the same columns"
        )
    random = np.random.default_rng([seed, 3])
    order = random.permutation(len(test))
    anomalous = order[marks[order]]
    if len(anomalous) == 0 or len(anomalous) == len(order):
        raise ValueError(
            f"{name}: the test rows are all {'anomalies' if len(anomalous) else 'normal'}: both "
            "kinds are needed to measure a ranking"
        )
    known = anomalous[: min(known_anomalies, len(anomalous) // 2)]
    order = order[~np.isin(order, known)]
    parts = train, test[known], test[order], marks[order]
    return Task(name, seed, *parts, _hash(parts))


def _split(name: str, given: Any, seed: int, setting: str | None) -> Set:
    if isinstance(given, Set):
        return given
    if hasattr(given, "is_anomaly") and hasattr(given, "x"):  # jaxad.data.Dataset
        x, marks = given.x, given.is_anomaly
    elif isinstance(given, tuple) and len(given) == 2:
        x, marks = given
    else:
        raise ValueError(
            f"{name}={type(given).__name__}: give a jaxad.study.Set with train, test and "
            "is_anomaly, or (X, is_anomaly), or a jaxad.data.Dataset"
        )
    if setting is None:
        raise ValueError(
            f"{name} has no split of its own: say how to divide its rows, for example "
            "setting='one_class_random' (see jaxad.data.split)"
        )
    marks = as_marks(marks, f"{name}.is_anomaly")
    train, test = split(marks, setting, seed)
    return Set(np.asarray(x)[train], np.asarray(x)[test], marks[test])


def _rows(name: str, rows: Any) -> np.ndarray:
    x = np.asarray(rows)
    if x.ndim < 2 or len(x) < 2 or x.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} has shape {x.shape} and type {x.dtype}: give at least 2 rows of numbers [N, D]"
        )
    x = x.view()
    x.flags.writeable = False  # all contenders are given the same rows
    return x


def _hash(parts: tuple[np.ndarray, ...]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{part.dtype} {part.shape} ".encode())
        found.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return found.hexdigest()[:16]


def check_sets(sets: Any) -> Mapping[str, Any]:
    """``sets``, if it is a mapping with at least one entry."""
    if not isinstance(sets, Mapping) or not sets:
        raise ValueError(
            "sets is no mapping from names to sets: give {'name': jaxad.study.Set(...)} or "
            "{'name': (X, is_anomaly)}"
        )
    return sets
