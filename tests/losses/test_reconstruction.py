"""Reconstruction errors and DAGMM's reconstruction features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxad.losses import reconstruction

FEATURES = [reconstruction.relative_euclidean, reconstruction.cosine]


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def pair(*shape):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, *shape)).astype(np.float32)


def squared_error(reduction):
    return lambda x, r: reconstruction.squared_error(x, r, reduction=reduction)


@pytest.mark.parametrize(("reduction", "expected"), [("sum", [0, 5]), ("mean", [0, 2.5])])
def test_squared_error_by_hand(reduction, expected):
    x, r = jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[1.0, 2.0], [1.0, -2.0]])
    np.testing.assert_allclose(squared_error(reduction)(x, r), expected)


@pytest.mark.parametrize("shape", [(9, 5), (4, 6, 6, 3)])
def test_against_float64(shape):
    x, r = pair(*shape)
    flat, other = (a.astype(np.float64).reshape(len(a), -1) for a in (x, r))
    lengths = np.linalg.norm(flat, axis=1), np.linalg.norm(other, axis=1)
    distance = np.linalg.norm(flat - other, axis=1)
    expected = {
        squared_error("sum"): distance**2,
        squared_error("mean"): distance**2 / flat.shape[1],
        reconstruction.relative_euclidean: distance / lengths[0],
        reconstruction.cosine: (flat * other).sum(axis=1) / lengths[0] / lengths[1],
    }
    for function, values in expected.items():
        np.testing.assert_allclose(jax.jit(function)(x, r), values, rtol=1e-5, atol=1e-6)


def test_features_stack_both():
    x, r = pair(5, 4)
    features = reconstruction.features(x, r)
    assert features.shape == (5, 2)
    for column, function in enumerate(FEATURES):
        np.testing.assert_array_equal(features[:, column], function(x, r))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 2)])
def test_error_and_features_are_those_of_the_single_functions(reduction, shape):
    x, r = pair(*shape)
    error, features = reconstruction.error_and_features(x, r, reduction=reduction)
    np.testing.assert_allclose(error, squared_error(reduction)(x, r), rtol=1e-6)
    np.testing.assert_array_equal(features, reconstruction.features(x, r))


def test_other_devices_sum_the_same(monkeypatch):
    """They take the sums one by one."""
    x, r = pair(5, 4)
    expected = reconstruction.features(x, r)
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *a, cpu, default: default(*a))
    np.testing.assert_allclose(reconstruction.features(x, r), expected, rtol=1e-5)


@pytest.mark.parametrize("function", [squared_error("sum"), squared_error("mean"), *FEATURES])
def test_gradients(function):
    x, r = map(jnp.asarray, pair(3, 4))
    check_grads(jax.jit(function), (x, r), order=2, atol=2e-2, rtol=2e-2)


ZERO, ONE, TINY = jnp.zeros((1, 3)), jnp.ones((1, 3)), jnp.full((1, 3), 1e-25)


@pytest.mark.parametrize(
    ("x", "r", "expected"),
    [
        (ONE, ONE, [0, 1]),
        (ZERO, ONE, [np.sqrt(3), 0]),
        (ONE, ZERO, [1, 0]),
        (ZERO, ZERO, [0, 0]),
        (TINY, ONE, [np.sqrt(3), 0]),
        (1e-15 * ONE, 1e-15 * ONE, [0, 1]),
        (1e-18 * ONE, -1e-18 * ONE, [2, -1]),
        (1e18 * ONE, -1e18 * ONE, [2, -1]),
    ],
    ids=["perfect", "zero row", "zero output", "both zero", "vanishing", "small", "least", "large"],
)
def test_finite_where_lengths_vanish(x, r, expected):
    np.testing.assert_allclose(reconstruction.features(x, r)[0], expected, atol=1e-6)
    for function in FEATURES:
        _, pull_back = jax.vjp(jax.jit(function), x, r)
        gradients = pull_back(jnp.ones(1))
        assert all(jnp.isfinite(g).all() for g in gradients)


def test_a_perfect_row_has_gradient_zero():
    gradient = jax.grad(lambda r: reconstruction.relative_euclidean(ONE, r).sum())(ONE)
    np.testing.assert_array_equal(gradient, ZERO)


@pytest.mark.parametrize("function", [squared_error("sum"), *FEATURES])
def test_rows_of_weight_0_are_inert(function):
    x, r = map(jnp.asarray, pair(3, 4))
    weight = jnp.array([1.0, 1.0, 0.0])
    gradient = jax.grad(lambda r: jnp.sum(weight * function(x.at[2].set(0), r)))(r.at[2].set(0))
    np.testing.assert_array_equal(gradient[2], np.zeros(4))
    alone = jax.grad(lambda r: jnp.sum(function(x[:2], r)))(r[:2])
    np.testing.assert_allclose(gradient[:2], alone, rtol=1e-6)


def test_under_vmap():
    x, r = pair(2, 5, 4)
    stacked = jax.vmap(reconstruction.features)(x, r)
    for values, each in zip(stacked, zip(x, r, strict=True), strict=True):
        np.testing.assert_allclose(values, reconstruction.features(*each), rtol=1e-6)


def test_unknown_reduction_names_the_known():
    with pytest.raises(ValueError, match=r"'median'.*\['mean', 'sum'\]"):
        squared_error("median")(ONE, ONE)
    with pytest.raises(ValueError, match=r"'median'.*\['mean', 'sum'\]"):
        reconstruction.error_and_features(ONE, ONE, reduction="median")


@pytest.mark.parametrize("function", [squared_error("sum"), *FEATURES, reconstruction.features])
def test_mismatch_raises(function):
    for shape in ((1, 3), (4, 1), (4,), (4, 3, 1)):
        with pytest.raises(AssertionError):
            function(jnp.ones((4, 3)), jnp.ones(shape))
