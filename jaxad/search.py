"""Many detectors at once: lists of them, searches over settings, cross-validation.

All detectors that share a structure train as one population, one compiled program on all devices.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import KFold, ParameterGrid, ParameterSampler
from tqdm import tqdm

from jaxad import metrics, training
from jaxad.data.protocols import as_marks
from jaxad.estimators import Detector, fitting, prepare
from jaxad.rows import Rows


def fit_many(
    detectors: Sequence[Detector],
    X: Any,
    y: Any = None,
    *,
    subsets: Sequence[Any] | None = None,
    mesh: Any = None,
    checkpoints: Any = None,
    progress: bool = False,
) -> list[Detector]:
    """Fit detectors, those of one structure as one population.

    Each becomes what its own ``fit`` would make it. They may differ in any number (rates, weights,
    epochs, seeds); other differences, such as widths, make another population. A detector whose
    training meets steps that are not finite is left unfitted, with a warning.

    Args:
      detectors: unfitted; fitted in place.
      X: rows, as for ``fit``.
      y: labels, as for ``fit``.
      subsets: for each detector the numbers of the rows of ``X`` it is fitted on; None: all.
      mesh: from `jaxad.training.make_mesh`; None: all devices.
      checkpoints: as for ``fit``; each population has a folder in theirs.
      progress: show a progress bar.

    Returns:
      The detectors.

    Raises:
      ValueError: as ``fit`` does, before anything is compiled.

    Example:
      >>> import jaxad, numpy as np
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> ensemble = [jaxad.DeepSVDD(epochs=2, random_state=seed) for seed in range(3)]
      >>> len(jaxad.fit_many(ensemble, x))
      3
    """
    detectors = list(detectors)
    if subsets is not None and len(subsets) != len(detectors):
        raise ValueError(f"{len(subsets)} subsets for {len(detectors)} detectors: give one each")
    sets = [None] * len(detectors) if subsets is None else subsets
    plans: list[fitting.Plan] = []
    for detector, rows in zip(detectors, sets, strict=True):
        plan = prepare.plan(detector, *_taken(X, y, rows), checkpoints)
        if not plan.rows.resident:
            raise ValueError(
                "a population trains on rows in memory: fit each detector on the stream by itself"
            )
        plans.append(plan.sharing(plans[-1]) if plans else plan)
    populations: dict[Any, list[int]] = {}
    for i, (detector, plan) in enumerate(zip(detectors, plans, strict=True)):
        populations.setdefault((type(detector), plan.run.structure), []).append(i)
    hidden = not progress or len(populations) < 2
    for number, members in enumerate(
        tqdm(populations.values(), desc="populations", disable=hidden)
    ):
        with training.Stopwatch() as watch:
            trained = fitting.fit(
                [plans[i] for i in members],
                mesh=mesh,
                checkpoints=fitting.subfolder(checkpoints, f"population-{number}"),
                progress=progress,
                population=True,
            )
        for i, one in zip(members, trained, strict=True):
            if one is not None:
                detectors[i]._adopt(plans[i], one, watch)
                continue
            detectors[i]._forget()
            warnings.warn(
                f"{detectors[i]} is left unfitted: its training met steps that are not finite. "
                f"{fitting.REMEDY}",
                RuntimeWarning,
                stacklevel=2,
            )
    return detectors


def sweep(
    estimator: Detector,
    grid: Mapping[str, Iterable[Any]],
    X: Any,
    y: Any = None,
    *,
    test: tuple[Any, Any] | None = None,
    folds: int | None = None,
    is_anomaly: Any = None,
    seeds: int = 5,
    n_iter: int | None = None,
    random_state: int = 0,
    mesh: Any = None,
    checkpoints: Any = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Fit an estimator with every setting of a grid and several seeds, as one population.

    Args:
      estimator: what to vary; stays unfitted.
      grid: argument -> values; with ``n_iter`` values may be scipy distributions.
      X: rows, as for ``fit``.
      y: labels, as for ``fit``.
      test: ``(X, is_anomaly)``: rows to report AUROC and average precision of. Nothing is chosen
        by them.
      folds: instead of ``test``: k-fold cross-validation, scored on the rows left out, of which
        ``is_anomaly`` tells the anomalies.
      is_anomaly: ``[N]`` marks of ``X`` to score by, with ``folds`` only. Training does not see
        them, and does see the anomalies among its rows.
      seeds: values 0, 1, ... of ``random_state`` for each setting.
      n_iter: draw as many settings at random instead of all.
      random_state: for that drawing and the folds.
      mesh: from `jaxad.training.make_mesh`; None: all devices.
      checkpoints: as for `fit_many`.
      progress: show a progress bar.

    Returns:
      A row for each setting, seed and fold: the setting, ``seed``, ``fold``, ``loss`` (of the last
      epoch; of an ensemble the mean), ``validation_loss`` if there is one, ``auroc`` and
      ``average_precision`` where they can be told, and the fitted ``detector`` (None where training
      failed).

    Raises:
      ValueError: an argument that the estimator does not have, or data that do not fit.

    Example:
      >>> import jaxad, numpy as np
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> grid = {"learning_rate": [1e-3, 1e-4]}
      >>> found = jaxad.sweep(jaxad.DeepSVDD(epochs=2), grid, x, seeds=2, progress=False)
      >>> found.groupby("learning_rate")["loss"].mean().shape
      (2,)
    """
    if isinstance(X, Rows):
        raise ValueError("sweep trains on rows in memory, which a stream's are not: give an array")
    _check_sweep(estimator, grid, seeds)
    _check_marks(len(X), test, folds, is_anomaly)
    settings = list(
        ParameterGrid(dict(grid))
        if n_iter is None
        else ParameterSampler(dict(grid), n_iter, random_state=random_state)
    )
    parts: list[tuple[Any, Any]] = [(None, None)]
    if folds is not None:
        split = KFold(folds, shuffle=True, random_state=random_state).split(np.arange(len(X)))
        parts = list(split)
    table, detectors, subsets = [], [], []
    for setting in settings:
        for seed in range(seeds):
            for fold, (train, _) in enumerate(parts):
                where = {} if folds is None else {"fold": fold}
                table.append({**setting, "seed": seed, **where})
                copy: Any = clone(estimator)
                detectors.append(copy.set_params(**setting, random_state=seed))
                subsets.append(train)
    options = {"mesh": mesh, "checkpoints": checkpoints, "progress": progress}
    fit_many(detectors, X, y, subsets=subsets if folds else None, **options)
    for row, detector in zip(table, detectors, strict=True):
        fitted = hasattr(detector, "params_")
        row |= _losses(detector) if fitted else {"loss": np.nan}
        if fitted and folds is not None:
            rows = parts[row["fold"]][1]
            row |= _quality(detector, _rows(X, rows), np.asarray(is_anomaly)[rows])
        elif fitted and test is not None:
            row |= _quality(detector, *test)
        row["detector"] = detector if fitted else None
    return pd.DataFrame(table)


