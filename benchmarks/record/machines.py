"""Which machine a result is of: its processor, its rates of matrix products, and how two differ."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.record import tables
from benchmarks.record.products import LIBRARIES, SIZE
from benchmarks.record.rows import Run

# Rates of one machine drift by up to a tenth between runs.
RATE_TOLERANCE = 0.25


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


def differences(old: Run, new: Run) -> list[str]:
    """What shows that two runs are of different machines; empty if nothing does.

    What only one of them recorded is left aside, and so is the rate of a library whose version
    changed: another version is no other machine.
    """
    a, b = old.machine, new.machine
    found = []
    one, other = a["processor"], b["processor"]
    both = one.keys() & other.keys()
    if any(one[key] != other[key] for key in both - {"flags"}):
        found.append(f"processor {processor_name(a)} and {processor_name(b)}")
    elif "flags" in both and one["flags"] != other["flags"]:
        flags = sorted(set(one["flags"]) ^ set(other["flags"]))
        found.append(f"processor flags, of which one lacks {', '.join(flags)}")
    cores = [m.get("usable_cores") for m in (a, b)]
    if None not in cores and cores[0] != cores[1]:
        found.append(f"usable cores {cores[0]} and {cores[1]}")
    kinds = [sorted(set(m["devices"])) for m in (a, b)]
    if kinds[0] != kinds[1]:
        found.append(f"devices {', '.join(kinds[0])} and {', '.join(kinds[1])}")
    before, after = (m.get("product_gflops", {}) for m in (a, b))
    for library, package in LIBRARIES.items():
        rates = [before.get(library), after.get(library)]
        same = old.versions.get(package) == new.versions.get(package)
        if same and None not in rates and max(rates) > (1 + RATE_TOLERANCE) * min(rates):
            found.append(
                f"{library}'s products {rates[0]:.0f} and {rates[1]:.0f} GFLOP/s a core, more than "
                f"{100 * RATE_TOLERANCE:.0f} % apart"
            )
    return found
