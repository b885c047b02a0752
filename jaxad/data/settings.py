"""The settings of tabular benchmarks by name, ADBench's and the one-class table's among them.

Two rules are in use for the one-class setting, and they give different figures for the same
detector: random halves (`jaxad.data.half_normals`), and halves in file order (`file_order_halves`).
A result names its rule; results of different rules are not compared.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxad.data.protocols import Split, as_marks, checked, half_normals, half_split

_SMALLEST, _LARGEST = 1000, 50_000


def file_order_halves(is_anomaly: Any, seed: Any) -> Split:
    """The first half of the normal rows in file order trains; the rest and all anomalies test.

    The rule of the published one-class table (Livernoche et al., "On Diffusion Modeling for
    Anomaly Detection", ICLR 2024). With the seeds 0, 1, 2, 3 and 6 it repeats that table's figures
    for nearest neighbours, standard deviations included, to the last digit; random halves do not.

    A set of fewer than 1,000 rows is first drawn anew, 1,000 rows with replacement; of more than
    50,000 rows as many are drawn. So in a small set a row may stand in the test twice, and **in
    both train and test**: use it only to compare with that table. Only these draws need the seed;
    drawn rows come in the order of the draw.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: an int, for the table's own draws, or a numpy Generator, which advances.

    Raises:
      ValueError: ``is_anomaly`` is no such array, or has fewer than two normal rows.

    Example:
      >>> train, test = file_order_halves([1] * 200 + [0] * 1000, seed=0)
      >>> int(train.min()), int(train.max()), len(test)
      (200, 699, 700)
    """
    anomaly = as_marks(is_anomaly)
    rows = np.arange(len(anomaly))
    if not isinstance(seed, np.random.Generator):
        seed = np.random.RandomState(seed)  # noqa: NPY002 - the table was made so
    if 0 < len(rows) < _SMALLEST:
        rows = seed.choice(rows, _SMALLEST)
    elif len(rows) > _LARGEST:
        rows = seed.choice(rows, _LARGEST, replace=False)
    normal = rows[~anomaly[rows]]
    train, rest = np.split(normal, [round(len(normal) / 2)])
    return checked(train, np.concatenate([rest, rows[anomaly[rows]]]), anomaly)


def unsupervised(is_anomaly: Any, seed: Any) -> Split:
    """Seventy per cent of the normal rows and of the anomalies train, unlabelled; the rest tests.

    The unsupervised setting of ADBench (Han et al., NeurIPS 2022): ``train`` holds anomalies. Every
    row counts once; that small sets are drawn up and large ones down before is left to the caller.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: ``is_anomaly`` is no such array, or has fewer than two rows of a kind.

    Example:
      >>> train, test = unsupervised([0] * 20 + [1] * 10, seed=0)
      >>> len(train), int((train >= 20).sum()), len(test)
      (21, 7, 9)
    """
    anomaly = as_marks(is_anomaly)
    generator = np.random.default_rng(seed)
    parts = [], []
    for kind in (False, True):
        rows = generator.permutation(np.flatnonzero(anomaly == kind))
        if len(rows) < 2:
            raise ValueError(
                f"is_anomaly marks {anomaly.sum()} of {len(anomaly)} rows: a split of 70 to 30 "
                "needs two normal rows and two anomalies"
            )
        for part, drawn in zip(parts, np.split(rows, [round(0.7 * len(rows))]), strict=True):
            part.append(drawn)
    return Split(*(np.sort(np.concatenate(part)) for part in parts))


def all_rows(is_anomaly: Any, seed: Any = None) -> Split:
    """All rows train, unlabelled, and the same rows are the test.

    The other unsupervised setting in use: what is scored is what was trained on.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: not used; every split takes one.

    Example:
      >>> all_rows([0, 0, 1]).test.tolist()
      [0, 1, 2]
    """
    del seed
    rows = np.arange(len(as_marks(is_anomaly)))
    return Split(rows, rows.copy())


SETTINGS: Mapping[str, Callable[[Any, Any], Split]] = {
    "dagmm": half_split,
    "goad": half_normals,
    "one_class_random": half_normals,
    "one_class_file_order": file_order_halves,
    "unsupervised": unsupervised,
    "unsupervised_all": all_rows,
}


def split(is_anomaly: Any, setting: str, seed: Any) -> Split:
    """Train and test rows of a set in a named setting: what a result has to name to be repeated.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      setting: one of `SETTINGS`.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: no such setting; the message names those there are.

    Example:
      >>> len(split([0] * 8 + [1] * 2, "goad", seed=0).test)
      6
    """
    if setting not in SETTINGS:
        raise ValueError(f"no setting is called {setting!r}; valid: {', '.join(SETTINGS)}")
    return SETTINGS[setting](is_anomaly, seed)
