"""Trees of arrays: digests that tell them apart, and names under which they are stored."""

import hashlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.typing import Array, PyTree


def digest(tree: PyTree) -> str:
    """SHA-256 of all arrays of a tree and their paths, or of this process's parts of them."""
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
    """``repr`` without the addresses of functions, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def is_key(leaf: Any) -> bool:
    """Whether it is a typed key or an array of them."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def named(tree: Any) -> dict[str, Array]:
    """The leaves of a tree by their paths; typed keys become plain numbers."""
    return {
        jax.tree_util.keystr(path): jax.random.key_data(leaf) if is_key(leaf) else leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def renamed(like: Any, values: dict[str, Any]) -> Any:
    """A tree like ``like``, on the same devices, from values under the names that `named` gives."""

    def leaf(path: Any, like: Array) -> Array:
        value = values[jax.tree_util.keystr(path)]
        if is_key(like):
            value = _placed(value, jax.random.key_data(like))
            return jax.random.wrap_key_data(value, impl=jax.random.key_impl(like))
        return _placed(value, like)

    return jax.tree_util.tree_map_with_path(leaf, like)


def layout(leaves: dict[str, Array]) -> dict[str, list]:
    """Type and shape of each array, as JSON holds them."""
    return {name: [leaf.dtype.name, *leaf.shape] for name, leaf in leaves.items()}


def storable(leaf: Array) -> np.ndarray:
    """The array on the host, in a type that files have: bfloat16 and the like as their bits."""
    values = np.asarray(leaf)
    return values.view(f"u{values.dtype.itemsize}") if values.dtype.kind == "V" else values


def _placed(value: Any, like: Array) -> Array:
    """Put ``value`` on the devices of ``like``, with its sharding; another would recompile."""
    if not isinstance(value, jax.Array):
        value = np.asarray(value).view(like.dtype)
    if like.committed:
        return jax.device_put(value, like.sharding)
    return jax.device_put(np.asarray(value))
