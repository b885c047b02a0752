"""Deep SVDD's distances, objectives, centre and radius."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxad.losses import hypersphere


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def check_gradients(function, *arguments):
    check_grads(jax.jit(function), arguments, order=1, modes=("rev",), atol=1e-2, rtol=1e-2)


def repeated_quantile(values, weight, q):
    return np.quantile(np.repeat(values.astype(np.float64), weight.astype(int)), q)


class TestSquaredDistance:
    def test_hand_computed(self):
        z, centre = jnp.array([[3.0, 4.0], [1.0, 1.0]]), jnp.array([0.0, 1.0])
        np.testing.assert_allclose(hypersphere.squared_distance(z, centre), [18, 1])

    def test_against_float64(self):
        z, centre = normal(50, 7), normal(7, seed=1)
        expected = ((z.astype(np.float64) - centre) ** 2).sum(axis=1)
        actual = jax.jit(hypersphere.squared_distance)(z, centre)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_gradient_and_its_zero_at_the_centre(self):
        z, centre = jnp.asarray(normal(4, 3)), jnp.asarray(normal(3, seed=1))
        check_gradients(hypersphere.squared_distance, z, centre)
        gradient = jax.grad(lambda z: hypersphere.squared_distance(z, centre).sum())(centre[None])
        np.testing.assert_array_equal(gradient, np.zeros((1, 3)))

    @pytest.mark.parametrize("shapes", [((4, 3), (2,)), ((4, 3), (1, 3)), ((3,), (3,))])
    def test_mismatch_raises(self, shapes):
        with pytest.raises(AssertionError):
            hypersphere.squared_distance(*map(jnp.zeros, shapes))


class TestObjectives:
    distance = jnp.array([0.0, 1.0, 4.0, 9.0])

    def test_one_class_is_the_squared_distance(self):
        np.testing.assert_array_equal(hypersphere.one_class(self.distance), self.distance)

    def test_soft_boundary_by_hand(self):
        values = hypersphere.soft_boundary(self.distance, 2.0, nu=0.25)
        np.testing.assert_allclose(values, [4, 4, 4, 24])

    def test_soft_boundary_with_radius_0_is_the_distance_over_nu(self):
        values = hypersphere.soft_boundary(self.distance, 0.0, nu=0.1)
        np.testing.assert_allclose(values, self.distance / 0.1, rtol=1e-6)

    def test_soft_boundary_gradients(self):
        def values(distance, radius, nu):
            return hypersphere.soft_boundary(distance, radius, nu=nu)

        check_gradients(values, jnp.array([0.2, 1.5, 4.0]), jnp.float32(1.1), jnp.float32(0.3))

    def test_soft_boundary_pulls_only_rows_outside(self):
        slope = jax.grad(lambda d: hypersphere.soft_boundary(d, 2.0, nu=0.25).sum())
        np.testing.assert_allclose(slope(self.distance), [0, 0, 0, 4])

    def test_nu_and_radius_sweep_under_vmap(self):
        radius, nu = jnp.array([0.5, 1.0, 3.0]), jnp.array([0.1, 0.5, 1.0])
        swept = jax.vmap(lambda r, n: hypersphere.soft_boundary(self.distance, r, nu=n))(radius, nu)
        for row, r, n in zip(swept, radius, nu, strict=True):
            np.testing.assert_allclose(row, hypersphere.soft_boundary(self.distance, r, nu=n))

    def test_mismatch_raises(self):
        with pytest.raises(AssertionError):
            hypersphere.one_class(jnp.zeros((3, 1)))
        with pytest.raises(AssertionError):
            hypersphere.soft_boundary(self.distance, jnp.zeros(4), nu=0.1)


class TestPower:
    distance = normal(60) ** 2 + np.float32(0.01)

    @pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
    def test_against_float64(self, exponent):
        actual = jax.jit(hypersphere.power)(self.distance, exponent=exponent)
        np.testing.assert_allclose(actual, self.distance.astype(np.float64) ** exponent, rtol=2e-6)

    @pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
    def test_gradients(self, exponent):
        distance = jnp.array([0.3, 1.0, 4.0])
        check_gradients(lambda d, p: hypersphere.power(d, exponent=p), distance, exponent)

    @pytest.mark.parametrize("exponent", [0.1, 0.5, 1.0, 2.0])
    def test_at_the_centre_value_and_gradients_are_0(self, exponent):
        def loss(distance, exponent):
            return hypersphere.power(distance, exponent=exponent).sum()

        zero = jnp.zeros(1)
        assert loss(zero, exponent) == 0
        slopes = jax.grad(loss, (0, 1))(zero, exponent)
        assert slopes[0].tolist() == [0]
        assert slopes[1] == 0

    def test_exponent_1_is_the_one_class_objective(self):
        np.testing.assert_allclose(hypersphere.power(self.distance, exponent=1.0), self.distance)

    def test_mismatch_raises(self):
        with pytest.raises(AssertionError):
            hypersphere.power(jnp.zeros((3, 1)), exponent=1.0)


class TestPseudoHuber:
    @pytest.mark.parametrize("delta", [0.1, 1.0, 3.0])
    def test_against_float64(self, delta):
        distance = np.float32(10.0) ** np.linspace(-12, 12, 50, dtype=np.float32)
        expected = delta**2 * np.expm1(np.log1p(distance.astype(np.float64) / delta**2) / 2)
        actual = jax.jit(hypersphere.pseudo_huber)(distance, delta=delta)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_gradients(self):
        distance = jnp.array([0.3, 1.0, 40.0])
        check_gradients(lambda d, h: hypersphere.pseudo_huber(d, delta=h), distance, 1.5)

    def test_at_the_centre_and_far_away(self):
        def loss(distance):
            return hypersphere.pseudo_huber(distance, delta=1.0).sum()

        assert loss(jnp.zeros(1)) == 0
        slope = jax.grad(loss)(jnp.array([0.0, 1e30]))
        np.testing.assert_allclose(slope, [0.5, 0.5e-15], rtol=1e-5)

    def test_mismatch_raises(self):
        with pytest.raises(AssertionError):
            hypersphere.pseudo_huber(jnp.zeros(()), delta=1.0)


class TestClassifier:
    @pytest.mark.parametrize("delta", [0.5, 1.0, 2.0])
    def test_against_float64(self, delta):
        distance = np.tile(np.float32(10.0) ** np.linspace(-5, 3, 40, dtype=np.float32), 3)
        label = np.repeat([-1, 0, 1], 40)

        def h(d):
            return delta**2 * np.expm1(np.log1p(d / delta**2) / 2)

        d = distance.astype(np.float64)
        far = np.maximum(h(d + 1e-6), 1e-300)
        expected = np.where(label < 0, -np.log1p(-np.exp(-far)), h(d))
        actual = jax.jit(hypersphere.classifier)(distance, label, delta=delta)
        np.testing.assert_allclose(actual, expected, rtol=3e-6, atol=1e-37)

    def test_gradients_on_both_sides_of_log_2(self):
        label, distance = jnp.array([-1, -1, 0, 1]), jnp.array([0.4, 6.0, 0.7, 2.0])

        def values(distance, delta):
            return hypersphere.classifier(distance, label, delta=delta)

        check_gradients(values, distance, 1.3)

    @pytest.mark.parametrize("distance", [0.0, 1e-30, 1e-6, 1e6, 1e30])
    def test_extreme_distances_stay_finite(self, distance):
        label = jnp.array([-1, 0, 1])
        value, pull_back = jax.vjp(
            lambda d: hypersphere.classifier(d, label), jnp.full(3, distance)
        )
        (slope,) = pull_back(jnp.ones(3))
        assert jnp.isfinite(value).all()
        assert jnp.isfinite(slope).all()
        assert slope[0] <= 0
        assert (slope[1:] > 0).all()

    def test_at_the_centre(self):
        value, slope = jax.value_and_grad(
            lambda d: hypersphere.classifier(d, jnp.array([-1])).sum()
        )(jnp.zeros(1))
        np.testing.assert_allclose(value, np.log(2e6), rtol=1e-5)
        np.testing.assert_allclose(slope, -1e6, rtol=1e-4)

    def test_rows_of_weight_0_are_inert(self):
        weight, label = jnp.array([1.0, 0.0]), jnp.array([0, -1])
        slope = jax.grad(lambda d: jnp.sum(weight * hypersphere.classifier(d, label)))(jnp.zeros(2))
        np.testing.assert_array_equal(slope, [0.5, 0])

    @pytest.mark.parametrize("shapes", [((3,), (4,)), ((3,), (3, 1))])
    def test_mismatch_raises(self, shapes):
        with pytest.raises(AssertionError):
            hypersphere.classifier(*map(jnp.zeros, shapes))


class TestCentre:
    def test_weighted_mean(self):
        z, weight = normal(40, 3), np.random.default_rng(1).random(40).astype(np.float32)
        expected = np.average(z.astype(np.float64), axis=0, weights=weight)
        np.testing.assert_allclose(hypersphere.centre(z, weight), expected, atol=1e-6)

    def test_padding_is_inert(self):
        z, weight = jnp.asarray(normal(6, 2)), jnp.array([1.0, 1, 1, 1, 0, 0])
        broken = z.at[4].set(jnp.nan).at[5].set(jnp.inf)
        np.testing.assert_array_equal(
            hypersphere.centre(broken, weight), hypersphere.centre(z, weight)
        )
        gradient = jax.grad(lambda z: hypersphere.centre(z, weight).sum())(broken)
        np.testing.assert_array_equal(gradient[4:], np.zeros((2, 2)))
        assert jnp.isfinite(gradient).all()

    def test_without_rows_is_zero(self):
        np.testing.assert_array_equal(hypersphere.centre(jnp.ones((3, 2)), jnp.zeros(3)), [0, 0])

    def test_gradients(self):
        z, weight = jnp.asarray(normal(5, 2)), jnp.array([1.0, 2.0, 0.5, 1.0, 3.0])
        check_gradients(hypersphere.centre, z, weight)

    def test_mismatch_raises(self):
        with pytest.raises(AssertionError):
            hypersphere.centre(jnp.zeros((4, 2)), jnp.zeros(3))

    def test_away_from_zero(self):
        centre = jnp.array([0.0, -0.0, 1e-9, -0.03, 0.0999, 0.1, -0.1, 0.7, -5.0])
        moved = hypersphere.away_from_zero(centre)
        expected = np.float32([0.1, 0.1, 0.1, -0.1, 0.1, 0.1, -0.1, 0.7, -5])
        np.testing.assert_array_equal(moved, expected)

    def test_away_from_zero_sweeps_its_minimum(self):
        minimum = jnp.array([0.0, 0.5])
        moved = jax.vmap(lambda m: hypersphere.away_from_zero(jnp.array([-0.2]), minimum=m))
        np.testing.assert_allclose(moved(minimum), [[-0.2], [-0.5]])


class TestWeightedQuantile:
    quantile = staticmethod(jax.jit(hypersphere.weighted_quantile))

    @pytest.mark.parametrize("q", [0.0, 0.05, 0.5, 0.9, 0.99, 1.0])
    @pytest.mark.parametrize("largest", [1, 4])
    def test_repeats_rows_by_weight(self, q, largest):
        rng = np.random.default_rng(largest)
        for values in (rng.normal(size=37), rng.integers(-3, 3, 37), np.full(37, -2.5)):
            weight = rng.integers(0, largest + 1, 37).astype(np.float32)
            values = values.astype(np.float32)
            expected = repeated_quantile(values, weight, q)
            assert float(self.quantile(values, weight, q)) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("q", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("padding", [np.nan, np.inf, -np.inf, 1e38, -1e38])
    def test_padding_is_inert(self, q, padding):
        values, weight = np.float32([3, 1, 2, 0, 0]), np.float32([1, 1, 1, 0, 0])
        expected = np.quantile(values[:3], q)
        values[3:] = padding
        assert float(self.quantile(values, weight, q)) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("scale", [1e-37, 1.0, 3e38])
    def test_finds_values_of_any_size_and_sign(self, scale):
        values = np.float32([1, -1, 0.5, -0.5, 0]) * np.float32(scale)
        actual = [float(self.quantile(values, jnp.ones(5), q)) for q in (0, 0.25, 0.5, 0.75, 1)]
        with jax.numpy_dtype_promotion("standard"):
            np.testing.assert_array_equal(np.float32(actual), np.sort(values))

    def test_infinite_rows_outside_the_quantile_do_not_matter(self):
        values = jnp.array([1.0, 2.0, 3.0, jnp.inf, -jnp.inf])
        assert float(self.quantile(values, jnp.ones(5), 0.5)) == 2
        assert float(self.quantile(values, jnp.ones(5), 0.75)) == 3
        assert float(self.quantile(values, jnp.ones(5), 1.0)) == np.inf

    def test_has_no_gradient(self):
        arguments = jnp.array([1.0, 4.0, 2.0]), jnp.array([1.0, 1.0, 2.0]), jnp.float32(0.8)
        for gradient in jax.grad(hypersphere.weighted_quantile, argnums=(0, 1, 2))(*arguments):
            np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))

    def test_fractional_weights(self):
        values = jnp.array([1.0, 3.0, 7.0])
        assert float(self.quantile(values, jnp.array([0.2, 0.3, 0.1]), 0.9)) == pytest.approx(2.6)
        # The value 1 has weight 0.5, the value 3 weight 1.5: beyond position 0.5 everything is 3.
        assert float(self.quantile(values, jnp.array([0.5, 1.5, 0.0]), 0.5)) == 3
        assert float(self.quantile(values, jnp.array([0.0, 0.01, 0.0]), 0.5)) == 3

    def test_without_rows_is_zero(self):
        assert float(self.quantile(jnp.array([jnp.nan, 2.0]), jnp.zeros(2), 0.5)) == 0

    def test_under_vmap(self):
        values = normal(6, 25)
        weight = np.random.default_rng(3).integers(0, 3, (6, 25)).astype(np.float32)
        q = np.linspace(0, 1, 6, dtype=np.float32)
        actual = jax.vmap(self.quantile)(values, weight, q)
        expected = [repeated_quantile(*each) for each in zip(values, weight, q, strict=True)]
        np.testing.assert_allclose(actual, expected, atol=1e-5)

    def test_in_float64(self):
        values = np.random.default_rng(0).normal(size=101)
        with jax.enable_x64(True):
            actual = self.quantile(jnp.asarray(values), jnp.ones(101, jnp.float64), 0.337)
        assert float(actual) == pytest.approx(np.quantile(values, 0.337), abs=1e-14)

    def test_a_million_rows(self):
        values = normal(1_000_000)
        expected = np.quantile(values.astype(np.float64), 0.9)
        actual = self.quantile(values, jnp.ones(1_000_000), 0.9)
        assert float(actual) == pytest.approx(expected, abs=1e-6)

    def test_mismatch_raises(self):
        with pytest.raises(AssertionError):
            hypersphere.weighted_quantile(jnp.zeros(3), jnp.zeros(4), 0.5)
        with pytest.raises(AssertionError):
            hypersphere.weighted_quantile(jnp.zeros(3), jnp.zeros(3), jnp.zeros(1))


class TestRadius:
    def test_is_the_quantile_of_the_root(self):
        distance = np.square(normal(200))
        weight = np.random.default_rng(1).integers(0, 2, 200).astype(np.float32)
        actual = jax.jit(hypersphere.radius)(distance, weight, nu=0.1)
        expected = repeated_quantile(np.sqrt(distance), weight, 0.9)
        assert float(actual) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("nu", [0.05, 0.3])
    def test_minimises_the_soft_boundary_objective(self, nu):
        distance = jnp.square(normal(1000))
        candidates = np.linspace(0, 4, 401, dtype=np.float32)
        objective = jax.vmap(lambda r: hypersphere.soft_boundary(distance, r, nu=nu).mean())
        best = candidates[np.argmin(jax.jit(objective)(candidates))]
        actual = jax.jit(hypersphere.radius)(distance, jnp.ones(1000), nu=nu)
        assert float(actual) == pytest.approx(best, abs=0.03)

    def test_has_no_gradient_even_where_rows_are_broken(self):
        weight = jnp.array([1.0, 1.0, 0.0])
        gradient = jax.grad(lambda d: hypersphere.radius(d, weight, nu=0.5))
        for distance in ([0.0, 0.0, jnp.nan], [1.0, 2.0, jnp.inf]):
            np.testing.assert_array_equal(gradient(jnp.array(distance)), np.zeros(3))


class TestSafeSqrt:
    def test_value_and_gradient(self):
        x = jnp.array([0.0, 1e-44, 1e-36, 0.25, 1e38])
        np.testing.assert_allclose(
            hypersphere.safe_sqrt(x), np.float32([0, 0, 1e-18, 0.5, 1e19]), rtol=1e-6
        )
        slope = jax.vmap(jax.grad(hypersphere.safe_sqrt))(x)
        np.testing.assert_allclose(slope, np.float32([0, 0, 5e17, 1, 5e-20]), rtol=1e-6)

    def test_does_not_hide_nan(self):
        assert jnp.isnan(hypersphere.safe_sqrt(jnp.float32(jnp.nan)))
