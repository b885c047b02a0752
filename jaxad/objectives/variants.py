"""Losses as arguments of objectives: pure functions whose arguments are matched by name."""

import inspect
import types
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from jaxad.typing import Array

COMPILED = type(jax.jit(lambda: 0))  # functions that jax.jit returns; they are equal to themselves


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
      TypeError: it is no plain function, an argument is missing, or a number is no argument of it.
      ValueError: a number is an array of several axes.
    """
    name = getattr(loss, "__name__", repr(loss))
    if not isinstance(loss, types.FunctionType) and not isinstance(loss, COMPILED):
        raise TypeError(
            f"loss={loss!r} is not a function defined by def or lambda: others, such as "
            "functools.partial, differ from their own copies and would be compiled anew for each "
            "fit. Define a function, and give its numbers by keyword"
        )
    parameters = inspect.signature(loss).parameters
    example = f"def {name.strip('<>')}({available[0]}, *, delta): ... -> [B]"
    unknown = set(numbers) - set(parameters)
    if unknown:
        raise TypeError(f"{name} takes no {sorted(unknown)}: it takes {list(parameters)}")
    missing = [
        p.name
        for p in parameters.values()
        if p.default is p.empty
        and p.kind is not p.VAR_KEYWORD
        and p.name not in available
        and p.name not in numbers
    ]
    if missing:
        options = "".join(f"; {p!r} is passed with {needs[p]}" for p in missing if p in needs)
        raise TypeError(
            f"{name} needs {missing}: give them by keyword, or name what the objective passes: "
            f"{list(available)}{options}. A loss looks like this: {example}"
        )
    for key, value in numbers.items():
        if np.ndim(value) > 1 or not np.issubdtype(np.result_type(value), np.number):
            raise ValueError(
                f"{key}={value!r} of {name}: give one number, or [P] of a population of P members"
            )


def call_loss(
    loss: Callable[..., Array], available: dict[str, Any], numbers: dict[str, Any]
) -> Array:
    """Call ``loss`` with the available arguments that it takes, and its numbers.

    Raises:
      TypeError: it cannot be traced.
      ValueError: it does not return one value for each row.
    """
    parameters = inspect.signature(loss).parameters
    given = {k: v for k, v in available.items() if k in parameters} | numbers
    rows = len(next(iter(available.values())))
    name = getattr(loss, "__name__", repr(loss))
    expected = f"{name}({', '.join(given)}) -> [{rows}]"
    try:
        values = loss(**given)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        raise TypeError(
            f"{name} cannot be compiled: it needs the values of arrays, as in `if distance > 1` or "
            "in a function of NumPy. Use jax.numpy, and jnp.where(distance > 1, a, b) in place of "
            f"if. Expected: {expected}"
        ) from error
    if np.shape(values) != (rows,):
        remedy = "leave the mean or sum over rows to training"
        if np.ndim(values) > 1:
            remedy = "sum or average over the other axes"
        raise ValueError(
            f"{name} returned shape {np.shape(values)} for a batch of {rows} rows, but a loss "
            f"returns one value for each: {remedy}. Expected: {expected}"
        )
    return values


def takes(loss: Callable[..., Array], name: str) -> bool:
    """Whether ``loss`` has an argument with this name."""
    return name in inspect.signature(loss).parameters
