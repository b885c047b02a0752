"""What the scores of an experiment are worth: the one place where test labels are read."""

import math

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.papers.fitting import Scored
from benchmarks.papers.protocols import Experiment

METRICS = ("auroc", "average_precision", "f1", "distinct", "steps", "diverged")


def quality(experiment: Experiment, scored: Scored, seed: int) -> dict[str, float]:
    """Every metric of one experiment; NaN for all but ``diverged`` where there are no scores.

    ``f1`` flags as many rows as the protocol says: an oracle's choice, not a detector's.
    """
    score, is_anomaly = scored.score, experiment.is_anomaly
    if score is None:
        return dict.fromkeys(METRICS, math.nan) | {"diverged": 1.0}
    return {
        "auroc": float(roc_auc_score(is_anomaly, score)),
        "average_precision": float(average_precision_score(is_anomaly, score)),
        "f1": oracle_f1(score, is_anomaly, experiment.flagged, seed)
        if experiment.flagged
        else math.nan,
        "distinct": len(np.unique(score)) / len(score),
        "steps": scored.steps,
        "diverged": 0.0,
    }


def oracle_f1(score: np.ndarray, is_anomaly: np.ndarray, count: int, seed: int) -> float:
    """F1 of flagging the ``count`` highest scores, ties broken at random.

    Example:
      >>> oracle_f1(np.array([3.0, 1.0, 2.0]), np.array([True, True, False]), 2, seed=0)
      0.5
    """
    ties = np.random.default_rng(seed).permutation(len(score))
    flagged = np.lexsort((ties, -score))[:count]
    return 2 * int(is_anomaly[flagged].sum()) / (count + int(is_anomaly.sum()))
