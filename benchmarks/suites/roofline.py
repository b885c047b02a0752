"""How close to the machine: a step's operations and bytes, measured peaks, the share achieved."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import bandwidth, cases, environment, operations, peak, schema, table
from benchmarks.comparison import Target, show_spread, timed
from benchmarks.options import Options
from benchmarks.parts import Part, run_parts
from benchmarks.timing import Ratio
from jaxad import training

DESCRIPTION = "operations and bytes of a step, the machine's measured peaks, and the share achieved"
PARTS = ("single", "population")
DEFAULTS: dict[str, Any] = {
    "parts": PARTS,
    "methods": cases.METHODS,
    "repeats": 5,
    "members": 16,
    "size": 1024,
    "megabytes": 256,
}
CHOICES: dict[str, Sequence[str]] = {"parts": PARTS, "methods": cases.METHODS}
# Part, case -> share of the cores' peak that is asked for.
GOALS = {("population", "Deep SVDD 30-128-64-32"): 0.62}
COLUMNS = (
    table.Column("MFLOP a step", "megaflops", table.first(2)),
    table.Column("compiler's / ours", "compiler_flops_ratio", table.first(2)),
    table.Column("MB a step", "megabytes", table.first(2)),
    table.Column("compiler's MB", "compiler_megabytes", table.first(2)),
    table.Column("us a step", "microseconds", show_spread(1)),
    table.Column("GFLOP/s", "gigaflops", show_spread(1)),
    table.Column("GB/s", "gigabytes", show_spread(1)),
    table.Column("% of peak", "percent", show_spread(0)),
    table.Column("% of roof", "roof_percent", show_spread(0)),
)
NOTE = (
    "MFLOP: matrix products of a step alone, from the widths; beside it the compiler's own count\n"
    "(of every operation) over ours, at a number of rows it can count. MB: moved where nothing\n"
    "stays in a cache; the compiler's is after fusion, GOAD's from a part of a batch. A time is\n"
    "of a whole run (start, shuffles, exact passes) over its steps, of a population also over its\n"
    "members. Peak: products of large matrices on the same cores, in the same rounds. Roof: the\n"
    "lower of that peak and the operations per byte times the rate of copies from memory; a share\n"
    "above 100 % means that the caches hold what was counted as moved. Medians [quartiles]."
)


def run(options: Options) -> None:
    """Make every core a device, measure part by part, print the table and the targets."""
    environment.cores_as_devices()
    settings = options.settings
    parts: dict[str, Part] = {"machine": partial(machine, settings)}
    for part in settings["parts"]:
        for method in settings["methods"]:
            for name, case in cases.papers(method).items():
                parts[f"{part}: {name}"] = partial(measure, part, name, case, settings)
    run_parts(options, parts, columns=COLUMNS, note=NOTE)


def machine(settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """Products of large matrices and copies of large arrays, on one device and on all."""
    works, rows = {}, []
    for count in sorted({1, jax.local_device_count()}):
        devices = jax.local_devices()[:count]
        on = f"{count} device{'s' * (count > 1)}"
        work = peak.matrix_products(devices, size=settings["size"])
        works[f"matrix products, {on}"] = work.run, work.flops
        works[f"copies, {on}"] = bandwidth.copies(devices, megabytes=settings["megabytes"])
    _, later = timed("peaks", {name: run for name, (run, _) in works.items()}, settings["repeats"])
    for name, (_, amount) in works.items():
        seconds = later[name].seconds
        metric = "gigabytes" if name.startswith("copies") else "gigaflops"
        metrics = {metric: [amount / s / 1e9 for s in seconds], "seconds": seconds}
        rows.append(schema.Row("machine", name, metrics))
    return rows, []


def measure(
    part: str, name: str, case: cases.Case, settings: Mapping[str, Any]
) -> tuple[list[schema.Row], list[Target]]:
    """A case alone on one device, or a population of it on all, beside the peaks of the same."""
    alone = part == "single"
    members = 1 if alone else settings["members"]
    devices = jax.local_devices()[: 1 if alone else None]
    flops, size = operations.step_flops(case), operations.step_bytes(case)
    steps = members * case.steps
    work = peak.Work(case.trainer() if alone else _population(case, members), flops * steps)
    products = peak.matrix_products(devices, size=settings["size"])
    copy, moved = bandwidth.copies(devices, megabytes=settings["megabytes"])
    variants = {"run": work.run, "products": products.run, "copies": copy}
    _, later = timed(f"{part}: {name}", variants, settings["repeats"], float("inf"))
    taken = np.asarray(later["run"].seconds) / steps
    fastest = flops / np.asarray(products.rates(later["products"]))
    fastest_moved = size / (moved / np.asarray(later["copies"].seconds))
    counted = operations.countable_rows(case)
    compiler = operations.compiler_count(case, counted)
    metrics = {
        "megaflops": [flops / 1e6],
        "compiler_flops_ratio": [compiler["flops"] / operations.step_flops(case, counted)],
        "megabytes": [size / 1e6],
        "compiler_megabytes": [compiler["bytes"] / 1e6 * case.batch_size / counted],
        "microseconds": (1e6 * taken).tolist(),
        "gigaflops": (flops / taken / 1e9).tolist(),
        "gigabytes": (size / taken / 1e9).tolist(),
        "percent": (100 * fastest / taken).tolist(),
        "roof_percent": (100 * np.maximum(fastest, fastest_moved) / taken).tolist(),
        "seconds": later["run"].seconds,
    }
    what = "single run, 1 device" if alone else f"{members} members, {len(devices)} devices"
    rows = [schema.Row(name, what, metrics, {"members": members, "steps": case.steps})]
    share = peak.share(work, later["run"], products, later["products"])
    goal = GOALS.get((part, name))
    return rows, [_target(f"{name}: {what}, share of peak", share, goal)]


def _target(what: str, share: Ratio, goal: float | None) -> Target:
    if goal is None:
        return Target(what, "-", str(share), None)
    return Target(what, f">= {goal:g}", str(share), share.median >= goal)


def _population(case: cases.Case, members: int):
    keys = jax.random.split(jax.random.key(0), members)
    rows = case.batch()
    return lambda: np.asarray(
        training.fit_population(case.objective, case.recipe, keys, rows).history["loss"]
    )
