"""Contenders: a variant with one choice of its numbers."""

import hashlib
import json
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline

from jaxad.estimators import Detector
from jaxad.estimators.storage import NOT_WRITTEN, plain
from jaxad.registry import import_path
from jaxad.study.sets import Task


class Contender(NamedTuple):
    """A variant with one choice of its numbers.

    Attributes:
      variant: the variant's name.
      numbers: arguments that replace the variant's.
      given: a detector, or a function ``(task, seed)`` that makes one.
    """

    variant: str
    numbers: dict[str, Any]
    given: Any

    @property
    def text(self) -> str:
        """The numbers as JSON, ``{}`` without any."""
        return json.dumps({k: _readable(v) for k, v in self.numbers.items()}, sort_keys=True)

    @property
    def makes(self) -> bool:
        """Whether it is a function that sees the task, and so might see the test's labels."""
        return not hasattr(self.given, "fit")

    def detector(self, task: Task) -> Any:
        """A new detector for a task."""
        made: Any
        if self.makes:
            made = self.given(task, task.seed)
            if not hasattr(made, "fit"):
                raise TypeError(
                    f"variant {self.variant!r} returned {type(made).__name__}: a function that "
                    "makes a detector returns one with fit and anomaly_score or score_samples"
                )
        else:
            made = clone(self.given, safe=False)
        arguments = dict(self.numbers)
        seeded = "random_state"
        if isinstance(made, Pipeline):
            seeded = f"{made.steps[-1][0]}__random_state"
        if hasattr(made, "get_params") and seeded in made.get_params():
            arguments[seeded] = task.seed
        if arguments:
            made.set_params(**arguments)
        return made

    @property
    def configuration(self) -> str:
        """A short hash of everything that decides what it is."""
        arguments: Any = self.given
        if isinstance(self.given, BaseEstimator) and not self.makes:
            found = self.given.get_params(deep=True).items()
            arguments = {
                name: _described(value)
                for name, value in found
                if not hasattr(value, "get_params") and name not in ("steps", "transformer_list")
            }
        text = json.dumps(
            [_kind(self.given), _described(arguments), self.text], sort_keys=True, default=repr
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def contenders(variants: Mapping[str, Any], numbers: Mapping[str, Any] | None) -> list[Contender]:
    """Every variant with each choice of its numbers; see `jaxad.study.compare`.

    Raises:
      ValueError: numbers are of an unknown variant, or of an argument that it does not have.
      TypeError: a variant is no detector.
    """
    if not isinstance(variants, Mapping) or not variants:
        raise ValueError("variants is no mapping from names to detectors: give {'name': detector}")
    numbers = numbers or {}
    if unknown := set(numbers) - set(variants):
        raise ValueError(f"numbers are given for {sorted(unknown)}; variants: {sorted(variants)}")
    found = []
    for name, given in variants.items():
        if isinstance(given, type) or not (hasattr(given, "fit") or callable(given)):
            raise TypeError(
                f"variants[{name!r}]={given!r} is neither a detector nor a function (task, seed) "
                "that makes one"
            )
        for choice in _choices(name, numbers.get(name)):
            _check(name, given, choice)
            found.append(Contender(name, choice, given))
    return found


def _choices(name: str, given: Any) -> Iterable[dict[str, Any]]:
    if given is None:
        return [{}]
    if isinstance(given, Mapping):
        return list(ParameterGrid({k: list(v) for k, v in given.items()}))
    if isinstance(given, Sequence) and all(isinstance(choice, Mapping) for choice in given):
        return [dict(choice) for choice in given]
    raise ValueError(
        f"numbers[{name!r}]={given!r} is neither a grid {{'argument': [values]}} nor a list of "
        "{'argument': value}"
    )


def _check(name: str, given: Any, choice: Mapping[str, Any]) -> None:
    if not isinstance(given, Detector):
        return
    for argument in choice:
        whole = argument.partition("__")[0]
        if whole not in given.get_params(deep=False) or argument == "random_state":
            raise ValueError(
                f"numbers[{name!r}] has {argument!r}, which is no argument of "
                f"{type(given).__name__} that can be varied"
            )


def _kind(given: Any) -> str:
    return (
        _code(given) if callable(given) and not hasattr(given, "fit") else import_path(type(given))
    )


def _described(value: Any) -> Any:
    """``value`` as JSON; a function by its path and code."""
    if callable(value) and hasattr(value, "__code__"):
        return _code(value)
    found = plain(value)
    return _without_addresses(repr(value)) if found is NOT_WRITTEN else found


def _code(function: Callable) -> str:
    """A function's name, and a hash of its code."""
    code = getattr(function, "__code__", None)
    text = "" if code is None else repr((_inside(code), _values(function)))
    name = getattr(function, "__qualname__", repr(type(function)))
    return f"{name} {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _inside(code: Any) -> list[Any]:
    """What code does: its instructions, the names that it uses, and its constants."""
    constants = [
        _inside(one) if isinstance(one, types.CodeType) else _without_addresses(repr(one))
        for one in code.co_consts
    ]
    return [code.co_code, code.co_names, constants]


def _values(function: Any) -> list[Any]:
    """Defaults, and what a function holds of the function that it was defined in."""
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items(), *held]
    return [_without_addresses(repr(value)) for value in values]


def _without_addresses(text: str) -> str:
    return re.sub(" at 0x[0-9a-f]+", "", text)


def _readable(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return [_readable(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return _described(value)
