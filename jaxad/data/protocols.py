"""Train and test rows by the papers' one-class protocols, and the hash of a split."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

_SMALLEST, _LARGEST = 1000, 50_000


class Split(NamedTuple):
    """Row numbers, ascending. Unless a protocol says otherwise ``train`` holds normal rows only.

    Attributes:
      train: ``[n]`` the rows to fit on.
      test: ``[m]`` the rows to score; none of them is in ``train``, unless a protocol says so.
    """

    train: np.ndarray
    test: np.ndarray


def half_split(is_anomaly: Any, seed: Any) -> Split:
    """The normal rows of a random half train; the other half, anomalies included, is the test.

    The protocol of DAGMM (Zong et al., ICLR 2018, section 4.4): the share of anomalies in the test
    is about that of the whole set. The anomalies of the training half are left out of both.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: ``is_anomaly`` is no such array, or the training half has no normal row.

    Example:
      >>> train, test = half_split([0, 0, 0, 1, 0, 0, 0, 1], seed=0)
      >>> len(test), set(train) & set(test)
      (4, set())
    """
    anomaly = as_marks(is_anomaly)
    order = np.random.default_rng(seed).permutation(len(anomaly))
    train, test = np.split(order, [len(order) // 2])
    return checked(train[~anomaly[train]], test, anomaly)


def half_normals(is_anomaly: Any, seed: Any) -> Split:
    """A random half of the normal rows trains; the other half and all anomalies are the test.

    The protocol of GOAD for tables (Bergman & Hoshen, ICLR 2020). It doubles the share of
    anomalies in the test: F1 and average precision are not comparable with `half_split`'s.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: ``is_anomaly`` is no such array, or has fewer than two normal rows.

    Example:
      >>> train, test = half_normals([0, 0, 0, 1, 0, 0, 0, 1], seed=0)
      >>> len(train), len(test)
      (3, 5)
    """
    anomaly = as_marks(is_anomaly)
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(~anomaly))
    train, rest = np.split(normal, [len(normal) // 2])
    return checked(train, np.concatenate([rest, np.flatnonzero(anomaly)]), anomaly)


def one_class(label: Any, is_train: Any, *, normal: Any) -> Split:
    """One class of the training part trains; all of the test part, its other classes, is the test.

    The protocol of Deep SVDD for images (Ruff et al., ICML 2018, section 4.2). Test rows of another
    class are the anomalies: ``label[test] != normal``.

    Args:
      label: ``[N]`` the class of each row.
      is_train: ``[N]`` booleans, or 0 and 1: the published training part.
      normal: the class that is normal.

    Raises:
      ValueError: the training part has no row of that class, or a mark is neither 0 nor 1.

    Example:
      >>> one_class([3, 5, 3, 3, 5], [1, 1, 1, 0, 0], normal=3).train.tolist()
      [0, 2]
    """
    label, in_train = np.asarray(label), as_marks(is_train, "is_train")
    check_class(label[in_train], "normal", normal)
    return Split(np.flatnonzero(in_train & (label == normal)), np.flatnonzero(~in_train))


class Reversed(NamedTuple):
    """A set with the roles exchanged.

    Attributes:
      rows: ``[n]`` row numbers, ascending.
      is_anomaly: ``[n]`` bool, in the new roles.
    """

    rows: np.ndarray
    is_anomaly: np.ndarray


def kdd_rev(is_anomaly: Any, seed: Any) -> Reversed:
    """KDD-Rev: all rows labelled ``normal.`` are normal, a quarter as many attacks anomalous.

    Which attacks is random. Of KDD'99 ten per cent that makes 97,278 normal rows and 24,319
    anomalies, a fifth of the rows. Split it with ``half_normals(reversed.is_anomaly, seed)`` and
    take ``reversed.rows`` of that.

    Args:
      is_anomaly: ``[N]`` marks of ``load("kddcup99")``: true where a connection is ``normal.``.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: there are not enough attacks.

    Example:
      >>> reversed = kdd_rev([1] * 8 + [0] * 32, seed=0)
      >>> len(reversed.rows), int(reversed.is_anomaly.sum())
      (10, 2)
    """
    marks = as_marks(is_anomaly)
    normal, attacks = np.flatnonzero(marks), np.flatnonzero(~marks)
    count = len(normal) // 4
    if len(attacks) < count:
        raise ValueError(f"KDD-Rev takes {count} attacks, but is_anomaly leaves {len(attacks)}")
    drawn = np.random.default_rng(seed).choice(attacks, count, replace=False)
    rows = np.sort(np.concatenate([normal, drawn]))
    return Reversed(rows, ~marks[rows])


def contrast_normalised(images: Any) -> np.ndarray:
    """Every image less its mean and divided by its mean absolute deviation from it.

    Global contrast normalisation with the L1 norm (Ruff et al., ICML 2018, section 4.2). Their code
    then maps the normal class's training images to [0, 1] by one minimum and one maximum over all
    pixels, which is the ``"auto"`` scaler of an image detector fitted on them.

    Args:
      images: ``[N, H, W, C]``, any real type. A constant image becomes 0.

    Returns:
      ``[N, H, W, C]`` float32.

    Example:
      >>> contrast_normalised(np.array([0, 0, 0, 4]).reshape(1, 2, 2, 1)).ravel().tolist()
      [-0.6666666865348816, -0.6666666865348816, -0.6666666865348816, 2.0]
    """
    x = np.asarray(images, np.float32)
    pixels = tuple(range(1, x.ndim))
    x = x - x.mean(axis=pixels, keepdims=True)
    deviation = np.abs(x).mean(axis=pixels, keepdims=True)
    return x / np.where(deviation > 0, deviation, 1)


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


def split_hash(split: Iterable[Any]) -> str:
    """The SHA-256 of a split's arrays: equal for equal rows in equal roles, on every machine.

    Args:
      split: a `Split` or another tuple; its integer arrays count, whatever their type.

    Example:
      >>> split_hash(half_normals([0, 0, 0, 1], seed=0))[:12]
      'a858dec6d2f7'
    """
    digest = hashlib.sha256()
    for rows in split:
        if isinstance(rows, np.ndarray):
            # The length keeps a row that moves from one array to the next from going unseen.
            digest.update(len(rows).to_bytes(8, "little") + rows.astype("<i8").tobytes())
    return digest.hexdigest()


def check_class(label: np.ndarray, name: str, value: Any) -> None:
    """Raise a ValueError that names the classes in ``label`` unless ``value`` is one of them."""
    if not (label == value).any():
        there = ", ".join(map(str, np.unique(label)[:20].tolist()))
        raise ValueError(f"{name}={value!r} is not among the classes to choose from: {there}")


def as_marks(is_anomaly: Any, name: str = "is_anomaly") -> np.ndarray:
    """``is_anomaly`` as ``[N]`` booleans; ``name`` is what errors call it.

    Raises:
      ValueError: not one-dimensional, or a value that is neither 0 nor 1.
    """
    marks = np.asarray(is_anomaly)
    if marks.ndim != 1:
        raise ValueError(f"{name} has shape {marks.shape}: pass one mark per row, shape (N,)")
    wrong = ~np.isin(marks, (0, 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        meaning = " for an anomaly and 0 for a normal row" if name == "is_anomaly" else " or 0"
        raise ValueError(
            f"{name}[{row}]={marks.tolist()[row]!r} is neither 0 nor 1: pass 1{meaning}"
        )
    return marks.astype(bool)


def checked(train: np.ndarray, test: np.ndarray, anomaly: np.ndarray) -> Split:
    """The split, sorted. Raises a ValueError where no row trains."""
    if not len(train):
        raise ValueError(
            f"is_anomaly marks {anomaly.sum()} of {len(anomaly)} rows, which leaves no normal row "
            "to train on: pass more normal rows, or check that 1 stands for an anomaly"
        )
    return Split(np.sort(train), np.sort(test))
