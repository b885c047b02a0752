"""How fast cores multiply square float32 matrices, each core in a process of its own.

A core's process is confined to it, and its libraries to one thread, whatever JAX's devices and
threads are in the process that asks.
"""

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from benchmarks.record import environment
from benchmarks.speed.worker import Worker

SIZE = 1024  # such matrices leave a core's caches, but not for long
FLOPS = 2 * SIZE**3
ROUNDS = 15
# Library -> the package whose version it has.
LIBRARIES = {"XLA": "jaxlib", "numpy": "numpy", "PyTorch": "torch"}
# Variables of a process whose libraries have one thread, also where it cannot be pinned.
ONE_THREAD: dict[str, str | None] = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": None}
ONE_THREAD |= dict.fromkeys(("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@functools.cache
def rates() -> dict[str, float]:
    """One core's GFLOP/s in each library that is installed: medians of interleaved products.

    They are of processor time, so that another process on the core does not count. They are
    measured once in a process, in a second or two besides the imports.
    """
    with _on(environment.usable_cores()[-1:]) as (worker,):
        return worker.call("measure").result


@contextmanager
def on_cores(cores: Sequence[int], count: int = 16) -> Iterator[tuple[Callable[[], None], int]]:
    """A function that multiplies in XLA, ``count`` times on each core, and its operations."""
    with _on(cores) as workers:

        def multiply() -> None:
            for worker in workers:
                worker.send("multiply", count=count)
            for worker in workers:
                worker.receive()

        yield multiply, len(cores) * count * FLOPS


@contextmanager
def _on(cores: Sequence[int]) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        workers = [Worker(__name__, variables=ONE_THREAD, cores=[core]) for core in cores]
        yield [stack.enter_context(worker) for worker in workers]


# What follows is called in those processes.


def measure() -> dict[str, float]:
    """`rates` of this process."""
    products: dict[str, Callable[[], Any]] = {}
    for library, make in _PRODUCTS.items():
        with suppress(ImportError):
            products[library] = make()
    taken: dict[str, list[float]] = {library: [] for library in products}
    for product in products.values():
        product()  # compiles
    for _ in range(ROUNDS):
        for library, product in products.items():
            start = time.process_time()
            product()
            taken[library].append(time.process_time() - start)
    return {name: round(1e-9 * FLOPS / statistics.median(s), 1) for name, s in taken.items()}


def multiply(count: int) -> None:
    """Multiply so many times in XLA."""
    product = _xla()
    for _ in range(count):
        product()


def _matrices() -> list[np.ndarray]:
    return [np.random.default_rng(i).normal(size=(SIZE, SIZE)).astype(np.float32) for i in (0, 1)]


@functools.cache
def _xla() -> Callable[[], Any]:
    import jax

    a, b = map(jax.device_put, _matrices())
    product = jax.jit(jax.numpy.matmul)
    return lambda: product(a, b).block_until_ready()


def _numpy() -> Callable[[], Any]:
    a, b = _matrices()
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def _pytorch() -> Callable[[], Any]:
    import torch

    torch.set_num_threads(1)
    a, b = map(torch.from_numpy, _matrices())
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


_PRODUCTS = {"XLA": _xla, "numpy": _numpy, "PyTorch": _pytorch}
