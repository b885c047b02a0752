"""Views: the transforms of a row that GOAD classifies."""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from jaxad import networks
from jaxad.typing import Array, Key, Stats


class Views(Protocol):
    """M views of every row. Every kind of data has its own class."""

    @property
    def count(self) -> int:
        """M."""
        ...

    @property
    def chunk(self) -> int:
        """Rows at a time in exact passes."""
        ...

    def init(self, key: Key, x: Array) -> Stats:
        """Draw the fixed random parts of the views, for rows shaped like ``x``."""
        ...

    def __call__(self, stats: Stats, x: Array) -> Array:
        """The views ``[B, M, ...]`` of rows ``[B, ...]``; ``stats`` contains what `init` drew."""
        ...


@struct.dataclass
class LinearMaps:
    """Random affine maps ``x W_m + b_m`` of a table's rows.

    The W are ``stats["maps"]`` ``[D, M, r]``, the b are ``stats["offsets"]`` ``[M, r]``. Without
    offsets, all maps of standardised rows scatter around 0. Rows far from the mean are then the
    easiest to classify, so training makes anomalies look normal.

    Attributes:
      count: M.
      dim: r.
      scale: leaf, standard deviation of the maps' entries.
      offset: leaf, standard deviation of the offsets, relative to a mapped standardised row.
    """

    count: int = struct.field(pytree_node=False)
    dim: int = struct.field(pytree_node=False)
    scale: Any
    offset: Any

    @property
    def chunk(self) -> int:
        """Rows at a time: ``[chunk, M, max(M, r)]`` fits the cache, but at least 4."""
        rows = 2**17 // (self.count * max(self.count, self.dim))
        return 1 << max(2, rows.bit_length() - 1)

    def init(self, key: Key, x: Array) -> Stats:
        """Draw the maps and their offsets."""
        first, second = jax.random.split(key)
        shape = x.shape[1], self.count, self.dim
        maps = self.scale * jax.random.normal(first, shape, jnp.float32)
        spread = self.offset * self.scale * math.sqrt(x.shape[1])
        return {
            "maps": maps,
            "offsets": spread * jax.random.normal(second, (self.count, self.dim), jnp.float32),
        }

    def __call__(self, stats: Stats, x: Array) -> Array:
        """The mapped rows ``[B, M, r]``, from one matrix product."""
        return jnp.einsum("bd,dmr->bmr", x, stats["maps"]) + stats["offsets"][None]


@struct.dataclass
class GeometricViews:
    """The 72 geometric transforms of square images, see `jaxad.networks.geometric_transforms`.

    Attributes:
      shift: shift in pixels; None is a quarter of the side.
      chunk: rows at a time in exact passes. Batch norm is calibrated on chunks, so they should not
        be much smaller than a training batch.
    """

    shift: int | None = struct.field(pytree_node=False)
    chunk: int = struct.field(pytree_node=False)

    @property
    def count(self) -> int:
        """72."""
        return networks.GEOMETRIC_TRANSFORMS

    @property
    def scoring_chunk(self) -> int:
        """1: the network sees 72 images for one row, and rows that fill a chunk cost as much."""
        return 1

    def init(self, key: Key, x: Array) -> Stats:
        """Return no statistics, since nothing is random."""
        del key, x
        return {}

    def __call__(self, stats: Stats, x: Array) -> Array:
        """The transformed images ``[B, 72, H, W, C]``, scaled from [0, 1] to [-1, 1]."""
        del stats
        return networks.geometric_transforms(2 * x - 1, shift=self.shift)
