"""How fast a machine moves memory, measured on arrays no cache holds."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def copies(
    devices: Sequence[Any] | None = None, *, megabytes: int = 256
) -> tuple[Callable[[], object], int]:
    """Change an array in place on every device, all at once: what to time, and the bytes it moves.

    Bytes read and bytes written count.

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
