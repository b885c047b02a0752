"""ICL: match windows of a row's columns with the rest of the row; rows that mismatch are anomalous.

Shenkar & Wolf, "Anomaly Detection for Tabular Data with Internal Contrastive Learning", ICLR 2022.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad import networks
from jaxad.checks import POSITIVE, Flag, Special, Whole
from jaxad.losses import contrastive
from jaxad.objectives import roles
from jaxad.objectives.base import BaseObjective, check_numbers
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats


class InternalContrast(BaseObjective):
    """Internal contrastive learning; made by `icl`.

    ``stats["order"]`` ``[D]`` are the numbers of the columns in the order that windows see. The
    fields are the arguments of `icl`; ``temperature`` is a leaf.
    """

    complement: nn.Module = struct.field(pytree_node=False)
    window: nn.Module = struct.field(pytree_node=False)
    temperature: Any
    window_size: int | None = struct.field(pytree_node=False)
    permute: bool = struct.field(pytree_node=False)
    chunk: int = struct.field(pytree_node=False)

    def __post_init__(self):
        """Check the numbers."""
        sizes = Special(None, Whole())
        check_numbers(self, temperature=POSITIVE, window_size=sizes, permute=Flag())

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Draw the order of the columns and initialise both networks."""
        roles.check_table("ICL", x)
        return self.of_columns(x.shape[1]).init_padded(key, x, x.shape[1])

    def init_padded(self, key: Key, x: Array, features: Any) -> tuple[Params, Stats]:
        """Draw an order of the real columns, before the others, and initialise both networks."""
        order_key, first, second = jax.random.split(key, 3)
        stats = {"order": roles.shuffled(order_key, x.shape[1], features if self.permute else 0)}
        rest, windows = self._split(stats, x[:1])
        f, of_f = networks.init(self.complement, first, rest[0])
        g, of_g = networks.init(self.window, second, windows[0])
        batch_stats = {"complement": of_f, "window": of_g}
        return {"complement": f, "window": g}, stats | {"batch_stats": batch_stats}

    def of_columns(self, columns: int) -> "InternalContrast":
        """Itself with the window's size by the paper's rule, if it has none."""
        size = self.size_for(columns)
        if size >= columns:
            remedy = f"give 1 to {columns - 1}" if columns > 1 else "ICL needs at least 2 columns"
            raise ValueError(f"window_size={size} in a table with {columns} columns: {remedy}")
        return self.replace(window_size=size)

    def padded_inputs(self, columns: Any) -> dict[str, tuple[Any, Any]]:
        """One network sees the columns without a window."""
        return {"complement": (self.complement, columns - self.window_size)}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """Cross-entropy ``[B]`` of each rest's window among the row's windows, their mean."""
        first, second = (None, None) if key is None else jax.random.split(key)
        (rest, windows), shown = self._split(stats, batch.x), self._shown(stats)
        weight = batch.weight if shown is None else jnp.outer(batch.weight, shown)
        f, stats = roles.apply_views(
            self.complement, "complement", params, stats, rest, weight=weight, key=first
        )
        g, stats = roles.apply_views(
            self.window, "window", params, stats, windows, weight=weight, key=second
        )
        return contrastive.internal(f, g, temperature=self.temperature, shown=shown), stats

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm."""
        for at, role in enumerate(("complement", "window")):
            given = getattr(self, role), role, params, stats, rows
            views, shown = partial(self._split, stats, at=at), self._shown(stats)
            stats = roles.calibrate(*given, chunk=self.chunk, views=views, view_weight=shown)
        return stats

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """The loss ``[B]``."""
        return self.loss(params, stats, Batch(x, jnp.zeros(len(x)), jnp.ones(len(x))), None)[0]

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """The latent vectors of all rests, ``[B, M * L]``."""
        rest, shown = self._split(stats, x, at=0), self._shown(stats)
        z, _ = roles.apply_views(self.complement, "complement", params, stats, rest)
        return (z if shown is None else z * shown[None, :, None]).reshape(len(x), -1)

    def size_for(self, columns: int) -> int:
        """k, the columns of a window: the given number, or by the paper's rule."""
        by_rule = 2 if columns <= 40 else 10 if columns <= 160 else columns - 150
        return by_rule if self.window_size is None else self.window_size

    def _shown(self, stats: Stats) -> Array | None:
        """``[M]``: 1 for windows of real columns, 0 for those that touch padding; None: all 1."""
        return stats["real"][self.size_for(0) - 1 :] if "real" in stats else None

    def _split(self, stats: Stats, x: Array, *, at: Any = slice(None)) -> Any:
        """The rests and the windows, see `contrastive.windows`."""
        ordered = jnp.take(x, stats["order"].astype(jnp.int32), axis=1)
        return contrastive.windows(ordered, size=self.size_for(x.shape[1]))[at]


def icl(
    complement: nn.Module,
    window: nn.Module,
    *,
    window_size: int | None = None,
    permute: bool = True,
    temperature: Any = 0.1,
    chunk: int = 64,
) -> InternalContrast:
    """ICL: learn which window of a row's columns belongs to the rest of its columns.

    One network maps each window of k neighbouring columns, the other the rest of the row. The loss,
    which is also the score, is the cross-entropy of finding the window of each rest among the row's
    M = D - k + 1 windows by cosine similarity.

    Args:
      complement: ``F``, ``[B, D - k] -> [B, L]``; 200-400-200 units in the paper.
      window: ``G``, ``[B, k] -> [B, L]``.
      window_size: k; None is the paper's: 2 up to 40 columns, 10 up to 160, then D - 150.
      permute: whether each member puts the columns in a random order first; without, as in the
        paper, scores depend on the order of the table's columns.
      temperature: leaf, divides the similarities.
      chunk: rows at a time in scoring.

    Raises:
      ValueError: a number is out of range; or, raised by ``init``, k is not below D.

    Source: Shenkar & Wolf, ICLR 2022.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> objective = objectives.icl(networks.MLP((16, 8)), networks.MLP((16, 8)))
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> result = training.fit(objective, training.Recipe(epochs=2), jax.random.key(0), x)
      >>> objective.transform(result.params, result.stats, x[:5]).shape
      (5, 24)
    """
    return InternalContrast(complement, window, temperature, window_size, permute, chunk)
