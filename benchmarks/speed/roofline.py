"""How close to the machine: a step's operations and bytes, measured peaks, the share achieved."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks.record import environment, plots, tables
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from benchmarks.record.targets import NO_GOAL, Goal, target
from benchmarks.record.timing import Timing, timed
from benchmarks.speed import machine, methods, operations

DESCRIPTION = "operations and bytes of a step, the machine's measured peaks, and the share achieved"
PARTS = ("single", "population")
DEFAULTS: dict[str, Any] = {
    "parts": PARTS,
    "methods": methods.METHODS,
    "repeats": 5,
    "members": 16,
    "size": 1024,
    "megabytes": 256,
}
CHOICES: dict[str, Sequence[str]] = {"parts": PARTS, "methods": methods.METHODS}
# Part, case -> share of the cores' peak that is asked for.
GOALS = {
    ("population", "Deep SVDD 30-128-64-32"): Goal(
        0.62, "Activations, Adam and every member's own shuffle are passes of their own."
    )
}
COLUMNS = (
    tables.Column("MFLOP a step", "megaflops", tables.first(2)),
    tables.Column("compiler's / ours", "compiler_flops_ratio", tables.first(2)),
    tables.Column("MB a step", "megabytes", tables.first(2)),
    tables.Column("compiler's MB", "compiler_megabytes", tables.first(2)),
    tables.Column("us a step", "microseconds", tables.quartiles(1)),
    tables.Column("GFLOP/s", "gigaflops", tables.quartiles(1)),
    tables.Column("GB/s", "gigabytes", tables.quartiles(1)),
    tables.Column("% of peak", "percent", tables.quartiles(0)),
    tables.Column("% of roof", "roof_percent", tables.quartiles(0)),
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


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """The machine's peaks, then every case alone and as a population. Cores become devices."""
    environment.cores_as_devices()
    found: dict[str, Part] = {"machine": partial(peaks, settings)}
    for part in settings["parts"]:
        for method in settings["methods"]:
            for name, case in methods.papers(method).items():
                found[f"{part}: {name}"] = partial(measure, part, name, case, settings)
    return found


def pictures(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, tuple[str, Figure]]:
    """Share of the cores' peak by case, alone and as a population."""
    shares: dict[str, dict[str, Timing]] = {}
    for row in rows:
        if "percent" in row.metrics:
            timing = Timing(tuple(row.metrics["percent"]))
            shares.setdefault(row.dataset, {})[row.detector] = timing
    if not shares:
        return {}
    kinds = list(dict.fromkeys(kind for case in shares.values() for kind in case))
    figure, (ax,) = plots.panels([2 * len(shares)], width=7)
    handles = {}
    for i, kind in enumerate(kinds):
        known = [(j, case[kind]) for j, case in enumerate(shares.values()) if kind in case]
        at = [j + 0.18 * (i - (len(kinds) - 1) / 2) for j, _ in known]
        middle = np.array([timing.median for _, timing in known])
        low, high = np.array([timing.quartiles for _, timing in known]).T
        around = np.clip([middle - low, high - middle], 0, None)
        handles[kind] = ax.errorbar(middle, at, xerr=around, fmt="o^sD"[i % 4], capsize=3)
    plots.name_rows(ax, list(shares))
    ax.set(xlabel="% of the peak of matrix products on the same cores", xlim=(0, 100))
    plots.legend(figure, handles, kinds)
    return {"share_of_peak": ("Share of the machine's peak", figure)}


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """Operations of a step, and the share of the peak that is reached."""
    measured = [row for row in rows if "percent" in row.metrics]
    return tables.markdown(*tables.cells(measured, [COLUMNS[i] for i in (0, 4, 5, 7)]))


def peaks(settings: Mapping[str, Any]) -> list[Row]:
    """Products of large matrices and copies of large arrays, on one device and on all."""
    works, rows = {}, []
    for count in sorted({1, jax.local_device_count()}):
        devices = jax.local_devices()[:count]
        on = f"{count} device{'s' * (count > 1)}"
        works[f"matrix products, {on}"] = machine.matrix_products(devices, size=settings["size"])
        works[f"copies, {on}"] = machine.copies(devices, megabytes=settings["megabytes"])
    _, later = timed("peaks", {name: run for name, (run, _) in works.items()}, settings["repeats"])
    for name, (_, amount) in works.items():
        seconds = later[name].seconds
        metric = "gigabytes" if name.startswith("copies") else "gigaflops"
        metrics = {metric: [amount / s / 1e9 for s in seconds], "seconds": seconds}
        rows.append(Row("machine", name, metrics))
    return rows


def measure(part: str, name: str, case: methods.Case, settings: Mapping[str, Any]) -> list[Row]:
    """A case alone on one device, or a population on all, beside the peaks of those devices."""
    alone = part == "single"
    members = 1 if alone else settings["members"]
    devices = jax.local_devices()[: 1 if alone else None]
    flops, size = operations.step_flops(case), operations.step_bytes(case)
    steps = members * case.steps
    run = case.trainer() if alone else case.population(members)
    work = machine.Work(run, flops * steps)
    products = machine.matrix_products(devices, size=settings["size"])
    copy, moved = machine.copies(devices, megabytes=settings["megabytes"])
    variants = {"run": work.run, "products": products.run, "copies": copy}
    _, later = timed(f"{part}: {name}", variants, settings["repeats"], give_up=math.inf)
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
    share = machine.share(work, later["run"], products, later["products"])
    goal = GOALS.get((part, name), NO_GOAL)
    met = None if goal.ratio is None else share.median >= goal.ratio
    return [
        Row(name, what, metrics, {"members": members, "steps": case.steps}),
        target(f"{name}: {what}, share of peak", str(goal), str(share), met, goal.bound),
    ]
