"""Fit many detectors at once: lists of detectors, parameter sweeps, cross-validation.

Detectors of one structure train as one population, in one compiled program, on all devices
unless they name one.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import KFold, ParameterGrid, ParameterSampler
from sklearn.pipeline import Pipeline
from tqdm.auto import tqdm

from jaxad import metrics, training
from jaxad.data.protocols import as_marks
from jaxad.estimators import Detector, fitting, frames, prepare
from jaxad.estimators.devices import on_device
from jaxad.rows import Rows
from jaxad.training.history import last


def fit_many(
    detectors: Sequence[Detector],
    X: Any,
    y: Any = None,
    *,
    subsets: Sequence[Any] | None = None,
    mesh: Any = None,
    threads: int | None = None,
    checkpoints: Any = None,
    progress: bool = False,
) -> list[Detector]:
    """Fit detectors in place, those of one structure as one population.

    Every detector gets the result of its own ``fit``. Detectors of one population may differ in any
    number (rates, weights, epochs, seeds); other differences, such as widths or ``device``, need
    another one. If a detector's training fails (steps are not finite) it stays unfitted, with a
    warning.

    Args:
      detectors: the detectors.
      X: rows, as for ``fit``, in memory.
      y: labels, as for ``fit``.
      subsets: the row numbers of ``X`` that each detector is fitted on; None uses all rows.
      mesh: from `jaxad.training.make_mesh`, instead of the detectors' ``device``; None uses that
        or, where it is None too, all devices.
      threads: at most so many threads of a CPU share out the detectors; None: the smallest
        ``threads`` of a detector, or one for each core.
      checkpoints: as for ``fit``; every population has its own subfolder.
      progress: show a progress bar.

    Returns:
      The detectors, as a list.

    Raises:
      ValueError: as in ``fit``, or X is a stream; raised before anything is compiled.
      KeyboardInterrupt: Ctrl-C. The detectors in training are fitted with the epochs done.

    Example:
      >>> import jaxad, numpy as np
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> ensemble = [jaxad.DeepSVDD(epochs=2, random_state=seed) for seed in range(3)]
      >>> len(jaxad.fit_many(ensemble, x))
      3
    """
    if isinstance(X, Rows):
        raise ValueError(
            "a population trains on rows in memory: fit each detector on the stream by itself"
        )
    detectors = list(detectors)
    if subsets is not None and len(subsets) != len(detectors):
        raise ValueError(f"{len(subsets)} subsets for {len(detectors)} detectors: give one each")
    if threads is None:
        threads = min((d.threads for d in detectors if d.threads is not None), default=None)
    sets = [None] * len(detectors) if subsets is None else subsets
    plans: list[fitting.Plan] = []
    with ExitStack() as unchanged:
        for detector, rows in zip(detectors, sets, strict=True):
            unchanged.enter_context(prepare.unchanged_by_errors(detector))
            sample = rows is not None
            if sample:
                prepare.check_marks(detector, X, y)
            with on_device(detector.device):
                plan = prepare.plan(detector, *_taken(X, y, rows), checkpoints, sample=sample)
            plans.append(plan.sharing(plans[-1]) if plans else plan)
    populations: dict[Any, list[int]] = {}
    for i, (detector, plan) in enumerate(zip(detectors, plans, strict=True)):
        kind = type(detector), plan.run.structure, detector.device
        populations.setdefault(kind, []).append(i)
    hidden = not progress or len(populations) < 2
    for number, members in enumerate(
        tqdm(populations.values(), desc="populations", disable=hidden)
    ):
        interrupted = False
        device = detectors[members[0]].device if mesh is None else None
        with training.Stopwatch() as watch, on_device(device):
            try:
                trained = fitting.fit(
                    [plans[i] for i in members],
                    mesh=mesh,
                    threads=threads,
                    checkpoints=fitting.subfolder(checkpoints, f"population-{number}"),
                    progress=progress,
                    population=True,
                )
            except training.Interrupted as interrupt:
                trained, interrupted = interrupt.result, True
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
        if interrupted:
            raise KeyboardInterrupt(
                f"fit_many was interrupted in population {number + 1} of {len(populations)}: its "
                "detectors are fitted with the epochs done, later ones are not fitted"
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
    threads: int | None = None,
    checkpoints: Any = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Fit an estimator with every setting of a grid and several seeds, as one population.

    Args:
      estimator: the detector to vary; it stays unfitted.
      grid: values of each argument, by name; with ``n_iter`` also scipy distributions.
      X: rows, as for ``fit``, in memory.
      y: labels, as for ``fit``.
      test: ``(X, is_anomaly)``: rows for AUROC and average precision. They select nothing.
      folds: number of folds of a cross-validation, scored on the rows left out; excludes ``test``.
      is_anomaly: with ``folds``, marks ``[N]`` of the anomalies in ``X``, used only for scoring.
        Anomalies stay in the training folds.
      seeds: number of fits per setting, with ``random_state`` 0, 1, ...
      n_iter: number of random settings; None tries all settings.
      random_state: seed of the random settings and folds.
      mesh, threads, checkpoints, progress: as for `fit_many`.

    Returns:
      A table with one row per setting, seed and fold. Columns are the setting, ``seed``, ``fold``,
      ``loss`` (of the last epoch, averaged over members), ``validation_loss`` if rows are held out,
      ``auroc`` and ``average_precision`` (NaN unless both classes are present), and the fitted
      ``detector`` (None if its training failed).

    Raises:
      ValueError: the estimator lacks an argument of the grid, or the data are invalid.

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
    check_names(estimator, grid)
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds={seeds!r} is not a positive whole number")
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
    options = {"mesh": mesh, "threads": threads}
    options |= {"checkpoints": checkpoints, "progress": progress}
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
    """Cross-validated AUROC and average precision, with all folds and seeds as one population.

    Args:
      estimator: the detector; it stays unfitted.
      X: rows, as for ``fit``, in memory.
      is_anomaly: marks ``[N]`` of the anomalies in ``X``, used only for scoring.
      y: labels, as for ``fit``.
      folds: number of folds.
      **options: further arguments of `sweep`.

    Returns:
      A table with one row per seed and fold, see `sweep`.

    Raises:
      ValueError: as in `sweep`.

    Example:
      >>> import jaxad, numpy as np
      >>> x, is_anomaly = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 10 == 0
      >>> detector = jaxad.DeepSVDD(epochs=1, n_members=1)
      >>> len(jaxad.cross_val(detector, x, is_anomaly, folds=3, seeds=1, progress=False))
      3
    """
    return sweep(estimator, {}, X, y, folds=folds, is_anomaly=is_anomaly, **options)


def _taken(X: Any, y: Any, rows: Any) -> tuple[Any, Any]:
    if rows is None:
        return X, y
    return _rows(X, rows), None if y is None else _rows(y, rows)


def _rows(values: Any, rows: Any) -> Any:
    values = frames.as_pandas(values)
    return values.iloc[rows] if hasattr(values, "iloc") else np.asarray(values)[rows]


def _losses(detector: Any) -> dict[str, float]:
    history = detector.history_
    names = [name for name in ("loss", "validation_loss") if name in history]
    return {name: _last(history[name]) for name in names}


def _last(values: np.ndarray) -> float:
    """The value of the last epoch, averaged over members; NaN without epochs."""
    return float(np.mean(last(np.atleast_2d(values))))


def _quality(detector: Detector, X: Any, is_anomaly: Any) -> dict[str, float]:
    score, marks = detector.anomaly_score(X), as_marks(is_anomaly)
    return {
        "auroc": float(metrics.roc_auc(score, marks)),
        "average_precision": float(metrics.average_precision(score, marks)),
    }


def check_names(estimator: Detector, names: Iterable[str]) -> None:
    """Raise a ValueError unless the names are arguments of the estimator that may vary."""
    if not isinstance(estimator, Detector):
        remedy = "give a jaxad detector"
        if isinstance(estimator, Pipeline):
            remedy = (
                "detectors are trained as one population, so give the last step alone, "
                "pipeline[-1], and rows that the others have transformed, "
                "pipeline[:-1].fit_transform(X)"
            )
        raise TypeError(f"estimator is a {type(estimator).__name__}: {remedy}")
    known = estimator.get_params()
    for name in names:
        of_numbers = name.partition("__")[0] in estimator._numbers and "__" in name
        if not of_numbers and name not in known or name == "random_state":
            hint = "use seeds=" if name == "random_state" else f"it has {', '.join(sorted(known))}"
            raise ValueError(f"{type(estimator).__name__} cannot vary {name!r}: {hint}")


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