def cross_val(
    estimator: Detector, X: Any, is_anomaly: Any, y: Any = None, *, folds: int = 5, **options: Any
) -> pd.DataFrame:
    """Cross-validated AUROC and average precision, all folds and seeds as one population.

    Args:
      estimator: stays unfitted.
      X: rows.
      is_anomaly: ``[N]`` which of them are anomalous, to score the rows left out by.
      y: labels for ``fit``.
      folds: how many.
      **options: of `sweep`.

    Returns:
      A row for each seed and fold, see `sweep`.
    """
    return sweep(estimator, {}, X, y, folds=folds, is_anomaly=is_anomaly, **options)


def _taken(X: Any, y: Any, rows: Any) -> tuple[Any, Any]:
    if rows is None:
        return X, y
    return _rows(X, rows), None if y is None else _rows(y, rows)


def _rows(values: Any, rows: Any) -> Any:
    return values.iloc[rows] if hasattr(values, "iloc") else np.asarray(values)[rows]


def _losses(detector: Any) -> dict[str, float]:
    history = detector.history_
    names = [name for name in ("loss", "validation_loss") if name in history]
    return {name: _last(history[name]) for name in names}


def _last(values: np.ndarray) -> float:
    """The last epoch's value, of an ensemble the mean of its members'; NaN without an epoch."""
    known = [member[~np.isnan(member)] for member in np.atleast_2d(values)]
    return float(np.mean([member[-1] if len(member) else np.nan for member in known]))


def _quality(detector: Detector, X: Any, is_anomaly: Any) -> dict[str, float]:
    score, marks = detector.anomaly_score(X), as_marks(is_anomaly)
    return {
        "auroc": float(metrics.roc_auc(score, marks)),
        "average_precision": float(metrics.average_precision(score, marks)),
    }


def _check_sweep(estimator: Detector, grid: Mapping[str, Any], seeds: Any) -> None:
    known = estimator.get_params()
    for name in grid:
        if name not in known or name == "random_state":
            hint = "use seeds=" if name == "random_state" else f"it has {', '.join(sorted(known))}"
            raise ValueError(f"{type(estimator).__name__} cannot vary {name!r}: {hint}")
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds={seeds!r} is not a positive whole number")


def _check_marks(count: int, test: Any, folds: int | None, is_anomaly: Any) -> None:
    if folds is not None and (is_anomaly is None or test is not None):
        raise ValueError("folds needs is_anomaly, the marks of X, and no test rows")
    if folds is None and is_anomaly is not None:
        raise ValueError("is_anomaly is for folds; give marks of test rows as test=(X, is_anomaly)")
    if test is not None or is_anomaly is not None:
        length, given = (count, is_anomaly) if test is None else (len(test[0]), test[1])
        marks = as_marks(given)
        if len(marks) != length:
            raise ValueError(f"is_anomaly has {len(marks)} marks for {length} rows: give one each")
