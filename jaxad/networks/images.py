"""Parts shared by networks for images, and the strided convolutional autoencoder."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxad.networks.convolution import conv2d, conv2d_transpose
from jaxad.networks.dense import ACTIVATIONS, fan_in_uniform
from jaxad.networks.normalization import BatchNorm
from jaxad.networks.types import enter, leave, rounded
from jaxad.typing import Array

_glorot = initializers.glorot_uniform()


class Conv(nn.Module):
    """A layer that applies `jaxad.networks.conv2d` or `jaxad.networks.conv2d_transpose`.

    Attributes:
      features: number of output channels.
      kernel: height and width of the kernel.
      stride: see these functions.
      padding: see these functions.
      use_bias: add a bias per channel.
      transpose: use `conv2d_transpose`, which enlarges images.
      kernel_init: initialiser of the kernel.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    padding: int | str = "same"
    use_bias: bool = False
    transpose: bool = False
    kernel_init: Callable[..., Any] = fan_in_uniform

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[B, H, W, C]`` to ``[B, H', W', features]``."""
        shape = (self.kernel, self.kernel, x.shape[3], self.features)
        kernel = rounded(self.param("kernel", self.kernel_init, shape), x)
        convolve = conv2d_transpose if self.transpose else conv2d
        y = convolve(x, kernel, stride=self.stride, padding=self.padding)
        if self.use_bias:
            bias = self.param("bias", initializers.zeros, (self.features,))
            y = y + rounded(bias, x)[None, None, None, :]
        return y


class ConvEncoder(nn.Module):
    """Strided 3 by 3 convolutions, each followed by leaky ReLU and batch norm, and a linear layer.

    The encoder of a widely copied tutorial autoencoder for digits. For Deep SVDD set ``use_bias``
    and ``affine`` to False, since with offsets the network can map every image to the centre.

    Attributes:
      filters: channels of each convolution. Each convolution halves height and width, rounded up.
      latent_dim: L.
      use_bias: add biases in every layer.
      batch_norm: normalise after each activation.
      affine: learn a scale and an offset in the normalisation.
      dtype: what it computes in, ``"float32"`` or ``"bfloat16"``, which suits accelerators. Its
        parameters and outputs are float32 in both.

    Example:
      >>> x = jax.numpy.ones((2, 28, 28, 1))
      >>> ConvEncoder().init_with_output(jax.random.key(0), x)[0].shape
      (2, 16)
    """

    filters: tuple[int, ...] = (32, 64)
    latent_dim: int = 16
    use_bias: bool = True
    batch_norm: bool = True
    affine: bool = True
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, H, W, C]`` to ``[B, L]``."""
        check_images(self, x)
        x = enter(self.dtype, x)
        for features in self.filters:
            x = Conv(features, stride=2, use_bias=self.use_bias, kernel_init=_glorot)(x)
            x = _activate(self, x, train, weight)
        x = x.reshape(x.shape[0], -1)
        return leave(_linear(self.latent_dim, self.use_bias, x)(x))


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: a linear layer, then transposed convolutions.

    Attributes:
      shape: height, width and channels of the images. Any size works: each convolution doubles the
        size, and the excess is cut off at the lower and right edges.
      filters: filters of the encoder, used in reverse order.
      use_bias: add biases in every layer.
      batch_norm: normalise after each activation.
      affine: learn a scale and an offset in the normalisation.
      output_activation: a name in `ACTIVATIONS`, applied to the output.
      dtype: what it computes in, ``"float32"`` or ``"bfloat16"``, which suits accelerators. Its
        parameters and outputs are float32 in both.

    Example:
      >>> z = jax.numpy.ones((2, 16))
      >>> ConvDecoder(shape=(28, 28, 1)).init_with_output(jax.random.key(0), z)[0].shape
      (2, 28, 28, 1)
    """

    shape: tuple[int, int, int]
    filters: tuple[int, ...] = (32, 64)
    use_bias: bool = True
    batch_norm: bool = True
    affine: bool = True
    output_activation: str = "sigmoid"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, z: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, L]`` to ``[B, *shape]``."""
        height, width, channels = check_code(self, z, self.shape)
        z = enter(self.dtype, z)
        factor = 2 ** len(self.filters)
        start = (-(-height // factor), -(-width // factor), self.filters[-1] if self.filters else 1)
        x = _linear(start[0] * start[1] * start[2], self.use_bias, z)(z)
        x = x.reshape(-1, *start)
        grow = functools.partial(Conv, use_bias=self.use_bias, transpose=True, kernel_init=_glorot)
        for features in reversed(self.filters):
            x = _activate(self, grow(features, stride=2)(x), train, weight)
        x = grow(channels)(x)[:, :height, :width]
        return ACTIVATIONS[self.output_activation](leave(x))


def _linear(features: int, use_bias: bool, x: Array) -> nn.Dense:
    """A linear layer for ``x``, in its type."""
    dtype = x.dtype if x.dtype == jnp.bfloat16 else None
    return nn.Dense(features, use_bias, dtype=dtype, kernel_init=_glorot)


def _activate(net: ConvEncoder | ConvDecoder, x: Array, train: bool, weight: Array | None) -> Array:
    x = jax.nn.leaky_relu(x, 0.2)
    if net.batch_norm:
        norm = BatchNorm(affine=net.affine, epsilon=1e-3, momentum=0.99)
        x = norm(x, train=train, weight=weight)
    return x


def check_images(net: nn.Module, x: Array) -> None:
    """Raise a ValueError unless ``x`` is a batch of images."""
    if x.ndim != 4:
        raise ValueError(
            f"{type(net).__name__} takes images [B, H, W, C], not an array of shape {x.shape}: "
            "reshape the rows to images, or use a network for tables such as MLP"
        )


def check_code(net: nn.Module, z: Array, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return height, width and channels of ``shape``.

    Raises:
      ValueError: ``z`` is not a batch of codes, or ``shape`` is not the shape of an image.
    """
    name = type(net).__name__
    if z.ndim != 2:
        raise ValueError(f"{name} takes codes [B, L], not an array of shape {z.shape}")
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            f"{name} makes images of a shape (H, W, C), each at least 1, not shape={shape}"
        )
    return shape[0], shape[1], shape[2]
