"""What the members of a population share and what each has of its own, as trees to map over."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.training.batching import as_rows, bucket, pad_rows
from jaxad.training.recipe import Recipe
from jaxad.typing import Array, Batch, Key


class Rows(NamedTuple):
    """A member's rows: those of ``data`` that ``index`` names.

    Attributes:
      data: padded.
      index: ``[size]`` row numbers, or None for all.
      count: how many are real, scalar; they come first.
    """

    data: Any
    index: Any
    count: Any

    def batch(self) -> Batch:
        """The rows, padded."""
        if self.index is None:
            return self.data
        x, label, weight = (leaf[self.index] for leaf in self.data[:3])
        real = jnp.arange(len(self.index)) < self.count
        return Batch(x, label, jnp.where(real, weight, 0), self.data.epoch)


class Member(NamedTuple):
    """All that one run needs. Of a population there are two: leaves ``[P, ...]`` that the members
    have of their own, and leaves that they share; each is None where the other has the value.
    """

    objective: Any
    recipe: Any
    key: Any
    rows: Any
    validation: Any


def join(own: Any, shared: Any) -> Any:
    """The whole of a member: its own leaves, and for those it has not the shared ones."""
    return jax.tree.map(
        lambda mine, ours: ours if mine is None else mine, own, shared, is_leaf=lambda v: v is None
    )


def split_members(
    objective: Any,
    recipe: Any,
    keys: Key,
    rows: Any,
    subsets: Sequence[Any] | None,
    validation: Any,
    validation_subsets: Sequence[Any] | None,
    initial: Any,
) -> tuple[Member, Member, int]:
    """Own leaves ``[P, ...]``, shared leaves, and P, from the arguments of `fit_population`.

    Raises:
      ValueError: as `fit_population` says.
    """
    if validation is None and validation_subsets is not None:
        validation = rows
    _check_keys(keys)
    own_rows, shared_rows = _rows("rows", rows, subsets)
    own_validation = shared_validation = None
    if validation is not None:
        own_validation, shared_validation = _rows("validation", validation, validation_subsets)
    lengths = axes_of(objective, "objective") | axes_of(recipe, "recipe")
    if keys.ndim:
        lengths["keys"] = len(keys)
    own = {"rows": own_rows, "validation": own_validation, "initial": initial}
    lengths |= leading_axes(own)
    size = only_length(lengths)
    if not keys.ndim:
        keys = jax.random.split(keys, size)
    recipes = spread(recipe, size)
    _check_recipes(recipe, recipes, size)
    own = Member(spread(objective, size), recipes, keys, own_rows, own_validation)
    without = jax.tree.map(lambda _: None, own._replace(key=None, rows=None, validation=None))
    return own, without._replace(rows=shared_rows, validation=shared_validation), size


def spread(tree: Any, size: int) -> Any:
    """Leaves ``[P, ...]`` float32 from one tree, whose leaves may be ``[P]``, or a list of P."""
    if _is_list(tree):
        leaves = [jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), one) for one in tree]
        return jax.tree.map(lambda *same: np.stack(same), *leaves)

    def one(leaf: Any) -> np.ndarray:
        values = np.asarray(leaf, np.float32)
        return values if values.ndim else np.full(size, values)

    return jax.tree.map(one, tree)


def _is_list(value: Any) -> bool:
    return type(value) in (list, tuple)  # a Batch is a tuple, too


def axes_of(tree: Any, name: str) -> dict[str, int]:
    """The length of every axis over members, by the name of what has it."""
    trees = tree if _is_list(tree) else [tree]
    for one in trees:
        _check_structure(one, name)
    if any(jax.tree.structure(one) != jax.tree.structure(trees[0]) for one in trees[1:]):
        raise ValueError(
            f"the {len(trees)} {name}s of the list differ in structure: only their numbers may "
            "differ between members; train one population for each structure"
        )
    if _is_list(tree):
        return {name: len(tree)}
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        what = name + jax.tree_util.keystr(path)
        if np.ndim(leaf) > 1:
            raise ValueError(
                f"{what} has shape {np.shape(leaf)}: give one number, or an array [P] with one "
                f"for each member, or a list of P {name}s"
            )
        if np.ndim(leaf) == 1:
            found[what] = len(leaf)
    return found


def _check_structure(tree: Any, name: str) -> None:
    for field in dataclasses.fields(tree) if dataclasses.is_dataclass(tree) else ():
        value = getattr(tree, field.name)
        structural = not field.metadata.get("pytree_node", True)
        if structural and isinstance(value, np.ndarray | jax.Array | list):
            raise ValueError(
                f"{name}.{field.name}={value!r} is structure, which all members share: only "
                "numbers may differ between members; train one population for each structure"
            )


def leading_axes(named: dict[str, Any]) -> dict[str, int]:
    """The length of every leaf ``[P, ...]``, by its path."""
    return {
        name + jax.tree_util.keystr(path): len(leaf)
        for name, tree in named.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _check_keys(keys: Any) -> None:
    dtype = getattr(keys, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key) or keys.ndim > 1:
        raise ValueError(
            f"keys={keys!r} is neither a typed key nor keys [P]: make them by "
            "jax.random.split(jax.random.key(0), 5)"
        )


def only_length(lengths: dict[str, int]) -> int:
    """P, from the lengths of all axes over members; a ValueError names those that differ."""
    if not lengths:
        raise ValueError(
            "nothing has an axis over members: give keys [P], such as "
            "jax.random.split(key, 5), or a number of objective or recipe as an array [P]"
        )
    if len(set(lengths.values())) > 1:
        first = {length: name for name, length in reversed(lengths.items())}
        told = ", ".join(f"{name} {length}" for length, name in reversed(first.items()))
        raise ValueError(f"axes over members differ in length: {told}. Give each the same P")
    (size,) = set(lengths.values())
    if size == 0:
        raise ValueError(f"{next(iter(lengths))} has length 0: a population needs a member")
    return size


def _check_recipes(given: Any, recipes: Any, size: int) -> None:
    if not _is_list(given) and not axes_of(given, "recipe"):
        given.check()
        return
    for p in range(size):
        one: Recipe = jax.tree.map(lambda leaf, p=p: float(leaf[p]), recipes)
        try:
            one.check()
        except ValueError as error:
            raise ValueError(f"member {p}: {error}") from None


def _batch(x: Any, label: Any, weight: Any, epoch: Any = None) -> Batch:
    """A `Batch` some of whose leaves may be None: another tree has them."""
    return Batch(x, label, weight, epoch)


def _rows(name: str, rows: Any, subsets: Sequence[Any] | None) -> tuple[Rows, Rows]:
    """What the members have of their own, and what they share."""
    if _is_list(rows):
        if subsets is not None:
            raise ValueError(f"subsets of {name} need shared rows, not a list of sets")
        return _own_sets(name, rows)
    label: Any = None
    weight: Any = None
    if isinstance(rows, Batch):
        rows, label, weight, _ = rows
    own_label = label if np.ndim(label) == 2 else None
    own_weight = weight if np.ndim(weight) == 2 else None
    data = as_rows(
        rows,
        None if own_label is not None else label,
        None if own_weight is not None else weight,
    )
    count = len(data.x)
    padded = pad_rows(data, bucket(count))
    own = _batch(
        None,
        _widen(name, own_label, count, np.int32),
        _widen(name, own_weight, count, np.float32),
    )
    padded = _batch(
        padded.x,
        padded.label if own_label is None else None,
        padded.weight if own_weight is None else None,
        padded.epoch,
    )
    if subsets is None:
        return Rows(own, None, None), Rows(padded, None, np.int32(count))
    index, counts = _index(name, subsets, count)
    return Rows(own, index, counts), Rows(padded, None, None)


def _widen(name: str, values: Any, count: int, dtype: Any) -> np.ndarray | None:
    """``[P, N]`` values of each member's own, padded with 0."""
    if values is None:
        return None
    values = np.asarray(values, dtype)
    if values.shape[1] != count:
        raise ValueError(f"{name}: values of shape {values.shape} for {count} rows: need [P, N]")
    return np.pad(values, ((0, 0), (0, bucket(count) - count)))


