"""The papers' protocols: splits into training and test rows, and image normalisation.

For the one-class setting of tables two rules are in use, and they give different figures for the
same detector: random halves (`half_normals`) and halves in file order (`file_order_halves`). A
result states its rule; results under different rules are not comparable.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

_SMALLEST, _LARGEST = 1000, 50_000


class Split(NamedTuple):
    """Ascending row numbers of a training set and a test set.

    Unless a protocol says otherwise, ``train`` holds normal rows only and shares no row with
    ``test``.

    Attributes:
      train: ``[n]`` rows to fit on.
      test: ``[m]`` rows to score.

    Example:
      >>> train, test = half_normals([0, 0, 0, 1, 0, 0, 0, 1], seed=0)
      >>> len(train), len(test)
      (3, 5)
    """

    train: np.ndarray
    test: np.ndarray


def half_split(is_anomaly: Any, seed: Any) -> Split:
    """Train on the normal rows of a random half; test on the other half, anomalies included.

    The protocol of DAGMM (Zong et al., ICLR 2018, section 4.4). The test set has about the same
    share of anomalies as the whole set. Anomalies of the training half are in neither part.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: ``is_anomaly`` is not an array of marks, or the training half has no normal row.

    Example:
      >>> train, test = half_split([0, 0, 0, 1, 0, 0, 0, 1], seed=0)
      >>> len(test), set(train) & set(test)
      (4, set())
    """
    anomaly = as_marks(is_anomaly)
    order = np.random.default_rng(seed).permutation(len(anomaly))
    train, test = np.split(order, [len(order) // 2])
    return _sorted_split(train[~anomaly[train]], test, anomaly)


def half_normals(is_anomaly: Any, seed: Any) -> Split:
    """Train on a random half of the normal rows; test on the other half and all anomalies.

    The protocol of GOAD for tables (Bergman & Hoshen, ICLR 2020). The test set has about twice the
    share of anomalies of `half_split`, so F1 and average precision are not comparable.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: ``is_anomaly`` is not an array of marks, or has fewer than two normal rows.

    Example:
      >>> train, test = half_normals([0, 0, 0, 1, 0, 0, 0, 1], seed=0)
      >>> len(train), len(test)
      (3, 5)
    """
    anomaly = as_marks(is_anomaly)
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(~anomaly))
    train, rest = np.split(normal, [len(normal) // 2])
    return _sorted_split(train, np.concatenate([rest, np.flatnonzero(anomaly)]), anomaly)


def one_class(label: Any, is_train: Any, *, normal: Any) -> Split:
    """Train on one class of the published training part; test on the whole published test part.

    The protocol of Deep SVDD for images (Ruff et al., ICML 2018, section 4.2). Test rows of the
    other classes are the anomalies: ``label[test] != normal``.

    Args:
      label: ``[N]`` class of each row.
      is_train: ``[N]`` booleans, or 0 and 1; 1 marks the published training part.
      normal: the normal class.

    Raises:
      ValueError: the training part has no row of the class, or a mark is neither 0 nor 1.

    Example:
      >>> one_class([3, 5, 3, 3, 5], [1, 1, 1, 0, 0], normal=3).train.tolist()
      [0, 2]
    """
    label, in_train = np.asarray(label), as_marks(is_train, "is_train")
    check_class(label[in_train], "normal", normal)
    return Split(np.flatnonzero(in_train & (label == normal)), np.flatnonzero(~in_train))


class Reversed(NamedTuple):
    """A subset of rows in which normal rows and anomalies have exchanged roles.

    Attributes:
      rows: ``[n]`` ascending row numbers.
      is_anomaly: ``[n]`` bool, the marks after the exchange.
    """

    rows: np.ndarray
    is_anomaly: np.ndarray


def kdd_rev(is_anomaly: Any, seed: Any) -> Reversed:
    """Make KDD-Rev: connections labelled ``normal.`` are normal, and random attacks are anomalies.

    DAGMM (Zong et al., ICLR 2018) and GOAD (Bergman & Hoshen, ICLR 2020) treat the attacks of
    KDD'99, four fifths of the rows, as normal; KDD-Rev exchanges the roles. It draws one attack for
    every four normal rows: 97,278 normal rows and 24,319 anomalies of the ten per cent file. Split
    it with ``half_normals(reversed.is_anomaly, seed)``, which gives positions in ``reversed.rows``.

    Args:
      is_anomaly: ``[N]`` marks of ``load("kddcup99")``, true for ``normal.`` connections.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: there are too few attacks.

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
    """Subtract the mean of each image, and divide by its mean absolute deviation.

    Global contrast normalisation with the L1 norm (Ruff et al., ICML 2018, section 4.2). Their code
    then scales to [0, 1] by the minimum and maximum over all pixels of the normal training images.
    The ``"auto"`` scaler of an image detector does the same.

    Args:
      images: ``[N, H, W, C]``, any real type. Constant images become 0.

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
    # The float32 mean of a constant image is not always the constant.
    constant = np.ptp(images, axis=pixels, keepdims=True) == 0
    return np.where(constant, 0, x / np.where(deviation > 0, deviation, 1))


def file_order_halves(is_anomaly: Any, seed: Any) -> Split:
    """Train on the first half of the normal rows in file order; test on the rest and all anomalies.

    The rule of the published one-class table (Livernoche et al., "On Diffusion Modeling for
    Anomaly Detection", ICLR 2024). With the seeds 0, 1, 2, 3 and 6 it reproduces every digit of
    that table's figures for nearest neighbours, standard deviations included; random halves do not.

    Sets of fewer than 1,000 rows are first resampled with replacement to 1,000 rows, and sets of
    more than 50,000 rows are subsampled to 50,000. In a small set a row can therefore occur twice
    in the test set, or **in both train and test**: use this rule only to compare with that table.
    Sampled rows keep the order in which they were drawn. Other sets do not use the seed.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: an int, which repeats the table's samples, or a numpy Generator, which advances.

    Raises:
      ValueError: ``is_anomaly`` is not an array of marks, or has fewer than two normal rows.

    Example:
      >>> train, test = file_order_halves([1] * 200 + [0] * 1000, seed=0)
      >>> int(train.min()), int(train.max()), len(test)
      (200, 699, 700)
    """
    anomaly = as_marks(is_anomaly)
    rows = np.arange(len(anomaly))
    if not isinstance(seed, np.random.Generator):
        seed = np.random.RandomState(seed)  # noqa: NPY002 - the generator of the published table
    if 0 < len(rows) < _SMALLEST:
        rows = seed.choice(rows, _SMALLEST)
    elif len(rows) > _LARGEST:
        rows = seed.choice(rows, _LARGEST, replace=False)
    normal = rows[~anomaly[rows]]
    train, rest = np.split(normal, [round(len(normal) / 2)])
    return _sorted_split(train, np.concatenate([rest, rows[anomaly[rows]]]), anomaly)


def unsupervised(is_anomaly: Any, seed: Any) -> Split:
    """Train on 70 % of the normal rows and 70 % of the anomalies, unlabelled; test on the rest.

    The unsupervised setting of ADBench (Han et al., NeurIPS 2022), in which ``train`` contains
    anomalies. ADBench first resamples small sets and subsamples large ones; this function does not.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: ``is_anomaly`` is not an array of marks, or has fewer than two normal rows or two
        anomalies.

    Example:
      >>> train, test = unsupervised([0] * 20 + [1] * 10, seed=0)
      >>> len(train), int((train >= 20).sum()), len(test)
      (21, 7, 9)
    """
    anomaly = as_marks(is_anomaly)
    if min(anomaly.sum(), len(anomaly) - anomaly.sum()) < 2:
        raise ValueError(
            f"is_anomaly marks {anomaly.sum()} of {len(anomaly)} rows: a split of 70 to 30 "
            "needs two normal rows and two anomalies"
        )
    return stratified(anomaly, seed, lambda rows: round(0.7 * rows))


def all_rows(is_anomaly: Any, seed: Any = None) -> Split:
    """Train on all rows, unlabelled, and test on the same rows: the transductive setting.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      seed: ignored; it is there so that all functions in `SETTINGS` take the same arguments.

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
    """Split a set in a named setting. A result is reproducible if it states setting and seed.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      setting: a key of `SETTINGS`.
      seed: an int, or a numpy Generator, which advances.

    Raises:
      ValueError: the setting does not exist; the message lists the valid ones.

    Example:
      >>> len(split([0] * 8 + [1] * 2, "goad", seed=0).test)
      6
    """
    if setting not in SETTINGS:
        raise ValueError(f"no setting is called {setting!r}; valid: {', '.join(SETTINGS)}")
    return SETTINGS[setting](is_anomaly, seed)


def split_hash(split: Iterable[Any]) -> str:
    """The SHA-256 of a split: equal on every machine if the arrays hold the same rows.

    Args:
      split: a `Split` or another tuple of arrays of row numbers, of any integer type. Entries that
        are not arrays are ignored.

    Example:
      >>> split_hash(half_normals([0, 0, 0, 1], seed=0))[:12]
      'a858dec6d2f7'
    """
    digest = hashlib.sha256()
    for rows in split:
        if isinstance(rows, np.ndarray):
            # With the lengths, moving a row from one array to the next changes the hash.
            digest.update(len(rows).to_bytes(8, "little") + rows.astype("<i8").tobytes())
    return digest.hexdigest()


def check_class(label: np.ndarray, name: str, value: Any) -> None:
    """Raise a ValueError that names the classes in ``label`` unless ``value`` is one of them."""
    if not (label == value).any():
        there = ", ".join(map(str, np.unique(label)[:20].tolist()))
        raise ValueError(f"{name}={value!r} is not among the classes to choose from: {there}")


def as_marks(is_anomaly: Any, name: str = "is_anomaly") -> np.ndarray:
    """Check marks of 0 and 1 and return them as ``[N]`` booleans.

    Args:
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      name: name of the argument in error messages.

    Raises:
      ValueError: the marks are not one-dimensional, or one is neither 0 nor 1.
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


def stratified(anomaly: np.ndarray, seed: Any, size: Callable[[int], int]) -> Split:
    """Split normal rows and anomalies at random: ``size(n)`` of n rows train, the rest tests."""
    generator = np.random.default_rng(seed)
    cuts = []
    for kind in (False, True):
        rows = generator.permutation(np.flatnonzero(anomaly == kind))
        cuts.append(np.split(rows, [size(len(rows))]))
    return Split(*(np.sort(np.concatenate(part)) for part in zip(*cuts, strict=True)))


def _sorted_split(train: np.ndarray, test: np.ndarray, anomaly: np.ndarray) -> Split:
    """Return the sorted split. Raise a ValueError if no row is left to train on."""
    if not len(train):
        raise ValueError(
            f"is_anomaly marks {anomaly.sum()} of {len(anomaly)} rows, which leaves no normal row "
            "to train on: pass more normal rows, or check that 1 stands for an anomaly"
        )
    return Split(np.sort(train), np.sort(test))
