"""Several hosts: join processes into one set of devices, and exchange values between them.

Every process runs the same program and calls `join_hosts` first. With a mesh over all devices `fit`
is then one run on the rows of all processes, and `fit_population` trains one population.
"""

import contextlib
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from jaxad.rows import ArrayRows, bucket
from jaxad.training.interrupts import ready
from jaxad.training.mesh import DATA, padded_size
from jaxad.training.trees import described, digest, is_key
from jaxad.typing import Array, PyTree

_SILENCE = 30  # seconds after which a process that tells nothing is taken for lost
_LOOPBACK = ("127.", "localhost:", "[::1]:")


def join_hosts(
    address: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    timeout: int = 300,
) -> None:
    """Join the processes of one run (`jax.distributed.initialize`), so that they share all devices.

    Call it in every process before anything else uses JAX. It needs no arguments under Slurm, Open
    MPI and Kubernetes and on cloud TPUs; elsewhere give all three. CPU devices of several hosts
    communicate over unencrypted TCP: use a network that you trust.

    Args:
      address: ``"host:port"`` of process 0, with a free port that the other processes can reach. A
        loopback address refuses connections from outside the machine.
      processes: number of processes.
      process: number of this process, counted from 0.
      timeout: seconds to wait for the other processes, at the start and at the end.

    Raises:
      ValueError: an argument is out of range, only some of the three are given, or none is given
        and JAX detects no cluster.
      RuntimeError: JAX was used before, or the processes are joined already.

    Example:
      >>> join_hosts("127.0.0.1:4321", processes=2)
      Traceback (most recent call last):
        ...
      ValueError: process is missing: give address, processes and process, or none of them ...
    """
    given = {"address": address, "processes": processes, "process": process}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(
            f"{' and '.join(missing)} is missing: give address, processes and process, or none of "
            "them where a cluster tells them"
        )
    if address is not None and processes is not None and process is not None:
        _check_address(address)
        for name, value, least in (("processes", processes, 1), ("process", process, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r} is not a whole number of at least {least}")
        if process >= processes:
            raise ValueError(f"process={process}: {processes} processes have numbers from 0 on")
    if jax.distributed.is_initialized():
        raise RuntimeError("the processes are joined already: call join_hosts once")
    loopback = address is not None and address.startswith(_LOOPBACK)
    try:
        jax.distributed.initialize(
            address,
            processes,
            process,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=_SILENCE,
            shutdown_timeout_seconds=timeout,
            coordinator_bind_address=address if loopback else None,
        )
    except ValueError as error:
        raise ValueError(
            f"no cluster that JAX knows tells how the processes find each other ({error}) "
            "Give address, processes and process"
        ) from error
    except RuntimeError as error:
        if "must be called before" not in str(error):
            raise
        raise RuntimeError(
            "JAX was used before: call join_hosts first thing in the program, even before "
            "jax.devices()"
        ) from error


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"address={address!r} is not host:port, such as '10.0.0.1:4321'")


def spans_processes(mesh: Mesh | None) -> bool:
    """Whether the mesh has devices of several processes.

    Raises:
      ValueError: the mesh lacks the devices of some process, and is not this process's alone.
    """
    if mesh is None or jax.process_count() == 1:
        return False
    found = sorted({device.process_index for device in mesh.devices.flat})
    if found == [jax.process_index()]:
        return False
    if len(found) < jax.process_count():
        raise ValueError(
            f"the mesh has devices of processes {found} of {jax.process_count()}: make it of all "
            "devices, or of those of this process alone (devices=jax.local_devices())"
        )
    return True


