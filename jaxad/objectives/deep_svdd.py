"""Deep SVDD (Ruff et al., "Deep One-Class Classification", ICML 2018)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad import networks
from jaxad.chunking import map_rows
from jaxad.losses import hypersphere
from jaxad.typing import Array, Batch, Key, Params, Stats


@struct.dataclass
class DeepSVDD:
    """Map normal rows close to a fixed centre; score by the squared distance to it.

    One-class: the mean squared distance (equation 4). Soft-boundary: a ball of radius R around the
    centre, ``R^2 + max(0, d - R^2) / nu`` (equation 3). R is no gradient parameter: it stays 0 for
    ``warm_up`` epochs, is then the ``1 - nu`` quantile of each batch's distances, and is exact
    over all rows at the end.

    Attributes:
      encoder: the network, without biases; ``[B, ...] -> [B, L]``.
      soft_boundary: which of the two objectives.
      nu: leaf in (0, 1], the share of training rows that may lie outside the ball.
      warm_up: leaf, epochs before the radius moves.
      minimum_centre: leaf, coordinates of the centre closer to 0 are moved away to this.
    """

    encoder: nn.Module = struct.field(pytree_node=False)
    soft_boundary: bool = struct.field(pytree_node=False, default=False)
    nu: Any = 0.1
    warm_up: Any = 10.0
    minimum_centre: Any = 0.1
    chunk: int = struct.field(pytree_node=False, default=2048)

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Make the encoder; the centre is set by `refresh` before the first step."""
        return self.from_encoder(*networks.init(self.encoder, key, x), x)

    def from_encoder(self, params: Params, batch_stats: Any, x: Array) -> tuple[Params, Stats]:
        """Start from an encoder's parameters and running statistics, pretrained or not."""
        z = jax.eval_shape(lambda: networks.apply(self.encoder, params, batch_stats, x[:1])[0])
        centre = jnp.zeros(z.shape[-1], z.dtype)
        return params, {"batch_stats": batch_stats, "centre": centre, "radius": jnp.float32(0)}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """Squared distances to the centre, or the soft-boundary loss with the radius updated."""
        z, batch_stats = networks.apply(
            self.encoder, params, stats["batch_stats"], batch.x, weight=batch.weight, key=key
        )
        distance = hypersphere.squared_distance(z, stats["centre"])
        if not self.soft_boundary:
            return hypersphere.one_class(distance), stats | {"batch_stats": batch_stats}
        values = hypersphere.soft_boundary(distance, stats["radius"], nu=self.nu)
        if key is None:
            return values, stats
        radius = jnp.where(
            batch.epoch >= self.warm_up,
            hypersphere.radius(distance, batch.weight, nu=self.nu),
            stats["radius"],
        )
        return values, stats | {"batch_stats": batch_stats, "radius": radius}

    def refresh(self, params: Params, stats: Stats, rows: Batch, *, first: Array) -> Stats:
        """Calibrate batch norm, set the centre if ``first``, and the exact radius around it."""
        batch_stats = networks.calibrate(
            self.encoder, params, stats["batch_stats"], rows, chunk=self.chunk
        )
        stats = stats | {"batch_stats": batch_stats}
        z = map_rows(lambda x: self.transform(params, stats, x), rows.x, chunk=self.chunk)
        centre = hypersphere.away_from_zero(
            hypersphere.centre(z, rows.weight), minimum=self.minimum_centre
        )
        centre = jnp.where(first, centre, stats["centre"])
        distance = hypersphere.squared_distance(z, centre)
        radius = hypersphere.radius(distance, rows.weight, nu=self.nu)
        # The radius stays 0 through the warm-up.
        return stats | {"centre": centre, "radius": jnp.where(first, 0, radius)}

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Squared distance ``d``; for the soft boundary ``d - R^2``."""
        distance = self._distance(params, stats, x)
        return distance - jnp.square(stats["radius"]) if self.soft_boundary else distance

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """Latent vectors ``[B, L]``."""
        return networks.apply(self.encoder, params, stats["batch_stats"], x)[0]

    def _distance(self, params: Params, stats: Stats, x: Array) -> Array:
        return hypersphere.squared_distance(self.transform(params, stats, x), stats["centre"])
