"""What a search maximises: measures of a fitted detector on validation rows.

Two need labels. The others do not and are experimental: Ma, Zhao, Zhang & Akoglu, "The Need for
Unsupervised Outlier Model Selection: A Review and Evaluation of Internal Evaluation Strategies",
SIGKDD Explorations 2023, compared such measures on 39 data sets, and found that none of them
selects models that are significantly better than a model chosen at random.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import rankdata

from jaxad import metrics
from jaxad.checks import check_choice
from jaxad.data.protocols import as_marks
from jaxad.estimators import Detector, frames

Criterion = Callable[[Detector], float]

LABELLED = ("average_precision", "auroc")
LABEL_FREE = ("excess_mass", "mass_volume", "agreement")
CRITERIA = (*LABELLED, *LABEL_FREE)
_UNIFORM_ROWS = 4096


def make_criterion(criterion: Any, validation: Any) -> Criterion:
    """A function of a fitted detector, higher = better.

    Args:
      criterion: a name in `CRITERIA`, or a function of a fitted detector.
      validation: ``(X, is_anomaly)`` for a criterion with labels, ``X`` for one without.

    Raises:
      ValueError: an unknown name, or the validation rows are not what the criterion needs.

    Warns:
      UserWarning: the criterion is experimental.
    """
    if callable(criterion):
        function: Any = criterion
        return function
    check_choice("criterion", criterion, CRITERIA)
    if criterion in LABELLED:
        return _labelled(criterion, validation)
    if validation is None or isinstance(validation, tuple):
        raise ValueError(
            f"criterion={criterion!r} uses no labels: give validation=X_val, rows that were not "
            "trained on"
        )
    warnings.warn(
        f"criterion={criterion!r} is experimental: measures without labels often choose no better "
        "than chance. Prefer validation=(X_val, is_anomaly)",
        stacklevel=3,
    )
    if criterion == "agreement":
        return lambda detector: agreement(detector.member_scores(validation))
    uniform = _uniform_rows(validation)
    measure = excess_mass if criterion == "excess_mass" else mass_volume
    return lambda detector: measure(
        detector.anomaly_score(validation), detector.anomaly_score(uniform)
    )


def _labelled(criterion: str, validation: Any) -> Criterion:
    if not isinstance(validation, tuple) or len(validation) != 2:
        raise ValueError(
            f"criterion={criterion!r} needs labelled rows: give validation=(X_val, is_anomaly), "
            "rows that are neither trained on nor the test rows of a reported result"
        )
    x, is_anomaly = validation
    marks = as_marks(is_anomaly)
    if len(marks) != len(x):
        raise ValueError(f"is_anomaly has {len(marks)} marks for {len(x)} rows: give one each")
    if marks.all() or not marks.any():
        raise ValueError("the validation rows need both normal rows and anomalies")
    measure = metrics.average_precision if criterion == "average_precision" else metrics.roc_auc
    return lambda detector: float(measure(detector.anomaly_score(x), marks))


def excess_mass(scores: np.ndarray, uniform_scores: np.ndarray) -> float:
    """The area under the excess-mass curve, higher = better.

    The excess mass at level t is the largest share of rows minus t times the volume in a set of
    normal rows, ``EM(t) = max_u P(s <= u) - t V(s <= u)``. The area is taken from 0 to the level
    at which it falls to 0.9; the volume is a share of the box around the rows. In more than about
    ten dimensions nearly all of the box is empty, and the measure says little. Source: Goix, "How
    to Evaluate the Quality of Unsupervised Anomaly Detection Algorithms?", ICML Workshop on Anomaly
    Detection 2016, section 2.

    Args:
      scores: ``[N]`` anomaly scores of rows, higher = more anomalous.
      uniform_scores: ``[U]`` anomaly scores of rows drawn evenly from the box around them.

    Example:
      >>> excess_mass(np.zeros(4), np.ones(4)) > excess_mass(np.zeros(4), np.zeros(4))
      True
    """
    mass, volume = _mass_and_volume(scores, uniform_scores)
    # An empty volume would give an endless curve: count at most one part of the uniform rows.
    volume = np.maximum(volume, 1 / (len(uniform_scores) + 1))
    # EM is the upper envelope of lines: the smallest t where all of them are at most 0.9.
    end = float(np.max((mass - 0.9) / volume))
    levels = np.linspace(0, end, 201)
    curve = np.max(mass[:, None] - levels * volume[:, None], axis=0)
    return float(np.trapezoid(curve, levels))


def mass_volume(scores: np.ndarray, uniform_scores: np.ndarray) -> float:
    """The negative area under the mass-volume curve from mass 0.9 to 1, higher = better.

    ``MV(m)`` is the volume of the smallest set of rows with the lowest scores that holds a share m
    of them. See `excess_mass` for source, arguments and limits.

    Example:
      >>> mass_volume(np.zeros(4), np.ones(4)), round(mass_volume(np.zeros(4), np.zeros(4)), 9)
      (-0.0, -0.1)
    """
    mass, volume = _mass_and_volume(scores, uniform_scores)
    masses = np.linspace(0.9, 1, 101)
    needed = np.minimum(np.searchsorted(mass, masses - 1e-12), len(mass) - 1)
    return -float(np.trapezoid(volume[needed], masses))


def agreement(scores: np.ndarray) -> float:
    """Mean rank correlation (Spearman) of the scores ``[P, N]`` of all pairs of members.

    Members that differ only in their seeds should rank rows alike if training found what the data
    say. The idea is that of model centrality, see the survey in `jaxad.tuning.criteria`. A
    collapsed ensemble can agree as well.

    Raises:
      ValueError: there are fewer than two members.

    Example:
      >>> agreement(np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]))
      1.0
    """
    if len(scores) < 2:
        raise ValueError(
            "criterion='agreement' compares members, and there is one: set n_members to 2 or more"
        )
    ranks = rankdata(scores, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=1)
    unit = ranks / np.where(norms > 0, norms, np.inf)[:, None]
    products = unit @ unit.T
    pairs = np.triu_indices(len(scores), 1)
    return round(float(products[pairs].mean()), 12)


def _mass_and_volume(
    scores: np.ndarray, uniform_scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of rows and of uniform rows that score at most each value of ``scores``, ascending."""
    values = np.unique(scores)
    mass, volume = (
        np.searchsorted(np.sort(given), values, side="right") / len(given)
        for given in (scores, uniform_scores)
    )
    return mass, volume


def _uniform_rows(x: Any) -> Any:
    """Rows drawn evenly from the box around ``x``; those of a frame are one of pandas."""
    x = frames.as_pandas(x)
    rows = np.asarray(x, np.float64)
    low, high = rows.min(axis=0), rows.max(axis=0)
    drawn = np.random.default_rng(0).uniform(low, high, (_UNIFORM_ROWS, *rows.shape[1:]))
    return type(x)(drawn, columns=x.columns) if hasattr(x, "columns") else drawn
