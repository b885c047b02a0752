"""An encoder and a decoder as one network."""

import flax.linen as nn

from jaxad.networks.modules import call
from jaxad.typing import Array


class EncoderDecoder(nn.Module):
    """Reconstructions and latents; parameters and statistics under ``encoder`` and ``decoder``."""

    encoder: nn.Module
    decoder: nn.Module

    def __call__(self, x: Array, *, train: bool = False, weight: Array | None = None):
        """Return ``[B, ...]`` reconstructed, and ``[B, L]``."""
        z = call(self.encoder, x, train=train, weight=weight)
        return call(self.decoder, z, train=train, weight=weight), z
