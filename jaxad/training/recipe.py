"""Recipes: optimizer, schedule, batch size and stopping of a training run."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from jaxad.checks import AT_LEAST_ZERO, POSITIVE, Check, Each, Interval, Special, Whole
from jaxad.training.diagnostics import GENERAL
from jaxad.typing import Array, Params, PyTree

OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,
    "amsgrad": optax.scale_by_amsgrad,
    "sgd": optax.identity,
}


@dataclasses.dataclass(frozen=True)
class Names:
    """``"all"``, or a tuple of names; an objective knows which, see `check_diagnostics`."""

    def __call__(self, name: str, value: Any) -> Any:
        """Raise a TypeError for other values."""
        names = isinstance(value, tuple) and all(isinstance(one, str) for one in value)
        if not names and not (isinstance(value, str) and value == "all"):
            raise TypeError(
                f"{name}={value!r} is not a tuple of names: give some of {', '.join(GENERAL)} and "
                "those of the objective, such as ('scores',), or 'all'"
            )
        return value


# Valid values of each field; estimators check arguments of the same name with this table.
RANGES: dict[str, Check] = {
    "epochs": Interval(0, whole=True),
    "batch_size": Whole(),
    "learning_rate": POSITIVE,
    "milestones": Each(AT_LEAST_ZERO),
    "milestone_factor": POSITIVE,
    "time_decay": AT_LEAST_ZERO,
    "weight_decay": Special(None, AT_LEAST_ZERO),
    "decoupled_weight_decay": Special(None, AT_LEAST_ZERO),
    "clip_norm": Special(None, POSITIVE),
    "patience": Special(None, POSITIVE),
    "min_delta": AT_LEAST_ZERO,
    "max_skipped": POSITIVE,
    "diagnostics": Names(),
}


@struct.dataclass
class Recipe:
    """How an objective is trained. Numbers are leaves: changing them does not recompile.

    Attributes:
      epochs: leaf, passes over the rows.
      batch_size: rows per step; the last batch of an epoch may be smaller. If it had too few rows
        for batch normalisation or a mixture, it shares those of the batch before.
      shuffle: whether every epoch visits the rows in a new order, or in their own order.
      learning_rate: leaf.
      milestones: leaves, epochs counted from 0. Each multiplies the rate by ``milestone_factor``
        from that epoch on.
      milestone_factor: leaf.
      time_decay: leaf, the rate is divided by ``1 + time_decay * step``.
      weight_decay: leaf or None, added to the gradient before Adam (coupled L2, as in the papers'
        PyTorch code). Biases and scales do not decay.
      decoupled_weight_decay: leaf or None, added after Adam (AdamW, Loshchilov & Hutter 2019).
      clip_norm: leaf or None, the largest global norm of a gradient.
      patience: leaf or None, epochs without a lower validation loss (without validation rows:
        training loss) after which training stops and restores the best epoch's weights.
      min_delta: leaf, the smallest decrease of the loss that counts as an improvement.
      max_skipped: leaf, the run ends after this many consecutive steps that are not finite: their
        loss, or a number that they would change.
      optimizer: a name in `OPTIMIZERS`, or a function that returns an optax transformation
        without a learning rate, such as ``optax.scale_by_lion``.
      diagnostics: further records for the history, see `jaxad.training.diagnostics`: ``"all"``, or
        names: ``"gradient_norm"``, ``"scores"``, ``"collapse"``, ``"effective_rank"`` and those of
        the objective, such as ``"radius"`` or ``"occupation"``. Structure.

    Example:
      >>> from jaxad import training
      >>> training.Recipe(epochs=100, milestones=(50,), clip_norm=5.0).batch_size
      128
    """

    epochs: Any = 50.0
    batch_size: int = struct.field(pytree_node=False, default=128)
    shuffle: bool = struct.field(pytree_node=False, default=True)
    learning_rate: Any = 1e-3
    milestones: tuple = ()
    milestone_factor: Any = 0.1
    time_decay: Any = 0.0
    weight_decay: Any = None
    decoupled_weight_decay: Any = None
    clip_norm: Any = None
    patience: Any = None
    min_delta: Any = 0.0
    max_skipped: Any = 50.0
    optimizer: str | Callable[[], optax.GradientTransformation] = struct.field(
        pytree_node=False, default="adam"
    )
    diagnostics: str | tuple[str, ...] = struct.field(pytree_node=False, default=())

    def check(self) -> None:
        """Check every field.

        Raises:
          ValueError: names the first field that is out of range.
          TypeError: names the first field that is not a number.
        """
        for name, check in RANGES.items():
            check(name, getattr(self, name))
        if not callable(self.optimizer) and self.optimizer not in OPTIMIZERS:
            raise ValueError(
                f"optimizer={self.optimizer!r} is unknown: choose one of {sorted(OPTIMIZERS)} or "
                "give a function that returns an optax transformation"
            )


def as_leaves(tree: PyTree) -> PyTree:
    """Convert numbers to float32 arrays, so that new values do not recompile."""
    return jax.tree.map(lambda number: np.asarray(number, np.float32), tree)


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """The recipe's gradient transformation, without the learning rate."""
    chain = []
    if recipe.clip_norm is not None:
        chain.append(optax.clip_by_global_norm(recipe.clip_norm))
    if recipe.weight_decay is not None:
        chain.append(optax.add_decayed_weights(recipe.weight_decay, _is_kernel))
    chosen = recipe.optimizer
    if callable(chosen):
        chain.append(chosen())
    else:  # these are elementwise, and one vector compiles and runs faster than many leaves
        chain.append(optax.flatten(OPTIMIZERS[chosen]()))
    if recipe.decoupled_weight_decay is not None:
        chain.append(optax.add_decayed_weights(recipe.decoupled_weight_decay, _is_kernel))
    return optax.chain(*chain)


def learning_rate(recipe: Recipe, epoch: Array, step: Array) -> Array:
    """The learning rate of a step."""
    rate = recipe.learning_rate / (1 + recipe.time_decay * step)
    for milestone in recipe.milestones:
        rate = rate * jnp.where(epoch >= milestone, recipe.milestone_factor, 1)
    return rate


def _is_kernel(params: Params) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
