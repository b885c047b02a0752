"""Settings every test shares."""

import jax
import numpy as np
import pytest

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
