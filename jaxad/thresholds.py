"""Thresholds, which turn scores into decisions: rows that score above the threshold are flagged.

``detector.set_threshold`` and ``detector.p_value`` are built on these functions, which take the
scores of any detector. Choose a threshold on validation rows, or on training rows if the detector
saw no labels, but never on the test rows of a reported result.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control


def quantile(scores: ArrayLike, q: float) -> float:
    """The ``q`` quantile of the scores: about a share ``1 - q`` of the rows score above it.

    It is interpolated linearly, as in ``fit`` with ``contamination = 1 - q``.

    Args:
      scores: ``[N]``, higher = more anomalous.
      q: in [0, 1].

    Raises:
      ValueError: there are no scores, one is not finite, or ``q`` is out of range.

    Example:
      >>> quantile([1.0, 2.0, 3.0, 4.0, 5.0], 0.75)
      4.0
    """
    scores = _checked("scores", scores)
    if not 0 <= q <= 1:
        raise ValueError(f"q={q} is outside [0, 1]: choose the share of rows to leave unflagged")
    return float(np.quantile(scores, q))


def target_false_positive_rate(scores_of_normals: ArrayLike, rate: float) -> float:
    """The threshold that a new normal row exceeds with a probability of at most ``rate``.

    The guarantee holds for any detector and any number of rows, on average over samples of these
    rows, if they are exchangeable with the new row. So the detector must not have been trained on
    them. It flags the same rows as ``conformal_p_values(...) <= rate``. Source: split conformal
    prediction (Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005; for
    anomaly detection Laxhammar & Falkman, "Conformal Prediction for Distribution-Independent
    Anomaly Detection in Streaming Vessel Data", 2010).

    Args:
      scores_of_normals: ``[N]`` scores of normal rows that were held out from training.
      rate: in (0, 1), at least ``1 / (N + 1)``.

    Raises:
      ValueError: there are no scores, one is not finite, ``rate`` is out of range, or there are too
        few rows for it; the message says how many are needed.

    Example:
      >>> target_false_positive_rate(range(1, 20), 0.1)
      18.0
    """
    scores = np.sort(_checked("scores_of_normals", scores_of_normals))
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate} is outside (0, 1): choose the share of normal rows to flag")
    allowed = int(alarms_allowed(len(scores), rate))
    if allowed < 1:
        raise ValueError(
            f"rate={rate} cannot be promised from {len(scores)} normal rows, whose smallest "
            f"possible p-value is {1 / (len(scores) + 1):.3g}: pass at least "
            f"{math.ceil(1 / rate - 1e-9) - 1}, or raise the rate"
        )
    return float(scores[len(scores) - allowed])


def best_f_beta(scores: ArrayLike, is_anomaly: ArrayLike, beta: float = 1.0) -> float:
    """The threshold with the highest F-beta on labelled rows, by exhaustive search.

    F-beta is the weighted harmonic mean of precision and recall, ``(1 + beta^2) * precision *
    recall / (beta^2 * precision + recall)``: a beta of 1 gives F1, 2 values recall more and 0.5
    precision. The threshold lies midway between two scores, so rounding does not move a row across
    it. Among equally good thresholds it is the one that flags the fewest rows. Source: van
    Rijsbergen, "Information Retrieval", 1979, chapter 7.

    Args:
      scores: ``[N]`` scores of validation rows. On these rows F-beta is too optimistic; measure it
        on other rows.
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      beta: weight of recall, positive.

    Raises:
      ValueError: the lengths differ, a score is not finite, a mark is neither 0 nor 1, there is no
        anomaly, so that F-beta is undefined, or ``beta`` is not a positive number.

    Example:
      >>> best_f_beta([0.1, 0.2, 0.4, 0.8], [0, 1, 0, 1])
      0.15000000000000002
      >>> best_f_beta([0.1, 0.2, 0.4, 0.8], [0, 1, 0, 1], beta=0.5)
      0.6000000000000001
    """
    scores, is_anomaly = _checked("scores", scores), marks("is_anomaly", is_anomaly)
    if is_anomaly.shape != scores.shape:
        raise ValueError(f"is_anomaly has shape {is_anomaly.shape}, the scores {scores.shape}")
    if not 0 < beta < math.inf:
        raise ValueError(f"beta={beta} is not a positive number: choose 1 for F1")
    anomalies = int(is_anomaly.sum())
    if not anomalies:
        raise ValueError("none of the rows is an anomaly: F-beta needs at least one")
    values, group = np.unique(scores, return_inverse=True)
    # Entry i counts the rows flagged by a threshold just below values[i].
    flagged = np.bincount(group)[::-1].cumsum()[::-1]
    hits = np.bincount(group, weights=is_anomaly)[::-1].cumsum()[::-1]
    f_beta = (1 + beta**2) * hits / (flagged + beta**2 * anomalies)
    best = len(f_beta) - 1 - int(np.argmax(f_beta[::-1]))
    above = values[best]
    if best == 0:
        return float(np.nextafter(above, -np.inf))
    below = values[best - 1]
    middle = below / 2 + above / 2
    return float(middle if below <= middle < above else below)


def marks(name: str, is_anomaly: ArrayLike) -> np.ndarray:
    """Marks of anomalies ``[N]`` as booleans; ``name`` is the argument in the error.

    Raises:
      ValueError: a mark is neither 0 nor 1.

    Example:
      >>> marks("y", [0, 1])
      array([False,  True])
    """
    found = np.asarray(is_anomaly)
    if not np.isin(found, (0, 1)).all():
        raise ValueError(
            f"{name} has values other than 0 and 1: pass 1 for an anomaly and 0 for a normal row; "
            f"of labels or predictions in which -1 is an anomaly, pass {name} == -1"
        )
    return found.astype(bool)


def conformal_p_values(calibration_scores: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Conformal p-values of the hypothesis that a row is normal, ``[N]``.

    A p-value is the share of calibration rows that score at least as high as the row, with the row
    itself counted in. For a normal row it is at most ``a`` with a probability of at most ``a``,
    under the conditions of `target_false_positive_rate`. Source: Bates, Candes, Lei, Romano &
    Sesia, "Testing for Outliers with Conformal p-values", Annals of Statistics 2023.

    Args:
      calibration_scores: ``[C]`` scores of normal rows that were held out from training.
      scores: ``[N]`` scores of the rows to test.

    Raises:
      ValueError: there are no scores, or one is not finite.

    Example:
      >>> conformal_p_values([1.0, 2.0, 3.0], [0.5, 2.0, 9.0]).tolist()
      [1.0, 0.75, 0.25]
    """
    calibration = np.sort(_checked("calibration_scores", calibration_scores))
    return p_values_from_sorted(calibration, _checked("scores", scores))


def benjamini_hochberg(p_values: ArrayLike, rate: float) -> np.ndarray:
    """The rows to flag so that at most a share ``rate`` of the flagged rows is normal, ``[N]``.

    The share is controlled on average over samples, for p-values that are independent or positively
    dependent (PRDS). `conformal_p_values` of rows that were held out from training are PRDS (Bates
    et al. 2023). Source: Benjamini & Hochberg, "Controlling the False Discovery Rate", JRSS B 1995;
    computed by `scipy.stats.false_discovery_control`.

    Args:
      p_values: ``[N]`` p-values of the rows, for example from `conformal_p_values`. Whether a row
        is flagged depends on the p-values of the others.
      rate: in (0, 1), the share of false alarms among the flagged rows.

    Raises:
      ValueError: there are no p-values, one is outside [0, 1], or ``rate`` is outside (0, 1).

    Example:
      >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.9], 0.1).tolist()
      [True, True, True, False]
    """
    p_values = _checked("p_values", p_values)
    if p_values.min() < 0 or p_values.max() > 1:
        raise ValueError(
            f"p_values lie in [{p_values.min():g}, {p_values.max():g}], not in [0, 1]: pass "
            "p-values, not scores"
        )
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate} is outside (0, 1): choose the share of false alarms")
    adjusted = false_discovery_control(p_values, method="bh")
    return adjusted <= rate * (1 + 1e-9)  # compensates for rounding


def alarms_allowed(count: ArrayLike, rate: float) -> np.ndarray:
    """The number ``k`` of ``count`` calibration scores such that the ``k``-th highest keeps a rate.

    Example:
      >>> alarms_allowed([99, 199, 50], 0.01).tolist()
      [1, 2, 0]
    """
    # The slack compensates for rounding: 0.29 * 100 is less than 29.
    return np.floor(rate * (np.asarray(count) + 1) + 1e-9).astype(np.int64)


def p_values_from_sorted(ascending: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """`conformal_p_values` without its checks, from calibration scores in ascending order, maybe 0.

    Example:
      >>> p_values_from_sorted(np.array([1.0, 2.0, 3.0]), np.array([2.0])).tolist()
      [0.75]
    """
    below = np.searchsorted(ascending, scores, side="left")
    return (1 + len(ascending) - below) / (len(ascending) + 1)


def _checked(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}: pass one score per row, at least one")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}[{int(np.argmin(np.isfinite(array)))}] is not finite")
    return array
