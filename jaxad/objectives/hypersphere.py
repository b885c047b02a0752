"""Objectives around a centre: map normal rows close to it, score by the distance to it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad import chunking, networks
from jaxad.losses import hypersphere
from jaxad.objectives.variants import call_loss, wants
from jaxad.typing import Array, Batch, Key, Params, Stats

AVAILABLE = ("distance", "radius", "nu", "label", "z", "centre")


@struct.dataclass
class Hypersphere:
    """A network, a fixed centre and a loss of the squared distances to it.

    `DeepSVDD` and `DeepSAD` make it. Fitted without a gradient are the ``centre`` ``[L]`` (before
    the first step, from all rows, coordinates near 0 moved away) and the ``radius``: where the
    loss asks for it, it stays 0 for ``warm_up`` epochs and is then the ``1 - nu`` quantile of each
    batch's distances; at the end it is exact over all rows. Where the loss has no use for it, it is
    always 0.

    Attributes:
      encoder: the network ``[B, ...] -> [B, L]``.
      function: the loss; gets those it names of ``distance`` ``[B]`` (squared), ``radius``, ``nu``,
        ``label`` ``[B]``, ``z`` ``[B, L]`` and ``centre`` ``[L]``; returns ``[B]``.
      numbers: leaves, the loss's own numbers by name.
      nu: leaf in (0, 1], the share of rows outside the ball.
      warm_up: leaf, epochs before the radius moves.
      minimum_centre: leaf, the smallest coordinate of the centre.
      anomalies_in_centre: whether known anomalies count for the centre.
      chunk: rows at a time.
    """

    encoder: nn.Module = struct.field(pytree_node=False)
    function: Callable[..., Array] = struct.field(pytree_node=False)
    numbers: dict[str, Any]
    nu: Any
    warm_up: Any
    minimum_centre: Any
    anomalies_in_centre: bool = struct.field(pytree_node=False)
    chunk: int = struct.field(pytree_node=False)

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Make the encoder; the centre is set by `refresh` before the first step."""
        return self.from_encoder(*networks.init(self.encoder, key, x), x)

    def from_encoder(self, params: Params, batch_stats: Any, x: Array) -> tuple[Params, Stats]:
        """Start from an encoder's parameters and running statistics, pretrained or not."""
        z = jax.eval_shape(lambda: networks.apply(self.encoder, params, batch_stats, x[:1])[0])
        centre = jnp.zeros(z.shape[-1], z.dtype)
        return {"encoder": params}, {
            "batch_stats": {"encoder": batch_stats},
            "centre": centre,
            "radius": jnp.zeros((), z.dtype),
        }

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The loss of each row, and the radius of the batch."""
        z, batch_stats = networks.apply(
            self.encoder,
            params["encoder"],
            stats["batch_stats"]["encoder"],
            batch.x,
            weight=batch.weight,
            key=key,
        )
        distance = hypersphere.squared_distance(z, stats["centre"])
        values = call_loss(
            self.function,
            {
                "distance": distance,
                "radius": stats["radius"],
                "nu": self.nu,
                "label": batch.label,
                "z": z,
                "centre": stats["centre"],
            },
            self.numbers,
        )
        if key is None:
            return values, stats
        stats = stats | {"batch_stats": {"encoder": batch_stats}}
        if wants(self.function, "radius"):
            radius = hypersphere.radius(distance, batch.weight, nu=self.nu)
            stats["radius"] = jnp.where(batch.epoch >= self.warm_up, radius, stats["radius"])
        return values, stats

    def refresh(self, params: Params, stats: Stats, rows: Batch, *, first: Array) -> Stats:
        """Calibrate batch norm, set the centre if ``first``, and the exact radius around it."""
        batch_stats = networks.calibrate(
            self.encoder,
            params["encoder"],
            stats["batch_stats"]["encoder"],
            rows,
            chunk=self.chunk,
        )
        stats = stats | {"batch_stats": {"encoder": batch_stats}}
        if not self.anomalies_in_centre:
            rows = chunking.reweigh(rows, lambda b: jnp.where(b.label < 0, 0, b.weight))

        def transform(x):
            return self.transform(params, stats, x)

        def new_centre():
            mean = chunking.mean(transform, rows, chunk=self.chunk)
            return hypersphere.away_from_zero(mean, minimum=self.minimum_centre)

        centre = chunking.skip_if(jnp.logical_not(first), stats["centre"], new_centre)
        stats = stats | {"centre": centre}
        if not wants(self.function, "radius"):
            return stats

        def distance_of(x):
            return hypersphere.squared_distance(self.transform(params, stats, x), centre)

        def exact_radius():
            distance, weight = chunking.values(distance_of, rows, chunk=self.chunk)
            # Compiled by itself where the rows are a stream, and what is around it is not.
            return jax.jit(hypersphere.radius)(distance, weight, nu=self.nu)

        none_yet = jnp.zeros_like(stats["radius"])
        return stats | {"radius": chunking.skip_if(first, none_yet, exact_radius)}

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Squared distance ``d``; where the loss has a radius, ``d - R^2``."""
        z = self.transform(params, stats, x)
        distance = hypersphere.squared_distance(z, stats["centre"])
        if wants(self.function, "radius"):
            return distance - jnp.square(stats["radius"])
        return distance

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """Latent vectors ``[B, L]``."""
        encoder, batch_stats = params["encoder"], stats["batch_stats"]["encoder"]
        return networks.apply(self.encoder, encoder, batch_stats, x)[0]
