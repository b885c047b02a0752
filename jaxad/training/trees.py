"""Trees of arrays: digests, and conversion to named arrays that can be stored."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.typing import Array, PyTree


def digest(tree: PyTree) -> str:
    """SHA-256 of a tree's arrays and paths; of sharded arrays, only this process's part counts."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if is_key(leaf):
            leaf = jax.random.key_data(leaf)
        parts = [leaf]
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            replicated = leaf.is_fully_replicated
            parts = [s.data for s in leaf.addressable_shards[: 1 if replicated else None]]
        for values in map(np.asarray, parts):
            found.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape} ".encode())
            found.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def described(value: Any) -> str:
    """``repr`` without the addresses of functions, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed key or an array of typed keys."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def named(tree: Any) -> dict[str, Array]:
    """The leaves of a tree by path; typed keys become integer arrays."""
    return {
        jax.tree_util.keystr(path): jax.random.key_data(leaf) if is_key(leaf) else leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def renamed(like: Any, values: dict[str, Any]) -> Any:
    """The inverse of `named`: a tree like ``like``, in the same places, with these values."""

    def leaf(path: Any, like: Array) -> Array:
        value = values[jax.tree_util.keystr(path)]
        if is_key(like):
            value = _placed(value, jax.random.key_data(like))
            return jax.random.wrap_key_data(value, impl=jax.random.key_impl(like))
        return _placed(value, like)

    return jax.tree_util.tree_map_with_path(leaf, like)


def part(tree: PyTree, place: Any) -> PyTree:
    """The entries ``place`` of leaves ``[P, ...]``, on the host; typed keys stay typed keys."""

    def leaf(values: Any) -> Any:
        if is_key(values):
            data: Any = np.asarray(jax.random.key_data(values))[place]
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(values))
        return np.asarray(values)[place]

    return jax.tree.map(leaf, tree)


def merged(parts: Sequence[PyTree], places: Sequence[tuple[Any, int]], size: int) -> PyTree:
    """The inverse of `part`: leaves ``[size, ...]`` on the host.

    Args:
      parts: the trees, each either of one entry or of several.
      places: for each of them, its ``place`` and its number of entries; further ones repeat the
        last and are left out.
      size: the number of all entries.
    """

    def leaf(*values: Any) -> Any:
        if is_key(values[0]):
            data = leaf(*map(jax.random.key_data, values))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(values[0]))
        each = [np.asarray(one) for one in values]
        several = np.ndim(places[0][0]) > 0
        whole = np.empty((size, *each[0].shape[several:]), each[0].dtype)
        for one, (place, count) in zip(each, places, strict=True):
            if several:
                whole[place[:count]] = one[:count]
            else:
                whole[place] = one
        return whole

    return jax.tree.map(leaf, *parts)


def chosen(members: np.ndarray, new: PyTree, old: PyTree) -> PyTree:
    """The leaves of ``new`` for marked members, ``[P]`` or scalar, and of ``old`` for the others.

    Typed keys, which a run does not change, are those of ``old``.
    """
    shape = np.shape(members)

    def leaf(new: Any, old: Any) -> Any:
        if is_key(old):
            return old
        where: Any = jnp.where if isinstance(new, jax.Array) else np.where
        return where(np.reshape(members, shape + (1,) * (np.ndim(new) - len(shape))), new, old)

    return jax.tree.map(leaf, new, old)


def layout(leaves: dict[str, Array]) -> dict[str, list]:
    """Type and shape of each array, ready for JSON."""
    return {name: [leaf.dtype.name, *leaf.shape] for name, leaf in leaves.items()}


def storable(leaf: Array) -> np.ndarray:
    """The array on the host; types that files lack, such as bfloat16, become unsigned integers."""
    values = np.asarray(leaf)
    return values.view(f"u{values.dtype.itemsize}") if values.dtype.kind == "V" else values


def _placed(value: Any, like: Array) -> Array:
    """Put ``value`` where ``like`` is, with its sharding; another one would recompile."""
    if not isinstance(value, jax.Array):
        value = np.asarray(value).view(like.dtype)
    if not isinstance(like, jax.Array):
        return np.asarray(value)
    if like.committed:
        return jax.device_put(value, like.sharding)
    return jax.device_put(np.asarray(value))
