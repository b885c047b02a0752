"""Devices as a mesh: members of a population along one axis, rows of a batch along the other."""

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxad.rows import bucket
from jaxad.typing import Batch

POPULATION, DATA = "population", "data"


def make_mesh(
    population: int | None = None, data: int = 1, *, devices: Sequence[Any] | None = None
) -> Mesh:
    """A mesh of ``population`` times ``data`` devices with axes of these names.

    Args:
      population: devices among which the members of a population are shared out; None: all that
        ``data`` leaves.
      data: devices among which the rows of each batch are shared out.
      devices: those to use; None: all of them.

    Raises:
      ValueError: there are fewer devices.

    Example:
      >>> make_mesh(1).axis_names
      ('population', 'data')
    """
    devices = jax.devices() if devices is None else list(devices)
    for name, value in (("population", population), ("data", data)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}={value!r} is not a positive whole number")
    if population is None:
        population = max(1, len(devices) // data)
    if population * data > len(devices):
        raise ValueError(
            f"population={population} times data={data} needs {population * data} devices, there "
            f"are {len(devices)}: ask for fewer, or call jaxad.training.use_cores() first thing "
            "to make every core a device"
        )
    return jax.make_mesh(
        (population, data),
        (POPULATION, DATA),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices[: population * data],
    )


def use_cores(count: int) -> None:
    """Make JAX see this machine's processor as ``count`` devices, one for each core to use.

    A population then trains on all of them. Call it before anything else uses JAX; the library
    never does so by itself, since it changes what ``jax.devices()`` is for the whole process. The
    environment variable ``JAX_NUM_CPU_DEVICES`` does the same from outside.

    Raises:
      ValueError: ``count`` is not a positive whole number.
      RuntimeError: JAX was used before and has another number of devices.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"count={count!r} is not a positive whole number")
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        found = len(jax.devices("cpu"))
        if found != count:
            raise RuntimeError(
                f"JAX already runs with {found} CPU device(s): call use_cores({count}) before "
                f"anything else uses JAX, or set JAX_NUM_CPU_DEVICES={count}"
            ) from None


def on_mesh(mesh: Mesh | None) -> contextlib.AbstractContextManager:
    """Within this context `across_data` shares batches out among the devices of the mesh."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def across_data(batch: Batch) -> Batch:
    """Share the rows of a batch out along the mesh's ``data`` axis, if there is one.

    The program stays that of one device: sums over rows become sums over devices by themselves,
    also in gradients, so losses that couple a batch are what they were.
    """
    if not shares_batches():
        return batch

    def share(leaf):
        # First on all devices, by one sum of what each has: else the row numbers travel, too.
        whole = lax.with_sharding_constraint(leaf, PartitionSpec())
        return lax.with_sharding_constraint(whole, PartitionSpec(DATA))

    x, label, weight = map(share, batch[:3])
    return Batch(x, label, weight, batch.epoch)


def shares_batches() -> bool:
    """Whether the mesh of this context has a ``data`` axis of several devices."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.shape.get(DATA, 1) > 1


def rows_sharding(mesh: Mesh | None) -> NamedSharding | None:
    """How rows lie on the devices: shared out along the ``data`` axis."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(DATA))


def padded_size(count: int, mesh: Mesh | None) -> int:
    """The padded size of ``count`` rows, a multiple of the devices that share them."""
    parts = 1 if mesh is None else mesh.shape[DATA]
    return -(-bucket(count) // parts) * parts


def check_data_axis(mesh: Mesh | None, batch_size: int) -> None:
    """Raise a ValueError where a batch cannot be shared out evenly."""
    parts = 1 if mesh is None else mesh.shape[DATA]
    if batch_size % parts:
        raise ValueError(
            f"batch_size={batch_size} does not divide among the {parts} devices of the mesh's "
            f"data axis: make it a multiple of {parts}"
        )
