"""Which machine a result is of: its processor, and its rates of matrix products."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.record import tables
from benchmarks.record.products import SIZE


def processor_name(machine: Mapping[str, Any]) -> str:
    """The processor in words; vendor, family and model in brackets where they were recorded."""
    found = machine["processor"]
    numbers = [f"{key} {found[key]}" for key in ("family", "model") if found.get(key)]
    known = ", ".join([*filter(None, [found.get("vendor")]), *numbers])
    return f"{found['name']} ({known})" if known else str(found["name"])


def product_rates(*machines: Mapping[str, Any]) -> str:
    """One core's rates of matrix products in words, medians over machines that recorded them."""
    found: dict[str, list[float]] = {}
    for machine in machines:
        for library, rate in machine.get("product_gflops", {}).items():
            found.setdefault(library, []).append(rate)
    if not found:
        return "not recorded"
    listed = (f"{library} {statistics.median(rates):.0f}" for library, rates in found.items())
    return f"{', '.join(listed)} GFLOP/s a core"


def rates_of_all(machines: Iterable[Mapping[str, Any]]) -> str:
    """Every processor's name and rates; empty without machines."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for machine in machines:
        found.setdefault(processor_name(machine), []).append(machine)
    return "; ".join(f"{name}: {product_rates(*same)}" for name, same in found.items())


def text(machines: Iterable[Mapping[str, Any]]) -> str:
    """A paragraph to read ratios with; empty without machines."""
    rates = rates_of_all(machines)
    intro = (
        "Ratios to other libraries depend on the processor. Rates of float32 products of "
        f"{SIZE} x {SIZE} matrices: "
    )
    return tables.wrapped(f"{intro}{rates}.") if rates else ""
