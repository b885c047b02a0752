"""``partial_fit``: one epoch after the other on rows that arrive over time."""

from typing import Any

import numpy as np

from jaxad import training
from jaxad.estimators import streaming
from jaxad.estimators.plan import Trained, starting_point
from jaxad.stream import Stream


def partial_fit(detector: Any, X: Any, y: Any) -> Any:
    """See `jaxad.estimators.Detector.partial_fit`."""
    if isinstance(X, Stream):
        if y is not None:
            raise ValueError(
                "y was given beside a stream: its labels come with it, see label= there"
            )
        for x, label in streaming.frames(X):
            partial_fit(detector, x, label)
        return detector
    if detector.validation_fraction:
        raise ValueError(
            f"validation_fraction={detector.validation_fraction}: partial_fit trains on all rows "
            "it is given; set it to 0"
        )
    going_on = hasattr(detector, "params_")
    plan = detector._plan(X, y, going_on=going_on)
    state = vars(detector).get("_state")
    before, pretrain_history = {}, None
    with training.Stopwatch() as watch:
        if state is None:
            initial, pretrain_history = starting_point(plan, progress=bool(detector.verbose))
            state = training.begin(
                plan.objective,
                plan.recipe,
                plan.key,
                plan.rows,
                initial=initial,
                fitted=going_on,
            )
        else:
            before = detector.history_
        state, stats, record = training.advance(plan.objective, plan.recipe, state, plan.rows)
        score = training.score(plan.objective, state.params, stats, plan.x)
    result = training.Result(
        params=state.params,
        stats=stats,
        history={k: np.concatenate([before.get(k, v[:0]), v]) for k, v in record.items()},
        best_epoch=None,
        steps=int(state.step),
        skipped=int(state.skipped),
        compilations=watch.compilations,
        compile_seconds=watch.compile_seconds,
        run_seconds=watch.run_seconds,
    )
    detector.compile_seconds_ = watch.compile_seconds
    detector.fit_seconds_ = watch.run_seconds
    detector._adopt(plan, Trained(result, pretrain_history), score.astype(np.float64))
    detector._state = state
    return detector
