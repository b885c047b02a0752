"""Conformal calibration of a fitted detector: p-values of single rows.

A p-value compares a row's score with the scores of normal rows by a model that was trained on none
of them. With ``"split"`` that model is the detector itself. With ``"cross"`` and ``"jackknife+"``
further models are trained, all of them as one population, so that every normal row both trains and
calibrates. Scores are only compared within a model, or within an average of the same models.
"""

import abc
import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from sklearn.base import clone

from jaxad import thresholds, training
from jaxad.checks import Interval, check_choice, seed_from
from jaxad.estimators import ensemble, fitting, prepare, thresholding
from jaxad.estimators.devices import on_device
from jaxad.estimators.scaling import AffineScaler
from jaxad.rows import ArrayRows, Rows

METHODS = ("split", "cross", "jackknife+")
_BLOCK = 2**20  # numbers in memory at a time


class Calibration(abc.ABC):
    """What p-values need; the attribute ``calibration_`` of a calibrated detector.

    Attributes:
      method: ``"split"``, ``"cross"`` or ``"jackknife+"``.
    """

    method: ClassVar[str]

    @property
    @abc.abstractmethod
    def n_rows(self) -> int:
        """C, the number of calibration rows."""

    @property
    def smallest_p_value(self) -> float:
        """``1 / (C + 1)``, the p-value of a row that scores above all calibration rows."""
        return 1 / (self.n_rows + 1)

    @abc.abstractmethod
    def p_value(self, detector: Any, X: Any) -> np.ndarray:
        """P-values ``[N]``; see `Detector.p_value`."""

    @abc.abstractmethod
    def arrays(self) -> dict[str, Any]:
        """The calibration as nested arrays, for a file."""

    @classmethod
    @abc.abstractmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> "Calibration":
        """The inverse of ``arrays``."""


class Model(NamedTuple):
    """A model that was trained on a part of the rows.

    Attributes:
      scaler: the scaler of its training rows.
      params: parameters, with leaves ``[P, ...]`` for more than one member.
      stats: statistics, likewise.
      combination: combines the members' scores; see `ensemble`.
    """

    scaler: AffineScaler
    params: Any
    stats: Any
    combination: ensemble.Combination

    def score(self, detector: Any, rows: Rows) -> np.ndarray:
        """Scores ``[N]`` of unscaled rows."""
        model = detector.objective_, self.params, self.stats
        size = len(self.combination["shift"])
        with on_device(detector.device):
            scores = fitting.score(*model, rows.map(self.scaler), size, threads=detector.threads)
        return ensemble.combine(self.combination, scores)

    def arrays(self) -> dict[str, Any]:
        """The model as nested arrays."""
        scaler = {"shift": self.scaler.shift, "scale": self.scaler.scale}
        return self._asdict() | {"scaler": scaler}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> "Model":
        """The inverse of ``arrays``."""
        params, stats = jax.device_put((arrays["params"], arrays["stats"]))
        return cls(AffineScaler(**arrays["scaler"]), params, stats, arrays["combination"])


