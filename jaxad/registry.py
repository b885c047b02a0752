"""Registries of detectors, objectives and functions, which files name and benchmarks and tests use.

Subclasses of `jaxad.Detector` and `jaxad.objectives.BaseObjective` register themselves. A loss of
one's own registers with `register_loss`.
"""

import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

DETECTORS: dict[str, Any] = {}
OBJECTIVES: dict[str, Any] = {}
FUNCTIONS: dict[str, Callable] = {}
_F = TypeVar("_F", bound=Callable)
# Modules whose functions a file may name. Loading calls a function that makes objectives with
# numbers from the file, so no other function of jaxad's may be reached, least one that writes.
_NAMEABLE = ("jaxad.losses.", "jaxad.objectives.")


def register(table: dict[str, Any], kind: type) -> None:
    """Register a class under its `name_of`; a class with the same name is replaced.

    Example:
      >>> class Mine: ...
      >>> table = {}
      >>> register(table, Mine)
      >>> table[name_of(Mine)] is Mine
      True
    """
    table[name_of(kind)] = kind


def name_of(kind: type) -> str:
    """The name of a class in files; classes outside jaxad include their module.

    Example:
      >>> import jaxad
      >>> name_of(jaxad.DeepSVDD)
      'DeepSVDD'
    """
    if kind.__module__.startswith("jaxad."):
        return kind.__name__
    return import_path(kind)


def import_path(thing: Any) -> str:
    """Module and name of a class or function, such as ``jaxad.losses.sad.labelled_exponent``.

    Example:
      >>> from jaxad.losses import sad
      >>> import_path(sad.labelled_exponent)
      'jaxad.losses.sad.labelled_exponent'
    """
    return f"{thing.__module__}.{thing.__qualname__}"


def named(table: dict[str, Any], name: Any) -> Any:
    """The class registered under ``name``.

    Raises:
      LookupError: the name is unknown; the message says what to do.

    Example:
      >>> import jaxad
      >>> named(DETECTORS, "DeepSVDD") is jaxad.DeepSVDD
      True
    """
    if name in table:
        return table[name]
    module = str(name)[:200].rpartition(".")[0]
    remedy = f"import {module} first" if module else f"this jaxad knows {sorted(table)}"
    if module == "__main__" or "<locals>" in module:
        remedy = "define its class first"
    raise LookupError(f"holds a {name!r:.200}, which is not known here: {remedy}")


def register_loss(function: _F) -> _F:
    """Let files find a loss, or a function that makes objectives, by its import path.

    Files hold no code: they name the functions of a detector, and loading imports nothing. A
    function is known if it is jaxad's, was registered, or is passed to `jaxad.load`.

    Returns:
      The function, so that this is also a decorator.

    Example:
      >>> import jaxad
      >>> @jaxad.register_loss
      ... def root(distance):
      ...     return (distance + 1) ** 0.5
    """
    FUNCTIONS[import_path(function)] = function
    return function


def function_named(name: str, given: Mapping[str, Callable]) -> Callable:
    """The function with this import path.

    Args:
      name: the path.
      given: functions by their path, or by its last part.

    Raises:
      LookupError: the function is not known; the message says what to do.

    Example:
      >>> function_named("jaxad.losses.sad.labelled_exponent", {}).__name__
      'labelled_exponent'
    """
    short = name.rpartition(".")[2]
    for known in (given, FUNCTIONS):
        if name in known:
            return known[name]
    if short in given:
        return given[short]
    module = name.rpartition(".")[0]
    if module.startswith(_NAMEABLE):
        found = getattr(sys.modules.get(module), short, None)
        # A module of jaxad's also holds what it imports, which a file must not reach.
        if isinstance(found, types.FunctionType) and import_path(found) == name:
            return found
    raise LookupError(
        f"names the function {name!r}, which is not known here (files hold no code): pass "
        f'losses={{"{name}": function}} to jaxad.load, or decorate it with jaxad.register_loss '
        "before loading"
    )
