"""Two-dimensional convolution that stays fast inside a compiled loop on a CPU.

XLA's fast convolution routine for CPUs takes only one layout. Outside of loops the compiler
transposes other layouts to it. Inside a ``while`` or ``scan`` body, as in a training run, it does
not: the gradients of `jax.lax.conv_general_dilated` run in a scalar loop, tens of times slower.
Here the gradients are written in the fast layout, layers with few channels, such as the first, are
folded into wider ones, and zeros between the pixels of a transposed convolution are never
multiplied. Accelerators use the native operation.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from jaxad.typing import Array

Pads = tuple[tuple[int, int], tuple[int, int]]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


class _Window(NamedTuple):
    """Stride, input dilation and padding of a convolution. The input's gradient has one, too."""

    stride: int
    spread: int  # input dilation: 1 + the number of zeros between neighbouring inputs
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
    x, kernel = _checked(x, kernel)

    def pads(axis: int) -> tuple[int, int]:
        if padding == "same":
            return _same(x.shape[1 + axis], kernel.shape[axis], stride)
        return int(padding), int(padding)

    return _convolve(x, kernel, _Window(stride, 1, (pads(0), pads(1))))


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
    x, kernel = _checked(x, kernel)

    def pads(axis: int) -> tuple[int, int]:
        reach = kernel.shape[axis] - 1
        if padding != "same":
            return reach - int(padding), reach - int(padding)
        low, high = _same(stride * x.shape[1 + axis], reach + 1, stride)
        # If the stride is larger than the kernel, zeros follow the last input.
        return reach - low, max(reach, stride - 1) - high

    return _convolve(x, kernel, _Window(1, stride, (pads(0), pads(1))))


