"""GOAD's centres, distances, losses and score."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxad.losses import transformation

ROWS, CLASSES, LATENT = 6, 5, 3
MARGIN, TRIPLET_WEIGHT = 1.0, 0.7

class_centres = jax.jit(transformation.class_centres)
squared_distances = jax.jit(transformation.squared_distances)
triplet_centre = jax.jit(transformation.triplet_centre)
cross_entropy = jax.jit(transformation.cross_entropy)
score = jax.jit(transformation.score)


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def latents(rows=ROWS, classes=CLASSES, latent=LATENT, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, classes, latent)).astype(dtype)


def head(classes=CLASSES, latent=LATENT, dtype=np.float32):
    rng = np.random.default_rng(1)
    return rng.normal(size=(latent, classes)).astype(dtype), rng.normal(size=classes).astype(dtype)


def naive_distances(z, centres):
    z, centres = np.asarray(z, np.float64), np.asarray(centres, np.float64)
    return np.array([[[np.sum((v - c) ** 2) for c in centres] for v in row] for row in z])


def naive_triplet(distances, margin):
    def one(row, m):
        return max(0, row[m] + margin - min(d for k, d in enumerate(row) if k != m))

    return np.array([np.mean([one(row, m) for m, row in enumerate(b)]) for b in distances])


def naive_negative_log_softmax(logits):
    """``[B, M]`` negative log-probabilities of the true classes, by the definition."""

    def one(row, m):
        return -math.log(math.exp(row[m]) / sum(map(math.exp, row)))

    return np.array([[one(row, m) for m, row in enumerate(b)] for b in logits])


def plain_loss(z, centres, kernel, bias, margin, triplet_weight):
    """The composition that equals the fused loss."""
    logits = z @ kernel
    if bias is not None:
        logits = logits + bias[None, None]
    distances = squared_distances(z, centres)
    triplet = triplet_centre(distances, margin=margin)
    return triplet_weight * triplet + cross_entropy(logits)


def fused_loss(z, centres, kernel, bias, margin, triplet_weight, chunk=None):
    return transformation.fused_loss(
        z, centres, kernel, bias, margin=margin, triplet_weight=triplet_weight, chunk=chunk
    )


@jax.jit
@jax.value_and_grad
def batch_loss(z, weight, rest):
    return jnp.sum(weight * fused_loss(z, class_centres(z, weight), *rest))


def sizes(jaxpr):
    """The sizes of all arrays that a program computes, inner programs included."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from sizes(inner)


class TestClassCentres:
    def test_against_a_loop(self):
        z, weight = latents(), np.array([1, 2, 0.5, 0, 3, 1], np.float32)
        expected = [
            np.sum([w * row[m] for w, row in zip(weight, z, strict=True)], 0) / 7.5
            for m in range(CLASSES)
        ]
        actual = class_centres(z, weight)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)

    def test_rows_of_weight_0_are_inert(self):
        weight = jnp.array([1.0, 1, 1, 1, 0, 0])
        z = jnp.asarray(latents()).at[4:].set(1e6)
        centres, pull_back = jax.vjp(lambda z: class_centres(z, weight), z)
        np.testing.assert_allclose(centres, z[:4].mean(0), rtol=1e-5, atol=1e-6)
        (slope,) = pull_back(jnp.ones_like(centres))
        np.testing.assert_array_equal(slope[4:], 0)
        np.testing.assert_allclose(slope[:4], 0.25)

    def test_no_weight_at_all_is_finite(self):
        centres = class_centres(jnp.ones((2, 3, 4)), jnp.zeros(2))
        np.testing.assert_array_equal(centres, np.zeros((3, 4)))


class TestSquaredDistances:
    def test_against_loops(self):
        z, centres = latents(), latents(seed=1)[0][:4]
        actual = squared_distances(z, centres)
        assert actual.shape == (ROWS, CLASSES, 4)
        np.testing.assert_allclose(actual, naive_distances(z, centres), rtol=1e-5, atol=1e-5)

    def test_a_common_offset_does_not_cancel(self):
        z, centres = latents() + 1000, latents(seed=1)[0] + 1000
        actual = squared_distances(z, centres)
        np.testing.assert_allclose(actual, naive_distances(z, centres), rtol=1e-3)

    def test_never_negative(self):
        centres = latents(classes=64, latent=16)[0] * 30
        own = squared_distances(jnp.asarray(centres)[None], jnp.asarray(centres))
        assert (own >= 0).all()
        # Without the clamp some of these zero distances are rounded to negative numbers.
        np.testing.assert_allclose(jnp.diagonal(own[0]), 0, atol=0.02)

    def test_gradients(self):
        with jax.enable_x64(True):
            z, centres = latents(2, dtype=np.float64), latents(1, 4, dtype=np.float64, seed=1)[0]
            check_grads(squared_distances, (z, centres), 1)

    def test_no_gradient_where_row_and_centre_meet(self):
        z = jnp.asarray(latents(1))

        def own(z, centres):
            return jnp.trace(squared_distances(z, centres)[0])

        for slope in jax.jit(jax.grad(own, argnums=(0, 1)))(z, z[0]):
            np.testing.assert_allclose(slope, 0, atol=1e-6)

    def test_no_difference_tensor(self):
        z, centres = jnp.ones((4, 16, 8)), jnp.ones((16, 8))

        def total(z, centres):
            return squared_distances(z, centres).sum()

        program = jax.make_jaxpr(jax.value_and_grad(total, argnums=(0, 1)))(z, centres)
        assert max(sizes(program.jaxpr)) <= 4 * 16 * 16

    @pytest.mark.parametrize("shapes", [((2, 3, 4), (3, 5)), ((3, 4), (3, 4)), ((2, 3, 4), (4,))])
    def test_mismatch_raises(self, shapes):
        with pytest.raises(AssertionError):
            squared_distances(*map(jnp.zeros, shapes))


