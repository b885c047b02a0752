"""What tells whether two trees are the same, on one process or on several."""

import hashlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.typing import PyTree


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
