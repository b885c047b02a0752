"""The 72 geometric transforms of images for GOAD."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np

from jaxad.typing import Array

GEOMETRIC_TRANSFORMS = 72


def geometric_transforms(x: Array, *, shift: int | None = None) -> Array:
    """Make 72 views of each image: 2 flips times 3 x 3 shifts times 4 rotations.

    View ``((flip * 3 + vertical) * 3 + horizontal) * 4 + turns`` is made in three steps. If
    ``flip`` is 1 the image is flipped left to right. It is then shifted by ``(0, -shift,
    shift)[vertical]`` rows and ``(0, -shift, shift)[horizontal]`` columns; uncovered pixels are
    filled by reflection, without repeating the edge. Last, it is rotated by ``turns`` times 90
    degrees. View 0 is the image itself. Any order of the steps gives the same set of views.

    Args:
      x: ``[B, H, W, C]``, square images.
      shift: pixels, at least 1 and less than the side. None is a quarter of the side.

    Returns:
      ``[B, 72, H, W, C]``.

    Raises:
      ValueError: the images are not square, or the shift does not fit them.

    Example:
      >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
      >>> views = geometric_transforms(x)
      >>> views.shape, bool((views[:, 0] == x).all())
      ((1, 72, 4, 4, 1), True)
    """
    if x.ndim != 4:
        raise ValueError(f"geometric transforms need images [B, H, W, C], not shape {x.shape}")
    rows, height, width, channels = x.shape
    shift = check_shift(height, width, shift)
    source = _source_pixels(height, shift)
    views = jnp.take(x.reshape(rows, height * width, channels), source, axis=1)
    return views.reshape(rows, GEOMETRIC_TRANSFORMS, height, width, channels)


def check_shift(height: int, width: int, shift: int | None = None) -> int:
    """Check the shift for images of this size; without one return a quarter of the side.

    Raises:
      ValueError: the images are not square, or the shift does not fit them.

    Example:
      >>> check_shift(32, 32), check_shift(28, 28), check_shift(8, 8, 3)
      (8, 7, 3)
    """
    if height != width or height < 2:
        raise ValueError(
            f"images of {height} by {width} pixels: turning by 90 degrees needs square ones of at "
            "least 2 by 2; crop or pad them"
        )
    if shift is None:
        return max(1, height // 4)
    if not 1 <= shift < height:
        raise ValueError(
            f"shift={shift} does not fit images of {height} by {width} pixels: choose one from 1 "
            f"to {height - 1}"
        )
    return shift


@functools.cache
def _source_pixels(side: int, shift: int) -> np.ndarray:
    """For each pixel of each view the index of its source pixel in the image, ``[72, side^2]``."""
    pixels = np.arange(side * side, dtype=np.int32).reshape(side, side)
    moves = 0, -shift, shift
    views = []
    for flip, down, right, turns in itertools.product((False, True), moves, moves, range(4)):
        view = np.pad(pixels[:, ::-1] if flip else pixels, shift, mode="reflect")
        top, left = shift - down, shift - right
        view = view[top : top + side, left : left + side]
        views.append(np.rot90(view, turns).ravel())
    return np.stack(views)
