"""Thresholds: from scores to decisions. A row is flagged iff its score is above the threshold.

Every function takes the rows it may look at. Give it validation rows, or training rows where the
detector saw no labels, never the test rows the result is reported on; then assign the result:
``detector.threshold_ = best_f1(detector.anomaly_score(X), is_anomaly)``.
"""

import math

import numpy as np
from numpy.typing import ArrayLike


def quantile(scores: ArrayLike, q: float) -> float:
    """The threshold that about a share ``1 - q`` of these rows score above.

    Linear between neighbouring scores, as ``contamination = 1 - q`` does in ``fit``.

    Args:
      scores: ``[N]``, higher = more anomalous.
      q: in [0, 1].

    Raises:
      ValueError: no scores, a score that is not finite, or ``q`` out of range.

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

    The guarantee holds for any number of rows and any detector, on average over draws of these
    rows, provided they are exchangeable with the new one: the detector must not have been trained
    on them. The same rows are flagged as by ``conformal_p_values(...) <= rate``. Source: split
    conformal prediction (Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005;
    for anomaly detection Laxhammar & Falkman, "Conformal Prediction for Distribution-Independent
    Anomaly Detection in Streaming Vessel Data", 2010).

    Args:
      scores_of_normals: ``[N]`` of normal rows held out from training.
      rate: in (0, 1), at least ``1 / (N + 1)``.

    Raises:
      ValueError: ``rate`` out of range, or too few rows for it; the message says how many it needs.

    Example:
      >>> target_false_positive_rate(range(1, 20), 0.1)
      18.0
    """
    scores = np.sort(_checked("scores_of_normals", scores_of_normals))
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate} is outside (0, 1): choose the share of normal rows to flag")
    # The slack undoes the rounding of rates such as 0.29 in 100 rows.
    allowed = math.floor(rate * (len(scores) + 1) + 1e-9)
    if allowed < 1:
        raise ValueError(
            f"rate={rate} cannot be promised from {len(scores)} normal rows: pass at least "
            f"{math.ceil(1 / rate - 1e-9) - 1}, or raise the rate"
        )
    return float(scores[len(scores) - allowed])


def best_f1(scores: ArrayLike, is_anomaly: ArrayLike) -> float:
    """The threshold with the highest F1 on labelled rows; exact, every possible cut is tried.

    It lies midway between two scores, so that rounding does not move a row across it. Of equal
    cuts the one that flags fewest rows is taken.

    Args:
      scores: ``[N]`` of validation rows. F1 at a threshold chosen on the rows it is measured on is
        too good.
      is_anomaly: ``[N]`` booleans, or 0 and 1.

    Raises:
      ValueError: the two differ in length, or there is no anomaly, which leaves F1 undefined.

    Example:
      >>> best_f1([0.1, 0.2, 0.4, 0.8], [0, 1, 0, 1])
      0.15000000000000002
    """
    scores, is_anomaly = _checked("scores", scores), np.asarray(is_anomaly)
    if is_anomaly.shape != scores.shape:
        raise ValueError(f"is_anomaly has shape {is_anomaly.shape}, the scores {scores.shape}")
    if not np.isin(is_anomaly, (0, 1)).all():
        raise ValueError("is_anomaly has values other than 0 and 1")
    anomalies = int(is_anomaly.sum())
    if not anomalies:
        raise ValueError("none of the rows is an anomaly: F1 needs at least one")
    values, group = np.unique(scores, return_inverse=True)
    # At position i: what is flagged by a cut just below values[i].
    flagged = np.bincount(group)[::-1].cumsum()[::-1]
    hits = np.bincount(group, weights=is_anomaly)[::-1].cumsum()[::-1]
    f1 = 2 * hits / (flagged + anomalies)
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    above = values[best]
    if best == 0:
        return float(np.nextafter(above, -np.inf))
    below = values[best - 1]
    middle = below / 2 + above / 2
    return float(middle if below <= middle < above else below)


def conformal_p_values(calibration_scores: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """The share of normal rows at least as anomalous as each row, the row itself counted: ``[N]``.

    For a normal row the p-value is at most ``a`` with a probability of at most ``a``, under the
    conditions of `target_false_positive_rate`. Source: Bates, Candes, Lei, Romano & Sesia,
    "Testing for Outliers with Conformal p-values", Annals of Statistics 2023.

    Args:
      calibration_scores: ``[C]`` of normal rows held out from training.
      scores: ``[N]`` of the rows in question.

    Raises:
      ValueError: no scores, or a score that is not finite.

    Example:
      >>> conformal_p_values([1.0, 2.0, 3.0], [0.5, 2.0, 9.0]).tolist()
      [1.0, 0.75, 0.25]
    """
    calibration = np.sort(_checked("calibration_scores", calibration_scores))
    below = np.searchsorted(calibration, _checked("scores", scores), side="left")
    return (1 + len(calibration) - below) / (len(calibration) + 1)


def _checked(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}: pass one score per row, at least one")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}[{int(np.argmin(np.isfinite(array)))}] is not finite")
    return array
