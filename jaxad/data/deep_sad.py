"""The experiments of Deep SAD: a table split 60 to 40, and images with one normal class.

Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020, section 4. The draws are those of
`jaxad.data.semi_supervised`: disjoint, and with the ratios that were reached on record.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from jaxad.data.protocols import as_marks, check_class
from jaxad.data.semi_supervised import Ratios, semi_supervised


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
