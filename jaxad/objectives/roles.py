"""The network that has a role in an objective: apply it, calibrate it, check what it returns."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxad import networks
from jaxad.hashing import uniform
from jaxad.rows import Rows
from jaxad.typing import Array, Key, Params, Stats


def init(network: nn.Module, role: str, key: Key, x: Array) -> tuple[Params, Stats]:
    """Parameters and statistics of an objective that has one network."""
    params, running = networks.init(network, key, x)
    return {role: params}, {"batch_stats": {role: running}}


def apply(
    network: nn.Module,
    role: str,
    params: Params,
    stats: Stats,
    x: Array,
    *,
    weight: Array | None = None,
    key: Key | None = None,
) -> tuple[Any, Stats]:
    """The output for rows ``x`` ``[B, ...]``, and the statistics with the network's new ones."""
    running = stats["batch_stats"]
    output, new = networks.apply(network, params[role], running[role], x, weight=weight, key=key)
    return output, stats | {"batch_stats": running | {role: new}}


def apply_views(
    network: nn.Module,
    role: str,
    params: Params,
    stats: Stats,
    views: Array,
    *,
    weight: Array | None = None,
    key: Key | None = None,
) -> tuple[Any, Stats]:
    """The outputs ``[B, M, ...]`` for M views of every row, ``[B, M, ...]``; see `apply`.

    The ``weight`` is that of rows ``[B]`` or of views ``[B, M]``.
    """
    rows, count = views.shape[:2]
    flat = views.reshape(rows * count, *views.shape[2:])
    if weight is not None:
        weight = jnp.broadcast_to(weight.reshape(rows, -1), (rows, count)).ravel()
    output, stats = apply(network, role, params, stats, flat, weight=weight, key=key)
    return output.reshape(rows, count, *output.shape[1:]), stats


def calibrate(
    network: nn.Module,
    role: str,
    params: Params,
    stats: Stats,
    rows: Rows,
    *,
    chunk: int,
    views: Callable[[Array], Array] | None = None,
    view_weight: Array | None = None,
) -> Stats:
    """The statistics with exact ones of the network's batch norm, see `networks.calibrate`."""
    running = stats["batch_stats"]
    how: Any = {"chunk": chunk, "views": views, "view_weight": view_weight}
    new = networks.calibrate(network, params[role], running[role], rows, **how)
    return stats | {"batch_stats": running | {role: new}}


def shuffled(key: Key, columns: int, features: Any) -> Array:
    """The numbers of ``columns`` columns ``[D]``: the first ``features`` in a random order."""
    drawn = jnp.where(jnp.arange(columns) < features, uniform(key, (columns,)), 2)
    return jnp.argsort(drawn).astype(jnp.float32)  # floats like all statistics; exact up to 2^24


def check_table(method: str, x: Array) -> None:
    """Raise a ValueError unless ``x`` are rows of a table, ``[B, D]``."""
    if x.ndim != 2:
        raise ValueError(f"rows of shape {x.shape[1:]}: {method} takes tables, rows [B, D]")


def check_output(network: nn.Module, output: Array, x: Array) -> None:
    """Raise a ValueError unless the network returns as many numbers as the rows ``x`` have."""
    if output.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"network={type(network).__name__} returns {output.shape[1:]} for rows of "
            f"{x.shape[1:]}: this objective needs one output for each entry of a row, as in "
            f"networks.MLP((256, 256, {x.shape[-1]}))"
        )
