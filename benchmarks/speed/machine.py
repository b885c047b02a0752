"""What the machine can do at most: the rates of matrix products and of copies in memory."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.record.timing import Ratio, Timing, ratio


class Work(NamedTuple):
    """A function to time, and its number of floating-point operations."""

    run: Callable[[], object]
    flops: int

    def rates(self, timing: Timing) -> list[float]:
        """Operations a second, for every repetition."""
        return [self.flops / seconds for seconds in timing.seconds]


def matrix_products(
    devices: Sequence[Any] | None = None, *, size: int = 1024, repeats: int = 4
) -> Work:
    """Square float32 matrix products on all devices at once, ``repeats`` in a row.

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
    """The rate of ``work`` over the rate of ``peak``, in every round."""
    return ratio(peak_timing.over(peak.flops), timing.over(work.flops))


def copies(
    devices: Sequence[Any] | None = None, *, megabytes: int = 256
) -> tuple[Callable[[], object], int]:
    """A function that changes an array in place on every device, and the bytes it moves.

    Bytes read and bytes written count. No cache holds the arrays.

    Args:
      devices: None: all of this process.
      megabytes: of a device's array.

    Example:
      >>> run, moved = copies(megabytes=1)
      >>> moved == 2 * 10**6 * jax.local_device_count()
      True
    """
    devices = jax.local_devices() if devices is None else list(devices)
    mesh = Mesh(devices, "device")
    shape = len(devices), megabytes * 10**6 // 4
    x = jax.device_put(jnp.ones(shape, jnp.float32), NamedSharding(mesh, PartitionSpec("device")))
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def run():
        nonlocal x
        # In place: fresh memory would be paid for page by page.
        x = jax.block_until_ready(add(x))

    return run, 2 * x.nbytes
