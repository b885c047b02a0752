"""The members of a population: which arrays each one owns and which they share."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.rows import ArrayRows, Rows, as_rows, bucket, pad_rows
from jaxad.training.contract import check_batch_size
from jaxad.training.diagnostics import check_diagnostics
from jaxad.training.recipe import Recipe
from jaxad.typing import Key


class Subset(NamedTuple):
    """The rows of one member: a selection of ``data``.

    Attributes:
      index: ``[size]`` row numbers, or None for all rows.
      data: padded rows; ``count`` is the number of real rows of the subset, which come first.
    """

    index: Any
    data: ArrayRows

    def selected(self) -> ArrayRows:
        """The selected rows, padded."""
        if self.index is None:
            return self.data
        x, label, weight = (leaf[self.index] for leaf in self.data.like[:3])
        real = jnp.arange(len(self.index)) < self.data.count
        return ArrayRows(x, label, jnp.where(real, weight, 0), self.data.count)

    def trimmed(self) -> "Subset":
        """The same rows of a member, or of several, with no more padding than they need.

        Rows, labels and weights that the members share keep theirs.
        """
        if self.data.count is None:
            return self
        size = bucket(int(np.max(self.data.count)))
        if self.index is not None:
            return self._replace(index=self.index[..., :size])
        if self.data.x is None:
            return self
        axis = np.ndim(self.data.count)
        x = self.data.x[(slice(None),) * axis + (slice(size),)]
        label, weight = self.data.label[..., :size], self.data.weight[..., :size]
        return self._replace(data=dataclasses.replace(self.data, x=x, label=label, weight=weight))


class Member(NamedTuple):
    """The inputs of one run.

    A population holds two: one with the members' own leaves ``[P, ...]``, one with shared leaves. A
    leaf that is None in one is set in the other.

    Attributes:
      objective: the objective.
      recipe: the recipe.
      key: the run's key.
      rows: a `Subset` to train on, or None for a stream.
      validation: a `Subset` for the validation loss, or None.
      sample: ``[1, ...]`` a row, for its shape.
    """

    objective: Any = None
    recipe: Any = None
    key: Any = None
    rows: Any = None
    validation: Any = None
    sample: Any = None


def join(own: Any, shared: Any) -> Any:
    """A complete member: its own leaves, with shared leaves in place of None."""
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
    """The members' own leaves ``[P, ...]``, their shared leaves, and P.

    See `fit_population` for arguments and errors.
    """
    if validation is None and validation_subsets is not None:
        validation = rows
    _check_keys(keys)
    own_rows, shared_rows = _subsets("rows", rows, subsets)
    own_validation = shared_validation = None
    if validation is not None:
        own_validation, shared_validation = _subsets("validation", validation, validation_subsets)
    lengths = member_axes(objective, "objective") | member_axes(recipe, "recipe")
    if keys.ndim:
        lengths["keys"] = len(keys)
    own = {"rows": own_rows, "validation": own_validation, "initial": initial}
    lengths |= leading_axes(own)
    size = population_size(lengths)
    if not keys.ndim:
        keys = jax.random.split(keys, size)
    _check_recipes(recipe, size)
    recipes = per_member(recipe, size)
    own = Member(per_member(objective, size), recipes, keys, own_rows, own_validation)
    no_objective, no_recipe = jax.tree.map(lambda _: None, (own.objective, own.recipe))
    shared = Member(no_objective, no_recipe, None, shared_rows, shared_validation)
    if _is_list(rows):
        row = own_rows.data.x.shape[2:]
        own = own._replace(sample=own_rows.data.x[:, :1])
    else:
        row = as_rows(rows).shape
        shared = shared._replace(sample=np.zeros((1, *row), np.float32))
    check_batch_size(own.objective, own.recipe.batch_size, row)
    check_diagnostics(own.objective, own.recipe, row)
    return own, shared, size


def per_member(tree: Any, size: int) -> Any:
    """Float32 leaves ``[P]`` from a list of P trees, or from one tree with numbers or ``[P]``."""
    if _is_list(tree):
        leaves = [jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), one) for one in tree]
        return jax.tree.map(lambda *same: np.stack(same), *leaves)

    def one(leaf: Any) -> np.ndarray:
        values = np.asarray(leaf, np.float32)
        return values if values.ndim else np.full(size, values)

    return jax.tree.map(one, tree)


def _is_list(value: Any) -> bool:
    return type(value) in (list, tuple)


def member_axes(tree: Any, name: str) -> dict[str, int]:
    """The length of every axis over members in objectives or recipes, by its path."""
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
        place = name + jax.tree_util.keystr(path)
        if np.ndim(leaf) > 1:
            raise ValueError(
                f"{place} has shape {np.shape(leaf)}: give one number, or an array [P] with one "
                f"for each member, or a list of P {name}s"
            )
        if np.ndim(leaf) == 1:
            found[place] = len(leaf)
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


def check_key(key: Any) -> None:
    """Raise a TypeError unless ``key`` is one typed key."""
    if not _is_typed(key) or key.ndim:
        raise TypeError(f"key={key!r:.60} is not a typed key: make one by jax.random.key(0)")


def _is_typed(keys: Any) -> bool:
    dtype = getattr(keys, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _check_keys(keys: Any) -> None:
    if not _is_typed(keys) or keys.ndim > 1:
        raise ValueError(
            f"keys={keys!r} is neither a typed key nor keys [P]: make them by "
            "jax.random.split(jax.random.key(0), 5)"
        )


def population_size(lengths: dict[str, int]) -> int:
    """P, from the lengths of all axes over members; a ValueError names those that differ."""
    if not lengths:
        raise ValueError(
            "nothing has an axis over members: give keys [P], such as "
            "jax.random.split(key, 5), or a number of objective or recipe as an array [P]"
        )
    if len(set(lengths.values())) > 1:
        first = {length: name for name, length in reversed(lengths.items())}
        listing = ", ".join(f"{name} {length}" for length, name in reversed(first.items()))
        raise ValueError(f"axes over members differ in length: {listing}. Give each the same P")
    (size,) = set(lengths.values())
    if size == 0:
        raise ValueError(f"{next(iter(lengths))} has length 0: a population needs a member")
    return size


def _check_recipes(given: Any, size: int) -> None:
    """Check the recipe that all members share, or every member's own."""
    listed = _is_list(given)
    if not listed and not member_axes(given, "recipe"):
        given.check()
        return
    for p in range(size):
        one: Recipe = given[p] if listed else jax.tree.map(lambda leaf, p=p: _of(leaf, p), given)
        try:
            one.check()
        except (TypeError, ValueError) as error:
            raise type(error)(f"member {p}: {error}") from None


