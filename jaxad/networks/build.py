"""Networks by name: the encoder and the decoder for rows of a given shape."""

from typing import Any

import flax.linen as nn

from jaxad.networks.dense import MLP

TABULAR = ("mlp",)
IMAGES = ("conv", "lenet", "mnist_lenet", "fmnist_lenet", "cifar10_lenet")


def encoder(
    network: Any,
    shape: tuple[int, ...],
    *,
    hidden: tuple[int, ...] | None = None,
    latent_dim: int | None = None,
    batch_norm: bool = False,
    use_bias: bool = False,
    activation: str = "leaky_relu",
    **options: Any,
) -> nn.Module:
    """The encoder ``[B, *shape] -> [B, L]`` called ``network``.

    Raises:
      ValueError: for a name that is not known, or sizes below 1.
    """
    if isinstance(network, nn.Module):
        return network
    hidden, latent_dim = _sizes(network, hidden, latent_dim)
    return MLP((*hidden, latent_dim), activation, batch_norm, use_bias, **options)


def decoder(
    network: Any,
    shape: tuple[int, ...],
    *,
    hidden: tuple[int, ...] | None = None,
    latent_dim: int | None = None,
    batch_norm: bool = False,
    use_bias: bool = False,
    activation: str = "leaky_relu",
    **options: Any,
) -> nn.Module:
    """The decoder ``[B, L] -> [B, *shape]`` that mirrors `encoder`."""
    hidden, latent_dim = _sizes(network, hidden, latent_dim)
    return MLP((*reversed(hidden), *shape), activation, batch_norm, use_bias, **options)


DEFAULT_SIZES = {
    "mlp": ((128, 64), 32),
    "conv": ((32, 64), 16),
    "lenet": ((8, 4), 32),
}


def _sizes(network: str, hidden: Any, latent_dim: Any) -> tuple[tuple[int, ...], int]:
    default_hidden, default_latent = DEFAULT_SIZES[network]
    hidden = default_hidden if hidden is None else tuple(hidden)
    latent_dim = default_latent if latent_dim is None else latent_dim
    for name, sizes in (("hidden", hidden), ("latent_dim", (latent_dim,))):
        if any(not isinstance(size, int) or size < 1 for size in sizes):
            value = hidden if name == "hidden" else latent_dim
            raise ValueError(f"{name}={value!r}: every width must be a whole number of at least 1")
    return hidden, latent_dim
