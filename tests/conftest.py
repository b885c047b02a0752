"""Settings every test shares."""

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

collect_ignore = ["support"]  # what tests import and start, no tests

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


def pytest_configure(config):
    # A plugin of its own: hooks of this file would not see the examples in docstrings.
    config.pluginmanager.register(CompiledPrograms())


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def rows(rng):
    """A small table, two of its features correlated."""
    x = rng.normal(size=(300, 5))
    x[:, 1] += x[:, 0]
    return x.astype(np.float32)
