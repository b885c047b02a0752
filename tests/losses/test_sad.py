"""Deep SAD's labelled distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxad.losses.sad import labelled_exponent

LABEL = jnp.array([0, 1, -1])


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def reference(distance, label, eta, epsilon, exponent):
    shifted = np.asarray(distance, np.float64) + epsilon
    power = np.where(label > 0, 1.0, -exponent)
    return np.where(label == 0, distance, eta * shifted**power)


def test_hand_computed():
    values = labelled_exponent(jnp.array([4.0, 4.0, 4.0]), LABEL, eta=1.5, epsilon=1.0)
    np.testing.assert_allclose(values, [4, 7.5, 0.3], rtol=1e-6)


@pytest.mark.parametrize(("eta", "exponent"), [(1.0, 1), (2.5, 1), (0.5, 2), (1.0, 0.5)])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_against_float64(eta, exponent, dtype):
    rng = np.random.default_rng(0)
    distance = rng.exponential(size=60).astype(np.float32)
    label = rng.integers(-1, 2, 60).astype(dtype)
    actual = jax.jit(labelled_exponent)(distance, label, eta=eta, exponent=exponent)
    np.testing.assert_allclose(actual, reference(distance, label, eta, 1e-6, exponent), rtol=2e-6)


@pytest.mark.parametrize("exponent", [1, 2, 0.5])
def test_gradients(exponent):
    def values(distance, eta):
        return labelled_exponent(distance, LABEL, eta=eta, exponent=exponent)

    arguments = jnp.array([0.7, 1.3, 2.1]), jnp.float32(1.5)
    check_grads(jax.jit(values), arguments, order=1, modes=("rev",), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("exponent", [1, 2, 5, 0.5])
def test_finite_at_the_centre(exponent):
    def values(distance):
        return labelled_exponent(distance, LABEL, exponent=exponent)

    value, pull_back = jax.vjp(values, jnp.zeros(3))
    (slope,) = pull_back(jnp.ones(3))
    np.testing.assert_allclose(value, [0, 1e-6, 1e6**exponent], rtol=1e-5)
    np.testing.assert_allclose(slope, [1, 1, -exponent * 1e6 ** (exponent + 1)], rtol=1e-5)


@pytest.mark.parametrize("numbers", [{"epsilon": 0.0}, {"exponent": 8}])
def test_the_anomaly_term_never_reaches_other_rows(numbers):
    def loss(distance):
        return labelled_exponent(distance, jnp.array([0, 1]), **numbers).sum()

    np.testing.assert_array_equal(jax.grad(loss)(jnp.zeros(2)), [1, 1])


@pytest.mark.parametrize("distance", [1e-30, 1e-6, 1e30])
def test_extreme_distances_stay_finite(distance):
    value, pull_back = jax.vjp(lambda d: labelled_exponent(d, LABEL), jnp.full(3, distance))
    (slope,) = pull_back(jnp.ones(3))
    assert jnp.isfinite(value).all()
    assert jnp.isfinite(slope).all()


def test_the_default_takes_no_power():
    program = str(jax.make_jaxpr(labelled_exponent)(jnp.ones(3), LABEL))
    assert "pow[" not in program.replace("integer_pow[y=1]", "")
    assert " pow " not in program


def test_rows_of_weight_0_are_inert():
    weight = jnp.array([1.0, 1.0, 0.0])

    def loss(distance):
        return jnp.sum(weight * labelled_exponent(distance, LABEL))

    np.testing.assert_array_equal(jax.grad(loss)(jnp.zeros(3)), [1, 1, 0])


def test_numbers_sweep_under_vmap():
    distance, eta, exponent = jnp.array([0.5, 1.0, 2.0]), jnp.array([1.0, 3.0]), jnp.array([1.0, 2])
    swept = jax.vmap(lambda e, k: labelled_exponent(distance, LABEL, eta=e, exponent=k))
    expected = [reference(distance, LABEL, e, 1e-6, k) for e, k in ((1, 1), (3, 2))]
    np.testing.assert_allclose(swept(eta, exponent), expected, rtol=1e-5)


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((3,), (3, 1)), ((3,), ())])
def test_mismatch_raises(shapes):
    with pytest.raises(AssertionError):
        labelled_exponent(*map(jnp.zeros, shapes))
