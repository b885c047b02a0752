"""Settings every test shares."""

import os

# Tests compile hundreds of small programs whose speed is no matter; set before jax is imported,
# so that the processes that tests start agree to the bit.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_legacy_prng_key", "error")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def rows(rng):
    """A small table, two of its features correlated."""
    x = rng.normal(size=(300, 5))
    x[:, 1] += x[:, 0]
    return x.astype(np.float32)
