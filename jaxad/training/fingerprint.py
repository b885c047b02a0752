"""What makes a run the one it is: its structure, its numbers, its key and its rows."""

import dataclasses
import hashlib
from typing import Any

import jax
import numpy as np

from jaxad.rows import Rows
from jaxad.training.digest import described, digest
from jaxad.training.processes import of_each
from jaxad.typing import Key

_MOST = 1000  # numbers of one leaf that are kept; of more, only their digest is


def fingerprint(
    objective: Any, recipe: Any, key: Key, *, joined: bool = False, **data: Any
) -> dict[str, Any]:
    """Names and values, as JSON holds them, that are equal for equal runs only.

    ``recipe.epochs`` is left out: a longer run goes on from a shorter one. Functions count by
    their name; two lambdas look the same.

    Args:
      objective: what for.
      recipe: how.
      key: the run's typed key, or keys ``[P]``.
      joined: whether several processes are one run, each with data of its own.
      **data: rows, and trees of arrays (initial parameters); their SHA-256 counts.

    Example:
      >>> import jax
      >>> from jaxad import training
      >>> found = fingerprint(None, training.Recipe(patience=3), jax.random.key(0))
      >>> found["recipe.patience"], found["key"]
      (3, [0, 0])
    """
    run = _describe("objective", objective) | _describe("recipe", recipe)
    run.pop("recipe.epochs", None)
    run["key"] = np.asarray(jax.random.key_data(key)).tolist()
    run["key's kind"] = str(jax.random.key_impl(key))
    trees = {k: v.identity if isinstance(v, Rows) else v for k, v in data.items()}
    digests = {name: digest(tree) for name, tree in trees.items()}
    return run | (_of_all(digests) if joined else digests)


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two fingerprints, in words."""
    told = []
    for name in saved | now:
        one, other = (str(run.get(name, "absent")) for run in (saved, now))
        if one != other:
            short = max(len(one), len(other)) < 60
            told.append(f"{name} was {one}, is {other}" if short else f"not the same {name}")
    return told


def _describe(name: str, value: Any) -> dict[str, Any]:
    """Every choice and number below ``value``, by its path."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        below = {f".{f.name}": getattr(value, f.name) for f in dataclasses.fields(value)}
    elif isinstance(value, dict):
        below = {f"[{k!r}]": v for k, v in value.items()}
    elif isinstance(value, list | tuple):
        below = {f"[{i}]": v for i, v in enumerate(value)}
    elif isinstance(value, bool | int | str | None):
        return {name: value}
    elif isinstance(value, float | np.ndarray | np.generic | jax.Array):
        return {name: _numbers(np.asarray(value))}
    else:
        return {name: described(value)}
    found = {name: type(value).__qualname__}
    for path, part in below.items():
        found |= _describe(name + path, part)
    return found


def _numbers(values: np.ndarray) -> Any:
    if values.size > _MOST or values.dtype.kind not in "fiub":
        return digest(values)
    if values.dtype == np.float32:  # in its own few digits instead of those of a float64
        return [float(str(v)) for v in values.ravel()] if values.ndim else float(str(values))
    return values.tolist()


def _of_all(digests: dict[str, str]) -> dict[str, str]:
    """The digest of what each process has, by name: the same in all."""
    own = [np.frombuffer(bytes.fromhex(one), np.uint8) for one in digests.values()]
    all_parts = np.ascontiguousarray(np.moveaxis(of_each(np.stack(own)), 0, 1))
    return {
        name: hashlib.sha256(parts).hexdigest()
        for name, parts in zip(digests, all_parts, strict=True)
    }
