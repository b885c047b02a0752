"""A tree of device arrays as named ones that can be stored, and back."""

from typing import Any

import jax
import numpy as np

from jaxad.training.digest import is_key
from jaxad.typing import Array


def named(tree: Any) -> dict[str, Array]:
    """The leaves by their paths, typed keys as plain numbers."""
    return {
        jax.tree_util.keystr(path): jax.random.key_data(leaf) if is_key(leaf) else leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def renamed(like: Any, values: dict[str, Any]) -> Any:
    """A tree like another, on the same devices, of values by the names that `named` gives."""

    def leaf(path: Any, like: Array) -> Array:
        value = values[jax.tree_util.keystr(path)]
        if is_key(like):
            value = _placed(value, jax.random.key_data(like))
            return jax.random.wrap_key_data(value, impl=jax.random.key_impl(like))
        return _placed(value, like)

    return jax.tree_util.tree_map_with_path(leaf, like)


def layout(leaves: dict[str, Array]) -> dict[str, list]:
    """Type and shape of each, as JSON holds them."""
    return {name: [leaf.dtype.name, *leaf.shape] for name, leaf in leaves.items()}


def storable(leaf: Array) -> np.ndarray:
    """On the host, in a type that files have: bfloat16 and the like by their bits."""
    values = np.asarray(leaf)
    return values.view(f"u{values.dtype.itemsize}") if values.dtype.kind == "V" else values


def _placed(value: Any, like: Array) -> Array:
    """The value where ``like`` is, and as free to move as that: else programs compile anew."""
    if not isinstance(value, jax.Array):
        value = np.asarray(value).view(like.dtype)
    if like.committed:
        return jax.device_put(value, like.sharding)
    return jax.device_put(np.asarray(value))
