"""What a machine can do at most, measured beside what it does: the rate of matrix products."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.timing import Ratio, Timing, ratio


class Work(NamedTuple):
    """Something to time, and how many floating-point operations it takes."""

    run: Callable[[], object]
    flops: int

    def rates(self, timing: Timing) -> list[float]:
        """Operations a second, for every repetition."""
        return [self.flops / seconds for seconds in timing.seconds]

    def each(self, timing: Timing) -> Timing:
        """Seconds of one operation."""
        return Timing(tuple(seconds / self.flops for seconds in timing.seconds))


def matrix_products(
    devices: Sequence[Any] | None = None, *, size: int = 1024, repeats: int = 4
) -> Work:
    """Square float32 products, ``repeats`` in a row on every device, all devices at once.

    Args:
      devices: None: all of this process.
      size: rows and columns of a matrix; those of 1024 leave the caches, but not for long.
      repeats: products in a row.

    Example:
      >>> work = matrix_products(size=64, repeats=2)
      >>> work.flops == 2 * 2 * 64**3 * jax.local_device_count()
      True
    """
    devices = jax.local_devices() if devices is None else list(devices)
    mesh = Mesh(devices, "device")
    shared = PartitionSpec("device")

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(shared, shared), out_specs=shared)
    def multiply(a, b):
        # Each product feeds the next, so that none can be left out; the entries stay near 1.
        return lax.fori_loop(0, repeats, lambda _, b: jnp.matmul(a[0], b[0])[None], b)

    shape = len(devices), size, size
    sharding = NamedSharding(mesh, shared)
    a = jax.device_put(jnp.full(shape, 1 / size, jnp.float32), sharding)
    b = jax.device_put(jnp.ones(shape, jnp.float32), sharding)
    flops = len(devices) * repeats * 2 * size**3
    return Work(lambda: jax.block_until_ready(multiply(a, b)), flops)


def share(work: Work, timing: Timing, peak: Work, peak_timing: Timing) -> Ratio:
    """The rate of ``work`` over that of ``peak``, round by round."""
    return ratio(peak.each(peak_timing), work.each(timing))
