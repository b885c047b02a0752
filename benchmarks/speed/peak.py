"""The share of the machine's peak: a step's matrix products, beside products of large matrices.

Biases, activations, losses and the optimizer are not counted, so they never flatter a share.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.record.rows import Row
from benchmarks.record.timing import NO_GOAL, Goal, ratio, reached, timed
from benchmarks.speed.methods import Case


def forward_flops(widths: Sequence[int], rows: int) -> int:
    """Operations of dense layers ``widths[0] -> widths[1] -> ...``, two for each weight and row.

    Example:
      >>> forward_flops((30, 128, 64, 32), rows=128)
      3604480
    """
    return sum(2 * rows * a * b for a, b in zip(widths[:-1], widths[1:], strict=True))


def training_flops(widths: Sequence[int], rows: int, *, input_gradient: bool = False) -> int:
    """Operations of a forward pass and of the gradients of weights and layer inputs.

    The first layer's inputs are data and need none, unless another network comes before it.
    """
    unneeded = 0 if input_gradient else forward_flops(widths[:2], rows)
    return 3 * forward_flops(widths, rows) - unneeded


def step_flops(case: Case, rows: int | None = None) -> int:
    """Floating-point operations of a step on ``rows`` rows (None: a batch).

    Example:
      >>> from benchmarks.speed import methods
      >>> step_flops(methods.papers("goad")["GOAD KDD"]) // 10**6
      296
    """
    rows = case.batch_size if rows is None else rows
    if case.method == "goad":
        transforms, mapped = case.options["transforms"], case.options["mapped"]
        views, head = rows * transforms, (case.widths[-1], transforms)
        total = forward_flops((case.features, transforms * mapped), rows)  # the maps are fixed
        total += training_flops((mapped, *case.widths), views)
        # The head, and as many products for the distances to class centres.
        return total + 2 * training_flops(head, views, input_gradient=True)
    if case.method not in ("autoencoder", "dagmm"):
        return training_flops((case.features, *case.widths), rows)
    total = training_flops((case.features, *case.widths, *case.widths[-2::-1], case.features), rows)
    if case.method == "dagmm":
        size, estimator = case.widths[-1] + 2, case.objective.estimator.widths
        total += training_flops((size, *estimator), rows, input_gradient=True)
        total += 3 * 2 * (2 * rows * estimator[-1] * size**2)  # the mixture's moments and energies
    return total


def matrix_products(size: int = 1024, repeats: int = 4) -> tuple[Callable[[], object], int]:
    """Square float32 products on all devices, ``repeats`` in a row, and their operations.

    Matrices of 1024 rows leave the caches, but not for long.
    """
    devices = jax.local_devices()
    mesh, shared = Mesh(devices, "device"), PartitionSpec("device")

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(shared, shared), out_specs=shared)
    def multiply(a, b):
        # Each product feeds the next, so that none can be left out; the entries stay near 1.
        return lax.fori_loop(0, repeats, lambda _, b: jnp.matmul(a[0], b[0])[None], b)

    a, b = (
        jax.device_put(
            jnp.full((len(devices), size, size), value, jnp.float32), NamedSharding(mesh, shared)
        )
        for value in (1 / size, 1)
    )
    flops = len(devices) * repeats * 2 * size**3
    return lambda: jax.block_until_ready(multiply(a, b)), flops


def share_of_peak(
    what: str, run: Callable[[], object], flops: int, repeats: int, goal: Goal = NO_GOAL
) -> Row:
    """The target that ``run``, of so many operations, reaches a share of the peak of all devices.

    Both are timed in turn.
    """
    products, most = matrix_products()
    variants = {"run": run, "products": products}
    _, later = timed(what, variants, repeats, give_up=math.inf)
    ours, peak = later["run"].over(flops), later["products"].over(most)
    share = ratio(peak, ours)
    shown = f"{share.show()} ({1e-9 / ours.median:.0f} of {1e-9 / peak.median:.0f} GFLOP/s)"
    return reached(f"{what}: share of all cores' rate of matrix products", share, goal, shown)
