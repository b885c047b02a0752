"""DEAN: small networks on bags of features learn to return 1; rows far from 1 are anomalous.

Böing, Klüttermann & Müller, "Post-Robustifying Deep Anomaly Detection Ensembles by Feature
Selection", ICDM 2022.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad.checks import Whole
from jaxad.losses import hypersphere
from jaxad.objectives import roles
from jaxad.objectives.base import BaseObjective, check_numbers
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats


class ConstantOutput(BaseObjective):
    """A network on a random bag of features that learns to return 1; made by `dean`.

    ``stats["bag"]`` has the numbers of its columns. Each member of a population draws its own.

    Attributes:
      network: ``[B, bag] -> [B, L]``.
      bag, chunk: see `dean`.
    """

    network: nn.Module = struct.field(pytree_node=False)
    bag: int = struct.field(pytree_node=False)
    chunk: int = struct.field(pytree_node=False)

    def __post_init__(self):
        """Check the bag."""
        check_numbers(self, bag=Whole())

    def padded_inputs(self, columns: Any) -> dict[str, tuple[Any, Any]]:
        """No network sees all columns, so tables of any width fit."""
        return {}

    def of_columns(self, columns: int) -> "ConstantOutput":
        """Itself, if the bag fits."""
        if self.bag > columns:
            raise ValueError(
                f"bag={self.bag} features of a table with {columns}: give 1 to {columns}"
            )
        return self

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Draw the bag and initialise the network.

        Raises:
          ValueError: rows are images, or the bag is larger than the number of columns.
        """
        roles.check_table("DEAN", x)
        return self.of_columns(x.shape[1]).init_padded(key, x, x.shape[1])

    def init_padded(self, key: Key, x: Array, features: Any) -> tuple[Params, Stats]:
        """Draw the bag from the real columns, and initialise the network."""
        bag_key, key = jax.random.split(key)
        bag = roles.shuffled(bag_key, x.shape[1], features)[: self.bag]
        params, stats = roles.init(self.network, "constant", key, x[:, : self.bag])
        return params, stats | {"bag": bag}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """``||f(x_S) - 1||^2`` ``[B]`` for the bag S."""
        x = _columns(stats, batch.x)
        output, stats = roles.apply(
            self.network, "constant", params, stats, x, weight=batch.weight, key=key
        )
        return _deviation(output), stats

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm."""

        def views(x):
            return _columns(stats, x)[:, None]

        return roles.calibrate(
            self.network, "constant", params, stats, rows, chunk=self.chunk, views=views
        )

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """``||f(x_S) - 1||`` ``[B]``."""
        return hypersphere.safe_sqrt(_deviation(self.transform(params, stats, x)))

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """The outputs ``[B, L]``."""
        return roles.apply(self.network, "constant", params, stats, _columns(stats, x))[0]


def dean(network: nn.Module, *, bag: int, chunk: int = 2048) -> ConstantOutput:
    """DEAN: hundreds of small networks learn to return 1, each from a random bag of features.

    The loss is ``||f(x_S) - 1||^2`` for a random bag S of ``bag`` features, and the score of a
    network ``||f(x_S) - 1||``. The networks are members of a population, whose scores are averaged:
    ``training.fit_population``, or ``n_members=100`` of a detector. Without biases, f(0) is 0, so
    a network must use its features to return 1; normal rows should not be around 0
    (``scaler="minmax"``).

    Args:
      network: ``[B, bag] -> [B, L]`` without biases, L = 1 in the paper.
      bag: number of features that the network sees, at most the number of columns.
      chunk: rows at a time in exact passes and scoring.

    Raises:
      ValueError: the bag has no features; or, raised by ``init``, rows are images or have fewer
        than ``bag`` columns.

    Source: Böing et al., ICDM 2022.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> objective = objectives.dean(networks.MLP((16, 1)), bag=2)
      >>> x = np.random.default_rng(0).uniform(size=(200, 5))
      >>> keys = jax.random.split(jax.random.key(0), 3)
      >>> members = training.fit_population(objective, training.Recipe(epochs=2), keys, x)
      >>> members.stats["bag"].shape
      (3, 2)
    """
    return ConstantOutput(network, bag, chunk)


def _columns(stats: Stats, x: Array) -> Array:
    """The features of the bag, ``[B, bag]``."""
    return jnp.take(x, stats["bag"].astype(jnp.int32), axis=1)


def _deviation(output: Array) -> Array:
    return hypersphere.squared_distance(output, jnp.ones(output.shape[1], output.dtype))
