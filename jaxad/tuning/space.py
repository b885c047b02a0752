"""Search spaces: what a trial may set, and how Optuna is told."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxad.estimators import Detector
from jaxad.search import check_names

Space = Callable[[Any], Any]


def as_function(space: Any, detector: Detector) -> Space:
    """The space as a function from a trial to arguments of the detector.

    Args:
      space: a mapping from names to Optuna distributions or lists of values, or a function.
      detector: the detector to vary.

    Raises:
      ValueError: the detector lacks an argument, or an entry is neither a distribution nor a list.
    """
    if callable(space):
        return space
    if not isinstance(space, Mapping) or not space:
        raise ValueError(
            f"space={space!r}: give a dict of Optuna distributions or lists of values by argument, "
            "or a function of a trial"
        )
    check_names(detector, space)
    for name, values in space.items():
        _check_entry(name, values)
    return lambda trial: {name: _suggested(trial, name, space[name]) for name in space}


def settings_of(space: Space, trial: Any, detector: Detector) -> dict[str, Any]:
    """The arguments that a trial chooses.

    Raises:
      ValueError: they are no dict, or the detector lacks one of them.
    """
    settings = space(trial)
    if not isinstance(settings, Mapping):
        raise ValueError(f"space returned {settings!r}: return a dict of arguments of the detector")
    check_names(detector, settings)
    return dict(settings)


def _check_entry(name: str, values: Any) -> None:
    import optuna

    if isinstance(values, optuna.distributions.BaseDistribution):
        return
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(
            f"space[{name!r}]={values!r}: give a list of values, or an Optuna distribution such "
            "as optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)"
        )


def _suggested(trial: Any, name: str, values: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, FloatDistribution):
        return trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)
    if isinstance(values, IntDistribution):
        return trial.suggest_int(name, values.low, values.high, step=values.step, log=values.log)
    choices = list(values.choices if isinstance(values, CategoricalDistribution) else values)
    # Optuna's storage holds plain values. Others, such as tuples, are stored as text.
    plain = all(value is None or isinstance(value, bool | int | float | str) for value in choices)
    names = choices if plain else [str(value) for value in choices]
    try:
        return choices[names.index(trial.suggest_categorical(name, names))]
    except ValueError as error:
        raise ValueError(
            f"space[{name!r}]={choices!r}: the study has another list from an earlier call: give "
            "that one, or another study_name"
        ) from error
