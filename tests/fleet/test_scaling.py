"""Scalers of groups: exact moments, and shrinkage that follows its sources."""

import numpy as np
import pytest
from scipy import special

from jaxad.fleet import scaling


def made(sizes, columns=3, seed=0, spread=1.0, between=1.0):
    """Rows of Gaussian groups and their offsets; ``spread`` and ``between`` as the fleet's."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    means = rng.normal(size=(len(sizes), columns)) * between
    noise = rng.normal(size=(offsets[-1], columns)) * spread
    return np.repeat(means, sizes, 0) + noise, offsets


def fitted(x, offsets):
    moments = scaling.moments(x, offsets)
    prior = scaling.fit_prior(moments)
    return moments, prior, *scaling.shrunk(prior, moments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_moments_are_those_of_numpy(dtype):
    x, offsets = made([1, 2, 700, 33], columns=5)
    x = (1000 * x).astype(dtype)
    found = scaling.moments(x, offsets)
    for group, (start, stop) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        rows = x[start:stop].astype(np.float64)
        np.testing.assert_allclose(found.mean[group], rows.mean(0), rtol=1e-13)
        np.testing.assert_allclose(found.variance[group], rows.var(0), rtol=1e-12)
    assert found.rows.tolist() == [1, 2, 700, 33]
    assert found.constant[0].all()
    assert not found.constant[1:].any()


def test_other_groups_do_not_change_a_bit():
    x, offsets = made([40, 300, 7], columns=4)
    together = scaling.moments(x, offsets)
    alone = [
        scaling.moments(x[start:stop].copy(), np.array([0, stop - start]))
        for start, stop in zip(offsets[:-1], offsets[1:], strict=True)
    ]
    for left, right in zip(together, scaling.join(alone), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_group_is_scaled_alike_in_every_partition():
    x, offsets = made([40, 300, 7, 90], columns=4)
    moments, prior, shift, scale = fitted(x, offsets)
    one = scaling.Moments(*(field[2:3] for field in moments))
    np.testing.assert_array_equal(scaling.shrunk(prior, one)[0][0], shift[2])
    np.testing.assert_array_equal(scaling.shrunk(prior, one)[1][0], scale[2])


def test_a_constant_column_is_found_whatever_the_rounding():
    x = np.full((1001, 1), 0.1)
    found = scaling.moments(x, np.array([0, 1001]))
    assert found.constant.all()
    assert found.mean[0, 0] == 0.1
    x[500] = np.nextafter(0.1, 1)
    assert not scaling.moments(x, np.array([0, 1001])).constant.any()


def test_the_variance_of_a_large_mean_is_exact():
    x = 1e9 + np.random.default_rng(0).integers(0, 2, size=(1000, 1)).astype(float)
    found = scaling.moments(x, np.array([0, 1000]))
    np.testing.assert_allclose(found.variance, (x - 1e9).var(0)[None], rtol=1e-12)


def test_equal_groups_share_one_mean_and_variance():
    moments, prior, shift, scale = fitted(*made([20] * 2000, between=0.0))
    # The standard error of a group's own mean is .22, that of the fleet's .005.
    assert np.sqrt(np.mean(shift**2)) < 0.1
    assert np.abs(scale - 1).max() < 0.1
    assert (prior.strength > 200).all()


def test_different_groups_keep_their_means():
    moments, prior, shift, _ = fitted(*made([20] * 500, between=100.0))
    assert (prior.strength < 0.01).all()
    np.testing.assert_allclose(shift, moments.mean, atol=0.1)


def test_credibility_follows_buehlmann():
    # Strength of the mean: variance within over variance between, 1 / .2^2 = 25 rows.
    moments, prior, shift, _ = fitted(*made([50] * 3000, columns=2, between=0.2))
    np.testing.assert_allclose(prior.strength, 25, rtol=0.15)
    weight = 50 / (50 + prior.strength)
    expected = weight * moments.mean + (1 - weight) * prior.mean
    moved = np.abs(expected - moments.mean)
    free = moved < 1.9 * np.sqrt(moments.variance / 50)
    assert free.mean() > 0.95
    np.testing.assert_allclose(shift[free], expected[free], rtol=1e-9)


def test_shrunken_moments_are_closer_to_the_truth():
    rng = np.random.default_rng(1)
    means, deviations = rng.normal(size=(2, 400)) * 0.3
    deviations = np.exp(deviations)
    x = means[:, None] + deviations[:, None] * rng.normal(size=(400, 6))
    moments, _, shift, scale = fitted(x.reshape(-1, 1), np.arange(401) * 6)
    own = np.sqrt(moments.variance[:, 0] * 6 / 5)
    errors = {
        "own mean": np.mean((moments.mean[:, 0] - means) ** 2),
        "shrunk mean": np.mean((shift[:, 0] - means) ** 2),
        "own spread": np.mean(np.log(own / deviations) ** 2),
        "shrunk spread": np.mean(np.log(scale[:, 0] * deviations) ** 2),
    }
    assert errors["shrunk mean"] < 0.7 * errors["own mean"]
    assert errors["shrunk spread"] < 0.8 * errors["own spread"]


def test_the_prior_of_variances_is_recovered():
    # Smyth's model: 1 / sigma^2 is chi-squared with 8 degrees over 8 * 3^2.
    rng = np.random.default_rng(2)
    variance = 8 * 9.0 / rng.chisquare(8, size=4000)
    x = np.sqrt(variance)[:, None] * rng.normal(size=(4000, 12))
    _, prior, _, _ = fitted(x.reshape(-1, 1), np.arange(4001) * 12)
    np.testing.assert_allclose(prior.degrees, 8, rtol=0.15)
    np.testing.assert_allclose(prior.variance, 9, rtol=0.05)


def test_moderation_is_the_formula_of_smyth():
    moments, prior, _, scale = fitted(*made([5, 9, 200, 31], spread=[1.0, 2.0, 3.0]))
    prior = prior._replace(degrees=np.array([1.0, 7.5, np.inf]))
    _, scale = scaling.shrunk(prior, moments)
    degrees = moments.rows[:, None] - 1
    unbiased = moments.variance * moments.rows[:, None] / degrees
    finite = prior.degrees[:2]
    expected = (finite * prior.variance[:2] + degrees * unbiased[:, :2]) / (finite + degrees)
    np.testing.assert_allclose(scale[:, :2], 1 / np.sqrt(expected), rtol=1e-12)
    np.testing.assert_allclose(scale[:, 2], 1 / np.sqrt(prior.variance[2]), rtol=1e-12)


def test_a_nearly_constant_column_does_not_explode():
    x, offsets = made([200] * 10, columns=1)
    x[:200] = 5.0
    x[7] = 5.0 + 1e-9
    _, prior, _, scale = fitted(x, offsets)
    assert prior.degrees >= 1
    assert scale[0, 0] < np.sqrt(201 / prior.variance[0])


def test_a_constant_column_counts_in_the_units_of_the_fleet():
    x, offsets = made([200] * 10, columns=2, spread=7.0)
    x[:200, 1] = 3.0
    x[:, 0] = -2.0
    _, _, shift, scale = fitted(x, offsets)
    assert (scale[:, 0] == 1).all()
    assert (shift[:, 0] == -2).all()
    assert scale[0, 1] == pytest.approx(1 / 7, rel=0.05)
    assert abs(x[0, 1] - shift[0, 1]) * scale[0, 1] < 2.1 / np.sqrt(200)


def test_a_group_unlike_all_others_is_not_drawn_to_them():
    x, offsets = made([200] * 100, columns=1, between=0.0)
    x[:200] = 1e6 * (1 + 0.1 * x[:200])
    _, _, shift, scale = fitted(x, offsets)
    scaled = (x[:200] - shift[0]) * scale[0]
    assert abs(scaled.mean()) < 0.2
    assert scaled.std() == pytest.approx(1, abs=0.1)
    others = (x[200:].reshape(99, 200) - shift[1:]) * scale[1:]
    assert np.abs(others.mean(1)).max() < 0.4


def test_a_single_group_keeps_its_moments():
    moments, _, shift, scale = fitted(*made([500]))
    np.testing.assert_allclose(shift, moments.mean)
    np.testing.assert_allclose(scale, 1 / np.sqrt(moments.variance), rtol=3e-3)


@pytest.mark.parametrize("magnitude", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("sizes", [[1], [1, 1, 1], [1, 500], [1] * 3000, [2] * 1000 + [4000]])
def test_any_size_and_magnitude_is_finite(sizes, magnitude):
    x, offsets = made(sizes)
    x *= magnitude
    x[:, 1] = magnitude
    x[0, 2] = 0
    _, _, shift, scale = fitted(x, offsets)
    assert np.isfinite(shift).all()
    assert np.isfinite(scale).all()
    assert (scale > 0).all()


def test_units_do_not_matter():
    x, offsets = made([5, 300, 41])
    _, _, shift, scale = fitted(x, offsets)
    _, _, shift2, scale2 = fitted(1024 * x - 512, offsets)
    np.testing.assert_allclose((shift2 + 512) / 1024, shift, atol=1e-12)
    np.testing.assert_allclose(scale2 * 1024, scale, rtol=1e-10)


@pytest.mark.parametrize("x", [1e-4, 1e-2, 0.5, 1.0, 30.0, 1e6])
def test_the_inverse_of_trigamma(x):
    y = special.polygamma(1, np.array([x]))
    np.testing.assert_allclose(scaling._inverse_trigamma(y), x, rtol=1e-9)


def test_bad_input_is_named():
    x, offsets = made([3, 4])
    with pytest.raises(ValueError, match="do not cover x of shape"):
        scaling.moments(x, offsets[:-1])
    with pytest.raises(ValueError, match="group 1 has 0 rows"):
        scaling.moments(x, np.array([0, 3, 3, 7]))
    x[5, 2] = np.nan
    with pytest.raises(ValueError, match="column 2 of group 1"):
        scaling.moments(x, offsets)
    with pytest.raises(ValueError, match="parts is empty"):
        scaling.join([])


def test_credibility_of_groups_of_unequal_sizes_follows_buehlmann_and_straub():
    """Their estimators, group by group."""
    sizes = [5, 300, 41, 2000]
    x, offsets = made(sizes, columns=1)
    groups = [x[a:b, 0] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    rows, means = sum(sizes), [group.mean() for group in groups]
    within = sum(((g - m) ** 2).sum() for g, m in zip(groups, means, strict=True)) / (rows - 4)
    excess = sum(n * (m - x.mean()) ** 2 for n, m in zip(sizes, means, strict=True)) - 3 * within
    between = excess / (rows - sum(n**2 for n in sizes) / rows)
    _, prior, _, _ = fitted(x, offsets)
    np.testing.assert_allclose(prior.strength, within / between, rtol=1e-9)
