"""A loss of the user's in a detector."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxad.estimators.base import Detector, argument
from jaxad.objectives.variants import COMPILED


def check_function(name: str, value: Any) -> Any:
    """Raise a TypeError unless ``value`` is None or a function."""
    if isinstance(value, COMPILED):
        raise TypeError(
            f"{name}={value!r} is a function of jax.jit, whose copies differ from it: give the "
            "function without jax.jit, since training compiles it"
        )
    if value is not None and not callable(value):
        raise TypeError(
            f"{name}={value!r} is neither None nor a function: give one that returns a value for "
            "each row, such as def pseudo_huber(distance, *, delta)"
        )
    return value


def check_numbers(name: str, value: Any) -> Any:
    """Raise an error unless ``value`` is None or a dict of single numbers."""
    if value is None:
        return value
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"{name}={value!r} is no dict of numbers by name: try {{'delta': 1.0}}")
    for key, number in value.items():
        if np.ndim(number) or np.asarray(number).dtype.kind not in "iuf":
            raise ValueError(
                f"{name}[{key!r}]={number!r} is not one number: to try several, use "
                f"jaxad.sweep(detector, {{'{name}__{key}': [...]}}, X)"
            )
    return value


class LossDetector(Detector, register=False):
    """A detector whose loss can be replaced.

    Args:
      loss: a function that returns one value for each row ``[B]``, or None for the paper's loss.
        Its arguments are matched by name with what the detector passes (see the detector) and with
        ``loss_numbers``.
      loss_numbers: numbers of the loss by name. Other values do not compile anew; a sweep names
        them ``loss_numbers__delta``.
    """

    loss: Callable[..., Any] | None = argument(None, check_function)
    loss_numbers: Mapping[str, float] | None = argument(None, check_numbers)

    _numbers = ("loss_numbers",)
    _passed = frozenset({"loss", "chunk"})  # names that cannot be numbers of a loss

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.loss is None and self.loss_numbers:
            raise ValueError(
                f"loss_numbers={self.loss_numbers!r} are numbers of loss=, which is None: give the "
                "loss, or leave them out"
            )
        if taken := sorted(self._passed & set(self.loss_numbers or {})):
            raise ValueError(
                f"loss_numbers={self.loss_numbers!r}: the detector passes {taken} itself, from its "
                "own arguments or statistics; give other names"
            )

    def _loss(self, otherwise: Callable[..., Any] | None) -> dict[str, Any]:
        """The loss and its numbers, as keywords of the functions in `jaxad.objectives`."""
        if self.loss is None:
            return {} if otherwise is None else {"loss": otherwise}
        return {"loss": self.loss, **(self.loss_numbers or {})}
