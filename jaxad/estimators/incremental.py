"""Rows that arrive over time: training one more epoch on each call's rows."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jaxad import training
from jaxad.estimators import fitting, prepare
from jaxad.estimators.fitting import REMEDY, Plan, Run, Trained
from jaxad.rows import ArrayRows
from jaxad.training.history import joined

WINDOW = 2048  # statistics are fitted to so many rows at least, if the calls have brought them
ENOUGH = 256  # rows before the statistics of an earlier fit are given up


class Recent(NamedTuple):
    """The last rows that ``partial_fit`` was given.

    Attributes:
      rows: at most `WINDOW` scaled rows, the newest last.
      fitted: whether the detector's statistics were fitted to rows of ``partial_fit``, not of
        ``fit``.
    """

    rows: ArrayRows
    fitted: bool


def partial_fit(detector: Any, X: Any, y: Any) -> Any:
    """Train one more epoch on ``X``; see `jaxad.Detector.partial_fit`."""
    if detector.validation_fraction:
        raise ValueError(
            f"validation_fraction={detector.validation_fraction}: partial_fit trains on all rows "
            "it is given; set it to 0"
        )
    detector._check_parameters()
    rows = prepare.read(detector, X, y, reset=not detector.__sklearn_is_fitted__())
    for piece in rows.pieces():
        _advance(detector, piece)
    return detector


def _advance(detector: Any, rows: ArrayRows) -> None:
    """Train one epoch on rows in memory."""
    continues = detector.__sklearn_is_fitted__()
    plan = prepare.plan_of_rows(detector, rows, continues=continues, arriving=continues)
    before = detector.history_ if detector._state is not None else {}
    recent = _with(detector._recent, plan.rows)
    size = detector._recipe(len(rows.x)).batch_size  # the plan's is cut to the rows
    refits = not continues or recent.fitted or len(recent.rows.x) >= ENOUGH
    plan = plan._replace(rows=recent.rows, run=_slowed(plan.run, size) if continues else plan.run)
    with training.Stopwatch() as watch:
        state, pretrained = detector._state, None
        if state is None:
            state, pretrained = _begin(detector, plan)
        run = plan.run
        inputs = run.objective, run.recipe, state, run.rows
        options = {"statistics": recent.rows if refits else None, "threads": detector.threads}
        state, result = training.advance(*inputs, **options)
        result = result._replace(history=joined(before, result.history))
        score = None
        if refits:
            model = plan.objective, result.params, result.stats
            score = fitting.score(*model, recent.rows, result.size, threads=detector.threads)
            if not np.isfinite(score).all():
                raise training.NonFiniteError(
                    f"after this call some rows have scores that are not finite. {REMEDY}"
                )
        else:
            result = result._replace(stats=detector.stats_)
    detector._adopt(plan, Trained(result, pretrained, [], score), watch)
    detector._state = state
    detector._recent = Recent(_last(recent.rows), refits)


def _slowed(run: Run, batch_size: int) -> Run:
    """The run with a rate in proportion to its rows, if they are fewer than a batch.

    One row's gradient is noisy, and Adam's steps do not shrink with it. So all rows of a batch,
    given one by one, move the parameters about as far as the batch would.
    """
    share = len(run.rows.x) / batch_size
    if share >= 1:
        return run
    rate = run.recipe.learning_rate * share
    return run._replace(recipe=dataclasses.replace(run.recipe, learning_rate=rate))


def _begin(detector: Any, plan: Plan) -> tuple[Any, dict[str, np.ndarray] | None]:
    """The state of a run before its first step, and the history of its pretraining, or None."""
    run = plan.run
    options = {"threads": detector.threads, "progress": bool(detector.verbose)}
    initial, pretrained = fitting.initial_of(run, **options)
    inputs = run.objective, run.recipe, run.key, run.rows
    start = {"initial": initial, "fitted": run.initial is not None, "threads": detector.threads}
    state = training.begin(*inputs, **start)
    return state, None if pretrained is None else pretrained.history


def _with(recent: Recent | None, rows: Any) -> Recent:
    """The last rows with those of a new call: at least all of the new ones."""
    if recent is None:
        return Recent(rows, False)
    kept = min(len(recent.rows.x), max(0, WINDOW - len(rows.x)))
    pairs = zip(recent.rows.like[:3], rows.like[:3], strict=True)
    both = (np.concatenate([old[len(old) - kept :], new]) for old, new in pairs)
    return Recent(ArrayRows(*both), recent.fitted)


def _last(rows: ArrayRows) -> ArrayRows:
    """At most `WINDOW` rows, copied, so that a longer call's rows are not kept in memory."""
    leaves: Any = rows.like[:3]
    return ArrayRows(*(np.array(leaf[-WINDOW:]) for leaf in leaves))
