"""K-DSM's loss, noise scales and trimming."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxad.losses import score_matching


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def test_denoising_against_float64(rng):
    score, noise = rng.normal(size=(2, 5, 2, 3))
    actual = score_matching.denoising(jnp.float32(score), jnp.float32(noise))
    np.testing.assert_allclose(actual, 0.5 * ((score + noise) ** 2).sum((1, 2)), rtol=1e-5)
    slope = jax.grad(lambda s: score_matching.denoising(s, jnp.float32(noise)).sum())
    np.testing.assert_allclose(slope(jnp.float32(score)), score + noise, rtol=1e-5, atol=1e-6)


def test_the_loss_is_least_at_the_score_of_the_noisy_rows(rng):
    """Of standard normal rows with noise sigma, this is -sigma x / (1 + sigma^2)."""
    sigma, noise = 0.5, rng.normal(size=(4000, 1))
    noisy = rng.normal(size=(4000, 1)) + sigma * noise
    losses = [
        score_matching.denoising(jnp.float32(-slope * noisy), jnp.float32(noise)).mean()
        for slope in (0.3, sigma / (1 + sigma**2), 0.5)
    ]
    assert losses[1] < losses[0]
    assert losses[1] < losses[2]


def test_noise_scales_by_hand():
    kurtosis = jnp.array([1.0, 3.0, 6.0, 100.0, 1.0])
    options = {"scale": 0.5, "slope": 0.33, "minimum": 0.2, "maximum": 3.0}
    found = score_matching.noise_scale(kurtosis, **options)
    np.testing.assert_allclose(found, [0.2, 0.5, 0.995, 3, 0.2], rtol=1e-6)


def test_trimmed_values_are_those_beyond_the_quantiles(rng):
    x = rng.normal(size=(200, 2)).astype(np.float32)
    x[:, 1] = rng.random(200) < 0.3  # binary: both values are common
    padded = np.concatenate([x, np.full((56, 2), 1e9, np.float32)])
    weight = np.repeat([1.0, 0.0], [200, 56]).astype(np.float32)
    found = score_matching.trimmed_weight(padded, weight, share=0.1)
    low, high = np.quantile(x[:, 0], [0.05, 0.95])
    np.testing.assert_array_equal(found[:200, 0], (x[:, 0] >= low) & (x[:, 0] <= high))
    np.testing.assert_array_equal(found[:200, 1], 1)
    np.testing.assert_array_equal(found[200:], 0)


def test_mismatch_raises():
    with pytest.raises(AssertionError):
        score_matching.denoising(jnp.ones((3, 2)), jnp.ones((3, 3)))
    with pytest.raises(AssertionError):
        score_matching.trimmed_weight(jnp.ones((3, 2)), jnp.ones(4), share=0.1)
