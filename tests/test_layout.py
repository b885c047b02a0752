"""Tables stored with the features first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxad import layout


@pytest.mark.parametrize("shape", [(500, 7), (500, 3, 2)])
@pytest.mark.parametrize("size", [64, 128, 384, 400])
def test_gather_returns_the_requested_rows(rng, shape, size):
    x = rng.normal(size=shape).astype(np.float32)
    at = rng.integers(0, 500, size)
    np.testing.assert_array_equal(jax.jit(layout.gather)(x, at), x[at])


@pytest.mark.parametrize("shape", [(64, 7), (128, 7), (130, 7), (256, 3, 2)])
def test_storing_changes_neither_values_nor_derivatives(rng, shape):
    x, change = jnp.asarray(rng.normal(size=(2, *shape)).astype(np.float32))
    stored = jax.jit(layout.store_features_first)
    np.testing.assert_array_equal(stored(x), x)
    np.testing.assert_array_equal(jax.jvp(stored, (x,), (change,))[1], change)
    np.testing.assert_array_equal(jax.vjp(stored, x)[1](change)[0], change)
    np.testing.assert_array_equal(jax.vmap(stored)(jnp.stack([x, change])), [x, change])
