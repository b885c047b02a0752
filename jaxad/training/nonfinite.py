"""Runs whose steps are not finite."""

from jaxad.training.engine import State
from jaxad.training.recipe import Recipe


class NonFiniteError(RuntimeError):
    """Training met steps that are not finite, one after the other."""


def raise_if_stuck(how: Recipe, state: State, before: State | None = None) -> None:
    """Raise a `NonFiniteError` where too many steps in a row, or all of them, were skipped.

    ``before``: the state from which on steps count for "all"; None: from the first one.
    """
    steps, skipped, streak = int(state.step), int(state.skipped), int(state.streak)
    none_done = skipped == steps
    if before is not None:
        none_done = skipped - int(before.skipped) == steps - int(before.step)
    if skipped and (streak >= float(how.max_skipped) or none_done):
        raise NonFiniteError(
            f"{streak} steps in a row had a loss or gradient that is not finite (step {steps} of "
            f"the run, learning_rate={float(how.learning_rate):g}). Lower learning_rate, set "
            "clip_norm (5 is a good start), or scale the inputs"
        )
