"""Registries of detectors and objectives, used by files, benchmarks, tests and documentation.

Subclasses of `jaxad.Detector` and `jaxad.objectives.BaseObjective` register themselves.
"""

from typing import Any

DETECTORS: dict[str, Any] = {}
OBJECTIVES: dict[str, Any] = {}


def register(table: dict[str, Any], kind: type) -> None:
    """Register a class under its `name_of`; a class with the same name is replaced."""
    table[name_of(kind)] = kind


def name_of(kind: type) -> str:
    """The name of a class in files; classes outside jaxad include their module."""
    if kind.__module__.startswith("jaxad."):
        return kind.__name__
    return f"{kind.__module__}.{kind.__qualname__}"


def named(table: dict[str, Any], name: Any) -> Any:
    """The class registered under ``name``.

    Raises:
      LookupError: the name is unknown; the message says what to do.
    """
    if name in table:
        return table[name]
    module = str(name).rpartition(".")[0]
    remedy = f"import {module} first" if module else f"this jaxad knows {sorted(table)}"
    if module == "__main__" or "<locals>" in module:
        remedy = "define its class first"
    raise LookupError(f"holds a {name!r}, which is not known here: {remedy}")
