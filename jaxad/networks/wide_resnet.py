"""Wide residual networks (Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxad.networks.images import Conv, check_images
from jaxad.networks.normalization import BatchNorm
from jaxad.networks.types import enter, leave
from jaxad.typing import Array

_he = initializers.he_normal()


class WideResNet(nn.Module):
    """A wide residual network without its classifier: images to ``64 * width`` pooled features.

    It consists of a convolution to 16 channels, three groups of blocks with 16, 32 and 64 times
    ``width`` channels, and the mean over all positions. The second and third group halve height and
    width. Normalisation and ReLU come before each convolution. The default, WRN-10-4, has 256
    features and 1,196,240 parameters for images with 3 channels. Its normalisation has offsets, so
    it does not suit Deep SVDD.

    Attributes:
      depth: 6 n + 4 for n blocks in each group, as in the paper: 10, 16, 22, ...
      width: factor of the numbers of channels, at least 1.
      dtype: what it computes in, ``"float32"`` or ``"bfloat16"``, which suits accelerators. Its
        parameters and outputs are float32 in both.

    Example:
      >>> module = WideResNet(depth=10, width=1)
      >>> module.init_with_output(jax.random.key(0), jnp.ones((2, 8, 8, 1)))[0].shape
      (2, 64)
    """

    depth: int = 10
    width: int = 4
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, H, W, C]`` to ``[B, 64 * width]``."""
        check_sizes(self.depth, self.width)
        check_images(self, x)
        x = Conv(16, kernel_init=_he)(enter(self.dtype, x))
        for group, features in enumerate((16, 32, 64)):
            for block in range((self.depth - 4) // 6):
                stride = 2 if group and not block else 1
                x = Block(features * self.width, stride)(x, train=train, weight=weight)
        x = BatchNorm(affine=True)(x, train=train, weight=weight)
        return jnp.mean(jax.nn.relu(leave(x)), (1, 2))


class Block(nn.Module):
    """A residual block: two 3 by 3 convolutions added to a shortcut.

    The shortcut is the input, or a 1 by 1 convolution of it if the shape changes.

    Attributes:
      features: number of output channels.
      stride: stride of the first convolution and of the shortcut.
    """

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``."""

        def activate(x: Array) -> Array:
            return jax.nn.relu(BatchNorm(affine=True)(x, train=train, weight=weight))

        def conv(kernel: int, stride: int) -> Conv:
            # Equal padding on all sides centres strided windows on those of the shortcut.
            return Conv(self.features, kernel, stride, kernel // 2, kernel_init=_he)

        y = activate(x)
        shortcut = x
        if self.stride != 1 or x.shape[-1] != self.features:
            shortcut = conv(1, self.stride)(y)
        y = conv(3, self.stride)(y)
        return shortcut + conv(3, 1)(activate(y))


def check_sizes(depth: int, width: int) -> None:
    """Raise a ValueError unless a `WideResNet` can have this depth and width.

    Example:
      >>> check_sizes(28, 10)
      >>> check_sizes(12, 4)
      Traceback (most recent call last):
      ValueError: depth=12: a wide residual network has a depth of 10, 16, 22, ... (6 n + 4)
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(
            f"depth={depth}: a wide residual network has a depth of 10, 16, 22, ... (6 n + 4)"
        )
    if width < 1:
        raise ValueError(f"width={width}: a wide residual network has a width of at least 1")
