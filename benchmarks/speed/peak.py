"""The share of the cores' peak: a step's matrix products, beside products of large matrices.

Biases, activations, losses and the optimizer are not counted, so they never flatter a share.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from benchmarks.record import products
from benchmarks.record.rows import Row
from benchmarks.record.timing import NO_GOAL, Goal, ratio, reached, timed
from benchmarks.speed.methods import Case, counted


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
    if case.method == "icl":
        views = rows * (case.features - 1)  # windows of two columns
        total = training_flops((case.features - 2, *case.widths), views)
        total += training_flops((2, *case.widths), views)
        return total + 3 * 2 * views * (case.features - 1) * case.widths[-1]  # similarities
    if case.method in ("k_dsm", "dte_c"):
        views = rows * (case.objective.draws if case.method == "k_dsm" else 1)
        return training_flops((case.features, *case.objective.network.widths), views)
    if case.method not in ("autoencoder", "dagmm"):
        return training_flops((case.features, *case.widths), rows)
    total = training_flops((case.features, *case.widths, *case.widths[-2::-1], case.features), rows)
    if case.method == "dagmm":
        size, estimator = case.widths[-1] + 2, case.objective.estimator.widths
        total += training_flops((size, *estimator), rows, input_gradient=True)
        total += 3 * 2 * (2 * rows * estimator[-1] * size**2)  # the mixture's moments and energies
    return total


def share_of_peak(
    what: str,
    run: Callable[[], object],
    flops: int,
    repeats: int,
    cores: Sequence[int],
    goal: Goal = NO_GOAL,
) -> Row:
    """The target that ``run``, of so many operations, reaches a share of the peak of ``cores``.

    These are the cores that ``run`` uses; it is timed in turn with products on all of them at once.
    The row also has the metric ``share``, and the number of ``cores`` in its details.
    """
    with products.on_cores(cores) as (multiply, most):
        variants = {"run": run, "products": multiply}
        _, later = timed(what, variants, repeats, give_up=math.inf)
    ours, peak = later["run"].over(flops), later["products"].over(most)
    share = ratio(peak, ours)
    shown = f"{share.show()} ({1e-9 / ours.median:.0f} of {1e-9 / peak.median:.0f} GFLOP/s)"
    whose = "one core's" if len(cores) == 1 else f"{counted(len(cores), 'core')}'"
    row = reached(f"{what}: share of {whose} rate of matrix products", share, goal, shown)
    details = {**row.details, "cores": len(cores)}
    return dataclasses.replace(row, metrics={"share": share.values}, details=details)
