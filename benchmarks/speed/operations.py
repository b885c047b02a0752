"""What a training step of each method has to do: operations and bytes, and a compiler's count.

Only matrix products count, a multiplication and an addition each: biases, activations, losses and
the optimizer are left out, so a share of a machine's peak is never flattered by them.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.speed.methods import Case
from jaxad.typing import Batch

FLOAT = 4  # bytes


def forward_flops(widths: Sequence[int], rows: int) -> int:
    """Operations of dense layers ``widths[0] -> widths[1] -> ...`` applied to so many rows.

    Example:
      >>> forward_flops((30, 128, 64, 32), rows=128)
      3604480
    """
    return sum(2 * rows * a * b for a, b in zip(widths[:-1], widths[1:], strict=True))


def training_flops(widths: Sequence[int], rows: int, *, input_gradient: bool = False) -> int:
    """Operations of a forward pass and of the gradients of weights and layer inputs.

    The first layer's inputs are data, which need none, unless ``input_gradient`` asks for it: where
    another network comes before this one.

    Example:
      >>> training_flops((30, 128, 64, 32), rows=128)
      9830400
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
    total = sum(training_flops(w, n, input_gradient=g) for w, n, g in _networks(case, rows))
    if case.method == "dagmm":  # the mixture's moments and the energies, with their gradients
        size, components = case.widths[-1] + 2, case.objective.estimator.widths[-1]
        total += 3 * 2 * (2 * rows * components * size**2)
    if case.method == "goad":  # maps, which are fixed, and distances to class centres
        transforms, mapped = case.options["transforms"], case.options["mapped"]
        total += forward_flops((case.features, transforms * mapped), rows)
        head = case.widths[-1], transforms
        total += training_flops(head, rows * transforms, input_gradient=True)
    return total


def step_bytes(case: Case, rows: int | None = None) -> int:
    """Bytes a step on ``rows`` rows (None: a batch) moves where nothing stays in a cache.

    Rows are read; a layer's outputs are written, read by the next layer and again going back, and
    their cotangents written and read; weights are read going there and back; gradients written and
    read; Adam reads weights and both moments and writes them.
    """
    rows = case.batch_size if rows is None else rows
    layers = [
        (n, *layer)
        for widths, n, _ in _networks(case, rows)
        for layer in zip(widths[:-1], widths[1:], strict=True)
    ]
    outputs = sum(n * outputs for n, _, outputs in layers)
    if case.method == "goad":  # distances and logits, M of each for every mapped row
        transforms, mapped = case.options["transforms"], case.options["mapped"]
        outputs += rows * transforms * (mapped + transforms)
    weights = sum(a * b for _, a, b in layers)
    return FLOAT * (rows * case.features + 5 * outputs + 10 * weights)


def _networks(case: Case, rows: int) -> list[tuple[Sequence[int], int, bool]]:
    """Dense networks of a step: widths, rows, and whether their inputs need a gradient."""
    if case.method in ("deep_svdd", "deep_sad"):
        return [((case.features, *case.widths), rows, False)]
    if case.method == "goad":
        transforms, mapped = case.options["transforms"], case.options["mapped"]
        views = rows * transforms
        trunk, head = (mapped, *case.widths), (case.widths[-1], transforms)
        return [(trunk, views, False), (head, views, True)]
    there_and_back = (case.features, *case.widths, *case.widths[-2::-1], case.features)
    found: list[tuple[Sequence[int], int, bool]] = [(there_and_back, rows, False)]
    if case.method == "dagmm":
        estimation = (case.widths[-1] + 2, *case.objective.estimator.widths)
        found.append((estimation, rows, True))
    return found


def countable_rows(case: Case) -> int:
    """Rows of a step that the compiler counts: GOAD processes a batch a few rows at a time.

    A compiler counts a loop's body once, so the batch is one such piece.
    """
    if case.method != "goad":
        return case.batch_size
    return min(case.batch_size, max(1, 2**16 // case.options["transforms"] ** 2))


def compiler_count(case: Case, rows: int) -> dict[str, float]:
    """``{"flops", "bytes"}`` by the compiler, of one step with Adam; NaN where it does not say."""
    objective = case.objective
    optimizer = optax.adam(1e-4)

    def step(params: Any, stats: Any, moments: Any, batch: Batch):
        def mean(params):
            values, stats_after = objective.loss(params, stats, batch, jax.random.key(0))
            return jnp.mean(values), stats_after

        gradient, stats_after = jax.grad(mean, has_aux=True)(params)
        update, moments = optimizer.update(gradient, moments, params)
        return jax.tree.map(lambda p, u: p - u, params, update), stats_after, moments

    def start(key: Any, batch: Batch):
        params, stats = objective.init(key, batch.x)
        return params, stats, optimizer.init(params)

    x = jnp.zeros((rows, case.features))
    batch = Batch(x, jnp.zeros(rows, jnp.int32), jnp.ones(rows), jnp.float32(0))
    shapes = jax.eval_shape(start, jax.random.key(0), batch)
    counted = jax.jit(step).lower(*shapes, batch).compile().cost_analysis() or {}
    return {
        "flops": float(counted.get("flops", float("nan"))),
        "bytes": float(counted.get("bytes accessed", float("nan"))),
    }
