"""A process that fits and scores for long keeps the same memory: it drops programs by itself."""

import json
import sys

import jax
import numpy as np
import pytest
from processes import ROOT, run_together

from jaxad.training import options

WORKER = ROOT / "tests/support/long_run_worker.py"


def call(compiled, size):
    return float(compiled(np.ones(size, np.float32)))


def made(name="triple"):
    return options.compiled(lambda x: 3 * x.sum(), name, "cpu")


def executables():
    return len(jax.local_devices()[0].client.live_executables())


@pytest.fixture
def few(monkeypatch):
    """A process that keeps three programs, and has none yet."""
    monkeypatch.setattr(options, "MOST_PROGRAMS", 3)
    monkeypatch.setattr(options, "_programs", type(options._programs)())


@pytest.mark.usefixtures("few")
def test_the_programs_used_last_are_kept():
    traced = []
    compiled = options.compiled(lambda x: traced.append(len(x)) or x.sum(), "traced", "cpu")
    for size in (1, 2, 3, 1, 4, 1, 3, 2):
        assert call(compiled, size) == size
    assert traced == [1, 2, 3, 4, 2]  # 2 made room for 4


@pytest.mark.usefixtures("few")
def test_a_dropped_program_leaves_no_executable_behind(monkeypatch):
    import gc

    compiled = made()
    gc.collect()
    before = executables()
    for size in range(1, 20):
        call(compiled, size)
    gc.collect()
    assert executables() - before <= 3
    assert len(options._programs) == 3


@pytest.mark.usefixtures("few")
def test_all_functions_share_the_places():
    both = made("one"), made("other")
    for size in (1, 2, 3, 4):
        for compiled in both:
            call(compiled, size)
    kept = [(key[0], key[2][0]) for key in options._programs]
    assert kept == [(both[1], (3,)), (both[0], (4,)), (both[1], (4,))]


@pytest.mark.full
def test_memory_stays_flat(record_property):
    """200 fits of different shapes, then 2,000 scoring calls of odd sizes, in one process."""
    fits, calls = 200, 2000
    command = [sys.executable, str(WORKER), str(fits), str(calls)]
    (said,) = run_together([command], {"JAX_NUM_CPU_DEVICES": "1"}, timeout=3600)
    found = json.loads(said.splitlines()[-1])
    at = {entry["done"]: entry for entry in found}
    half, end, last = at[fits // 2], at[fits], at[fits + calls]
    record_property("fits", fits)
    record_property("scoring_calls", calls)
    record_property("compilations_per_fit", end["compilations"] / fits)
    record_property("compilations_of_scoring", last["compilations"])
    record_property("programs_kept", last["programs"])
    for name in ("maps", "megabytes"):
        record_property(f"{name}_halfway", round(half[name]))
        record_property(f"{name}_after_fits", round(end[name]))
        record_property(f"{name}_at_end", round(last[name]))

    assert all(entry["programs"] <= options.MOST_PROGRAMS for entry in found)
    assert end["compilations"] / fits < 8
    assert last["compilations"] <= 2 * 10  # of the ten detectors that score
    for one, other in ((half, end), (end, last)):
        assert other["maps"] < 1.1 * one["maps"]
        assert other["megabytes"] < 1.15 * one["megabytes"]
    assert last["maps"] < 65_530 / 2