def _own_sets(name: str, sets: Sequence[Any]) -> tuple[Rows, Rows]:
    if not sets:
        raise ValueError(f"{name} is an empty list: give a set for each member")
    batches = [one if isinstance(one, Batch) else as_rows(one) for one in sets]
    batches = [as_rows(*batch[:3]) for batch in batches]
    shapes = {batch.x.shape[1:] for batch in batches}
    if len(shapes) > 1:
        raise ValueError(f"{name} have different shapes: {sorted(map(str, shapes))}")
    counts = np.asarray([len(batch.x) for batch in batches], np.int32)
    size = bucket(int(counts.max()))

    def stack(leaves: Sequence[Any]) -> np.ndarray:
        stacked = np.zeros((len(leaves), size, *leaves[0].shape[1:]), leaves[0].dtype)
        for place, leaf in zip(stacked, leaves, strict=True):
            place[: len(leaf)] = leaf
        return stacked

    x, label, weight = (stack([batch[i] for batch in batches]) for i in range(3))
    shared = _batch(None, None, None, np.float32(0))
    return Rows(_batch(x, label, weight), None, counts), Rows(shared, None, None)


def _index(name: str, subsets: Sequence[Any], count: int) -> tuple[np.ndarray, np.ndarray]:
    if len(subsets) == 0:
        raise ValueError(f"subsets of {name} is empty: give row numbers for each member")
    chosen = []
    for p, subset in enumerate(subsets):
        rows = np.asarray(subset)
        if rows.dtype == bool and rows.shape == (count,):
            rows = np.flatnonzero(rows)
        whole = rows.ndim == 1 and np.issubdtype(rows.dtype, np.integer) and len(rows) > 0
        if not whole or rows.min() < 0 or rows.max() >= count:
            raise ValueError(
                f"subset {p} of {name} must hold row numbers from 0 to {count - 1}, at least one "
                f"(or {count} booleans); got {subset!r:.60}"
            )
        chosen.append(rows)
    counts = np.asarray([len(rows) for rows in chosen], np.int32)
    index = np.zeros((len(chosen), bucket(int(counts.max()))), np.int32)
    for place, rows in zip(index, chosen, strict=True):
        place[: len(rows)] = rows
    return index, counts


def pad_members(tree: Any, parts: int) -> Any:
    """Repeat the last member until the members divide among ``parts`` devices."""

    def pad(leaf: Array) -> Array:
        missing = -len(leaf) % parts
        return leaf if missing == 0 else jnp.concatenate([leaf, jnp.repeat(leaf[-1:], missing, 0)])

    return jax.tree.map(pad, tree)
