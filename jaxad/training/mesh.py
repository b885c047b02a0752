"""Meshes of devices: one axis for members of a population, one for rows of a batch."""

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
    """Arrange ``population`` times ``data`` devices as a mesh with axes of these names.

    Args:
      population: devices that share the members of a population; None uses as many as possible.
      data: devices that share the rows of each batch.
      devices: the devices to use; None uses all of them.

    Raises:
      ValueError: there are too few devices.

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


def used_devices(*, local: bool = False) -> list[Any]:
    """The devices that programs use: JAX's default device if one is set, else all.

    Args:
      local: of this process only.
    """
    chosen: Any = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if chosen is None:
        return jax.local_devices() if local else jax.devices()
    return jax.local_devices(backend=chosen)[:1] if isinstance(chosen, str) else [chosen]


def platform(mesh: Mesh | None = None) -> str:
    """The kind of device that programs use, on a mesh if there is one; such as ``"cpu"``."""
    return (used_devices()[0] if mesh is None else mesh.devices.flat[0]).platform


def default_mesh(devices: Sequence[Any] | None = None) -> Mesh | None:
    """A mesh of all devices; None if there is only one, a CPU, whose cores threads share.

    Args:
      devices: the devices; None uses all of them, or JAX's default device if one is set.
    """
    devices = used_devices() if devices is None else list(devices)
    alone = len(devices) == 1 and devices[0].platform == "cpu"
    return None if alone else make_mesh(devices=devices)


def use_cores(count: int) -> None:
    """Make JAX treat the processor as ``count`` devices, for programs that need several.

    A population uses all cores without it. Call it before anything else uses JAX. It changes
    ``jax.devices()`` for the whole process; the environment variable ``JAX_NUM_CPU_DEVICES`` has
    the same effect.

    Args:
      count: number of devices, at most one per core.

    Raises:
      ValueError: ``count`` is not a positive whole number.
      RuntimeError: JAX was used before and has another number of devices.

    Example:
      >>> from jaxad import training
      >>> training.use_cores(8)  # doctest: +SKIP
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
    """A context in which `across_data` shards batches over the mesh."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def across_data(batch: Batch) -> Batch:
    """Shard the rows of a batch along the ``data`` axis of the context's mesh, if it has one.

    The compiler turns sums over rows into sums over devices, also in gradients. Losses that couple
    the rows of a batch therefore keep their values.
    """
    if not shares_batches():
        return batch

    def share(leaf):
        # Replicating first costs one sum over devices; sharding at once also sends row numbers.
        whole = lax.with_sharding_constraint(leaf, PartitionSpec())
        return lax.with_sharding_constraint(whole, PartitionSpec(DATA))

    x, label, weight = map(share, batch[:3])
    return Batch(x, label, weight, batch.epoch)


def shares_batches() -> bool:
    """Whether the context's mesh has several devices along its ``data`` axis."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.shape.get(DATA, 1) > 1


def rows_sharding(mesh: Mesh | None) -> NamedSharding | None:
    """The sharding of rows along the ``data`` axis; None without a mesh."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(DATA))


def padded_size(count: int, mesh: Mesh | None) -> int:
    """The padded size of ``count`` rows, a multiple of the devices along the ``data`` axis."""
    parts = 1 if mesh is None else mesh.shape[DATA]
    return -(-bucket(count) // parts) * parts


def check_data_axis(mesh: Mesh | None, batch_size: int) -> None:
    """Raise a ValueError unless the ``data`` axis divides the batch."""
    parts = 1 if mesh is None else mesh.shape[DATA]
    if batch_size % parts:
        raise ValueError(
            f"batch_size={batch_size} does not divide among the {parts} devices of the mesh's "
            f"data axis: make it a multiple of {parts}"
        )
