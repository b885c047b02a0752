"""Flax modules as pure functions: initialise, apply, calibrate batch-norm statistics.

Networks are called as ``module(x, *, train=False, weight=None)``. A user's module may lack these
options; it is called with those it has.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, PyTree


@functools.cache
def _accepted(module_type: type) -> frozenset[str]:
    parameters = inspect.signature(module_type.__call__).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return frozenset({"train", "weight"})
    return frozenset(p.name for p in parameters) & {"train", "weight"}


def call(module: nn.Module, x: Array, **options) -> Array:
    """Call a module, passing ``train`` and ``weight`` only if it takes them."""
    return module(x, **{k: v for k, v in options.items() if k in _accepted(type(module))})


def check_output(name: str, output: Any, rows: int) -> None:
    """Raise a ValueError unless a network's output is ``[B, ...]`` for ``rows`` B."""
    shape = getattr(output, "shape", None)
    if shape is None or len(shape) < 2 or shape[0] != rows:
        what = f"an array of shape {shape}" if shape is not None else f"a {type(output).__name__}"
        raise ValueError(
            f"{name} returned {what} for {rows} rows: it must return a vector for each row, "
            f"[{rows}, L]"
        )


def init(module: nn.Module, key: Key, x: Array) -> tuple[Params, PyTree]:
    """Initialise a module's parameters and running statistics for rows like ``x`` ``[B, ...]``.

    Example:
      >>> from jaxad import networks
      >>> params, batch_stats = init(networks.MLP((8, 3)), jax.random.key(0), jnp.ones((4, 5)))
      >>> count_parameters(params), batch_stats
      (64, {})
    """
    params_key, dropout_key = jax.random.split(key)
    variables = module.init({"params": params_key, "dropout": dropout_key}, x[:1])
    return variables.get("params", {}), variables.get("batch_stats", {})


def apply(
    module: nn.Module,
    params: Params,
    batch_stats: PyTree,
    x: Array,
    *,
    weight: Array | None = None,
    key: Key | None = None,
) -> tuple[Any, PyTree]:
    """Apply a module: with a ``key`` in training mode (batch statistics, dropout), else evaluate.

    Batch statistics use the weights ``[B]`` of the rows.

    Returns:
      The output and the updated running statistics (unchanged in evaluation).

    Example:
      >>> from jaxad import networks
      >>> network, x = networks.MLP((8, 3)), jnp.ones((4, 5))
      >>> output, _ = apply(network, *init(network, jax.random.key(0), x), x)
      >>> output.shape
      (4, 3)
    """
    variables = {"params": params, "batch_stats": batch_stats}
    if key is None:
        output = module.apply(variables, x, method=functools.partial(call, train=False))
        _check(module, output, x)
        return output, batch_stats
    output, updated = module.apply(
        variables,
        x,
        method=functools.partial(call, train=True, weight=weight),
        rngs={"dropout": key},
        mutable=["batch_stats"],
    )
    _check(module, output, x)
    return output, updated.get("batch_stats", batch_stats)


def _check(module: nn.Module, output: Any, x: Array) -> None:
    if not isinstance(output, tuple):  # of an encoder and a decoder, which check theirs
        check_output(f"the network {type(module).__name__}", output, len(x))


def calibrate(
    module: nn.Module,
    params: Params,
    batch_stats: PyTree,
    rows: Rows,
    *,
    chunk: int,
    views: Callable[[Array], Array] | None = None,
    view_weight: Array | None = None,
) -> PyTree:
    """Set the running statistics to those of all rows, in one pass over chunks.

    The law of total variance combines means and variances of chunks, so each layer's statistics
    are exact for its inputs. Deeper layers see inputs normalised per chunk, as in training.

    Args:
      module: the network; only its `jaxad.networks.BatchNorm` layers are calibrated.
      params: its parameters.
      batch_stats: its running statistics; empty ones are returned unchanged.
      rows: all rows; padding rows have weight 0.
      chunk: rows per chunk.
      views: makes M network inputs from every row, ``[B, ...] -> [B, M, ...]``; None: one.
      view_weight: ``[M]`` how much each of them counts; None: 1.

    Example:
      >>> from jaxad import networks, training
      >>> network = networks.MLP((8, 3), batch_norm=True)
      >>> x = jax.random.normal(jax.random.key(1), (100, 5))
      >>> params, drawn = init(network, jax.random.key(0), x)
      >>> exact = calibrate(network, params, drawn, training.as_rows(x), chunk=50)
      >>> jax.tree.structure(exact) == jax.tree.structure(drawn)
      True
    """
    if not jax.tree.leaves(batch_stats):
        return batch_stats

    def moments(batch: Batch) -> PyTree:
        x, weight = batch.x, batch.weight
        if views is not None:
            seen = views(x)
            each = jnp.ones(seen.shape[1]) if view_weight is None else view_weight
            x, weight = seen.reshape(-1, *seen.shape[2:]), jnp.outer(weight, each).ravel()
        _, updated = module.apply(
            {"params": params, "batch_stats": batch_stats},
            x,
            method=functools.partial(call, train=True, weight=weight),
            rngs={"dropout": jax.random.key(0)},
            mutable=["moments"],
        )
        return updated.get("moments", {})

    def add(carry: PyTree, batch: Batch) -> PyTree:
        total, layers = carry
        added = jnp.sum(batch.weight)
        share = added / jnp.maximum(total + added, 1e-12)

        def merge(old: dict, new: dict) -> dict:
            shift = new["mean"] - old["mean"]
            between = share * (1 - share) * jnp.square(shift)
            within = (1 - share) * old["variance"] + share * new["variance"]
            return {"mean": old["mean"] + share * shift, "variance": within + between}

        is_layer = lambda node: isinstance(node, dict) and "variance" in node  # noqa: E731
        return total + added, jax.tree.map(merge, layers, moments(batch), is_leaf=is_layer)

    layers = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(moments, rows.like)
    )
    _, layers = rows.fold(add, (jnp.float32(0), layers), chunk=chunk)
    return _overlay(batch_stats, layers)


def _overlay(base: PyTree, new: PyTree) -> PyTree:
    """``base`` with its leaves replaced by those of ``new``, where present."""
    if not isinstance(base, dict):
        return new
    return {k: _overlay(v, new[k]) if k in new else v for k, v in base.items()}


def count_parameters(params: Params) -> int:
    """The number of trained parameters.

    Example:
      >>> count_parameters({"kernel": jnp.ones((5, 3)), "bias": jnp.ones(3)})
      18
    """
    return sum(leaf.size for leaf in jax.tree.leaves(params))
