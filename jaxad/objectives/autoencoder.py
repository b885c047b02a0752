"""Autoencoders: reconstruct normal rows, score by the reconstruction error."""

from typing import Any

import flax.linen as nn
import jax
from flax import struct

from jaxad import networks
from jaxad.losses import reconstruction
from jaxad.typing import Array, Batch, Key, Params, Stats


@struct.dataclass
class AutoEncoder:
    """Squared reconstruction error, trained and scored.

    Attributes:
      encoder: ``[B, ...] -> [B, L]``.
      decoder: ``[B, L] -> [B, ...]``, the shape of the input.
      reduction: ``"mean"`` over a row's entries, or ``"sum"`` (Deep SVDD's pretraining sums over
        pixels; the same weight decay then bites less).
      noise: leaf or None; the standard deviation of Gaussian noise added to the input in training
        (a denoising autoencoder, Vincent et al. 2008). The target stays clean.
    """

    encoder: nn.Module = struct.field(pytree_node=False)
    decoder: nn.Module = struct.field(pytree_node=False)
    reduction: str = struct.field(pytree_node=False, default="mean")
    noise: Any = None
    chunk: int = struct.field(pytree_node=False, default=1024)

    @property
    def network(self) -> nn.Module:
        """Both networks as one."""
        return networks.EncoderDecoder(self.encoder, self.decoder)

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Make both networks."""
        params, batch_stats = networks.init(self.network, key, x)
        return params, {"batch_stats": batch_stats}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The squared error of each row."""
        x = batch.x
        if key is not None and self.noise is not None:
            noise_key, key = jax.random.split(key)
            x = x + self.noise * jax.random.normal(noise_key, x.shape, x.dtype)
        output, batch_stats = networks.apply(
            self.network, params, stats["batch_stats"], x, weight=batch.weight, key=key
        )
        values = reconstruction.squared_error(batch.x, output, reduction=self.reduction)
        return values, stats | {"batch_stats": batch_stats}

    def refresh(self, params: Params, stats: Stats, rows: Batch, *, first: Array) -> Stats:
        """Calibrate batch norm."""
        del first
        batch_stats = networks.calibrate(
            self.network, params, stats["batch_stats"], rows, chunk=self.chunk
        )
        return stats | {"batch_stats": batch_stats}

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """The squared error of each row, reduced as in training."""
        output = self.reconstruct(params, stats, x)
        return reconstruction.squared_error(x, output, reduction=self.reduction)

    def reconstruct(self, params: Params, stats: Stats, x: Array) -> Array:
        """Reconstructions, the shape of ``x``."""
        return networks.apply(self.network, params, stats["batch_stats"], x)[0]

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """Latent vectors ``[B, L]``."""
        return networks.apply(self.encoder, *encoder_of(params, stats), x)[0]


def encoder_of(params: Params, stats: Stats) -> tuple[Params, Any]:
    """The encoder's parameters and running statistics, to start another objective from."""
    return params["encoder"], stats["batch_stats"].get("encoder", {})
