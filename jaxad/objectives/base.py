"""The base class of objectives."""

from typing import Any

import jax
import numpy as np
from flax import struct

from jaxad.checks import Check
from jaxad.registry import OBJECTIVES
from jaxad.registry import register as _register
from jaxad.rows import Rows
from jaxad.typing import Array, Key, Params, Stats


class BaseObjective(struct.PyTreeNode):
    """Base class of objectives: a dataclass and pytree whose numbers are leaves.

    Fields with ``pytree_node=False`` are structure. A subclass defines ``chunk``, ``init``,
    ``loss`` and ``score``, see `jaxad.typing.Objective`; `prepare` or `finish` if it fits
    statistics without a gradient; and `diagnose` if it has diagnostics of its own. Subclasses
    register themselves by name.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from flax import struct
      >>> from jaxad import objectives, training
      >>> class Mean(objectives.BaseObjective):
      ...     power: float = 2.0
      ...     chunk: int = struct.field(pytree_node=False, default=1024)
      ...
      ...     def init(self, key, x):
      ...         return {"mean": jnp.zeros(x.shape[1:])}, {}
      ...
      ...     def loss(self, params, stats, batch, key):
      ...         return self.score(params, stats, batch.x), stats
      ...
      ...     def score(self, params, stats, x):
      ...         return jnp.sum(jnp.abs(x - params["mean"]) ** self.power, -1)
      >>> x = np.ones((100, 3))
      >>> result = training.fit(Mean(), training.Recipe(epochs=2), jax.random.key(0), x)
      >>> result.params["mean"].shape
      (3,)
    """

    @property
    def takes_padding(self) -> bool:
        """Whether it can train on rows with columns of padding, see `jaxad.objectives.padded`.

        By default whether its class says which networks see the columns, by ``padded_inputs``.
        """
        return type(self).padded_inputs is not BaseObjective.padded_inputs

    def __init_subclass__(cls, **options: Any):
        """Make the subclass a dataclass, and register it."""
        super().__init_subclass__(**options)
        _register(OBJECTIVES, cls)

    @property
    def uses_labels(self) -> bool:
        """Whether the loss depends on labels, which `LOE` needs; by default not."""
        return False

    def of_columns(self, columns: int) -> Any:
        """The objective with all settled that depends on the number of real columns.

        By default nothing does.

        Raises:
          ValueError: there are too few of them.
        """
        del columns
        return self

    def init_padded(self, key: Key, x: Array, features: Any) -> tuple[Params, Stats]:
        """`init` for rows of which only the first ``features`` columns are real.

        What it draws for columns, such as a bag of them, it draws for real ones. First layers are
        scaled afterwards, see `padded_inputs`.
        """
        del features
        own: Any = self  # a subclass defines `init`
        return own.init(key, x)

    def padded_inputs(self, columns: Any) -> dict[str, tuple[Any, Any]]:
        """Networks that see all columns: role -> the network and the number of its inputs."""
        encoder = getattr(self, "encoder", None)
        return {} if encoder is None else {"encoder": (encoder, columns)}

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Fit the statistics that training needs before its first step; by default none."""
        del params, rows
        return stats

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Fit the statistics that scoring needs, with the final parameters; by default none."""
        del params, rows
        return stats

    def pool(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Add what couples the rows of a batch, from all validation rows; by default nothing."""
        del params, rows
        return stats

    def fewest_rows(self, stats: Stats) -> int:
        """Rows that a batch needs: batch normalisation turns a single row into zeros."""
        return 2 if jax.tree.leaves(stats.get("batch_stats", {})) else 1

    def diagnose(self, params: Params, stats: Stats, rows: Rows) -> dict[str, Array]:
        """Diagnostics of its own, by name; by default none. See `jaxad.typing.Objective`."""
        del params, stats, rows
        return {}


def real(stats: Stats, values: Array) -> Array:
    """``values`` ``[..., D]`` with 0 in columns that only pad, see `jaxad.objectives.padded`."""
    return values * stats["real"] if "real" in stats else values


def check_numbers(objective: BaseObjective, **checks: Check) -> None:
    """Check numbers and arrays ``[P]``, but not the placeholders that JAX puts in their place."""
    for name, check in checks.items():
        value = getattr(objective, name)
        if isinstance(value, int | float | str):
            check(name, value)
        elif isinstance(value, np.ndarray) and value.ndim == 1:
            for number in value.tolist():
                check(name, number)