class TestTripletCentre:
    @pytest.mark.parametrize("margin", [0.0, 1.0, 5.0])
    def test_against_loops(self, margin):
        distances = naive_distances(latents(), latents(seed=1)[0])
        actual = triplet_centre(jnp.asarray(distances, jnp.float32), margin=margin)
        np.testing.assert_allclose(actual, naive_triplet(distances, margin), rtol=1e-5, atol=1e-6)

    def test_gradients(self):
        with jax.enable_x64(True):
            distances = jnp.asarray(naive_distances(latents(), latents(seed=1)[0]))
            triplet = partial(triplet_centre, margin=MARGIN)
            check_grads(triplet, (distances,), 1)

    def test_ties_share_the_gradient(self):
        distances = jnp.array([[[1.0, 2, 2], [9, 0, 9], [9, 9, 0]]])
        slope = jax.grad(lambda d: triplet_centre(d, margin=2.0)[0])(distances)
        np.testing.assert_allclose(slope[0, 0], np.array([1, -0.5, -0.5]) / 3, rtol=1e-6)
        np.testing.assert_array_equal(slope[0, 1:], 0)

    def test_mismatch_raises(self):
        with pytest.raises(AssertionError):
            triplet_centre(jnp.zeros((2, 3, 4)), margin=1.0)


class TestCrossEntropy:
    def test_against_loops(self):
        logits = latents(latent=CLASSES)
        expected = naive_negative_log_softmax(logits.astype(float)).mean(1)
        actual = cross_entropy(logits)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_gradients(self):
        with jax.enable_x64(True):
            logits = latents(2, latent=CLASSES, dtype=np.float64)
            check_grads(cross_entropy, (logits,), 1)

    def test_extreme_logits(self):
        logits = 1e30 * jnp.array([[[1.0, -1.0], [1.0, -1.0]]])
        np.testing.assert_allclose(cross_entropy(logits), [1e30], rtol=1e-6)

    def test_mismatch_raises(self):
        with pytest.raises(AssertionError):
            cross_entropy(jnp.zeros((2, 3, 4)))


class TestScore:
    @pytest.mark.parametrize("epsilon", [1e-6, 0.5])
    def test_against_loops(self, epsilon):
        distances = naive_distances(latents(), latents(seed=1)[0])
        expected = naive_negative_log_softmax(-np.maximum(distances, epsilon)).sum(1)
        actual = score(jnp.asarray(distances, jnp.float32), epsilon=epsilon)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_rows_far_from_every_centre_are_uncertain(self):
        distances = jnp.full((1, 4, 4), 1e6)
        actual = score(distances, epsilon=1e-6)
        np.testing.assert_allclose(actual, 4 * np.log(4), rtol=1e-6)

    def test_certain_rows_do_not_tie(self):
        # 1 + exp(-20) is 1 in float32.
        gap = jnp.arange(20.0, 60.0)
        distances = gap[:, None, None] * (1 - jnp.eye(3))[None]
        actual = np.asarray(score(distances, epsilon=1e-6))
        np.testing.assert_allclose(actual, 6 * np.exp(-np.asarray(gap)), rtol=1e-5)
        assert len(np.unique(actual)) == 40

    def test_epsilon_makes_a_near_tie_a_tie(self):
        distances = jnp.array([[[0.1, 0.2], [0.2, 0.1]]])
        actual = score(distances, epsilon=0.3)
        np.testing.assert_allclose(actual, 2 * np.log(2), rtol=1e-6)

    @pytest.mark.parametrize("scale", [1e10, 1e30, 1e38, np.inf])
    def test_huge_distances(self, scale):
        distances = jnp.asarray(naive_distances(latents(), latents(seed=1)[0]), jnp.float32) * scale
        actual = score(distances, epsilon=1e-6)
        assert not jnp.isnan(actual).any()

    def test_huge_rows(self):
        z, centres = 1e18 * latents(), latents(seed=1)[0]
        distances = squared_distances(z, centres)
        assert jnp.isfinite(distances).all()
        assert jnp.isfinite(score(distances, epsilon=1e-6)).all()

    def test_gradients(self):
        with jax.enable_x64(True):
            distances = jnp.asarray(naive_distances(latents(2), latents(seed=1)[0]))
            check_grads(partial(score, epsilon=1e-6), (distances,), 1)


