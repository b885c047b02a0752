"""How GOAD sees a row: many views of it, one for each class to tell apart."""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from jaxad import networks
from jaxad.typing import Array, Key, Stats


class Views(Protocol):
    """M views of every row. Another kind of data is another class like this."""

    @property
    def count(self) -> int:
        """M."""
        ...

    @property
    def chunk(self) -> int:
        """Rows at a time in exact passes and scoring."""
        ...

    def init(self, key: Key, x: Array) -> Stats:
        """What is drawn once for rows shaped like ``x`` and kept."""
        ...

    def __call__(self, stats: Stats, x: Array) -> Array:
        """``[B, M, ...]`` from ``[B, ...]``; ``stats`` holds what `init` drew."""
        ...


@struct.dataclass
class LinearMaps:
    """Random affine maps ``x W_m + b_m`` of a table's row.

    ``stats["maps"]`` ``[D, M, r]`` holds the W, ``stats["offsets"]`` ``[M, r]`` the b. Without
    offsets, maps of standardised rows all scatter around 0, and a network tells them apart the
    better the farther a row is from the mean: training then makes anomalies look normal.

    Attributes:
      count: M.
      dim: r.
      scale: leaf, standard deviation of the maps' entries.
      offset: leaf, standard deviation of the offsets, in units of that of a mapped standardised
        row.
    """

    count: int = struct.field(pytree_node=False)
    dim: int = struct.field(pytree_node=False)
    scale: Any
    offset: Any

    @property
    def chunk(self) -> int:
        """Rows at a time so that ``[chunk, M, max(M, r)]`` stays in the cache, but at least 4."""
        rows = 2**17 // (self.count * max(self.count, self.dim))
        return 1 << max(2, rows.bit_length() - 1)

    def init(self, key: Key, x: Array) -> Stats:
        """Draw the maps and their offsets."""
        first, second = jax.random.split(key)
        maps = self.scale * jax.random.normal(first, (x.shape[1], self.count, self.dim))
        spread = self.offset * self.scale * math.sqrt(x.shape[1])
        return {
            "maps": maps,
            "offsets": spread * jax.random.normal(second, (self.count, self.dim)),
        }

    def __call__(self, stats: Stats, x: Array) -> Array:
        """``[B, M, r]``, one product: the maps lie side by side."""
        return jnp.einsum("bd,dmr->bmr", x, stats["maps"]) + stats["offsets"][None]


@struct.dataclass
class GeometricViews:
    """The 72 geometric transforms of square images, see `jaxad.networks.geometric_transforms`.

    Attributes:
      shift: pixels, None for a quarter of the side.
      chunk: rows at a time. Batch norm is calibrated on the views of as many rows, so it should not
        be much smaller than a training batch.
    """

    shift: int | None = struct.field(pytree_node=False)
    chunk: int = struct.field(pytree_node=False)

    @property
    def count(self) -> int:
        """72."""
        return networks.GEOMETRIC_TRANSFORMS

    def init(self, key: Key, x: Array) -> Stats:
        """Nothing is drawn."""
        del key, x
        return {}

    def __call__(self, stats: Stats, x: Array) -> Array:
        """``[B, 72, H, W, C]``, pixels of [0, 1] brought to [-1, 1]."""
        del stats
        return networks.geometric_transforms(2 * x - 1, shift=self.shift)
