"""Objectives for rows that are padded with columns of zeros, so that tables share programs."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxad import networks
from jaxad.objectives.compound import Compound
from jaxad.objectives.wrappers import Wrapper
from jaxad.typing import Array, Key, Params, Stats


class Padded(Wrapper):
    """An objective for rows ``[B, D]`` of which only the first ``features`` columns are real.

    The others hold zeros. Training and scores are those of the objective on the real columns alone,
    so that tables of different width train as one population: the first layer is drawn as if it had
    so few inputs, and what is drawn or computed for columns, such as noise and reconstructions, is
    0 in the others (`real`). Made by `padded`.

    Attributes:
      objective: an objective with ``takes_padding``.
      features: leaf, the number of real columns.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxad import networks, objectives
      >>> narrow = objectives.padded(objectives.deep_svdd(networks.MLP((16, 8))), 5)
      >>> params, stats = narrow.init(jax.random.key(0), jnp.zeros((4, 8)))
      >>> narrow.score(params, stats, jnp.zeros((4, 8))).shape
      (4,)
    """

    features: Any

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise the objective for the real columns."""
        params, stats = self.objective.init(key, x)
        width = x.shape[1]
        if encoder := getattr(self.objective, "encoder", None):
            first = _grows(encoder, width)
            scaled = jax.tree.map(
                lambda leaf, grows: leaf * jnp.sqrt(width / self.features) if grows else leaf,
                params["encoder"],
                first,
            )
            params = params | {"encoder": scaled}
        if "offsets" in stats:  # of GOAD's maps, whose spread is that of a mapped row
            stats = stats | {"offsets": stats["offsets"] * jnp.sqrt(self.features / width)}
        return params, stats | {"real": (jnp.arange(width) < self.features).astype(jnp.float32)}


def padded(objective: Any, features: Any) -> Any:
    """The objective for rows of which only the first ``features`` columns are real.

    Raises:
      ValueError: the objective cannot tell; see ``takes_padding``.

    Example:
      >>> from jaxad import networks, objectives
      >>> objectives.padded(objectives.deep_svdd(networks.MLP((16, 8))), 5).features
      5
    """
    if not getattr(objective, "takes_padding", False):
        raise ValueError(
            f"{type(objective).__name__} does not take columns of padding: it would learn them. "
            "Give it rows of one width"
        )
    if isinstance(objective, Compound):
        return objective.replace(parts=tuple(padded(p, features) for p in objective.parts))
    if isinstance(objective, Wrapper):
        return objective.replace(objective=padded(objective.objective, features))
    return Padded(objective, features)


def _grows(encoder: Any, width: int) -> Any:
    """Which parameters have an input for each column: their first axis grows with the width."""

    def shapes(columns: int) -> Any:
        row = jax.ShapeDtypeStruct((1, columns), jnp.float32)
        return jax.eval_shape(lambda x: networks.init(encoder, jax.random.key(0), x)[0], row)

    return jax.tree.map(lambda a, b: a.shape != b.shape, shapes(width), shapes(width + 1))