class TestFusedLoss:
    def arguments(self, dtype=np.float32, bias=True, **shape):
        z = latents(dtype=dtype, **shape)
        shape.pop("rows", None)
        kernel, offset = head(dtype=dtype, **shape)
        centres = z.mean(0) + latents(1, dtype=dtype, seed=2, **shape)[0] / 4
        numbers = dtype(MARGIN), dtype(TRIPLET_WEIGHT)
        return tuple(
            None if a is None else jnp.asarray(a)
            for a in (z, centres, kernel, offset if bias else None, *numbers)
        )

    @pytest.mark.parametrize(("chunk", "bias"), [(None, True), (1, False), (4, True)])
    def test_equals_the_composition(self, chunk, bias):
        arguments = self.arguments(bias=bias)
        cotangent = jnp.array([1.0, -2.0, 0.0, 0.3, 5.0, 1e-3])

        def pulled(loss, *options):
            @jax.jit
            def run(*arguments):
                values, pull_back = jax.vjp(lambda *a: loss(*a, *options), *arguments)
                return values, loss(*arguments, *options), pull_back(cotangent)

            return run(*arguments)

        expected, _, slopes = pulled(plain_loss)
        values, evaluated, fused_slopes = pulled(fused_loss, chunk)
        np.testing.assert_allclose(values, expected, rtol=1e-5)
        np.testing.assert_allclose(evaluated, expected, rtol=1e-5)
        assert (fused_slopes[3] is None) == (not bias)
        for actual, wanted in zip(
            jax.tree.leaves(fused_slopes), jax.tree.leaves(slopes), strict=True
        ):
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)

    def test_gradients(self):
        with jax.enable_x64(True):
            arguments = self.arguments(np.float64, rows=3)
            loss = jax.jit(fused_loss)
            assert loss(*arguments).dtype == jnp.float64
            check_grads(loss, arguments, 1, modes=("rev",))

    def test_gradients_flow_through_the_centres_of_the_batch(self):
        z, _, *rest = self.arguments()
        weight = jnp.array([1.0, 2, 0, 1, 1, 0])

        def mean(loss):
            def of(z):
                values = loss(z, class_centres(z, weight), *rest)
                return jnp.sum(values * weight) / jnp.sum(weight)

            return jax.jit(jax.grad(of))(z)

        fused = mean(fused_loss)
        np.testing.assert_allclose(fused, mean(plain_loss), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(fused[jnp.array([2, 5])], 0)

    @pytest.mark.parametrize("case", ["equal centres", "one row", "duplicates", "zeros"])
    def test_singular_points(self, case):
        z, _, *rest = self.arguments()
        z = {
            "equal centres": jnp.broadcast_to(z[:, :1], z.shape),
            "one row": jnp.broadcast_to(z[:1], z.shape),
            "duplicates": jnp.repeat(z[:2], 3, 0),
            "zeros": jnp.zeros_like(z),
        }[case]
        weight = jnp.zeros(ROWS).at[0].set(1) if case == "one row" else jnp.ones(ROWS)

        value, slope = batch_loss(z, weight, rest)
        assert jnp.isfinite(value)
        assert jnp.isfinite(slope).all()

    def test_a_chunk_suits_the_device_in_use(self, monkeypatch):
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(transformation, "_fused", lambda chunk, *_: chunk)
        z, head = np.zeros((2**15, 2, 1), np.float32), np.zeros((1, 2))
        given = z, np.zeros((2, 1)), head, None, 1.0, 0.1
        assert fused_loss(*given) == 2**15
        for device in ("cpu", jax.devices("cpu")[1]):
            with jax.default_device(device):
                assert fused_loss(*given) == 2**14

    def test_memory_is_that_of_a_chunk(self):
        rows, classes, latent = 32, 16, 4
        arguments = self.arguments(rows=rows, classes=classes, latent=latent)

        def largest(loss):
            def total(*arguments):
                return loss(*arguments).sum()

            return max(sizes(jax.make_jaxpr(jax.grad(total))(*arguments).jaxpr))

        assert largest(plain_loss) == rows * classes * classes
        fused = largest(lambda *a: fused_loss(*a, 2))
        assert fused == max(rows * classes * latent, 2 * classes * classes)

    def test_a_population_equals_its_members(self):
        z, centres, kernel, bias, *_ = self.arguments()
        margins = jnp.array([0.5, 1.0, 2.0])

        @jax.jit
        def slope(margin):
            def total(z):
                return fused_loss(z, centres, kernel, bias, margin, 1.0, 2).sum()

            return jax.value_and_grad(total)(z)

        values, slopes = jax.vmap(slope)(margins)
        for i, margin in enumerate(margins):
            value, alone = slope(margin)
            np.testing.assert_allclose(values[i], value, rtol=1e-5)
            np.testing.assert_allclose(slopes[i], alone, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("wrong", [0, 1, 2, 3])
    def test_mismatch_raises(self, wrong):
        arguments = list(self.arguments())
        arguments[wrong] = arguments[wrong][..., :2]
        with pytest.raises(AssertionError):
            fused_loss(*arguments)