def _of(leaf: Any, p: int) -> Any:
    """A member's value of a leaf that may be shared."""
    return leaf if np.ndim(leaf) == 0 else leaf[p]


def check_resident(name: str, rows: Rows) -> None:
    """Raise a ValueError if the rows are streamed."""
    if not rows.resident:
        raise ValueError(f"{name} is a stream: its loss needs rows in memory; give an array")


def _subsets(name: str, rows: Any, subsets: Sequence[Any] | None) -> tuple[Any, Any]:
    """The members' own rows, and their shared rows."""
    if _is_list(rows):
        if subsets is not None:
            raise ValueError(f"subsets of {name} need shared rows, not a list of sets")
        return _own_sets(name, rows)
    data = as_rows(rows)
    if name == "validation":
        check_resident(name, data)
    if not data.resident:
        if subsets is not None:
            raise ValueError(f"subsets of {name} need rows in memory, not a stream")
        return None, None
    count, size = len(data.x), bucket(len(data.x))
    own_label = _pad_members(name, data.label, count, size)
    own_weight = _pad_members(name, data.weight, count, size)
    padded = dataclasses.replace(
        data,
        label=data.label if own_label is None else np.zeros(count, np.int32),
        weight=data.weight if own_weight is None else np.zeros(count, np.float32),
    ).padded(size)
    index = counts = None
    if subsets is not None:
        index, counts = _index(name, subsets, count)
    shared = ArrayRows(
        padded.x,
        padded.label if own_label is None else None,
        padded.weight if own_weight is None else None,
        padded.count if counts is None else None,
    )
    return Subset(index, ArrayRows(None, own_label, own_weight, counts)), Subset(None, shared)


def _pad_members(name: str, values: Any, count: int, size: int) -> np.ndarray | None:
    """Values ``[P, N]`` padded with 0 to ``[P, size]``; None for shared values ``[N]``."""
    if np.ndim(values) < 2:
        return None
    if values.shape[1] != count:
        raise ValueError(f"{name}: values of shape {values.shape} for {count} rows: need [P, N]")
    return np.pad(values, ((0, 0), (0, size - count)))


def _own_sets(name: str, sets: Sequence[Any]) -> tuple[Subset, Subset]:
    if not sets:
        raise ValueError(f"{name} is an empty list: give a set for each member")
    each = [as_rows(one) for one in sets]
    shapes = {rows.shape for rows in each}
    if len(shapes) > 1:
        raise ValueError(f"{name} have different shapes: {sorted(map(str, shapes))}")
    own = stacked(each, bucket(max(len(rows.x) for rows in each)))
    return Subset(None, own), Subset(None, ArrayRows(None, None, None))


def stacked(sets: Sequence[ArrayRows], size: int) -> ArrayRows:
    """Sets of rows of one shape as leaves ``[P, size, ...]``, padded by `pad_rows`."""
    padded = [[pad_rows(leaf, size) for leaf in rows.like[:3]] for rows in sets]
    x, label, weight = map(np.stack, zip(*padded, strict=True))
    return ArrayRows(x, label, weight, np.asarray([len(rows.x) for rows in sets], np.int32))


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
    size = bucket(int(counts.max()))
    padded = [np.pad(rows, (0, size - len(rows)), constant_values=rows[0]) for rows in chosen]
    return np.stack(padded).astype(np.int32), counts
