"""The threshold of a fitted detector, and the scores that it is chosen from."""

import math
from typing import Any

import numpy as np

from jaxad import thresholds
from jaxad.checks import POSITIVE, Interval
from jaxad.estimators.fitting import Plan
from jaxad.estimators.weights import in_proportion
from jaxad.rows import Rows

CONTAMINATION = Interval(0, 0.5, "both")
RATE = Interval(0, 1, "neither")
QUANTILES = 10_001  # most scores that are kept for shares of rows, one for each 0.01 %


def adopt_scores(detector: Any, scores: np.ndarray, plan: Plan) -> None:
    """Set ``threshold_`` by ``contamination``, and keep the scores that later thresholds need.

    Args:
      detector: the detector being fitted.
      scores: ``[N]`` scores of the plan's reference rows. They may be sorted in place.
      plan: the plan of the fit.
    """
    if len(plan.held_out):
        # Known anomalies say nothing about how high normal rows score.
        label: Any = plan.rows.like.label[plan.held_out]
        detector.held_out_scores_ = np.sort(scores[np.asarray(label) >= 0])
    weight: Any = plan.rows.like.weight[plan.reference_rows] if plan.rows.resident else None
    if weight is None or np.ptp(weight) == 0:
        scores.sort()
    else:
        scores = in_proportion(scores, weight)
    detector.threshold_ = float(np.quantile(scores, 1 - detector.contamination))
    if len(scores) > QUANTILES:
        scores = scores[np.linspace(0, len(scores) - 1, QUANTILES).round().astype(int)]
    detector.reference_scores_ = scores


def choose(
    detector: Any,
    value: Any,
    *,
    contamination: Any,
    false_alarm_rate: Any,
    beta: Any,
    X: Any,
    y: Any,
) -> float:
    """The threshold that `Detector.set_threshold` sets."""
    ways = {
        "value": value,
        "contamination": contamination,
        "false_alarm_rate": false_alarm_rate,
        "beta": beta,
    }
    given = [name for name, way in ways.items() if way is not None]
    if len(given) != 1:
        raise ValueError(
            f"set_threshold was given {' and '.join(given) or 'nothing to choose by'}: give one of "
            f"{', '.join(ways)}"
        )
    (way,) = given
    if way != "beta" and y is not None:
        raise ValueError(f"y was given with {way}: only beta uses marks of anomalies")
    if way == "value":
        return _number(value, X)
    if way == "contamination":
        share = CONTAMINATION("contamination", contamination)
        scores = _reference(detector, share) if X is None else detector.anomaly_score(X)
        return thresholds.quantile(scores, 1 - share)
    if way == "false_alarm_rate":
        return _keeping(RATE("false_alarm_rate", false_alarm_rate), *_of_normals(detector, X))
    return _best(detector, POSITIVE("beta", beta), X, y)


def percentile(detector: Any, X: Any) -> np.ndarray:
    """Percent ``[N]`` of the reference rows that score lower than each row of X."""
    reference = _reference(detector)
    below = np.searchsorted(reference, detector.anomaly_score(X), side="left")
    return 100 * below / len(reference)


def held_out_scores(detector: Any) -> np.ndarray | None:
    """Scores of the held-out rows that are not known anomalies, ascending, or None."""
    scores = getattr(detector, "held_out_scores_", None)
    return None if scores is None or not len(scores) else scores


def _number(value: Any, X: Any) -> float:
    if X is not None:
        raise ValueError("X was given with value, which needs no rows: give one of them")
    number = np.asarray(value)
    if number.ndim or number.dtype.kind not in "iuf" or not np.isfinite(number):
        raise ValueError(f"value={value!r} is not a finite number: give a threshold for the scores")
    return float(number)


def _reference(detector: Any, share: float = 1.0) -> np.ndarray:
    """The kept scores, if they are fine enough to flag ``share`` of the rows."""
    reference = getattr(detector, "reference_scores_", None)
    if reference is None:
        raise ValueError(
            f"this {type(detector).__name__} is from a file of an earlier version or from a Fleet, "
            "without scores of its training rows: fit it again, or give set_threshold rows as X"
        )
    if len(reference) == QUANTILES and 0 < share < 1 / QUANTILES:
        raise ValueError(
            f"contamination={share} is finer than the {QUANTILES - 1:,} quantiles that are kept of "
            "the scores: give the rows as X"
        )
    return reference


def _of_normals(detector: Any, X: Any) -> tuple[np.ndarray, str]:
    """Scores of normal rows that were not trained on, and what to call the rows."""
    if X is not None:
        return detector.anomaly_score(X), "rows of X"
    calibration = getattr(detector, "calibration_", None)
    if calibration is not None:
        if calibration.method != "split":
            raise ValueError(
                f"the detector is calibrated with method={calibration.method!r}, whose p-values no "
                "single threshold reproduces: flag rows with detector.p_value(X) <= "
                "false_alarm_rate, or give normal rows that were not trained on as X"
            )
        return calibration.scores, "calibration rows"
    scores = held_out_scores(detector)
    if scores is None:
        raise ValueError(
            "false_alarm_rate needs normal rows that were not trained on: give them as X, or fit "
            "with validation_fraction=0.2"
        )
    return scores, "held-out rows"


def _keeping(rate: float, scores: np.ndarray, rows: str) -> float:
    if not thresholds.alarms_allowed(len(scores), rate):
        raise ValueError(
            f"false_alarm_rate={rate} cannot be promised from {len(scores)} {rows}, whose smallest "
            f"possible p-value is {1 / (len(scores) + 1):.3g}: give at least "
            f"{math.ceil(1 / rate - 1e-9) - 1} rows, or raise the rate"
        )
    return thresholds.target_false_positive_rate(scores, rate)


def _best(detector: Any, beta: float, X: Any, y: Any) -> float:
    if X is None or y is None:
        raise ValueError(
            f"beta={beta} needs validation rows X and their marks y, 1 for an anomaly and 0 for a "
            "normal row: give both"
        )
    is_anomaly = thresholds.marks("y", y)
    rows = None if isinstance(X, Rows) else len(X)  # the rows of a stream are not counted yet
    if is_anomaly.ndim != 1 or rows not in (None, len(is_anomaly)):
        raise ValueError(f"y has shape {is_anomaly.shape}, but X has {rows} rows: pass ({rows},)")
    if not is_anomaly.any():
        raise ValueError("y marks no row as an anomaly: F-beta needs at least one")
    return thresholds.best_f_beta(detector.anomaly_score(X), is_anomaly, beta)
