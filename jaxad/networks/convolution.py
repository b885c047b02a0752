"""Two-dimensional convolution that stays fast inside a compiled loop on a CPU.

XLA's fast convolution routine for CPUs takes only one layout. Outside of loops the compiler
transposes other layouts to it. Inside a ``while`` or ``scan`` body, as in a training run, it does
not: the gradients of `jax.lax.conv_general_dilated` run in a scalar loop, tens of times slower.
Here the gradients are written in the fast layout, and layers with few channels, such as the first,
are folded into wider ones. Accelerators use the native operation.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from jaxad.typing import Array

Pads = tuple[tuple[int, int], tuple[int, int]]


class _Window(NamedTuple):
    """Stride, dilations and padding of a convolution. Its gradients are described likewise."""

    stride: int
    spread_input: int  # input dilation: 1 + the number of zeros between neighbouring inputs
    spread_kernel: int  # kernel dilation
    padding: Pads


def conv2d(x: Array, kernel: Array, *, stride: int = 1, padding: int | str = "same") -> Array:
    """Convolve images with a kernel, which is not flipped (cross-correlation).

    Args:
      x: ``[B, H, W, C]``.
      kernel: ``[kh, kw, C, F]``.
      stride: step of the kernel in both directions.
      padding: number of zero rows and columns added on every side, or ``"same"`` for an output of
        ``ceil(H / stride)`` by ``ceil(W / stride)``.

    Returns:
      ``[B, H', W', F]``.

    Example:
      >>> conv2d(jnp.ones((2, 8, 8, 1)), jnp.ones((3, 3, 1, 4)), stride=2).shape
      (2, 4, 4, 4)
    """
    _check(x, kernel)

    def pads(axis: int) -> tuple[int, int]:
        if padding == "same":
            return _same(x.shape[1 + axis], kernel.shape[axis], stride)
        return int(padding), int(padding)

    return _convolve(x, kernel, _Window(stride, 1, 1, (pads(0), pads(1))))


def conv2d_transpose(
    x: Array, kernel: Array, *, stride: int = 1, padding: int | str = "same"
) -> Array:
    """Enlarge images by a transposed convolution, which reverses the shapes of `conv2d`.

    It puts ``stride - 1`` zeros between neighbouring pixels and correlates with the kernel: the
    adjoint of `conv2d` with the kernel ``kernel[::-1, ::-1]``, input and output channels swapped.

    Args:
      x: ``[B, H, W, C]``.
      kernel: ``[kh, kw, C, F]``.
      stride: distance in the output between neighbouring inputs.
      padding: padding of the reversed convolution, that is, the number of rows and columns *cut* on
        every side; or ``"same"`` for an output of ``stride * H`` by ``stride * W``.

    Returns:
      ``[B, H', W', F]`` with ``H' = stride * (H - 1) + kh - 2 * padding``, unless it is ``"same"``.

    Example:
      >>> conv2d_transpose(jnp.ones((2, 4, 4, 1)), jnp.ones((3, 3, 1, 4)), stride=2).shape
      (2, 8, 8, 4)
    """
    _check(x, kernel)

    def pads(axis: int) -> tuple[int, int]:
        reach = kernel.shape[axis] - 1
        if padding != "same":
            return reach - int(padding), reach - int(padding)
        low, high = _same(stride * x.shape[1 + axis], reach + 1, stride)
        # If the stride is larger than the kernel, zeros follow the last input.
        return reach - low, max(reach, stride - 1) - high

    return _convolve(x, kernel, _Window(1, stride, 1, (pads(0), pads(1))))


def max_pool(x: Array) -> Array:
    """Take the maximum of every 2 by 2 block: ``[B, H, W, C] -> [B, H // 2, W // 2, C]``.

    The gradient of a tie goes to the first of the equal values, as in PyTorch.

    Example:
      >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
      [[5.0, 7.0], [13.0, 15.0]]
    """
    chex.assert_rank(x, 4)
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2 * c)
    x = _larger(x[:, :, 0], x[:, :, 1])
    return _larger(x[..., :c], x[..., c:])


def upsample(x: Array) -> Array:
    """Repeat every pixel twice in both directions: ``[B, H, W, C] -> [B, 2 H, 2 W, C]``.

    Example:
      >>> upsample(jnp.ones((2, 4, 4, 3))).shape
      (2, 8, 8, 3)
    """
    chex.assert_rank(x, 4)
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def _larger(a: Array, b: Array) -> Array:
    # Not `jnp.max`: its gradient compares the values with a recomputed maximum, which may be
    # rounded differently, so that both or neither get the gradient. NaN is propagated.
    return jnp.where((a < b) | jnp.isnan(b), b, a)


def _check(x: Array, kernel: Array) -> None:
    chex.assert_rank([x, kernel], 4)
    chex.assert_equal(x.shape[3], kernel.shape[2])


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _convolve(x: Array, kernel: Array, window: _Window) -> Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_in_loop, window),
        default=functools.partial(_native, window),
    )


def _native(window: _Window, x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (window.stride,) * 2,
        window.padding,
        lhs_dilation=(window.spread_input,) * 2,
        rhs_dilation=(window.spread_kernel,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _convolution(window: _Window, x: Array, kernel: Array) -> Array:
    return _mapped(window)(x, kernel)


_in_loop = jax.custom_vjp(_convolution, nondiff_argnums=(0,))


def _forward(window: _Window, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _in_loop(window, x, kernel), (x, kernel)


def _backward(window: _Window, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    """Gradients of input and kernel: convolutions with strides and dilations exchanged."""
    x, kernel = residuals
    stride, spread_x, spread_k, padding = window

    def pads(axis: int) -> tuple[tuple[int, int], tuple[int, int]]:
        low, reach = padding[axis][0], (kernel.shape[axis] - 1) * spread_k
        shift = (x.shape[1 + axis] - 1) * spread_x - (g.shape[1 + axis] - 1) * stride
        return (low, reach - low - shift), (reach - low, low + shift)

    (forth_y, back_y), (forth_x, back_x) = pads(0), pads(1)
    back = _Window(spread_x, stride, spread_k, (back_y, back_x))
    dx = _in_loop(back, g, jnp.swapaxes(kernel[::-1, ::-1], 2, 3))
    # The kernel's gradient correlates x and g, one as the image, the other as a large kernel. Only
    # a kernel can be dilated without losing speed, and the one with more channels is faster there.
    channels, filters = kernel.shape[2:]
    if spread_x > 1 or (stride == 1 and filters < min(channels, 32)):
        dk = _correlation(_Window(spread_k, stride, spread_x, (back_y, back_x)), g, x)
        return dx, jnp.swapaxes(dk[::-1, ::-1], 2, 3)
    return dx, _correlation(_Window(spread_k, spread_x, stride, (forth_y, forth_x)), x, g)


def _correlation(window: _Window, x: Array, g: Array) -> Array:
    """Correlate images with images, ``[kh, kw, C, F]``: ``g`` is the kernel, rows its channels."""
    dk = _in_loop(window, jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(g, (1, 2, 0, 3)))
    return jnp.transpose(dk, (1, 2, 0, 3))


_in_loop.defvjp(_forward, _backward)


@functools.cache
def _mapped(window: _Window):
    """The convolution with a rule for `jax.vmap`, whose default is a slow grouped convolution."""

    @custom_vmap
    def convolve(x: Array, kernel: Array) -> Array:
        return _folded(window, x, kernel)

    @convolve.def_vmap
    def _(size, batched, x, kernel):
        if not batched[1]:
            y = convolve(x.reshape(-1, *x.shape[2:]), kernel)
            return y.reshape(size, -1, *y.shape[1:]), True
        if not batched[0]:
            return lax.map(lambda k: convolve(x, k), kernel), True
        return lax.map(lambda pair: convolve(*pair), (x, kernel)), True

    return convolve


def _folded(window: _Window, x: Array, kernel: Array) -> Array:
    """Convolve, with neighbouring columns folded into channels if there are few channels.

    A few channels do not fill the CPU's vectors. A block of ``m`` output columns reads ``m + kw -
    1`` input columns, so with the kernel as a band matrix over such blocks the channels C and F
    become m C and m F. Images keep their size in memory.
    """
    (low, high), kw = window.padding[1], kernel.shape[1]
    channels, filters = kernel.shape[2:]
    width = x.shape[2] + low + high - kw + 1
    widest = max(32 // max(channels, filters), 2 if channels < 4 else 1)
    m = max(d for d in range(1, widest + 1) if width % d == 0)
    if m == 1 or kw > width or window[:3] != (1, 1, 1):
        return _native(window, x, kernel)
    blocks = -(-(m + kw - 1) // m)
    total = width + (blocks - 1) * m
    x = lax.pad(
        x,
        jnp.zeros((), x.dtype),
        ((0, 0, 0), (0, 0, 0), (low, total - x.shape[2] - low, 0), (0, 0, 0)),
    )
    band = np.zeros((kw, blocks * m, m), x.dtype)
    offset, column = np.ogrid[:kw, :m]
    band[offset, offset + column, column] = 1
    wide = jnp.einsum("hkcf,kwm->hwcmf", kernel, band)
    wide = wide.reshape(kernel.shape[0], blocks, m * channels, m * filters)
    x = x.reshape(*x.shape[:2], total // m, m * channels)
    y = _native(window._replace(padding=(window.padding[0], (0, 0))), x, wide)
    return y.reshape(*y.shape[:2], width, filters)
