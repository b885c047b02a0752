"""NeuTraL AD: learn views of a row that are like the row and unlike each other.

Qiu, Pfrommer, Kloft, Mandt & Rudolph, "Neural Transformation Learning for Deep Anomaly Detection
Beyond Images", ICML 2021.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad import networks
from jaxad.checks import POSITIVE, Interval
from jaxad.losses import contrastive
from jaxad.objectives import roles
from jaxad.objectives.base import BaseObjective, check_numbers, real
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats


class LearnedViews(BaseObjective):
    """Learned residual views and an encoder; made by `neutral_ad`.

    Attributes:
      encoder, transform_network, n_transforms, chunk: see `neutral_ad`.
      temperature: leaf, see `neutral_ad`.
    """

    encoder: nn.Module = struct.field(pytree_node=False)
    transform_network: nn.Module = struct.field(pytree_node=False)
    temperature: Any
    n_transforms: int = struct.field(pytree_node=False)
    chunk: int = struct.field(pytree_node=False)

    def __post_init__(self):
        """Check the numbers."""
        check_numbers(self, temperature=POSITIVE, n_transforms=Interval(2, whole=True))

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise the encoder and K copies of the transform.

        Raises:
          ValueError: the transform does not return a row.
        """
        first, second = jax.random.split(key)
        encoder, running = networks.init(self.encoder, first, x)
        transforms, transforms_running = jax.vmap(
            lambda k: networks.init(self.transform_network, k, x)
        )(jax.random.split(second, self.n_transforms))
        params = {"encoder": encoder, "transforms": transforms}
        stats = {"batch_stats": {"encoder": running, "transforms": transforms_running}}
        residuals, _ = self._residuals(params, stats, x[:1], None, None)
        roles.check_output(self.transform_network, residuals[:, 0], x)
        return params, stats

    def padded_inputs(self, columns: Any) -> dict[str, tuple[Any, Any]]:
        """The encoder and all transforms see the columns."""
        both = {"encoder": self.encoder, "transforms": self.transform_network}
        return {role: (network, columns) for role, network in both.items()}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The deterministic contrastive loss ``[B]``, a sum over the views."""
        z, stats = self._encode(params, stats, batch.x, batch.weight, key)
        return contrastive.deterministic(z[:, 1:], z[:, 0], temperature=self.temperature), stats

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate the encoder's batch norm."""

        def views(x):
            return self._views(params, stats, x, None, None)[0]

        given = self.encoder, "encoder", params, stats, rows
        return roles.calibrate(*given, chunk=self.chunk, views=views)

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """The loss ``[B]``."""
        z, _ = self._encode(params, stats, x, None, None)
        return contrastive.deterministic(z[:, 1:], z[:, 0], temperature=self.temperature)

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """The latent vectors of the rows, ``[B, L]``."""
        return roles.apply(self.encoder, "encoder", params, stats, x)[0]

    def _encode(self, params, stats, x, weight, key):
        """Latent vectors ``[B, K + 1, L]`` of the row and its views, and the statistics."""
        first, second = (None, None) if key is None else jax.random.split(key)
        views, stats = self._views(params, stats, x, weight, first)
        return roles.apply_views(
            self.encoder, "encoder", params, stats, views, weight=weight, key=second
        )

    def _views(self, params, stats, x, weight, key):
        """The rows and their views ``x + M_k(x)``, ``[B, K + 1, ...]``, and the statistics."""
        residuals, stats = self._residuals(params, stats, x, weight, key)
        return jnp.concatenate([x[:, None], x[:, None] + residuals], 1), stats

    def _residuals(self, params, stats, x, weight, key):
        def apply(transform, running):
            return networks.apply(
                self.transform_network, transform, running, x, weight=weight, key=key
            )

        running = stats["batch_stats"]
        output, new = jax.vmap(apply, (0, 0), (1, 0))(params["transforms"], running["transforms"])
        return real(stats, output), stats | {"batch_stats": running | {"transforms": new}}


def neutral_ad(
    encoder: nn.Module,
    transform: nn.Module,
    *,
    n_transforms: int = 11,
    temperature: Any = 0.1,
    chunk: int = 128,
) -> LearnedViews:
    """NeuTraL AD: learn K views ``x + M_k(x)`` that are like the row and unlike each other.

    The loss is the deterministic contrastive loss (equation 2): the sum over k of
    ``-log(h(z_k, z) / (h(z_k, z) + sum_{l != k} h(z_k, z_l)))``, where z are latent vectors of the
    views and the row, and h is the exponential of their cosine by ``temperature``. It trains views
    and encoder, and is the score.

    Args:
      encoder: ``[B, ...] -> [B, L]``; five layers in the paper.
      transform: ``M``, ``[B, ...] -> [B, ...]``, copied for each view. Its batch norm keeps the
        running statistics of training.
      n_transforms: K, at least 2.
      temperature: leaf, divides the cosines.
      chunk: rows at a time in exact passes and scoring.

    Raises:
      ValueError: a number is out of range; or, raised by ``init``, M does not return a row.

    Source: Qiu et al., ICML 2021, with its residual transforms. Written from the paper alone.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> parts = networks.MLP((16, 8)), networks.MLP((16, 4))
      >>> objective = objectives.neutral_ad(*parts, n_transforms=3)
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> result = training.fit(objective, training.Recipe(epochs=2), jax.random.key(0), x)
      >>> objective.transform(result.params, result.stats, x[:5]).shape
      (5, 8)
    """
    return LearnedViews(encoder, transform, temperature, n_transforms, chunk)
