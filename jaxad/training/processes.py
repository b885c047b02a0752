"""What several processes of one run tell each other. With one process there is nothing to ask."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxad.training.digest import described, digest
from jaxad.typing import PyTree


def agreed(value: int) -> int:
    """The first process's value, in all of them: clocks and disks differ."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def of_each(values: Any) -> np.ndarray:
    """Every process's values, ``[processes, ...]``."""
    if jax.process_count() == 1:
        return np.asarray(values)[None]
    return np.asarray(multihost_utils.process_allgather(np.asarray(values)))


def on_host(tree: PyTree) -> PyTree:
    """A tree of numpy arrays, also of those that lie on the devices of several processes."""

    def copy(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            if not leaf.is_fully_replicated:
                leaf = multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(copy, tree)


def told_by_each(value: Any) -> list[Any]:
    """Every process's value, whatever JSON can hold."""
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = of_each(np.int32(len(text)))
    texts = of_each(np.pad(text, (0, lengths.max() - len(text))))
    return [json.loads(bytes(t[:n])) for t, n in zip(texts, lengths, strict=True)]


def check_alike(**given: PyTree) -> None:
    """Raise a ValueError that names the first argument in which a process differs from the first.

    They would wait for each other for ever, or train on something that none of them was given.
    """
    if jax.process_count() == 1:
        return
    first, *others = told_by_each({name: _told(tree) for name, tree in given.items()})
    for process, other in enumerate(others, 1):
        for name in given:
            if other[name] != first[name]:
                raise ValueError(
                    f"process {process} has another {name} than process 0: every process of the "
                    f"run must pass the same {name}"
                )


@contextlib.contextmanager
def failing_together(joined: bool) -> Iterator[None]:
    """A ValueError that one process raises in here all raise, instead of waiting for it.

    Args:
      joined: whether the processes are one run; else nothing is told.
    """
    try:
        yield
    except ValueError as error:
        if joined:
            told_by_each(str(error))
        raise
    if joined:
        for process, error in enumerate(told_by_each(None)):
            if error is not None:
                raise ValueError(f"process {process}: {error}")


def _told(tree: PyTree) -> list[str]:
    return [described(jax.tree.structure(tree)), digest(tree)]
