"""Networks by name: the encoder and the decoder for rows of a given shape, and the pair of both."""

from typing import Any

import flax.linen as nn

from jaxad.networks.dense import MLP
from jaxad.networks.images import ConvDecoder, ConvEncoder
from jaxad.networks.lenet import LeNetDecoder, LeNetEncoder
from jaxad.networks.modules import call
from jaxad.typing import Array

TABULAR = ("mlp",)
# The papers' networks: filters, hidden, latent_dim, and whether the decoder normalises the code.
PAPERS = {
    "mnist_lenet": ((8, 4), (), 32, False),
    "fmnist_lenet": ((16, 32), (128,), 64, False),
    "cifar10_lenet": ((32, 64, 128), (), 128, True),
}
IMAGES = ("conv", "lenet", *PAPERS)
_DEFAULT_SIZES = {"mlp": ((128, 64), 32), "conv": ((32, 64), 16), "lenet": ((8, 4), 32)}


def encoder(
    network: Any,
    *,
    hidden: tuple[int, ...] | None = None,
    latent_dim: int | None = None,
    batch_norm: bool = False,
    use_bias: bool = False,
    **options: Any,
) -> nn.Module:
    """The encoder ``[B, ...] -> [B, L]`` called ``network``; a Flax module is its own.

    Args:
      network: a name in `TABULAR` or `IMAGES`, or a module.
      hidden: hidden widths of an MLP, filters of ``"conv"`` and ``"lenet"``.
      latent_dim: L.
      batch_norm: normalise, without scale and offset where there are no biases.
      use_bias: biases (LeNets have none).
      **options: further attributes of an `MLP`.

    Raises:
      ValueError: for a name that is not known, or sizes below 1.
    """
    if isinstance(network, nn.Module):
        return network
    hidden, latent_dim, papers_hidden, _ = _sizes(network, hidden, latent_dim)
    if network == "mlp":
        return MLP((*hidden, latent_dim), batch_norm=batch_norm, use_bias=use_bias, **options)
    if network == "conv":
        return ConvEncoder(hidden, latent_dim, use_bias, batch_norm, affine=use_bias)
    return LeNetEncoder(hidden, papers_hidden, latent_dim, batch_norm=batch_norm)


def decoder(
    network: Any,
    shape: tuple[int, ...],
    *,
    hidden: tuple[int, ...] | None = None,
    latent_dim: int | None = None,
    batch_norm: bool = False,
    use_bias: bool = False,
    output_activation: str = "linear",
    **options: Any,
) -> nn.Module:
    """The decoder ``[B, L] -> [B, *shape]`` that mirrors `encoder`; the same arguments."""
    hidden, latent_dim, papers_hidden, code_norm = _sizes(network, hidden, latent_dim)
    if network == "mlp":
        widths = (*reversed(hidden), *shape)
        options |= {"output_activation": output_activation}
        return MLP(widths, batch_norm=batch_norm, use_bias=use_bias, **options)
    image = (shape[0], shape[1], shape[2])
    options = {"batch_norm": batch_norm, "output_activation": output_activation}
    if network == "conv":
        return ConvDecoder(image, hidden, use_bias, affine=use_bias, **options)
    return LeNetDecoder(image, hidden, papers_hidden, code_norm=code_norm, **options)


class EncoderDecoder(nn.Module):
    """An encoder and a decoder as one network, with parameters under those two names.

    Example:
      >>> import jax
      >>> pair = EncoderDecoder(encoder("conv"), decoder("conv", (8, 8, 1)))
      >>> (x, z), _ = pair.init_with_output(jax.random.key(0), jax.numpy.ones((2, 8, 8, 1)))
      >>> x.shape, z.shape
      ((2, 8, 8, 1), (2, 16))
    """

    encoder: nn.Module
    decoder: nn.Module

    def __call__(
        self, x: Array, *, train: bool = False, weight: Array | None = None
    ) -> tuple[Array, Array]:
        """Return the reconstructions ``[B, ...]`` and the latent vectors ``[B, L]``."""
        z = call(self.encoder, x, train=train, weight=weight)
        return call(self.decoder, z, train=train, weight=weight), z


def _sizes(
    network: str, hidden: Any, latent_dim: Any
) -> tuple[tuple[int, ...], int, tuple[int, ...], bool]:
    """Widths or filters, latent size, and what only the papers' networks have."""
    if network in PAPERS:
        if hidden is not None or latent_dim is not None:
            raise ValueError(
                f"network={network!r} has its own sizes: leave hidden={hidden!r} and "
                f"latent_dim={latent_dim!r} out, or use network='lenet'"
            )
        filters, papers_hidden, papers_latent, code_norm = PAPERS[network]
        return filters, papers_latent, papers_hidden, code_norm
    default_hidden, default_latent = _DEFAULT_SIZES[network]
    hidden = default_hidden if hidden is None else tuple(hidden)
    latent_dim = default_latent if latent_dim is None else latent_dim
    for name, value, sizes in (
        ("hidden", hidden, hidden),
        ("latent_dim", latent_dim, (latent_dim,)),
    ):
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes):
            raise ValueError(f"{name}={value!r}: every width must be a whole number of at least 1")
    return hidden, latent_dim, (), False
