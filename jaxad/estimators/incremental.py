"""``partial_fit``: one epoch after the other on rows that arrive over time."""

from typing import Any

import numpy as np

from jaxad import training
from jaxad.estimators import members, streaming
from jaxad.estimators.plan import Plan, Trained, starting_point
from jaxad.stream import Stream


def partial_fit(detector: Any, X: Any, y: Any) -> Any:
    """See `jaxad.estimators.Detector.partial_fit`."""
    if isinstance(X, Stream):
        streaming.check_labels_come_along(y)
        for x, label in streaming.frames(X):
            partial_fit(detector, x, label)
        return detector
    if detector.validation_fraction:
        raise ValueError(
            f"validation_fraction={detector.validation_fraction}: partial_fit trains on all rows "
            "it is given; set it to 0"
        )
    plan = detector._plan(X, y, going_on=hasattr(detector, "params_"))
    states = vars(detector).get("_states")
    before = {} if states is None else detector.history_
    first = None
    with training.Stopwatch() as watch:
        if states is None:
            begun = [_begin(member, bool(detector.verbose)) for member in plan.members()]
            states = [state for state, _ in begun]
            first = [history for _, history in begun if history is not None]
        stepped = [
            training.advance(plan.objective, plan.recipe, state, plan.rows) for state in states
        ]
        results = [_result(*one, watch) for one in stepped]
        trained = Trained(
            members.stacked(results), members.histories(first) if first else None, len(results)
        )
        score = trained.score(plan)
    history = trained.result.history
    trained = trained._replace(
        result=trained.result._replace(
            history={
                name: np.concatenate([before.get(name, values[..., :0]), values], axis=-1)
                for name, values in history.items()
            }
        )
    )
    detector.compile_seconds_ = watch.compile_seconds
    detector.fit_seconds_ = watch.run_seconds
    detector._adopt(plan, trained, score)
    detector._states = [state for state, *_ in stepped]
    return detector


def _begin(plan: Plan, progress: bool) -> tuple[training.State, dict[str, np.ndarray] | None]:
    initial, history = starting_point(plan, progress=progress)
    fitted = plan.initial is not None
    model = plan.objective, plan.recipe, plan.key
    return training.begin(*model, plan.rows, initial=initial, fitted=fitted), history


def _result(state: training.State, stats: Any, history: Any, watch: Any) -> training.Result:
    return training.Result(
        params=state.params,
        stats=stats,
        history=history,
        best_epoch=None,
        steps=int(state.step),
        skipped=int(state.skipped),
        compilations=watch.compilations,
        compile_seconds=watch.compile_seconds,
        run_seconds=watch.run_seconds,
    )
