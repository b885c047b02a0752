"""Networks by name: the encoder and the decoder for rows of a given shape, and the pair of both."""

import numbers
from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from jaxad.networks.dense import MLP
from jaxad.networks.images import ConvDecoder, ConvEncoder
from jaxad.networks.lenet import LeNetDecoder, LeNetEncoder
from jaxad.networks.modules import call, check_output
from jaxad.typing import Array

TABULAR = ("mlp",)
# Filters, hidden widths, latent size, and whether the decoder normalises the code.
_PAPERS = {
    "mnist_lenet": ((8, 4), (), 32, False),
    "fmnist_lenet": ((16, 32), (128,), 64, False),
    "cifar10_lenet": ((32, 64, 128), (), 128, True),
}
IMAGES = ("conv", "lenet", *_PAPERS)
# Hidden widths or filters, and latent size.
_DEFAULT_SIZES = {"mlp": ((128, 64), 32), "conv": ((32, 64), 16), "lenet": ((8, 4), 32)}


def encoder(
    network: Any,
    *,
    hidden: tuple[int, ...] | None = None,
    latent_dim: int | None = None,
    batch_norm: bool = False,
    use_bias: bool = False,
    dtype: str = "float32",
    **options: Any,
) -> nn.Module:
    """Build the encoder ``[B, ...] -> [B, L]`` with a given name.

    Args:
      network: a name in `TABULAR` or `IMAGES`, or a Flax module, which is returned unchanged.
      hidden: widths of an MLP's hidden layers, or filters of ``"conv"`` and ``"lenet"``. None takes
        the network's default.
      latent_dim: L. None takes the network's default.
      batch_norm: add batch norm. Only ``"conv"`` with biases gives it a scale and an offset.
      use_bias: add biases. LeNets never have them.
      dtype: what it computes in, ``"float32"`` or ``"bfloat16"``.
      **options: further attributes of an `MLP`.

    Raises:
      ValueError: the name is unknown, a size is below 1, or sizes are given for a paper's network.

    Example:
      >>> encoder("mlp", hidden=(16,), latent_dim=4).widths
      (16, 4)
    """
    if isinstance(network, nn.Module):
        return network
    hidden, latent_dim, linear, _ = _sizes(network, hidden, latent_dim)
    if network == "mlp":
        options |= {"batch_norm": batch_norm, "use_bias": use_bias, "dtype": dtype}
        return MLP((*hidden, latent_dim), **options)
    if network == "conv":
        return ConvEncoder(hidden, latent_dim, use_bias, batch_norm, affine=use_bias, dtype=dtype)
    return LeNetEncoder(hidden, linear, latent_dim, batch_norm=batch_norm, dtype=dtype)


def decoder(
    network: Any,
    shape: tuple[int, ...],
    *,
    hidden: tuple[int, ...] | None = None,
    latent_dim: int | None = None,
    batch_norm: bool = False,
    use_bias: bool = False,
    output_activation: str = "linear",
    dtype: str = "float32",
    **options: Any,
) -> nn.Module:
    """Build the decoder ``[B, L] -> [B, *shape]`` that mirrors the `encoder` of the same arguments.

    Example:
      >>> decoder("mlp", (5,), hidden=(16, 8)).widths
      (8, 16, 5)
    """
    hidden, latent_dim, linear, code_norm = _sizes(network, hidden, latent_dim)
    if network == "mlp":
        widths = (*reversed(hidden), *shape)
        options |= {"batch_norm": batch_norm, "use_bias": use_bias, "dtype": dtype}
        return MLP(widths, output_activation=output_activation, **options)
    image = (shape[0], shape[1], shape[2])
    options = {"batch_norm": batch_norm, "output_activation": output_activation, "dtype": dtype}
    if network == "conv":
        return ConvDecoder(image, hidden, use_bias, affine=use_bias, **options)
    return LeNetDecoder(image, hidden, linear, code_norm=code_norm, **options)


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
        check_output("the encoder", z, len(x))
        output = call(self.decoder, z, train=train, weight=weight)
        if output.shape != x.shape:
            raise ValueError(
                f"the decoder returned an array of shape {output.shape} for rows of shape "
                f"{x.shape}: it must return the shape of the rows"
            )
        return output, z


def check_module(name: str, value: Any) -> None:
    """Raise a TypeError unless ``value`` is a Flax module."""
    if not isinstance(value, nn.Module):
        raise TypeError(
            f"{name}={value!r:.60} is not an instance of flax.linen.Module{_hint(value)}"
        )


def _hint(value: Any) -> str:
    if isinstance(value, type):
        return f". It is a class: give an instance, {value.__name__}(...)"
    if any(kind.__module__.startswith("flax.nnx") for kind in type(value).__mro__):
        return ". NNX modules are not taken: write the network as a flax.linen.Module"
    return ""


def _sizes(
    network: str, hidden: Any, latent_dim: Any
) -> tuple[tuple[int, ...], int, tuple[int, ...], bool]:
    """Hidden widths or filters, latent size, and two fields that only the papers' networks use.

    These are the widths of linear layers, and whether the decoder normalises the code.
    """
    if not isinstance(network, str) or network not in (*TABULAR, *IMAGES):
        raise ValueError(
            f"network={network!r:.60} is neither an instance of flax.linen.Module nor one of: "
            f"{', '.join(map(repr, (*TABULAR, *IMAGES)))}{_hint(network)}"
        )
    if network in _PAPERS:
        if hidden is not None or latent_dim is not None:
            raise ValueError(
                f"network={network!r} has its own sizes: leave hidden={hidden!r} and "
                f"latent_dim={latent_dim!r} out, or use network='lenet'"
            )
        filters, linear, latent, code_norm = _PAPERS[network]
        return filters, latent, linear, code_norm
    default_hidden, default_latent = _DEFAULT_SIZES[network]
    several = isinstance(hidden, Sequence) or getattr(hidden, "ndim", None) == 1
    if hidden is not None and (not several or isinstance(hidden, str | bytes)):
        right = f"({hidden!r},)" if isinstance(hidden, numbers.Integral) else "a tuple, as (64, 32)"
        raise ValueError(f"hidden={hidden!r} is not a sequence of widths: pass {right}")
    hidden = default_hidden if hidden is None else tuple(hidden)
    latent_dim = default_latent if latent_dim is None else latent_dim
    for name, value, sizes in (
        ("hidden", hidden, hidden),
        ("latent_dim", latent_dim, (latent_dim,)),
    ):
        if any(isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1 for n in sizes):
            raise ValueError(f"{name}={value!r}: every width must be a whole number of at least 1")
    return tuple(map(int, hidden)), int(latent_dim), (), False
