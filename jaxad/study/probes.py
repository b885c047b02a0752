"""Probes: what is wrong with a variant, found out on one task before it is compared."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.estimators import Detector, prepare
from jaxad.estimators.fitting import key_from
from jaxad.estimators.scaling import fit_scaler
from jaxad.study import runs
from jaxad.study.contenders import Contender
from jaxad.study.populations import job, training_rows
from jaxad.study.sets import Task
from jaxad.training.members import per_member
from jaxad.typing import Batch

_ROWS = 64
_SAME = 1e-3  # of the scores' spread: what rounding may change


def wrong_with(contender: Contender, task: Task) -> tuple[str, ...]:
    """Codes for what is wrong with a contender; see `jaxad.study.compare`."""
    if isinstance(contender.given, Detector) and job(0, contender.given, lambda: task):
        return _of_objective(contender.detector(task), task)
    try:
        detector = contender.detector(task)
        scores = fitted_scores(detector, task)
        notes = [] if _row_wise(detector, task, scores) else [runs.SEES_ROWS]
        if contender.makes:
            again = fitted_scores(contender.detector(task), task)
            shuffled = task.with_labels_of_the_test_shuffled()
            other = fitted_scores(contender.detector(shuffled), shuffled)
            if not np.array_equal(scores, again):
                notes.append(runs.NOT_REPEATABLE)
            elif not np.array_equal(scores, other):
                notes.append(runs.SEES_LABELS)
    except Exception:  # what fails here fails in the comparison, where it is noted
        return ()
    return tuple(notes)


def fitted_scores(detector: Any, task: Task) -> np.ndarray:
    """Fit a detector to a task and score the test rows, ``[M]``."""
    rows, label = training_rows(detector, task)
    if label is None:
        detector.fit(rows)
    else:
        detector.fit(rows, label)
    return scores_of(detector, task.test)


def scores_of(detector: Any, x: np.ndarray) -> np.ndarray:
    """Scores ``[M]`` of a fitted detector, higher = more anomalous."""
    if hasattr(detector, "anomaly_score"):
        return np.asarray(detector.anomaly_score(x), np.float64)
    return -np.asarray(detector.score_samples(x), np.float64)


def _row_wise(detector: Any, task: Task, scores: np.ndarray) -> bool:
    # Both halves, because a score relative to the largest one is itself in the half that has it.
    halves = np.array_split(np.arange(len(scores))[::-1], 2)
    apart = np.concatenate([scores_of(detector, task.test[half]) for half in halves])
    return _alike(apart, scores[np.concatenate(halves)], np.ptp(scores))


def _alike(one: Any, other: Any, spread: float) -> bool:
    return bool(np.allclose(one, other, rtol=_SAME, atol=_SAME * spread, equal_nan=True))


def _of_objective(detector: Any, task: Task) -> tuple[str, ...]:
    """Whether its loss has a gradient, and its score looks at one row at a time."""
    try:
        rows: Any = prepare.read(detector, *training_rows(detector, task), reset=True)
        x = fit_scaler(detector.scaler, [rows.x], rows.shape)(rows.x)[:_ROWS]
    except (ValueError, TypeError):
        return ()
    objective = detector._full_objective(rows.shape, len(rows.x))
    numbers = jax.tree.map(lambda leaf: leaf[0], per_member(objective, 1))
    batch = Batch(jnp.asarray(x), jnp.asarray(rows.label[:_ROWS]), jnp.ones(len(x)))
    key = key_from(0)

    size, together, apart = jax.device_get(_probe(numbers, batch, key))
    notes = []
    if size == 0:
        notes.append(runs.NO_GRADIENT)
    if not _alike(together, apart, np.ptp(together)):
        notes.append(runs.SEES_ROWS)
    return tuple(notes)


@jax.jit  # numbers are leaves, so those of one variant share the program
def _probe(objective: Any, batch: Batch, key: Any) -> Any:
    """The size of the gradient, and scores of rows together and in halves, reversed."""
    params, stats = objective.init(jax.random.fold_in(key, 0), batch.x[:1])

    def mean(params: Any) -> Any:
        return jnp.mean(objective.loss(params, stats, batch, key)[0])

    gradient = jax.grad(mean)(params)
    size = sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient))
    together = objective.score(params, stats, batch.x)
    halves = batch.x[: len(batch.x) // 2], batch.x[len(batch.x) // 2 :]
    apart = [objective.score(params, stats, half[::-1])[::-1] for half in halves]
    return size, together, jnp.concatenate(apart)
