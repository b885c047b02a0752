"""What an objective must be, checked by tracing it once, before anything is compiled."""

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.precision import in_single_precision
from jaxad.training.batching import fewest_rows
from jaxad.typing import Batch

METHODS = {
    "init": "init(key, x) -> (params, stats)",
    "loss": "loss(params, stats, batch, key) -> (values [B], stats)",
    "score": "score(params, stats, x) -> [B]",
}
_ROWS = 3  # of the batch it is traced with
_checked: set[Any] = set()  # structures and shapes of rows


@in_single_precision
def check_objective(objective: Any, row: tuple[int, ...]) -> None:
    """Check an objective that holds code of the user's; jaxad's own are known to be right.

    Args:
      objective: the objective, or a list of equal structure.
      row: the shape of one row.

    Raises:
      TypeError: a method is missing or returns something else than it should, or a field of its
        structure is an array.
      ValueError: values or scores are not one for each row.
    """
    if type(objective) in (list, tuple):
        objective = objective[0]
    own = not any(_is_foreign(part) for part in _structure(objective))
    if own:
        return
    name = type(objective).__name__
    lacking = [how for method, how in METHODS.items() if not callable(_get(objective, method))]
    if _get(objective, "chunk") is None:
        lacking.append("chunk, the rows at a time in exact passes, such as 1024")
    if lacking:
        raise TypeError(
            f"the objective {name} lacks {'; '.join(lacking)}. See jaxad.typing.Objective; "
            "jaxad.objectives.BaseObjective is the base class to use"
        )
    for part in _structure(objective):
        _check_fields(part)
    mark = jax.tree.structure(objective), row
    if mark in _checked:
        return
    _trace(objective, name, row)
    _checked.add(mark)


def check_batch_size(objective: Any, batch_size: int, row: tuple[int, ...]) -> None:
    """Raise a ValueError if batches may have fewer rows than the objective needs.

    A last batch of too few rows shares those of the one before, which must suffice for both.

    Args:
      objective: the objective, or a list of equal structure.
      batch_size: rows of a batch.
      row: the shape of one row.
    """
    if type(objective) in (list, tuple):
        objective = objective[0]
    check_objective(objective, row)  # its `init` may be wrong
    needed = rows_needed(objective, row)
    if batch_size < 2 * needed - 1:
        raise ValueError(
            f"batch_size={batch_size} is too small: {type(objective).__name__} needs at least "
            f"{needed} rows in every batch, and so a batch_size of {2 * needed - 1}, because fewer "
            "have no spread to normalise them by, or to fit a mixture to. Raise batch_size, or use "
            "a network without batch normalisation"
        )


def rows_needed(objective: Any, row: tuple[int, ...]) -> int:
    """`fewest_rows` of an objective for rows of a shape; its numbers do not matter."""
    return _rows_needed(jax.tree.structure(objective), tuple(row))


@cache
@in_single_precision
def _rows_needed(structure: Any, row: tuple[int, ...]) -> int:
    objective = jax.tree.unflatten(structure, [np.float32(1)] * structure.num_leaves)
    if not hasattr(objective, "fewest_rows"):
        return 1
    key: Any = jax.eval_shape(lambda: jax.random.key(0))
    sample = jax.ShapeDtypeStruct((1, *row), jnp.float32)
    _, stats = jax.eval_shape(objective.init, key, sample)
    return fewest_rows(objective, stats)


def _check_fields(part: Any) -> None:
    for field in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
        fixed = not field.metadata.get("pytree_node", True)
        if fixed and isinstance(getattr(part, field.name), np.ndarray | jax.Array):
            raise TypeError(
                f"the field {field.name!r} of {type(part).__name__} is an array with "
                "pytree_node=False, but structure is compared: leave out pytree_node=False, or "
                "give a tuple"
            )


def _trace(objective: Any, name: str, row: tuple[int, ...]) -> None:
    scalar = jax.tree.map(lambda leaf: np.float32(np.ravel(leaf)[0]), objective)
    sample = jax.ShapeDtypeStruct((1, *row), jnp.float32)
    key: Any = jax.eval_shape(lambda: jax.random.key(0))  # making one would compile
    made: Any = jax.eval_shape(lambda o, k, x: o.init(k, x), scalar, key, sample)
    if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[1], dict):
        raise TypeError(
            f"{name}.init returned {_in_short(made)}, not parameters and a dict of statistics: "
            f"{METHODS['init']}"
        )
    x: Any = jax.ShapeDtypeStruct((_ROWS, *row), jnp.float32)
    label: Any = jax.ShapeDtypeStruct((_ROWS,), jnp.int32)
    weight: Any = jax.ShapeDtypeStruct((_ROWS,), jnp.float32)
    batch = Batch(x, label, weight, np.float32(0))
    for mode in (key, None):
        found: Any = jax.eval_shape(lambda o, *given: o.loss(*given), scalar, *made, batch, mode)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(f"{name}.loss returned {_in_short(found)}: {METHODS['loss']}")
        _check_values(f"{name}.loss", found[0], METHODS["loss"])
        if _shapes(found[1]) != _shapes(made[1]):
            raise TypeError(
                f"{name}.loss returned statistics of other names, shapes or types than "
                f"{name}.init: {_shapes(found[1])}, not {_shapes(made[1])}. A step must keep them"
            )
    scores = jax.eval_shape(lambda o, *given: o.score(*given), scalar, *made, x)
    _check_values(f"{name}.score", scores, METHODS["score"])


def _check_values(what: str, values: Any, how: str) -> None:
    if getattr(values, "shape", None) != (_ROWS,):
        raise ValueError(
            f"{what} returned {_in_short(values)} for a batch of {_ROWS} rows, but it returns one "
            f"value for each row: {how}"
        )


def _structure(objective: Any) -> Iterator[Any]:
    """The objective, its parts, and the functions among their fields."""
    yield objective
    for field in dataclasses.fields(objective) if dataclasses.is_dataclass(objective) else ():
        value = getattr(objective, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(one) or hasattr(one, "loss"):
                yield from _structure(one)
            elif callable(one):
                yield one


def _is_foreign(part: Any) -> bool:
    module = getattr(part, "__module__", None)
    module = module if isinstance(module, str) else type(part).__module__
    return not module.startswith(("jaxad.", "flax."))


def _get(objective: Any, name: str) -> Any:
    return getattr(objective, name, None)


def _shapes(tree: Any) -> dict[str, tuple]:
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path): (leaf.shape, str(leaf.dtype)) for path, leaf in leaves}


def _in_short(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_in_short, value))})"
    shape = getattr(value, "shape", None)
    return f"{value!r:.60}" if shape is None else f"an array of shape {shape}"
