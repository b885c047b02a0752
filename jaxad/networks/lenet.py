"""LeNet-type networks of Deep SVDD and Deep SAD: 5 by 5 convolutions, max-pooling, no biases.

Ruff et al., "Deep One-Class Classification", ICML 2018, and "Deep Semi-Supervised Anomaly
Detection", ICLR 2020. The details are those of the authors' code, whose networks are:

=============  ===============================  ==========================
images         ``LeNetEncoder``                 ``LeNetDecoder``
=============  ===============================  ==========================
MNIST          ``(8, 4), (), 32``               ``(28, 28, 1), (8, 4)``
Fashion-MNIST  ``(16, 32), (128,), 64``         ``(28, 28, 1), (16, 32), (128,)``
CIFAR-10       ``(32, 64, 128), (), 128``       ``(32, 32, 3), (32, 64, 128), code_norm=True``
=============  ===============================  ==========================
"""

from collections.abc import Callable

import flax.linen as nn
import jax
from jax.nn import initializers

from jaxad.networks.convolution import max_pool, upsample
from jaxad.networks.dense import ACTIVATIONS, Dense
from jaxad.networks.images import Conv, check_code, check_images
from jaxad.networks.normalization import BatchNorm
from jaxad.networks.types import enter, leave
from jaxad.typing import Array

# PyTorch computes the fan-in of a transposed convolution from its output channels.
_fan_out_uniform = initializers.variance_scaling(1 / 3, "fan_out", "uniform")


class LeNetEncoder(nn.Module):
    """Convolutions with batch norm, leaky ReLU and 2 by 2 max-pooling, then linear layers.

    Attributes:
      filters: channels of each convolution.
      hidden: units of each linear layer before the last one, with batch norm and leaky ReLU.
      latent_dim: L.
      kernel: height and width of the kernels.
      batch_norm: normalise before each activation, without scale and offset.
      dtype: what it computes in, ``"float32"`` or ``"bfloat16"``, which suits accelerators. Its
        parameters and outputs are float32 in both.

    Example:
      >>> x = jax.numpy.ones((2, 28, 28, 1))
      >>> LeNetEncoder().init_with_output(jax.random.key(0), x)[0].shape
      (2, 32)
    """

    filters: tuple[int, ...] = (8, 4)
    hidden: tuple[int, ...] = ()
    latent_dim: int = 32
    kernel: int = 5
    batch_norm: bool = True
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, H, W, C]`` to ``[B, L]``.

        Raises:
          ValueError: ``x`` is not a batch of images, or they are too small to be halved once per
            filter.
        """
        check_images(self, x)
        smallest = 2 ** len(self.filters)
        if min(x.shape[1:3]) < smallest:
            raise ValueError(
                f"images of {x.shape[1]} x {x.shape[2]} pixels cannot be halved "
                f"{len(self.filters)} times, once for each of filters={self.filters}: "
                f"use fewer filters or images of at least {smallest} x {smallest}"
            )
        x = enter(self.dtype, x)
        for features in self.filters:
            x = Conv(features, self.kernel)(x)
            x = _activate(self, x, train, weight, max_pool)
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = _activate(self, Dense(width)(x), train, weight)
        return leave(Dense(self.latent_dim)(x))


class LeNetDecoder(nn.Module):
    """The authors' decoders: transposed convolutions and nearest-neighbour upsampling.

    The code is reshaped to a small image. For each filter, in reverse order, a convolution is
    applied and the image doubled; a last convolution makes the output channels. If the small image
    would be larger than 4 by 4, it starts at half that size and is doubled first.

    Attributes:
      shape: height, width and channels of the images.
      filters: filters of the encoder, used in reverse order.
      hidden: linear layers of the encoder, used in reverse order.
      kernel: height and width of the kernels.
      batch_norm: normalise before each activation, without scale and offset.
      code_norm: normalise the code too, as the CIFAR-10 autoencoder of Deep SVDD does.
      output_activation: a name in `ACTIVATIONS`, applied to the output.
      dtype: what it computes in, ``"float32"`` or ``"bfloat16"``, which suits accelerators. Its
        parameters and outputs are float32 in both.

    Example:
      >>> z = jax.numpy.ones((2, 32))
      >>> LeNetDecoder(shape=(28, 28, 1)).init_with_output(jax.random.key(0), z)[0].shape
      (2, 28, 28, 1)
    """

    shape: tuple[int, int, int]
    filters: tuple[int, ...] = (8, 4)
    hidden: tuple[int, ...] = ()
    kernel: int = 5
    batch_norm: bool = True
    code_norm: bool = False
    output_activation: str = "sigmoid"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, z: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, L]`` to ``[B, *shape]``.

        Raises:
          ValueError: ``z`` is not a batch of codes, or its length does not fit the shape.
        """
        height, width, channels = check_code(self, z, self.shape)
        sizes = [_halved(self.shape, n) for n in range(len(self.filters), -1, -1)]
        double_first = max(sizes[0]) > 4
        start = _halved(sizes[0], 1) if double_first else sizes[0]

        x = enter(self.dtype, z)
        if self.code_norm and self.batch_norm:
            x = BatchNorm()(x, train=train, weight=weight)
        for units in reversed(self.hidden):
            x = _activate(self, Dense(units)(x), train, weight)
        if not self.hidden:
            x = jax.nn.leaky_relu(x)
        if x.shape[1] % (start[0] * start[1]):
            raise ValueError(
                f"a code of {x.shape[1]} numbers cannot be laid out on the {start[0]} x {start[1]} "
                f"pixels from which {height} x {width} images grow with filters={self.filters}: "
                f"its length (or hidden[0]) must be a multiple of {start[0] * start[1]}"
            )
        x = x.reshape(x.shape[0], *start, -1)
        if double_first:
            x = upsample(x)
        for features, size in zip((*reversed(self.filters), channels), sizes, strict=True):
            x = Conv(features, self.kernel, transpose=True, kernel_init=_fan_out_uniform)(x)
            x = _trim(x, size)
            if size is not sizes[-1]:
                x = upsample(_activate(self, x, train, weight))
        return ACTIVATIONS[self.output_activation](leave(x[:, :height, :width]))


def _trim(x: Array, size: tuple[int, int]) -> Array:
    """Crop images to ``size``, the same on both sides.

    Doubling makes images too large where halving was rounded up: 16 instead of 14 in the authors'
    MNIST decoder, which crops by the padding of its convolution, with the same result.
    """
    cut = [(now - wanted) // 2 for now, wanted in zip(x.shape[1:3], size, strict=True)]
    return x[:, cut[0] : x.shape[1] - cut[0], cut[1] : x.shape[2] - cut[1]]


def _halved(size: tuple[int, ...], times: int) -> tuple[int, int]:
    """Height and width halved, rounded up."""
    return -(-size[0] // 2**times), -(-size[1] // 2**times)


def _activate(
    net: LeNetEncoder | LeNetDecoder,
    x: Array,
    train: bool,
    weight: Array | None,
    pool: Callable[[Array], Array] | None = None,
) -> Array:
    """Normalise, pool and activate; maxima come first, because all of these keep the order."""
    if net.batch_norm:
        x = BatchNorm()(x, train=train, weight=weight, pool=pool)
    elif pool is not None:
        x = pool(x)
    return jax.nn.leaky_relu(x)
