"""Settings every test shares."""

import json
import os
import signal
from importlib.metadata import version
from pathlib import Path

# Tests compile thousands of small programs whose speed is no matter; set before jax is imported,
# so that the processes that tests start agree to the bit.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# jaxlib 0.11 and later stop at this flag, which they no longer know.
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
# Tests count what is compiled, and must not find what an earlier run has kept.
os.environ["JAXAD_CACHE"] = "off"
# Populations and shared batches are tested on devices of their own.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# Shells start background commands with Ctrl-C ignored, which tests of Ctrl-C need.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

collect_ignore = ["support", "mutants"]  # what tests import and start, no tests

jax.config.update("jax_legacy_prng_key", "error")


class CompiledPrograms:
    """Drops compiled programs between files when they take many memory maps.

    Linux gives a process 65,530 maps; one that runs out of them crashes.
    """

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item, nextitem):
        maps = Path("/proc/self/maps")
        if nextitem is not None and nextitem.path != item.path and maps.exists():
            if maps.read_bytes().count(b"\n") > 20_000:
                jax.clear_caches()


class Figures:
    """Prints what tests count and measure, and keeps it with `--figures FILE`.

    A test states a figure by pytest's own fixture: `record_property("inputs", 100_000)`.
    """

    def __init__(self, file: str | None):
        self.file = file
        self.lines: list[dict] = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed and report.user_properties:
            self.lines.append({"test": report.nodeid} | dict(report.user_properties))

    def pytest_terminal_summary(self, terminalreporter):
        if self.lines:
            terminalreporter.section("figures")
        lines = sorted(self.lines, key=lambda line: line["test"])
        for line in lines:
            told = ", ".join(f"{name} {value}" for name, value in line.items() if name != "test")
            terminalreporter.write_line(f"{line['test']}: {told}")
        if self.file is not None:
            Path(self.file).write_text("".join(json.dumps(line) + "\n" for line in lines))


def pytest_addoption(parser):
    parser.addoption("--figures", metavar="FILE", help="write what tests count as JSON lines")


def pytest_configure(config):
    # Plugins of their own: hooks of this file would not see the examples in docstrings.
    config.pluginmanager.register(CompiledPrograms())
    if not hasattr(config, "workerinput"):  # a worker of xdist reports to its controller
        config.pluginmanager.register(Figures(config.getoption("--figures")))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def rows(rng):
    """A small table, two of its features correlated."""
    x = rng.normal(size=(300, 5))
    x[:, 1] += x[:, 0]
    return x.astype(np.float32)
