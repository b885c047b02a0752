"""DAGMM's moments, mixture and energies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from jaxad.losses import mixture

JITTER, FLOOR = 1e-6, 1e-10


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def problem(rows=200, components=3, latent=4, seed=0, offset=2.0):
    """Correlated rows around several means, with soft responsibilities and uneven weights."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, latent)) @ rng.normal(size=(latent, latent)) + offset
    z[: rows // 2] += 3
    gamma = rng.dirichlet(np.full(components, 0.5), rows)
    return z, gamma, rng.uniform(0.5, 2, rows)


def cast(arrays, dtype):
    return tuple(jnp.asarray(a, dtype) for a in arrays)


def reference(points, z, gamma, weight, jitter=JITTER, floor=FLOOR):
    densities = []
    for share in (gamma * weight[:, None]).T:
        covariance = np.atleast_2d(np.cov(z.T, aweights=share, ddof=0))
        covariance += (jitter * np.trace(covariance) / len(covariance) + floor) * np.eye(z.shape[1])
        density = multivariate_normal(np.average(z, axis=0, weights=share), covariance)
        densities.append(np.log(share.sum() / weight.sum()) + density.logpdf(points))
    return -logsumexp(densities, axis=0)


MOMENTS, MERGE = jax.jit(mixture.moments), jax.jit(mixture.merge_moments)


@jax.jit
def fit(z, gamma, weight, jitter=JITTER):
    return mixture.fit(mixture.moments(z, gamma, weight), jitter=jitter)


@jax.jit
def energies(z, gamma, weight, jitter=JITTER):
    return mixture.energy(z, fit(z, gamma, weight, jitter))


@jax.jit
def objective(z, gamma, weight):
    """The sum of all terms that the loss computes from a batch."""
    fitted = fit(z, gamma, weight)
    energy = mixture.energy(z, fitted)
    return jnp.sum(energy * weight) + 0.005 * mixture.covariance_penalty(fitted)


VALUE_AND_GRADIENT = jax.jit(jax.value_and_grad(objective, argnums=(0, 1, 2)))


class TestEnergy:
    @pytest.mark.parametrize(("components", "latent"), [(1, 1), (3, 4)])
    def test_against_scipy(self, components, latent):
        data = problem(components=components, latent=latent)
        expected = reference(data[0], *data)
        actual = energies(*cast(data, jnp.float32))
        assert actual.dtype == jnp.float32
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
        with jax.enable_x64(True):
            actual = energies(*cast(data, jnp.float64))
            assert actual.dtype == jnp.float64
            np.testing.assert_allclose(actual, expected, rtol=1e-10)

    def test_without_jitter_the_density_is_the_data_s_own(self):
        data = problem()
        expected = reference(data[0], *data, jitter=0, floor=0)
        with jax.enable_x64(True):
            actual = energies(*cast(data, jnp.float64), jitter=0)
        np.testing.assert_allclose(actual, expected, rtol=1e-7)

    def test_gradients_through_the_batch_s_own_mixture(self):
        with jax.enable_x64(True):
            data = cast(problem(), jnp.float64)
            check_grads(objective, data, order=1, modes=("rev",), atol=1e-6, rtol=1e-6)

    def test_float32_gradients_are_those_of_float64(self):
        data = problem()
        _, single = VALUE_AND_GRADIENT(*cast(data, jnp.float32))
        with jax.enable_x64(True):
            double = jax.grad(objective, argnums=(0, 1, 2))(*cast(data, jnp.float64))
        for actual, expected in zip(single, double, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)

    def test_far_anomalies_are_ranked_by_distance(self):
        fitted = fit(*cast(problem(), jnp.float32))
        direction = np.array([1.0, -2.0, 0.5, 0.0], np.float32)
        distance = np.geomspace(50, 1e6, 50).astype(np.float32)
        energy = np.asarray(mixture.energy(jnp.asarray(distance[:, None] * direction), fitted))
        assert len(np.unique(energy)) == 50
        assert (np.diff(energy) > 0).all()
        # -log(1e-12): the largest energy of implementations with an epsilon inside the logarithm.
        assert (energy > 27.64).all()

    def test_grows_as_half_the_squared_distance(self):
        unit = mixture.Mixture(
            jnp.zeros(1), jnp.zeros((1, 2)), jnp.eye(2)[None], jnp.zeros(1), jnp.ones((1, 2))
        )
        energy = mixture.energy(jnp.array([[0.0, 0.0], [300.0, 400.0], [3e6, 4e6]]), unit)
        np.testing.assert_allclose(energy, np.log(2 * np.pi) + [0, 125_000, 1.25e13], rtol=1e-6)

    def test_scoring_uses_no_linear_algebra(self):
        fitted = fit(*cast(problem(), jnp.float32))
        program = jax.make_jaxpr(mixture.energy)(jnp.zeros((5, 4)), fitted)
        names = {equation.primitive.name for equation in program.jaxpr.eqns}
        assert "dot_general" in names
        assert not names & {"cholesky", "triangular_solve", "lu", "qr", "eigh"}

    def test_rows_do_not_interact(self):
        z, gamma, weight = cast(problem(), jnp.float32)
        fitted = fit(z, gamma, weight)
        energy = jax.jit(mixture.energy)
        together = energy(z, fitted)
        for i in range(3):
            np.testing.assert_allclose(energy(z[i : i + 1], fitted), together[i : i + 1], rtol=1e-6)

    @pytest.mark.parametrize(
        "shapes", [((4, 2), (3, 2), (4,)), ((4, 2), (4, 2), (4, 1)), ((4,), (4, 2), (4,))]
    )
    def test_mismatch_raises(self, shapes):
        with pytest.raises(AssertionError):
            mixture.moments(*map(jnp.zeros, shapes))

    def test_wrong_width_raises(self):
        with pytest.raises(AssertionError):
            mixture.energy(jnp.zeros((5, 1)), fit(*cast(problem(), jnp.float32)))


class TestMoments:
    @pytest.mark.parametrize("chunk", [1, 50, 64])
    def test_a_stream_equals_one_pass(self, chunk):
        data = problem(offset=100.0)
        order = np.argsort(data[0][:, 0])  # sorted, so that the chunks' means differ
        arrays = cast((a[order] for a in data), jnp.float32)
        streamed = mixture.empty_moments(3, 4)
        for start in range(0, len(order), chunk):
            piece = MOMENTS(*(a[start : start + chunk] for a in arrays))
            streamed = MERGE(streamed, piece)
        with jax.enable_x64(True):
            whole = MOMENTS(*cast((a[order] for a in data), jnp.float64))
        for actual, expected in zip(streamed, whole, strict=True):
            np.testing.assert_allclose(
                actual, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max()
            )

    def test_the_order_of_merging_does_not_matter(self):
        pieces = [MOMENTS(*cast(problem(40, seed=s), jnp.float32)) for s in range(3)]
        a, b, c = pieces
        left = MERGE(MERGE(a, b), c)
        right = MERGE(c, MERGE(b, a))
        for x, y in zip(left, right, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-4)

    def test_nothing_added_changes_nothing(self):
        own = MOMENTS(*cast(problem(), jnp.float32))
        for merged in (
            MERGE(own, mixture.empty_moments(3, 4)),
            MERGE(mixture.empty_moments(3, 4), own),
        ):
            for actual, expected in zip(merged, own, strict=True):
                np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_mismatch_raises(self):
        with pytest.raises(AssertionError):
            mixture.merge_moments(mixture.empty_moments(2, 3), mixture.empty_moments(3, 3))

    def test_rows_of_weight_0_are_inert(self):
        z, gamma, weight = cast(problem(), jnp.float32)
        real, weight = slice(0, 180), weight.at[180:].set(0)
        for actual, expected in zip(
            MOMENTS(z, gamma, weight), MOMENTS(z[real], gamma[real], weight[real]), strict=True
        ):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-3)
        value, slopes = VALUE_AND_GRADIENT(z, gamma, weight)
        changed = VALUE_AND_GRADIENT(z.at[180:].set(1e4), gamma.at[180:].set(0.9), weight)
        np.testing.assert_allclose(changed[0], value, rtol=1e-6)
        for actual, expected in zip(changed[1][:2], slopes[:2], strict=True):
            np.testing.assert_array_equal(actual[180:], 0)
            np.testing.assert_allclose(actual[real], expected[real], rtol=1e-5)