def max_pool(x: Array) -> Array:
    """Take the maximum of every 2 by 2 block: ``[B, H, W, C] -> [B, H // 2, W // 2, C]``.

    The gradient of a tie goes to the first of the equal values, as in PyTorch.

    Example:
      >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
      [[5.0, 7.0], [13.0, 15.0]]
    """
    chex.assert_rank(x, 4)
    height, width = x.shape[1:3]
    return _pool(x[:, : height // 2 * 2, : width // 2 * 2])


def upsample(x: Array) -> Array:
    """Repeat every pixel twice in both directions: ``[B, H, W, C] -> [B, 2 H, 2 W, C]``.

    Example:
      >>> upsample(jnp.ones((2, 4, 4, 3))).shape
      (2, 8, 8, 3)
    """
    chex.assert_rank(x, 4)
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


@jax.custom_vjp
def _pool(x: Array) -> Array:
    return _pool_forward(x)[0]


def _pool_forward(x: Array) -> tuple[Array, Array]:
    """The maxima, and where in their blocks they are.

    The gradient needs the places, since maxima computed again may be rounded differently. NaN is
    propagated.
    """
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c)
    largest = x[:, :, 0, :, 0]
    place = jnp.zeros(largest.shape, jnp.int8)
    for n in (1, 2, 3):
        value = x[:, :, n // 2, :, n % 2]
        larger = (largest < value) | jnp.isnan(value)
        largest = jnp.where(larger, value, largest)
        place = jnp.where(larger, jnp.int8(n), place)
    return largest, place


def _pool_backward(place: Array, g: Array) -> tuple[Array]:
    b, h, w, c = g.shape
    places = jnp.arange(4, dtype=jnp.int8).reshape(1, 1, 2, 1, 2, 1)
    here = place[:, :, None, :, None] == places
    dx = jnp.where(here, g[:, :, None, :, None], jnp.zeros((), g.dtype))
    return (dx.reshape(b, 2 * h, 2 * w, c),)


_pool.defvjp(_pool_forward, _pool_backward)


def _checked(x: Array, kernel: Array) -> tuple[Array, Array]:
    """Both in their common type, if their shapes fit."""
    chex.assert_rank([x, kernel], 4)
    chex.assert_equal(x.shape[3], kernel.shape[2])
    dtype = jnp.result_type(x, kernel)
    return x.astype(dtype), kernel.astype(dtype)


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
        lhs_dilation=(window.spread,) * 2,
        dimension_numbers=_LAYOUT,
    )


def _convolution(window: _Window, x: Array, kernel: Array) -> Array:
    return _mapped(window)(x, kernel)


_in_loop = jax.custom_vjp(_convolution, nondiff_argnums=(0,))


def _forward(window: _Window, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _in_loop(window, x, kernel), (x, kernel)


def _backward(window: _Window, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    dk = _kernel_gradient(window, kernel.shape[:2], x, g)
    return _input_gradient(window, x.shape, kernel, g), dk


_in_loop.defvjp(_forward, _backward)


def _input_gradient(window: _Window, shape: tuple[int, ...], kernel: Array, g: Array) -> Array:
    """The gradient ``[B, H, W, C]``: a convolution with stride and input dilation exchanged."""
    pads = _gradient_pads(window, shape, kernel.shape, g.shape)
    back = _Window(window.spread, window.stride, (pads[0][1], pads[1][1]))
    return _in_loop(back, g, jnp.swapaxes(kernel[::-1, ::-1], 2, 3))


def _correlation(window: _Window, size: tuple[int, int], x: Array, g: Array) -> Array:
    """The kernel's gradient ``[*size, C, F]``: correlations of all shifts of ``x`` with ``g``."""
    channels, filters = x.shape[3], g.shape[3]
    pads = _gradient_pads(window, x.shape, size, g.shape)
    # The image with more channels is faster as the large kernel, which may not contain the zeros.
    if window.spread > 1 or (window.stride == 1 and filters < min(channels, 32)):
        dk = _correlate(window.spread, (pads[0][1], pads[1][1]))(g, x)
        dk = dk.reshape(*size, filters, channels)
        return jnp.swapaxes(dk[::-1, ::-1], 2, 3)
    dk = _correlate(window.stride, (pads[0][0], pads[1][0]))(x, g)
    return dk.reshape(*size, channels, filters)


_kernel_gradient = jax.custom_vjp(_correlation, nondiff_argnums=(0, 1))


def _kernel_gradient_forward(window: _Window, size: tuple[int, int], x: Array, g: Array):
    return _kernel_gradient(window, size, x, g), (x, g)


def _kernel_gradient_backward(window: _Window, size: tuple[int, int], residuals, dk: Array):
    del size
    x, g = residuals
    return _input_gradient(window, x.shape, dk, g), _in_loop(window, x, dk)


_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _gradient_pads(window: _Window, x: Sequence[int], kernel: Sequence[int], g: Sequence[int]):
    """For each axis the padding of ``x`` correlated with ``g``, and of ``g`` with the kernel."""

    def pads(axis: int) -> tuple[tuple[int, int], tuple[int, int]]:
        low, reach = window.padding[axis][0], kernel[axis] - 1
        shift = (x[1 + axis] - 1) * window.spread - (g[1 + axis] - 1) * window.stride
        return (low, reach - low - shift), (reach - low, low + shift)

    return pads(0), pads(1)


@functools.cache
def _correlate(stride: int, padding: Pads):
    """A function of ``x`` and ``g`` that sums products over images and pixels, ``[kh, kw C, F]``.

    It is one convolution: ``g`` is the kernel, images are its input channels, and the columns and
    channels of ``x`` form one wide row, in which the kernel's columns are C apart. Rows are dilated
    although nothing lies between them, because XLA's newer routine for undilated convolutions
    takes two to three times as long for such large kernels.
    """

    @custom_vmap
    def correlate(x: Array, g: Array) -> Array:
        images, height, width, channels = x.shape
        (top, bottom), (left, right) = padding
        dk = lax.conv_general_dilated(
            x.reshape(images, -1).T.reshape(1, height, width * channels, images),
            jnp.transpose(g, (1, 2, 0, 3)),
            (2, 1),
            ((2 * top, 2 * bottom), (left * channels, right * channels)),
            lhs_dilation=(2, 1),
            rhs_dilation=(2 * stride, stride * channels),
            dimension_numbers=_LAYOUT,
        )
        return dk[0]

    @correlate.def_vmap
    def _(size, batched, x, g):
        x = x if batched[0] else jnp.broadcast_to(x, (size, *x.shape))
        g = g if batched[1] else jnp.broadcast_to(g, (size, *g.shape))
        return lax.map(lambda pair: correlate(*pair), (x, g)), True

    return correlate


@functools.cache
def _mapped(window: _Window):
    """The convolution with a rule for `jax.vmap`, whose default is a slow grouped convolution."""

    @custom_vmap
    def convolve(x: Array, kernel: Array) -> Array:
        # If the kernel is larger than the image, XLA exchanges them and loses the fast layout.
        if math.prod(kernel.shape[:2]) > math.prod(x.shape[1:3]):
            return _dense(window, x, kernel)
        if window.spread > 1:
            return _split(window, x, kernel)
        if window.stride > 1:
            return _native(window, x, kernel)
        return _folded(window.padding, x, kernel)

    @convolve.def_vmap
    def _(size, batched, x, kernel):
        if not batched[1]:
            y = convolve(x.reshape(-1, *x.shape[2:]), kernel)
            return y.reshape(size, -1, *y.shape[1:]), True
        if not batched[0]:
            return lax.map(lambda k: convolve(x, k), kernel), True
        return lax.map(lambda pair: convolve(*pair), (x, kernel)), True

    return convolve


def _folded(padding: Pads, x: Array, kernel: Array) -> Array:
    """Convolve, with neighbouring columns folded into channels if there are few channels.

    A few channels do not fill the CPU's vectors. A block of ``m`` output columns reads ``m + kw -
    1`` input columns, so with the kernel as a band matrix over such blocks the channels C and F
    become m C and m F. Images keep their size in memory.
    """
    (low, high), kw = padding[1], kernel.shape[1]
    channels, filters = kernel.shape[2:]
    width = x.shape[2] + low + high - kw + 1
    widest = max(32 // max(channels, filters), 2 if channels < 4 else 1)
    m = max(d for d in range(1, widest + 1) if width % d == 0)
    if m == 1 or kw > width:
        return _native(_Window(1, 1, padding), x, kernel)
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
    y = _native(_Window(1, 1, (padding[0], (0, 0))), x, wide)
    return y.reshape(*y.shape[:2], width, filters)


def _split(window: _Window, x: Array, kernel: Array) -> Array:
    """Convolve dilated images without multiplying the zeros between their pixels.

    With dilation s every output pixel meets one in s x s entries of the kernel: which ones depends
    on its row and column modulo s. A block of s x s outputs is therefore computed from undilated
    pixels by one convolution with s s F channels.
    """
    s = window.spread

    def axis(n: int) -> tuple[np.ndarray, tuple[int, int], int]:
        """Where the kernel's entries go ``[k, taps, s]``, the padding, and the number of blocks."""
        (low, high), size, taps = window.padding[n], x.shape[1 + n], kernel.shape[n]
        output = s * (size - 1) + low + high - taps + 2
        tap, phase = np.nonzero((np.arange(taps)[:, None] + np.arange(s) - low) % s == 0)
        source = (phase + tap - low) // s  # the input pixel, relative to the block
        first = source.min()
        place = np.zeros((taps, source.max() - first + 1, s), x.dtype)
        place[tap, source - first, phase] = 1
        blocks = -(-output // s)
        return place, (-first, blocks + source.max() - size), output

    (rows, row_pads, height), (columns, column_pads, width) = axis(0), axis(1)
    parts = jnp.einsum("hwcf,hnr,wmq->nmcrqf", kernel, rows, columns)
    filters = kernel.shape[3]
    parts = parts.reshape(*parts.shape[:3], s * s * filters)
    y = _folded((row_pads, column_pads), x, parts)
    blocks = y.shape[1:3]
    y = jnp.swapaxes(y.reshape(-1, *blocks, s, s, filters), 2, 3)
    return y.reshape(-1, s * blocks[0], s * blocks[1], filters)[:, :height, :width]


def _dense(window: _Window, x: Array, kernel: Array) -> Array:
    """Convolve small images by a matrix with an entry for every pair of input and output pixels."""

    def axis(n: int) -> np.ndarray:
        """Where the kernel's entries go, ``[k, input, output]``."""
        size, taps = x.shape[1 + n], kernel.shape[n]
        reach = (size - 1) * window.spread + sum(window.padding[n]) - taps + 1
        tap, pixel, output = np.ogrid[:taps, :size, : reach // window.stride + 1]
        source = output * window.stride + tap - window.padding[n][0]
        return (source == pixel * window.spread).astype(x.dtype)

    rows, columns = axis(0), axis(1)
    matrix = jnp.einsum("hwcf,hap,wbq->abcpqf", kernel, rows, columns)
    output = matrix.shape[3:]
    y = x.reshape(len(x), -1) @ matrix.reshape(-1, math.prod(output))
    return y.reshape(-1, *output)
