"""The semi-supervised protocols of Deep SAD: a few labelled rows, and unlabelled rows.

Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, section 4. Some unlabelled rows
may be anomalies, the pollution.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from jaxad.data.protocols import Split, as_marks, check_class, stratified


class Ratios(NamedTuple):
    """Shares that describe a semi-supervised training set.

    Attributes:
      known: share of known anomalies in all rows, gamma_l in the paper.
      pollution: share of anomalies in the unlabelled rows, gamma_p in the paper.
      known_normal: share of known normal rows in all rows.

    Example:
      >>> Ratios(known=0.01, pollution=0.1, known_normal=0.0).pollution
      0.1
    """

    known: float
    pollution: float
    known_normal: float


class SemiSupervised(NamedTuple):
    """A training set: fit a detector on ``x[index]`` and ``label``.

    Attributes:
      index: ``[n]`` ascending row numbers, each at most once.
      label: ``[n]`` int32, +1 known normal, -1 known anomaly, 0 unlabelled.
      requested: the ratios asked for.
      achieved: the actual ratios, which are lower where a set has too few anomalies.

    Example:
      >>> is_anomaly = np.arange(200) % 10 == 0
      >>> found = semi_supervised(is_anomaly, known=0.05, pollution=0.0, seed=0)
      >>> bool(is_anomaly[found.index[found.label == -1]].all())
      True
    """

    index: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    label: np.ndarray
    requested: Ratios
    achieved: Ratios


def semi_supervised(
    is_anomaly: Any,
    *,
    known: float,
    pollution: float = 0.0,
    known_normal: float = 0.0,
    knowable: Any = None,
    seed: Any,
) -> SemiSupervised:
    """Draw known anomalies, known normal rows and polluting anomalies from a training part.

    All normal rows are used; some of them become known. Known anomalies are drawn first, and the
    pollution from the anomalies that remain, so no row is drawn twice. (The authors' code draws
    both independently: a row can be a known anomaly and pollution, and small sets raise an error.)

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1, for the rows of the training part.
      known: share of known anomalies in the training set, in [0, 1).
      pollution: share of anomalies in its unlabelled rows, in [0, 1).
      known_normal: share of known normal rows in the training set, in [0, 1).
      knowable: ``[N]`` booleans, or 0 and 1, for the anomalies that may become known; None for all.
        Pollution may be any anomaly.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: a share is out of range, the shares add up to 1 or more, or anomalies are
        requested but ``is_anomaly`` marks none.

    Example:
      >>> drawn = semi_supervised([0] * 90 + [1] * 30, known=0.1, seed=0)
      >>> len(drawn.index), drawn.label.tolist().count(-1), drawn.achieved.known
      (100, 10, 0.1)
    """
    anomaly = as_marks(is_anomaly)
    may_be_known = anomaly if knowable is None else anomaly & _knowable(knowable, anomaly)
    requested = Ratios(known, pollution, known_normal)
    _check(requested, anomaly)
    if known and not may_be_known.any():
        raise ValueError(
            f"known={known} asks for known anomalies, but knowable marks none: pass known=0"
        )
    generator = np.random.default_rng(seed)
    normal = generator.permutation(np.flatnonzero(~anomaly))
    anomalous = generator.permutation(np.flatnonzero(anomaly))
    n_known, n_polluting, n_normal = _counts(requested, len(normal))
    # Slices are shorter if there are too few anomalies.
    known_rows = anomalous[may_be_known[anomalous]][:n_known]
    polluting = anomalous[~np.isin(anomalous, known_rows)][:n_polluting]
    index = np.sort(np.concatenate([known_rows, polluting, normal]))
    label_of = np.zeros(len(anomaly), np.int32)
    label_of[known_rows] = -1
    label_of[normal[:n_normal]] = 1
    label = label_of[index]
    unlabelled = index[label == 0]
    achieved = Ratios(
        known=float(np.mean(label == -1)),
        pollution=float(np.mean(anomaly[unlabelled])) if len(unlabelled) else 0.0,
        known_normal=float(np.mean(label == 1)),
    )
    return SemiSupervised(index, label, requested, achieved)


class LabelledSplit(NamedTuple):
    """Ascending row numbers of a training set with labels, and of a test set.

    Attributes:
      train: ``[n]`` rows to fit on.
      label: ``[n]`` int32, +1 known normal, -1 known anomaly, 0 unlabelled.
      test: ``[m]`` rows to score; none of them is in ``part``.
      part: the training part that ``train`` was drawn from. The authors' code fits its scalers on
        the whole part, anomalies included.
      requested: the ratios asked for.
      achieved: the actual ratios.

    Example:
      >>> found = deep_sad_table(np.arange(200) % 10 == 0, known=0.05, pollution=0.05, seed=0)
      >>> len(np.intersect1d(found.train, found.test))
      0
    """

    train: np.ndarray
    label: np.ndarray
    test: np.ndarray
    part: np.ndarray
    requested: Ratios
    achieved: Ratios


def deep_sad_table(
    is_anomaly: Any,
    *,
    known: float = 0.01,
    pollution: float = 0.1,
    known_normal: float = 0.0,
    seed: Any,
) -> LabelledSplit:
    """Split a table by the paper's protocol for the six ODDS sets.

    The training part holds 60 % of the normal rows and 60 % of the anomalies, both rounded down;
    the other rows are the test set. The training set has all normal rows of the part, and known and
    polluting anomalies as far as the part has enough. At the paper's ratios, the defaults, four of
    the six sets have too few anomalies.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      known: share of known anomalies in the training set, gamma_l in the paper.
      pollution: share of anomalies in its unlabelled rows, gamma_p in the paper.
      known_normal: share of known normal rows in the training set.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: as `semi_supervised` does.

    Example:
      >>> split = deep_sad_table([0] * 500 + [1] * 50, known=0.05, seed=0)
      >>> split.label.tolist().count(-1), split.achieved.pollution < split.requested.pollution
      (17, True)
    """
    anomaly = as_marks(is_anomaly)
    generator = np.random.default_rng(seed)
    # In integers, because 0.6 * n may be rounded to just below a whole number.
    parts = stratified(anomaly, generator, lambda rows: rows * 6 // 10)
    ratios = Ratios(known, pollution, known_normal)._asdict()
    return _labelled(parts, anomaly, **ratios, seed=generator)


def deep_sad_images(
    label: Any,
    is_train: Any,
    *,
    normal: Any,
    known_classes: int | Collection[Any] = 1,
    known: float = 0.0,
    pollution: float = 0.0,
    known_normal: float = 0.0,
    seed: Any,
) -> LabelledSplit:
    """Split images by the paper's protocol: one class is normal, all other classes are anomalies.

    Known anomalies come from ``known_classes`` only; pollution comes from all anomalous classes.
    The test set is the whole published test part, so most of its classes have no known anomaly. The
    paper's scenarios, each over all choices of classes:

    (i) ``known`` in 0, .01, .05, .1, .2 with one known class;
    (ii) ``pollution`` varies, ``known=0.05``, one known class;
    (iii) ``known_classes`` varies, ``known=0.05, pollution=0.1``.

    Args:
      label: ``[N]`` class of each row.
      is_train: ``[N]`` booleans, or 0 and 1; 1 marks the published training part.
      normal: the normal class.
      known_classes: the classes of known anomalies, or the number of such classes to draw.
      known: share of known anomalies in the training set, gamma_l in the paper.
      pollution: share of anomalies in its unlabelled rows, gamma_p in the paper.
      known_normal: share of known normal rows in the training set.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: a class does not occur, the normal class is among ``known_classes``, or a share is
        wrong as in `semi_supervised`.

    Example:
      >>> digits, is_train = np.arange(100) % 5, np.arange(100) < 80
      >>> split = deep_sad_images(
      ...     digits, is_train, normal=0, known_classes=[3], known=0.2, seed=0
      ... )
      >>> set(digits[split.train[split.label == -1]].tolist()), len(split.test)
      ({3}, 20)
    """
    label, in_train = np.asarray(label), as_marks(is_train, "is_train")
    check_class(label[in_train], "normal", normal)
    generator = np.random.default_rng(seed)
    classes = np.unique(label[in_train])
    others = classes[classes != normal]
    if isinstance(known_classes, int | np.integer):
        if not 0 <= known_classes <= len(others):
            raise ValueError(
                f"known_classes={known_classes}: there are {len(others)} other classes"
            )
        chosen = generator.permutation(others)[:known_classes]
    else:
        for one in known_classes:
            check_class(others, "known_classes", one)
        chosen = np.array(list(known_classes), others.dtype)
    parts = Split(np.flatnonzero(in_train), np.flatnonzero(~in_train))
    ratios = Ratios(known, pollution, known_normal)._asdict()
    knowable = np.isin(label, chosen)
    return _labelled(parts, label != normal, knowable=knowable, **ratios, seed=generator)


def _labelled(
    parts: Split, anomaly: np.ndarray, *, knowable: np.ndarray | None = None, **options: Any
) -> LabelledSplit:
    """Draw a training set from ``parts.train`` by `semi_supervised` with ``options``."""
    part, test = parts
    may_be_known = None if knowable is None else knowable[part]
    drawn = semi_supervised(anomaly[part], knowable=may_be_known, **options)
    return LabelledSplit(
        part[drawn.index], drawn.label, test, part, drawn.requested, drawn.achieved
    )


def _counts(ratios: Ratios, normals: int) -> tuple[int, int, int]:
    """The numbers of known anomalies, polluting anomalies and known normal rows for the ratios.

    All normal rows are used, so their number n + u gives the size T of the training set: n =
    known_normal T are known, and u = (1 - pollution) (1 - known - known_normal) T are unlabelled.
    """
    known, pollution, known_normal = ratios
    unlabelled = 1 - known - known_normal
    total = normals / (known_normal + (1 - pollution) * unlabelled)
    wanted = known * total, pollution * unlabelled * total, known_normal * total
    # The authors' code truncates. Here rounding just below a whole number does not lose a row.
    first, second, third = (int(count + 1e-6) for count in wanted)
    return first, second, third


def _knowable(knowable: Any, anomaly: np.ndarray) -> np.ndarray:
    marks = as_marks(knowable, "knowable")
    if len(marks) != len(anomaly):
        raise ValueError(f"knowable marks {len(marks)} rows, is_anomaly {len(anomaly)}")
    return marks


def _check(ratios: Ratios, anomaly: np.ndarray) -> None:
    for name, value in ratios._asdict().items():
        if not 0 <= value < 1:
            raise ValueError(f"{name}={value!r} is outside [0, 1): it is a share of rows")
    if ratios.known + ratios.known_normal >= 1:
        raise ValueError(
            f"known={ratios.known} and known_normal={ratios.known_normal} leave no unlabelled row: "
            "lower one of them so that they add up to less than 1"
        )
    if anomaly.all():
        raise ValueError(
            f"is_anomaly marks all {len(anomaly)} rows: pass normal rows too, or check that 1 "
            "stands for an anomaly"
        )
    if not anomaly.any() and (ratios.known or ratios.pollution):
        name = "known" if ratios.known else "pollution"
        raise ValueError(
            f"{name}={getattr(ratios, name)} asks for anomalies, but is_anomaly marks none of "
            f"{len(anomaly)} rows: pass rows with anomalies, or {name}=0"
        )
