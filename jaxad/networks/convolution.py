"""Two-dimensional convolution that stays fast inside a compiled loop on a CPU.

XLA's CPU compiler brings a convolution into the one form its fast routine takes only in a
program's outermost computation. Inside a ``while`` or ``scan`` body, where a training run lives,
the gradients of `jax.lax.conv_general_dilated` keep permuted dimensions and fall to a scalar loop,
tens of times slower. Here the gradients are written in the fast form to begin with, and narrow
layers (an image's first) are folded into wider ones. Accelerators get the native operation.
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
    """How a kernel moves: closed under differentiation, see `_gradients`."""

    stride: int
    spread_input: int  # 1 + the zeros put between neighbouring inputs
    spread_kernel: int
    padding: Pads


def conv2d(x: Array, kernel: Array, *, stride: int = 1, padding: int | str = "same") -> Array:
    """Correlate images with a kernel.

    Args:
      x: ``[B, H, W, C]``.
      kernel: ``[kh, kw, C, F]``.
      stride: step of the kernel in both directions.
      padding: rows and columns of zeros on every side, or ``"same"`` for an output of
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
    """Correlate images, spread ``stride`` apart, with a kernel: the shapes of `conv2d` backwards.

    It is the adjoint of `conv2d` by the kernel ``kernel[::-1, ::-1]`` with its channels swapped.

    Args:
      x: ``[B, H, W, C]``.
      kernel: ``[kh, kw, C, F]``.
      stride: how far apart neighbouring inputs come to lie.
      padding: that of the convolution undone: rows and columns *cut* on every side, or ``"same"``
        for an output of ``stride * H`` by ``stride * W``.

    Returns:
      ``[B, H', W', F]``, without ``"same"`` of height ``stride * (H - 1) + kh - 2 * padding``.

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
        # A stride larger than the kernel leaves zeros after the last input.
        return reach - low, max(reach, stride - 1) - high

    return _convolve(x, kernel, _Window(1, stride, 1, (pads(0), pads(1))))


def max_pool(x: Array) -> Array:
    """The largest of every 2 by 2 block of ``x`` ``[B, H, W, C]``; odd edges are dropped.

    A tie sends its gradient to the first of the equal values, as PyTorch does.

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
    """Repeat every pixel of ``x`` ``[B, H, W, C]`` twice in both directions.

    Example:
      >>> upsample(jnp.ones((2, 4, 4, 3))).shape
      (2, 8, 8, 3)
    """
    chex.assert_rank(x, 4)
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def _larger(a: Array, b: Array) -> Array:
    # The gradient of `jnp.max` compares values with a maximum that a fused recomputation may
    # round otherwise, so that none or two win; that of a choice cannot. NaN is kept.
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


def _value(window: _Window, x: Array, kernel: Array) -> Array:
    return _mapped(window)(x, kernel)


_in_loop = jax.custom_vjp(_value, nondiff_argnums=(0,))


def _keep(window: _Window, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _in_loop(window, x, kernel), (x, kernel)


def _gradients(window: _Window, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    """Both gradients are convolutions again, with the three numbers of the window exchanged."""
    x, kernel = residuals
    stride, spread_x, spread_k, padding = window

    def pads(axis: int) -> tuple[tuple[int, int], tuple[int, int]]:
        low, reach = padding[axis][0], (kernel.shape[axis] - 1) * spread_k
        shift = (x.shape[1 + axis] - 1) * spread_x - (g.shape[1 + axis] - 1) * stride
        return (low, reach - low - shift), (reach - low, low + shift)

    (forth_y, back_y), (forth_x, back_x) = pads(0), pads(1)
    back = _Window(spread_x, stride, spread_k, (back_y, back_x))
    dx = _in_loop(back, g, jnp.swapaxes(kernel[::-1, ::-1], 2, 3))
    # The kernel's gradient correlates x and g. One is the image, the other a kernel as large: that
    # one may be spread where an image would again be slow, and is better the wider of the two.
    channels, filters = kernel.shape[2:]
    if spread_x > 1 or (stride == 1 and filters < min(channels, 32)):
        dk = _correlation(_Window(spread_k, stride, spread_x, (back_y, back_x)), g, x)
        return dx, jnp.swapaxes(dk[::-1, ::-1], 2, 3)
    return dx, _correlation(_Window(spread_k, spread_x, stride, (forth_y, forth_x)), x, g)


def _correlation(window: _Window, x: Array, g: Array) -> Array:
    """``[kh, kw, C, F]``: images as one large kernel, their batch as its channels."""
    dk = _in_loop(window, jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(g, (1, 2, 0, 3)))
    return jnp.transpose(dk, (1, 2, 0, 3))


_in_loop.defvjp(_keep, _gradients)


@functools.cache
def _mapped(window: _Window):
    """The convolution under `jax.vmap`: native batching would make slow grouped convolutions."""

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
    """Fold neighbouring columns into channels where those are too few to fill the CPU's vectors.

    A block of ``m`` output columns reads ``m + kw - 1`` input columns; with the kernel written
    as a band matrix over such blocks, C and F become m C and m F, and memory stays as it is.
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
