"""A detector of any objective."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxad import training
from jaxad.checks import check_labels, check_signs
from jaxad.estimators.base import Detector, argument
from jaxad.estimators.own_loss import check_function, check_numbers
from jaxad.training.recipe import RANGES

_OF_THE_RECIPE = ("batch_size", "learning_rate", "weight_decay", "milestones", "clip_norm")


def _check_recipe(name: str, value: Any) -> Any:
    """Raise an error unless ``value`` is None or a valid recipe."""
    if value is None:
        return value
    if not isinstance(value, training.Recipe):
        raise TypeError(f"{name}={value!r} is neither None nor a jaxad.training.Recipe")
    value.check()
    return value


class ObjectiveDetector(Detector):
    """A detector of an objective of your own: a paper in one function.

    An objective says what a network is trained for by ``init``, ``loss`` and ``score``, and where a
    method fits statistics without a gradient, ``prepare`` and ``finish``; see
    `jaxad.typing.Objective`. This class gives it all that a `Detector` has: ensembles, sweeps,
    fleets, streams, checkpoints, thresholds, explanations and files.

    Args:
      make_objective: a function ``(shape, **numbers) -> objective``, where ``shape`` is that of one
        row, such as ``(D,)``. Defined by ``def`` in a module, it can be saved by name.
      numbers: numbers for it, by name. A sweep names them ``numbers__delta``.
      recipe: a `jaxad.training.Recipe` with the optimizer, rate, epochs and more; None takes the
        arguments below. If it is given, leave those out.
      learning_rate: 1e-3.
      **others: the other arguments of `Detector`; see `DeepSVDD`, also for fitted attributes. ``y``
        of ``fit`` are labels as for `DeepSAD`; an objective reads them as ``batch.label``.

    Raises:
      TypeError: raised by ``fit`` if the objective lacks a method, or a method does not return what
        it should; the message shows the signature.

    Example:
      >>> import jaxad, numpy as np
      >>> from jaxad import networks, objectives
      >>> def exposed(shape, *, share):
      ...     return objectives.LOE(objectives.deep_sad(networks.MLP((16, 8))), share)
      >>> X = np.random.default_rng(0).normal(size=(200, 4))
      >>> how = {"epochs": 2, "random_state": 0}
      >>> detector = jaxad.ObjectiveDetector(exposed, numbers={"share": 0.1}, **how)
      >>> detector.fit(X).anomaly_score(X).shape
      (200,)
    """

    make_objective: Callable[..., Any] | None = argument(None, check_function, positional=True)
    numbers: Mapping[str, float] | None = argument(None, check_numbers)
    recipe: training.Recipe | None = argument(None, _check_recipe)
    learning_rate: float = argument(1e-3, RANGES["learning_rate"])

    _numbers = ("numbers",)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.make_objective is None:
            raise ValueError(
                "make_objective=None: give a function (shape, **numbers) -> objective, for rows of "
                "a shape such as (D,)"
            )
        if self.recipe is None:
            return
        kind: Any = type(self)
        defaults = kind(make_objective=self.make_objective)
        for name in (*_OF_THE_RECIPE, "epochs", "patience"):
            if getattr(self, name) != getattr(defaults, name):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is given beside a recipe, which has its own: "
                    "leave one of them out"
                )

    def _objective(self, shape: tuple[int, ...], count: int) -> Any:
        del count
        assert self.make_objective is not None
        numbers = self.numbers or {}
        self._check_taken(shape, numbers)
        made = self.make_objective(shape, **numbers)
        again = self.make_objective(shape, **numbers)
        if jax.tree.structure(made) != jax.tree.structure(again):
            name = getattr(self.make_objective, "__name__", "make_objective")
            raise TypeError(
                f"{name}{shape} makes an objective of another structure each time it is called, so "
                "every fit would be compiled anew: define the functions and networks that its "
                "objective holds outside of it, or give them equality (Flax modules have it)"
            )
        return made

    def _check_taken(self, shape: tuple[int, ...], numbers: Mapping[str, float]) -> None:
        """Raise a TypeError unless ``make_objective`` takes these numbers."""
        assert self.make_objective is not None
        try:
            signature = inspect.signature(self.make_objective)
        except ValueError:  # a builtin
            return
        try:
            signature.bind(shape, **numbers)
        except TypeError as error:
            name = getattr(self.make_objective, "__name__", "make_objective")
            raise TypeError(
                f"numbers={self.numbers!r}: {error}. {name}{signature} is called with the "
                "shape of a row and these numbers: give those that it takes"
            ) from None

    def _recipe(self, rows: int) -> training.Recipe:
        if self.recipe is None:
            return super()._recipe(rows)
        diagnostics = self.diagnostics or self.recipe.diagnostics
        return dataclasses.replace(self.recipe, diagnostics=diagnostics)

    def _labels(self, y: Any, count: int) -> np.ndarray:
        return np.zeros(count, np.int32) if y is None else check_labels(y, count)

    def _check_marks(self, labels: set[int]) -> None:
        check_signs(labels)

    def _takes_images(self, X: Any) -> bool:
        if hasattr(X, "shape"):
            return len(X.shape) > 2
        return isinstance(X, list | tuple) and np.ndim(X) > 2