class SplitCalibration(Calibration):
    """Scores of normal rows that the detector was not trained on.

    Attributes:
      scores: ``[C]`` float64, ascending.
    """

    method = "split"

    def __init__(self, scores: np.ndarray):
        self.scores = scores

    @property
    def n_rows(self) -> int:
        """C, the number of calibration rows."""
        return len(self.scores)

    def p_value(self, detector: Any, X: Any) -> np.ndarray:
        """P-values ``[N]`` by `thresholds.conformal_p_values`."""
        return thresholds.p_values_from_sorted(self.scores, detector.anomaly_score(X))

    def arrays(self) -> dict[str, Any]:
        """The calibration as nested arrays, for a file."""
        return {"scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> "SplitCalibration":
        """The inverse of ``arrays``."""
        return cls(arrays["scores"])


class CrossCalibration(Calibration):
    """One model for each fold, with its scores of the fold it was not trained on.

    Attributes:
      models: K models.
      scores: K arrays of scores, float64, ascending.
    """

    method = "cross"

    def __init__(self, models: Sequence[Model], scores: Sequence[np.ndarray]):
        self.models, self.scores = list(models), list(scores)

    @property
    def n_rows(self) -> int:
        """C, the number of calibration rows of all folds."""
        return sum(map(len, self.scores))

    def p_value(self, detector: Any, X: Any) -> np.ndarray:
        """P-values ``[N]``: a calibration row counts if its fold's model scores it as high."""
        rows = _read_often(detector, X)
        higher = [
            len(ascending) - np.searchsorted(ascending, model.score(detector, rows), side="left")
            for model, ascending in zip(self.models, self.scores, strict=True)
        ]
        return (1 + np.sum(higher, axis=0)) / (self.n_rows + 1)

    def arrays(self) -> dict[str, Any]:
        """The calibration as nested arrays, for a file."""
        pairs = zip(self.models, self.scores, strict=True)
        return {str(k): model.arrays() | {"scores": own} for k, (model, own) in enumerate(pairs)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> "CrossCalibration":
        """The inverse of ``arrays``."""
        folds = [arrays[str(k)] for k in range(len(arrays))]
        return cls([Model.from_arrays(fold) for fold in folds], [fold["scores"] for fold in folds])


class JackknifeCalibration(Calibration):
    """Models of bootstrap samples; each row is scored by the average of those without it.

    Attributes:
      models: B models.
      out_of_bag: ``[B, C]`` whether a calibration row is not in a model's sample; every row is
        outside of at least one.
      scores: ``[C]`` average scores of the calibration rows by the models without them.
    """

    method = "jackknife+"

    def __init__(self, models: Sequence[Model], out_of_bag: np.ndarray, scores: np.ndarray):
        self.models, self.out_of_bag, self.scores = list(models), out_of_bag, scores

    @property
    def n_rows(self) -> int:
        """C, the number of calibration rows."""
        return len(self.scores)

    def p_value(self, detector: Any, X: Any) -> np.ndarray:
        """P-values ``[N]``: a calibration row counts if the models without it score it as high."""
        rows = _read_often(detector, X)
        scores = np.stack([model.score(detector, rows) for model in self.models])
        size = max(1, _BLOCK // self.n_rows)
        blocks = [scores[:, i : i + size] for i in range(0, scores.shape[1], size)]
        higher = [
            (self.scores >= _out_of_bag_mean(self.out_of_bag[:, None], block[:, :, None])).sum(-1)
            for block in blocks
        ]
        return (1 + np.concatenate(higher)) / (self.n_rows + 1)

    def arrays(self) -> dict[str, Any]:
        """The calibration as nested arrays, for a file."""
        models = {str(b): model.arrays() for b, model in enumerate(self.models)}
        return {"models": models, "out_of_bag": self.out_of_bag, "scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> "JackknifeCalibration":
        """The inverse of ``arrays``."""
        models = [Model.from_arrays(arrays["models"][str(b)]) for b in range(len(arrays["models"]))]
        return cls(models, arrays["out_of_bag"], arrays["scores"])


KINDS = {kind.method: kind for kind in (SplitCalibration, CrossCalibration, JackknifeCalibration)}


def of(detector: Any) -> Calibration:
    """The detector's calibration.

    Raises:
      ValueError: it has none; the message says how to get one.
    """
    calibration = getattr(detector, "calibration_", None)
    if calibration is None:
        raise ValueError(
            f"this {type(detector).__name__} is not calibrated: call detector.calibrate(X) with "
            "normal rows that it was not trained on, or fit with validation_fraction=0.2 and call "
            "detector.calibrate()"
        )
    return calibration


def calibrate(
    detector: Any, X: Any, y: Any, *, method: str, folds: int, bootstraps: int
) -> Calibration:
    """A calibration of a fitted detector, which stays unchanged; see `Detector.calibrate`."""
    check_choice("method", method, METHODS)
    if method == "split":
        return _split(detector, X, y)
    if X is None:
        raise ValueError(
            f"method={method!r} trains further models on normal rows: give the training rows as X"
        )
    if isinstance(X, Rows):
        raise ValueError(f"method={method!r} needs rows in memory, which a stream's are not")
    rows: Any = prepare.read(detector, X, y, reset=False)
    prepare.check_binary(detector, set(np.unique(rows.label).tolist()))
    normal, anomalies = np.flatnonzero(rows.label >= 0), np.flatnonzero(rows.label < 0)
    name, number = ("folds", folds) if method == "cross" else ("bootstraps", bootstraps)
    most = len(normal) if method == "cross" else math.inf
    number = int(Interval(2, most, "both", whole=True)(name, number))
    rng = np.random.default_rng(seed_from(detector.random_state))
    if method == "cross":
        return _cross(detector, rows, np.array_split(rng.permutation(normal), number), anomalies)
    return _jackknife(detector, rows, normal, anomalies, rng.choice(normal, (number, len(normal))))


def _split(detector: Any, X: Any, y: Any) -> SplitCalibration:
    if y is not None:
        raise ValueError("y was given with method='split': leave anomalies out of X instead")
    if X is not None:
        return SplitCalibration(np.sort(detector.anomaly_score(X)))
    scores = thresholding.held_out_scores(detector)
    if scores is None:
        raise ValueError(
            "there are no rows to calibrate on: give normal rows that were not trained on as X, "
            "fit with validation_fraction=0.2, or give the training rows as X with method='cross'"
        )
    return SplitCalibration(scores.copy())


def _cross(
    detector: Any, rows: ArrayRows, folds: Sequence[np.ndarray], anomalies: np.ndarray
) -> CrossCalibration:
    every = np.concatenate([*folds, anomalies])
    models = _trained(detector, rows, [np.setdiff1d(every, fold) for fold in folds])
    pairs = zip(models, folds, strict=True)
    scores = [np.sort(model.score(detector, rows.take(fold))) for model, fold in pairs]
    return CrossCalibration(models, scores)


def _jackknife(
    detector: Any, rows: ArrayRows, normal: np.ndarray, anomalies: np.ndarray, bags: np.ndarray
) -> JackknifeCalibration:
    out_of_bag = np.stack([~np.isin(normal, bag) for bag in bags])
    kept = out_of_bag.any(axis=0)
    if not kept.any():
        raise ValueError(
            f"each of {len(normal)} normal rows is in all {len(bags)} bootstrap samples: give more "
            "rows, or more bootstraps"
        )
    subsets = [np.concatenate([bag, anomalies]) for bag in bags]
    models = _trained(detector, rows, subsets, of_bootstraps=True)
    calibrated, out_of_bag = rows.take(normal[kept]), out_of_bag[:, kept]
    scores = np.stack([model.score(detector, calibrated) for model in models])
    return JackknifeCalibration(models, out_of_bag, _out_of_bag_mean(out_of_bag, scores))


def _out_of_bag_mean(out_of_bag: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Mean over models ``[B, ...]`` of the scores where ``out_of_bag``.

    It adds them in order, so that equal rows get bit-identical means and ties are seen.
    """
    values = (np.where(out, score, 0.0) for out, score in zip(out_of_bag, scores, strict=True))
    return reduce(np.add, values) / out_of_bag.sum(axis=0)


def _trained(
    detector: Any, rows: ArrayRows, subsets: Sequence[np.ndarray], *, of_bootstraps: bool = False
) -> list[Model]:
    """A model for each subset of the rows, all trained as one population.

    Models of bootstraps are single, since together they are an ensemble. Each standardises its
    scores by its training rows as the members of the detector's ensembles do.
    """
    copies, plans = [], []
    for subset in subsets:
        copy: Any = clone(detector)
        for name in ("n_features_in_", "feature_names_in_", "input_shape_"):
            if hasattr(detector, name):
                setattr(copy, name, getattr(detector, name))
        copy.diagnostics = ()
        if of_bootstraps:
            copy.n_members = copy._fewest_members
        copy._check_parameters()
        plans.append(prepare.plan_of_rows(copy, rows.take(subset), continues=False, sample=True))
        copies.append(copy)
    options = {"threads": detector.threads, "progress": bool(detector.verbose)}
    with on_device(detector.device):
        outcomes = fitting.fit(plans, population=True, **options)
    models = []
    for copy, plan, trained in zip(copies, plans, outcomes, strict=True):
        if trained is None:
            raise training.NonFiniteError(
                f"calibration model {len(models)} of {len(plans)} met steps that are not finite. "
                f"{fitting.REMEDY}"
            )
        copy.n_members_ = trained.result.size
        rule = copy._ensemble_rule if of_bootstraps else copy._rule()
        score: Any = trained.score
        combination = ensemble.fit_combination(rule, score[:, plan.reference_rows])
        result = trained.result
        models.append(Model(plan.scaler, result.params, result.stats, combination))
    return models


def _read_often(detector: Any, X: Any) -> Rows:
    """Checked rows that several models score."""
    rows = prepare.read(detector, X, reset=False, labelled=False)
    if rows.once:
        raise ValueError(
            "the p-values of several models pass over the rows several times, but this source can "
            "be read only once: give jaxad.data.stream a function that returns a fresh iterator"
        )
    return rows
