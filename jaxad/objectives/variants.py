"""Losses as arguments of objectives: pure functions whose arguments are matched by name."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jaxad.typing import Array


def check_loss(
    loss: Callable[..., Array],
    available: tuple[str, ...],
    numbers: dict[str, Any],
    *,
    needs: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Check that every argument of ``loss`` is available or given as a number.

    Args:
      loss: a function that returns ``[B]``, such as ``loss(distance, *, delta)``.
      available: names of the arguments that the objective can pass.
      numbers: arguments that the user gave by keyword.
      needs: the options that make further arguments available, by argument.

    Raises:
      TypeError: an argument is missing, or a number is not an argument of the loss.
    """
    parameters = inspect.signature(loss).parameters
    name = getattr(loss, "__name__", "the loss")
    unknown = set(numbers) - set(parameters)
    if unknown:
        raise TypeError(f"{name} takes no {sorted(unknown)}: it takes {list(parameters)}")
    missing = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.name not in available and p.name not in numbers
    ]
    if missing:
        options = "".join(f"; {p!r} is passed with {needs[p]}" for p in missing if p in needs)
        raise TypeError(
            f"{name} needs {missing}: give them by keyword, or name what the objective passes: "
            f"{list(available)}{options}"
        )


def call_loss(
    loss: Callable[..., Array], available: dict[str, Any], numbers: dict[str, Any]
) -> Array:
    """Call ``loss`` with the available arguments that it takes, and its numbers."""
    parameters = inspect.signature(loss).parameters
    return loss(**{k: v for k, v in available.items() if k in parameters} | numbers)
