"""The tables of detectors and objectives: files, suites, tests and documentation draw from them.

Classes enter themselves when they are defined: subclasses of `jaxad.Detector` and of
`jaxad.objectives.BaseObjective`.
"""

from typing import Any

DETECTORS: dict[str, Any] = {}
OBJECTIVES: dict[str, Any] = {}


def register(table: dict[str, Any], member: type) -> None:
    """Enter a class under its `name_of`; a class defined anew replaces the earlier one."""
    table[name_of(member)] = member


def name_of(member: type) -> str:
    """The name that stands in files: the class's own; outside of jaxad with its module."""
    if member.__module__.startswith("jaxad."):
        return member.__name__
    return f"{member.__module__}.{member.__qualname__}"


def named(table: dict[str, Any], name: Any) -> Any:
    """The class with this name.

    Raises:
      LookupError: there is none; the message says what to do.
    """
    if name in table:
        return table[name]
    module = str(name).rpartition(".")[0]
    remedy = f"import {module} first" if module else f"this jaxad knows {sorted(table)}"
    raise LookupError(f"holds a {name!r}, which is not known here: {remedy}")