class TestPenalty:
    def test_hand_computed(self):
        z = jnp.array([[0.0, 0.0], [2.0, 4.0]])
        fitted = fit(z, jnp.ones((2, 1)), jnp.ones(2), 0.0)
        np.testing.assert_allclose(mixture.covariance_penalty(fitted), 1 + 1 / 4, rtol=1e-6)


class TestDegenerate:
    def finite(self, z, gamma, weight=None):
        z, gamma = cast((z, gamma), jnp.float32)
        weight = jnp.ones(len(z)) if weight is None else weight
        value, (of_z, of_gamma, _) = VALUE_AND_GRADIENT(z, gamma, weight)
        assert jnp.isfinite(value)
        of_logits = gamma * (of_gamma - jnp.sum(gamma * of_gamma, 1, keepdims=True))
        for slope in (of_z, of_gamma, of_logits):
            assert jnp.isfinite(slope).all()
        # To clip gradients the training engine squares them.
        for slope in (of_z, of_logits):
            assert jnp.isfinite(jnp.sum(jnp.square(slope)))

    @pytest.mark.parametrize("mass", [0.0, 1e-38, 1e-30, 1e-18, 1e-13, 1e-10])
    def test_dead_component(self, mass):
        z, gamma, _ = problem()
        gamma[:, 0] = mass
        gamma /= gamma.sum(1, keepdims=True)
        self.finite(z, gamma)

    def test_a_dead_component_has_no_mass(self):
        z, gamma, weight = cast(problem(components=2), jnp.float32)
        dead = jnp.pad(gamma, ((0, 0), (0, 1)))
        np.testing.assert_allclose(energies(z, dead, weight), energies(z, gamma, weight), rtol=1e-6)
        value, (_, slope, _) = VALUE_AND_GRADIENT(z, dead, weight)
        np.testing.assert_allclose(value, objective(z, gamma, weight), rtol=1e-6)
        assert jnp.isfinite(slope).all()

    def test_a_dead_component_is_a_unit_gaussian(self):
        z, gamma, weight = cast(problem(components=2), jnp.float32)
        dead = jnp.pad(gamma, ((0, 0), (0, 1)))
        found = mixture.fit(mixture.moments(z, dead, weight), jitter=JITTER)
        np.testing.assert_allclose(found.variance[2], 1, rtol=2 * JITTER)
        np.testing.assert_allclose(found.precision_factor[2], np.eye(z.shape[1]), atol=2 * JITTER)
        assert abs(found.log_det[2]) < 2 * JITTER * z.shape[1]
        assert found.log_weight[2] == -1e30

    @pytest.mark.parametrize("row", [0.0, 1.0, 1e4])
    def test_duplicates(self, row):
        self.finite(np.full((200, 4), row), problem()[1])

    def test_single_row(self):
        z, gamma, _ = problem()
        self.finite(z, gamma, jnp.zeros(200).at[0].set(1))

    def test_fewer_rows_than_components(self):
        z, gamma, _ = problem()
        self.finite(z, gamma, jnp.zeros(200).at[:2].set(1))

    def test_hard_responsibilities_of_single_rows(self):
        z, gamma, _ = problem()
        gamma = np.eye(3)[np.minimum(np.arange(200), 2)]
        self.finite(z, gamma)

    def test_constant_columns(self):
        z, gamma, _ = problem()
        z[:, 1:3] = 7
        self.finite(z, gamma)

    def test_no_rows_at_all(self):
        z, gamma, _ = problem()
        self.finite(z, gamma, jnp.zeros(200))

    @pytest.mark.parametrize("condition", [1e2, 1e4, 1e6, 1e8])
    def test_ill_conditioned(self, condition):
        rng = np.random.default_rng(0)
        rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
        scale = np.sqrt(np.geomspace(1, 1 / condition, 4))
        self.finite(rng.normal(size=(200, 4)) * scale @ rotation, problem()[1])

    def test_jitter_lost_in_rounding_is_raised(self):
        # One remote row and a tight cluster make the covariance indefinite in float32.
        rng = np.random.default_rng(0)

        @jax.jit
        def naive_factor(z, gamma):
            moments = mixture.moments(z, gamma, jnp.ones(200))
            covariance = moments.scatter[0] / moments.count[0]
            return jnp.linalg.cholesky(covariance + JITTER * jnp.trace(covariance) / 4 * jnp.eye(4))

        unsound, gamma = 0, np.full((200, 3), 1 / 3)
        for _ in range(20):
            z = 1e-4 * rng.normal(size=(200, 4))
            z[0] = 100 * rng.normal(size=4)
            unsound += not jnp.isfinite(naive_factor(*cast((z, gamma), jnp.float32))).all()
            self.finite(z, gamma)
        assert unsound > 0


def test_a_population_equals_its_members():
    members = [cast(problem(seed=seed), jnp.float32) for seed in range(3)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *members)
    value, gradient = jax.jit(jax.vmap(VALUE_AND_GRADIENT))(*stacked)
    for i, member in enumerate(members):
        alone, alone_gradient = VALUE_AND_GRADIENT(*member)
        np.testing.assert_allclose(value[i], alone, rtol=1e-5)
        np.testing.assert_allclose(gradient[0][i], alone_gradient[0], rtol=1e-3, atol=1e-4)


def test_jitter_sweeps_under_vmap():
    data = cast(problem(), jnp.float32)
    jitter = jnp.array([1e-6, 1e-2])
    swept = jax.vmap(lambda j: energies(*data, jitter=j))(jitter)
    for i in range(2):
        np.testing.assert_allclose(swept[i], energies(*data, jitter[i]), rtol=1e-5)
    assert jnp.abs(swept[0] - swept[1]).max() > 1e-3
