"""The semi-supervised set-up of Deep SAD: few known rows, polluted unlabelled ones.

Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, section 4.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from jaxad.data.protocols import as_marks, check_class


class Ratios(NamedTuple):
    """The shares that describe a semi-supervised training set.

    Attributes:
      known: known anomalies among all rows, the paper's gamma_l.
      pollution: anomalies among the unlabelled rows, gamma_p.
      known_normal: known normals among all rows.
    """

    known: float
    pollution: float
    known_normal: float


class SemiSupervised(NamedTuple):
    """A drawn training set; ``x[index]`` and ``label`` are what a detector is fitted on.

    Attributes:
      index: ``[n]`` the chosen rows, ascending, none twice.
      label: ``[n]`` int32, +1 known normal, -1 known anomaly, 0 unlabelled.
      requested: the ratios asked for.
      achieved: the ratios reached: fewer anomalies than asked for lower them.
    """

    index: np.ndarray
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
    """Draw known anomalies, known normals and polluting anomalies from a training part.

    All normal rows are used, a share of them as known normals. No row is drawn twice: known
    anomalies come first, and what remains bounds the pollution. (The paper's code draws the two
    independently, so that an anomaly can be both, and fails where a set has too few.)

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1, of the training part.
      known: share of known anomalies in the whole drawn set, in [0, 1).
      pollution: share of anomalies among its unlabelled rows, in [0, 1).
      known_normal: share of known normals in the whole drawn set.
      knowable: ``[N]`` booleans, or 0 and 1: anomalies that may be drawn as known ones; all of
        them where not given. Pollution is drawn from all.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: a share out of range, shares that leave no room for each other, or anomalies
        asked for where ``is_anomaly`` marks none.

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
    # Slices end where the anomalies do: what is not there is not drawn.
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
    """Row numbers, ascending, and what is known of the training rows.

    Attributes:
      train: ``[n]`` the rows to fit on.
      label: ``[n]`` int32, +1 known normal, -1 known anomaly, 0 unlabelled.
      test: ``[m]`` the rows to score; none of them is in ``part``.
      part: the training part that ``train`` was drawn from. The paper's code fits its scalers on
        all of it, anomalies included.
      requested: the ratios asked for.
      achieved: the ratios reached.
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
    """The paper's protocol for the six ODDS sets.

    Sixty per cent of the normal rows and of the anomalies are the training part, rounded down, and
    the others the test. All normal rows of the part train, with known and polluting anomalies as
    far as there are any: at the paper's ratios, the defaults, four of the six sets have too few.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      known: share of known anomalies in the training rows, the paper's gamma_l.
      pollution: share of anomalies among the unlabelled ones, gamma_p.
      known_normal: share of known normals in the training rows.
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
    shuffled = [generator.permutation(np.flatnonzero(anomaly == kind)) for kind in (False, True)]
    # In integers: 0.6 * n may fall just short of a whole number.
    cuts = [len(rows) * 6 // 10 for rows in shuffled]
    part = [rows[:cut] for rows, cut in zip(shuffled, cuts, strict=True)]
    test = [rows[cut:] for rows, cut in zip(shuffled, cuts, strict=True)]
    return _draw(
        np.sort(np.concatenate(part)),
        np.sort(np.concatenate(test)),
        anomaly,
        Ratios(known, pollution, known_normal),
        None,
        generator,
    )


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
    """The paper's protocol for images: one class is normal, all others anomalous.

    Known anomalies come from ``known_classes`` only, pollution from all other classes, and the
    whole test part is the test, so most classes that are tested were never known. The paper's
    scenarios, each over all choices of the classes:

    (i) ``known`` in 0, .01, .05, .1, .2 with one known class;
    (ii) ``pollution`` varies, ``known=0.05``, one known class;
    (iii) ``known_classes`` varies, ``known=0.05, pollution=0.1``.

    Args:
      label: ``[N]`` the class of each row.
      is_train: ``[N]`` booleans, or 0 and 1: the published training part.
      normal: the class that is normal.
      known_classes: the classes of the known anomalies, or how many of them to draw at random.
      known: share of known anomalies in the training rows, the paper's gamma_l.
      pollution: share of anomalies among the unlabelled ones, gamma_p.
      known_normal: share of known normals in the training rows.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: classes that are not there, the normal class among the known anomalies, or as
        `semi_supervised` does.

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
    return _draw(
        np.flatnonzero(in_train),
        np.flatnonzero(~in_train),
        label != normal,
        Ratios(known, pollution, known_normal),
        np.isin(label, chosen),
        generator,
    )


def _draw(
    part: np.ndarray,
    test: np.ndarray,
    anomaly: np.ndarray,
    ratios: Ratios,
    knowable: np.ndarray | None,
    generator: np.random.Generator,
) -> LabelledSplit:
    """Draw the training rows from the training part."""
    drawn = semi_supervised(
        anomaly[part],
        **ratios._asdict(),
        knowable=None if knowable is None else knowable[part],
        seed=generator,
    )
    return LabelledSplit(
        part[drawn.index], drawn.label, test, part, drawn.requested, drawn.achieved
    )


def _counts(ratios: Ratios, normals: int) -> tuple[int, int, int]:
    """Known anomalies, polluting anomalies and known normals that meet the ratios exactly.

    All normals are used, so their number fixes the size of the set: with n known and u unlabelled
    normals out of T rows, n = known_normal T, u = (1 - pollution) (1 - known - known_normal) T,
    and n + u is given.
    """
    known, pollution, known_normal = ratios
    unlabelled = 1 - known - known_normal
    total = normals / (known_normal + (1 - pollution) * unlabelled)
    wanted = known * total, pollution * unlabelled * total, known_normal * total
    # The papers' code truncates; a count that is whole but for rounding must not lose a row.
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
