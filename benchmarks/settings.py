"""A suite's settings: its defaults, overlaid by a TOML file, overlaid by the command line."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any


class OptionError(ValueError):
    """Something that was asked for does not exist; the message names what does."""


@dataclass(frozen=True)
class Options:
    """What a suite is run with.

    ``settings`` holds every key of its ``DEFAULTS``. The folder ``out`` is made with the first row;
    ``threads`` are the processor cores the run was confined to, or None.
    """

    suite: str
    out: Path
    settings: Mapping[str, Any]
    threads: int | None = None


def check_known(kind: str, names: Sequence[str], valid: Sequence[str]) -> None:
    """Raise `OptionError` for the first of ``names`` that is not in ``valid``."""
    for name in names:
        if name not in valid:
            raise OptionError(f"unknown {kind} {name!r}; valid: {', '.join(valid)}")


def read_config(path: Path) -> dict[str, Any]:
    """The contents of a TOML file: ``suite`` and settings of that suite."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise OptionError(f"cannot read config {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"config {path} is not TOML: {error}") from error


def resolve(suite: ModuleType, given: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's ``DEFAULTS`` overlaid by settings from a file or the command line.

    An `OptionError` names an unknown setting, a value of another type or an unknown name in a list.
    """
    check_known("setting", list(given), list(suite.DEFAULTS))
    settings = dict(suite.DEFAULTS)
    for key, value in given.items():
        wanted, fits = _rule(key, suite.DEFAULTS[key])
        if not fits(value):
            raise OptionError(f"setting {key!r} must be {wanted}, not {value!r}")
        settings[key] = tuple(value) if isinstance(value, list) else value
    for key, valid in suite.CHOICES.items():
        check_known(key.removesuffix("s"), settings[key], list(valid))
    return settings


def _rule(key: str, default: Any) -> tuple[str, Callable[[Any], bool]]:
    """What a setting with this default may be, in words and as a test."""
    if key == "effort":
        wanted = 'at least 1 and at most 100 (per cent of the papers\' epochs), or "auto"'
        return wanted, lambda v: v == "auto" or _whole(v) and 1 <= v <= 100
    if isinstance(default, dict):
        return "a table", lambda v: isinstance(v, dict)
    if isinstance(default, bool):
        return "true or false", lambda v: isinstance(v, bool)
    if default == "auto":
        return 'a whole number or "auto"', lambda v: v == "auto" or _whole(v) and v >= 0
    if isinstance(default, int):
        return "a whole number, at least 1", lambda v: _whole(v) and v >= 1
    if isinstance(default, float):
        return "a number, at least 0", lambda v: (_whole(v) or isinstance(v, float)) and v >= 0
    return "a list of names", lambda v: isinstance(v, list | tuple) and len(v) > 0


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
