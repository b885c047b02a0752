"""DTE-C's noise levels, loss and score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import log_softmax, softmax

from jaxad.losses import diffusion_time

LOGITS = 3 * np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
BINS = np.array([0, 1, 2, 3, 3, 0], np.int32)


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def test_noise_levels_against_float64():
    actual = jax.jit(diffusion_time.noise_levels, static_argnums=0)(400, first=1e-4, last=0.01)
    expected = np.sqrt(1 - np.cumprod(1 - np.linspace(1e-4, 0.01, 400)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("softmax_twice", [False, True])
def test_cross_entropy_against_float64(softmax_twice):
    logits = LOGITS.astype(np.float64)
    seen = softmax(logits, axis=1) if softmax_twice else logits
    expected = -log_softmax(seen, axis=1)[np.arange(6), BINS]
    actual = diffusion_time.cross_entropy(LOGITS, BINS, softmax_twice=softmax_twice)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_with_two_softmaxes_the_loss_has_a_floor():
    sure = jnp.array([[100.0, 0.0, 0.0]])
    values = [
        diffusion_time.cross_entropy(sure, jnp.array([0]), softmax_twice=twice)[0]
        for twice in (False, True)
    ]
    np.testing.assert_allclose(values, [0, np.log(1 + 2 / np.e)], atol=1e-6)


def test_the_score_has_the_order_and_the_value_of_the_expected_bin():
    expected = softmax(LOGITS.astype(np.float64), axis=1) @ np.arange(4)
    score = np.asarray(diffusion_time.score(LOGITS))
    np.testing.assert_allclose(3 / (1 + np.exp(-score)), expected, rtol=1e-5)


def test_scores_do_not_saturate():
    logits = jnp.outer(jnp.array([100.0, 101.0, -100.0, -101.0]), jnp.arange(4.0))
    low_high = diffusion_time.score(logits)
    assert low_high[3] < low_high[2] < 0 < low_high[0] < low_high[1]


@pytest.mark.parametrize("softmax_twice", [False, True])
def test_gradients(softmax_twice):
    def values(logits):
        loss = diffusion_time.cross_entropy(logits, BINS, softmax_twice=softmax_twice)
        return loss + diffusion_time.score(logits)

    arguments = (jnp.asarray(LOGITS),)
    check_grads(jax.jit(values), arguments, order=1, modes=("rev",), atol=1e-2, rtol=1e-2)


def test_mismatch_raises():
    with pytest.raises(AssertionError):
        diffusion_time.cross_entropy(jnp.ones((3, 2)), jnp.ones(4))
