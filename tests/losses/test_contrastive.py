"""The contrastive losses of ICL and NeuTraL AD, and ICL's windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxad.losses import contrastive

TEMPERATURE = 0.3


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def latents(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def negative_log_share(own, all_similarities):
    weights = np.exp(np.asarray(all_similarities) / TEMPERATURE)
    return -np.log(np.exp(own / TEMPERATURE) / weights.sum())


def internal(f, g):
    f, g = f.astype(np.float64), g.astype(np.float64)
    each = [
        [negative_log_share(cosine(a, g[b, m]), [cosine(a, w) for w in g[b]]) for m, a in rows]
        for b, rows in enumerate(map(enumerate, f))
    ]
    return np.mean(each, 1)


def deterministic(views, original):
    views, original = views.astype(np.float64), original.astype(np.float64)
    found = []
    for row, z in zip(views, original, strict=True):
        total = 0
        for k, view in enumerate(row):
            own = cosine(view, z)
            others = [cosine(view, other) for m, other in enumerate(row) if m != k]
            total += negative_log_share(own, [own, *others])
        found.append(total)
    return np.array(found)


def test_internal_against_float64():
    f, g = latents(4, 3, 5), latents(4, 3, 5, seed=1)
    actual = jax.jit(contrastive.internal)(f, g, temperature=TEMPERATURE)
    np.testing.assert_allclose(actual, internal(f, g), rtol=2e-6)


def test_windows_that_are_not_shown_count_nowhere():
    f, g = latents(4, 5, 3), latents(4, 5, 3, seed=1)
    shown = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0])
    found = contrastive.internal(f, g, temperature=TEMPERATURE, shown=shown)
    np.testing.assert_allclose(found, internal(f[:, :3], g[:, :3]), rtol=1e-5)
    gradients = jax.grad(
        lambda *z: contrastive.internal(*z, temperature=TEMPERATURE, shown=shown).sum(), (0, 1)
    )(f, g)
    for gradient in gradients:
        assert not gradient[:, 3:].any()
        assert jnp.isfinite(gradient).all()
        assert gradient[:, :3].all()


def test_deterministic_against_float64():
    views, original = latents(4, 3, 5), latents(4, 5, seed=1)
    actual = jax.jit(contrastive.deterministic)(views, original, temperature=TEMPERATURE)
    np.testing.assert_allclose(actual, deterministic(views, original), rtol=2e-6)


@pytest.mark.parametrize("loss", [contrastive.internal, contrastive.deterministic])
def test_gradients(loss):
    other = latents(2, 3, 4, seed=1)
    other = jnp.asarray(other if loss is contrastive.internal else other[:, 0])
    arguments = jnp.asarray(latents(2, 3, 4)), other
    check_grads(
        jax.jit(lambda *z: loss(*z, temperature=1.0)),
        arguments,
        order=1,
        modes=("rev",),
        atol=1e-2,
        rtol=1e-2,
    )


@pytest.mark.parametrize("size", [0.0, 1e-15, 1e15])
def test_vectors_of_any_length_have_finite_gradients(size):
    def loss(z):
        internal = contrastive.internal(z, z[:, ::-1], temperature=0.1)
        return jnp.sum(internal + contrastive.deterministic(z, z[:, 0], temperature=0.1))

    value, slope = jax.value_and_grad(loss)(jnp.asarray(latents(2, 3, 4)).at[0].multiply(size))
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_windows_by_hand(size):
    x = latents(3, 5)
    rest, window = jax.jit(contrastive.windows, static_argnames="size")(x, size=size)
    for start in range(5 - size + 1):
        columns = np.arange(start, start + size)
        np.testing.assert_array_equal(window[:, start], x[:, columns])
        np.testing.assert_array_equal(rest[:, start], np.delete(x, columns, axis=1))
    assert window.shape[1] == rest.shape[1] == 5 - size + 1


def test_mismatch_raises():
    with pytest.raises(AssertionError):
        contrastive.internal(jnp.ones((2, 3, 4)), jnp.ones((2, 4, 4)), temperature=0.1)
    with pytest.raises(AssertionError):
        contrastive.deterministic(jnp.ones((2, 3, 4)), jnp.ones((2, 5)), temperature=0.1)