def put(tree: PyTree, sharding: Sharding) -> PyTree:
    """`jax.device_put` that also works across processes, which must pass the same values."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def leaf(values):
        if is_key(values):
            data = leaf(jax.random.key_data(values))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(values))
        values = np.asarray(values)
        return jax.make_array_from_callback(values.shape, sharding, values.__getitem__)

    return jax.tree.map(leaf, tree)


def join_rows(name: str, rows: ArrayRows, mesh: Mesh) -> ArrayRows:
    """The rows of all processes, in the order of the processes, padded.

    The rows are laid out on the devices as a single process would lay them out, so training runs
    the same program with the same random numbers. They are exchanged only once, here.

    Args:
      name: name of the rows in errors.
      rows: this process's rows, on the host.
      mesh: a mesh over all processes.

    Raises:
      ValueError: the rows differ in shape or type, or several processes share a place on the mesh's
        data axis.
    """
    owner = _owners(mesh)
    leaves = {"x": rows.x, "label": rows.label, "weight": rows.weight}
    leaves = {name: _canonical(values) for name, values in leaves.items()}
    kinds = {key: f"{[*v.shape[1:]]} {v.dtype}" for key, v in leaves.items()}
    all_of_them = gather_json({"count": len(rows.x), "kinds": kinds})
    for process, other in enumerate(all_of_them):
        for key, kind in all_of_them[0]["kinds"].items():
            if other["kinds"][key] != kind:
                raise ValueError(
                    f"{name}: {key} of process {process} is {other['kinds'][key]} for each row, "
                    f"that of process 0 {kind}: every process must pass rows of the same columns "
                    "and types"
                )
    counts = np.array([other["count"] for other in all_of_them])
    places = np.bincount(owner)
    size = max(-(-bucket(n) // parts) for n, parts in zip(counts.tolist(), places, strict=True))
    # Each process fills the places of its devices in order.
    before = size * np.array([np.sum(owner[:place] == p) for place, p in enumerate(owner)])
    held = np.clip(counts[owner] - before, 0, size)
    begin = (np.cumsum(counts) - counts)[owner] + before

    def spread(values: np.ndarray) -> Array:
        def block(index: Any) -> np.ndarray:
            place = (index[0].start or 0) // size
            own = values[before[place] : before[place] + held[place]]
            return np.pad(own, ((0, size - len(own)), *[(0, 0)] * (values.ndim - 1)))

        shape = len(owner) * size, *values.shape[1:]
        return jax.make_array_from_callback(shape, NamedSharding(mesh, P(DATA)), block)

    total = int(counts.sum())
    x, label, weight = _compact(
        [spread(values) for values in leaves.values()],
        begin.astype(np.int32),
        held.astype(np.int32),
        np.int32(total),
        size=padded_size(total, mesh) // len(owner),
        mesh=mesh,
    )
    return ArrayRows(x, label, weight, np.int32(total))


def _owners(mesh: Mesh) -> np.ndarray:
    """The process that owns each place on the data axis."""
    axis = mesh.axis_names.index(DATA)
    devices = np.moveaxis(mesh.devices, axis, 0).reshape(mesh.shape[DATA], -1)
    found = [sorted({device.process_index for device in place}) for place in devices]
    for place, processes in enumerate(found):
        if len(processes) > 1:
            raise ValueError(
                f"processes {processes} share place {place} of the mesh's data axis, but each has "
                "rows of its own: give fit a mesh such as make_mesh(1, jax.device_count())"
            )
    return np.array([process for (process,) in found])


def _canonical(values: Any) -> np.ndarray:
    values = np.asarray(values)
    return values.astype(jax.dtypes.canonicalize_dtype(values.dtype), copy=False)


@partial(jax.jit, static_argnames=("size", "mesh"))
def _compact(
    leaves: list[Array], begin: Array, held: Array, count: Array, *, size: int, mesh: Mesh
) -> list[Array]:
    """Move all padding to the last places, and make it as `jaxad.rows.pad_rows` does.

    Args:
      leaves: arrays ``[places * n, ...]``, sharded along the mesh's data axis.
      begin: ``[places]`` number of the first row at each place.
      held: ``[places]`` real rows at each place; they come first.
      count: number of real rows at all places.
      size: rows at each place afterwards.
      mesh: the mesh.
    """

    def at_place(leaves, begin, held, count):
        me = lax.axis_index(DATA)

        def pad(leaf):
            if leaf.ndim == 1:
                return leaf
            first = lax.psum(jnp.where(me == 0, leaf[:1], 0), DATA)
            real = me * size + jnp.arange(size) < count
            return jnp.where(real.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, first)

        def fill(place, kept):
            local = place * size + jnp.arange(size) - begin[0]
            ours = (local >= 0) & (local < held[0])

            def total(leaf, kept):
                mask = ours.reshape(-1, *[1] * (leaf.ndim - 1))
                sent = jnp.where(mask, leaf.at[local].get(mode="clip"), 0)
                return jnp.where(me == place, lax.psum(sent, DATA), kept)

            return jax.tree.map(total, leaves, kept)

        empty = [jnp.zeros((size, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]
        return [pad(leaf) for leaf in lax.fori_loop(0, mesh.shape[DATA], fill, empty)]

    places = P(DATA)
    return jax.shard_map(
        at_place,
        mesh=mesh,
        in_specs=(places, places, places, P()),
        out_specs=places,
        check_vma=False,
    )(leaves, begin, held, count)


def broadcast(value: int) -> int:
    """The value of process 0, on every process; for clocks and disks, which differ."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def gather_arrays(values: Any) -> np.ndarray:
    """The arrays of all processes, ``[processes, ...]``; they must have one shape."""
    if jax.process_count() == 1:
        return np.asarray(values)[None]
    return np.asarray(multihost_utils.process_allgather(np.asarray(values)))


def on_host(tree: PyTree) -> PyTree:
    """A tree as numpy arrays, gathered if it lies on devices of several processes.

    Ctrl-C interrupts the waiting for arrays that are still being computed.
    """

    def copy(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            if not leaf.is_fully_replicated:
                leaf = multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(copy, ready(tree))


def gather_json(value: Any) -> list[Any]:
    """The values of all processes; anything that JSON can hold."""
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = gather_arrays(np.int32(len(text)))
    texts = gather_arrays(np.pad(text, (0, lengths.max() - len(text))))
    return [json.loads(bytes(t[:n])) for t, n in zip(texts, lengths, strict=True)]


def check_alike(**given: PyTree) -> None:
    """Raise a ValueError that names the first argument, a tree, that differs between processes.

    Unequal arguments would make the processes wait for each other forever, or train on a mixture.
    """
    if jax.process_count() == 1:
        return
    first, *others = gather_json({name: _identity(tree) for name, tree in given.items()})
    for process, other in enumerate(others, 1):
        for name in given:
            if other[name] != first[name]:
                raise ValueError(
                    f"process {process} has another {name} than process 0: every process of the "
                    f"run must pass the same {name}"
                )


@contextlib.contextmanager
def failing_together(joined: bool) -> Iterator[None]:
    """If the processes are joined and one raises a ValueError in this block, all raise it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if joined:
            gather_json(str(error))
        raise
    if joined:
        for process, error in enumerate(gather_json(None)):
            if error is not None:
                raise ValueError(f"process {process}: {error}")


def _identity(tree: PyTree) -> list[str]:
    return [described(jax.tree.structure(tree)), digest(tree)]
