"""A user's loss in an objective: a pure function that names what it wants."""

import inspect
from collections.abc import Callable
from typing import Any

from jaxad.typing import Array


def check_loss(loss: Callable[..., Array], available: tuple[str, ...], numbers: dict) -> None:
    """Raise unless every argument of ``loss`` is available or given as a number.

    Args:
      loss: ``loss(distance, *, delta) -> [B]``, say: arguments are matched by name.
      available: what the objective can pass.
      numbers: what the user gave by keyword.

    Raises:
      TypeError: an argument of the loss is neither, or a number is not an argument.
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
        raise TypeError(
            f"{name} needs {missing}: give them by keyword, or name what the objective passes: "
            f"{list(available)}"
        )


def call_loss(loss: Callable[..., Array], available: dict[str, Any], numbers: dict) -> Array:
    """``loss`` of those available arguments it names, and its numbers."""
    parameters = inspect.signature(loss).parameters
    return loss(**{k: v for k, v in available.items() if k in parameters} | numbers)


def wants(loss: Callable[..., Array], name: str) -> bool:
    """Whether ``loss`` has an argument of this name."""
    return name in inspect.signature(loss).parameters
