"""Thresholds and p-values of groups: right on average, and within the budget of each group."""

import numpy as np
import pytest
from scipy import stats

from jaxad import thresholds
from jaxad.fleet import calibration


def fleet(sizes, seed=0, degrees=4, held_out=0.2, fresh=1000):
    """Scores ``(trained, held out, fresh)`` of groups with units of their own."""
    rng = np.random.default_rng(seed)
    units = np.exp(2 * rng.normal(size=len(sizes)))

    def draw(counts):
        parts = [rng.chisquare(degrees, n) * unit for n, unit in zip(counts, units, strict=True)]
        return [part.astype(np.float32) for part in parts]

    sizes = np.asarray(sizes)
    left = (held_out * sizes).astype(int)
    return draw(sizes - left), draw(left), draw([fresh] * len(sizes))


def calibrated(trained, held_out, rate=0.01):
    sizes = np.array([len(part) for part in trained])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    centre, spread = calibration.centre_and_spread(np.concatenate(trained), offsets)
    return calibration.calibrate(held_out, centre, spread, sizes, rate)


def test_centre_and_spread_are_mean_and_deviation():
    parts = [np.random.default_rng(n).normal(5, 2, n).astype(np.float32) for n in (1, 30, 400)]
    centre, spread = calibration.centre_and_spread(np.concatenate(parts), np.array([0, 1, 31, 431]))
    np.testing.assert_allclose(centre, [part.mean(dtype=np.float64) for part in parts], rtol=1e-12)
    np.testing.assert_allclose(spread, [part.std(dtype=np.float64) for part in parts], rtol=1e-12)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.3, 0.6])
def test_own_scores_suffice_by_the_beta_distribution(rate):
    counts = np.arange(6000)
    allowed = np.floor(rate * (counts + 1) + 1e-9)
    few = np.maximum(allowed, 1)
    holds = (allowed >= 1) & (stats.beta.sf(min(2 * rate, 1), few, counts + 1 - few) <= 0.05)
    # Decided where the number of scores above the threshold jumps, for all up to the next jump.
    expected = holds[np.searchsorted(allowed, allowed)]
    found = calibration.suffice(counts, rate)
    np.testing.assert_array_equal(found, expected)
    assert (np.diff(found.astype(int)) >= 0).all()
    assert not (found & ~holds).any()


def test_399_scores_suffice_for_one_per_cent():
    assert calibration.suffice(np.array([0, 99, 150, 398, 399, 499]), 0.01).tolist() == (
        [False, False, False, False, True, True]
    )


def test_many_own_scores_are_the_conformal_threshold():
    trained, held_out, fresh = fleet([5000, 4000, 200])
    found = calibrated(trained, held_out)
    values, own = found.threshold()
    assert own.tolist() == [True, True, False]
    for group in range(2):
        expected = thresholds.target_false_positive_rate(held_out[group], 0.01)
        assert values[group] == expected
        np.testing.assert_array_equal(
            found.p_values(group, fresh[group]),
            thresholds.conformal_p_values(held_out[group], fresh[group]),
        )


@pytest.mark.parametrize("rate", [0.003, 0.01, 0.05, 0.29])
def test_rows_above_the_threshold_have_p_values_within_the_rate(rate):
    trained, held_out, fresh = fleet([30, 200, 800, 2000, 9000] * 4, fresh=300)
    found = calibrated(trained, held_out, rate)
    values, _ = found.threshold()
    for group, scores in enumerate(fresh):
        edge = np.float32(values[group])
        steps = [edge, np.nextafter(edge, np.float32(np.inf)), np.nextafter(edge, -np.float32(9e9))]
        scores = np.concatenate([scores, steps]).astype(np.float32)
        p = found.p_values(group, scores)
        assert ((p > 0) & (p <= 1)).all()
        np.testing.assert_array_equal(p <= rate + 1e-12, scores > values[group])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("degrees", [2, 5, 30])
def test_p_values_are_right_on_average(seed, degrees):
    sizes = np.random.default_rng(seed).integers(60, 3000, 300)
    trained, held_out, fresh = fleet(sizes, seed, degrees)
    found = calibrated(trained, held_out)
    p = np.array([found.p_values(group, scores) for group, scores in enumerate(fresh)])
    for level in (0.01, 0.05, 0.2, 0.5, 0.9):
        # The mean over groups of each one's rate; its error includes the thresholds' own.
        rates = (p <= level).mean(1)
        assert rates.mean() <= level + 4 * rates.std() / np.sqrt(len(rates))


def test_most_groups_keep_within_double_their_budget():
    sizes = np.exp(np.random.default_rng(5).uniform(np.log(200), np.log(2000), 400)).astype(int)
    trained, held_out, fresh = fleet(sizes, fresh=4000)
    values, _ = calibrated(trained, held_out).threshold()
    rates = np.array([(scores > t).mean() for scores, t in zip(fresh, values, strict=True)])
    assert (rates <= 0.02).mean() >= 0.95
    assert rates.mean() > 0.007  # and not by flagging nothing


def test_small_groups_have_a_pool_of_their_own():
    # Models of few rows overfit: their new rows score twice as high as their trained ones.
    trained, held_out, fresh = fleet([200] * 200 + [1400] * 200, fresh=4000)
    for parts in (held_out, fresh):
        parts[:200] = [2 * part for part in parts[:200]]
    values, _ = calibrated(trained, held_out).threshold()
    rates = np.array([(scores > t).mean() for scores, t in zip(fresh, values, strict=True)])
    assert rates[:200].mean() == pytest.approx(0.01, abs=0.003)
    assert rates[200:].mean() == pytest.approx(0.01, abs=0.003)


def test_a_pool_widens_until_it_holds_enough():
    trained, held_out, _ = fleet([200] * 200 + [400] * 3)
    found = calibrated(trained, held_out)
    assert (np.diff(found.pool_offsets) >= 2000).all()
    assert (found.pool[200:] == found.pool[200]).all()


def test_large_groups_and_fleets_keep_pools_small():
    trained, held_out, _ = fleet([20_000] * 2 + [900] * 600, fresh=1)
    sizes = np.diff(calibrated(trained, held_out).pool_offsets)
    assert sizes.max() <= 65_536
    assert sizes.max() >= 60_000


def test_units_do_not_matter():
    trained, held_out, fresh = fleet([300] * 50)
    values, _ = calibrated(trained, held_out).threshold()
    trained, held_out = ([1024 * part - 64 for part in parts] for parts in (trained, held_out))
    moved, _ = calibrated(trained, held_out).threshold()
    np.testing.assert_allclose((moved + 64) / 1024, values, rtol=1e-4)


def test_alarm_rates_are_those_of_held_out_scores():
    trained, held_out, _ = fleet([100, 900, 6000])
    held_out[0] = held_out[0][:0]
    found = calibrated(trained, held_out, 0.05)
    values, _ = found.threshold()
    rates = found.alarm_rates()
    assert np.isnan(rates[0])
    expected = [(h > t).mean() for h, t in zip(held_out[1:], values[1:], strict=True)]
    np.testing.assert_allclose(rates[1:], expected)


def test_a_constant_group_flags_what_differs():
    trained, held_out, _ = fleet([300] * 50)
    trained[0], held_out[0] = np.full(240, 3, np.float32), np.full(60, 3, np.float32)
    found = calibrated(trained, held_out)
    values, _ = found.threshold()
    assert 3 <= values[0] < 3.001
    assert found.p_values(0, np.float32([3.0, 4.0]))[1] < 0.01
    assert found.p_values(0, np.float32([3.0, 4.0]))[0] > 0.1


def test_too_few_scores_in_the_whole_fleet_flag_nothing():
    trained, held_out, _ = fleet([100, 100])
    found = calibrated(trained, held_out)
    values, own = found.threshold()
    assert np.isposinf(values).all()
    assert not own.any()
    assert (found.p_values(0, np.float32([1e30])) > 0.01).all()
    assert (found.alarm_rates() == 0).all()
    empty = calibrated(trained, [part[:0] for part in held_out])
    assert empty.p_values(1, np.float32([1e30])).tolist() == [1.0]


def test_bad_input_is_named():
    trained, held_out, _ = fleet([100, 100])
    one = np.ones(2)
    with pytest.raises(ValueError, match="held_out is empty"):
        calibration.calibrate([], one[:0], one[:0], one[:0], 0.01)
    with pytest.raises(ValueError, match=r"spread has shape \(1,\)"):
        calibration.calibrate(held_out, one, one[:1], one, 0.01)
    with pytest.raises(ValueError, match=r"centre\[1\] is not finite"):
        calibration.calibrate(held_out, np.array([1, np.nan]), one, one, 0.01)
    with pytest.raises(ValueError, match="rate=0 is outside"):
        calibration.calibrate(held_out, one, one, one, 0)
    held_out[1][4] = np.inf
    with pytest.raises(ValueError, match=r"held_out\[1\]\[4\]=inf"):
        calibration.calibrate(held_out, one, one, one, 0.01)


def test_drift_p_values_hold_for_groups_that_did_not_drift():
    random = np.random.default_rng(0)
    rates = random.beta(2.0, 98.0, size=4000)  # true rates: 2 % on average, far from equal
    counts = np.full(4000, 200)
    held_out = random.binomial(counts, rates) / counts
    high, low = calibration.spread_of_rates(held_out, counts, 0.02)
    assert (high, low) == pytest.approx((2.0, 98.0), rel=0.2)
    p_value = stats.betabinom.sf(random.binomial(5000, rates) - 1, 5000, high, low)
    assert np.mean(p_value <= 0.01) < 0.02
    equal = random.binomial(counts, 0.02) / counts
    high, low = calibration.spread_of_rates(equal, counts, 0.02)
    assert high + low > 1000


def test_a_group_gives_its_pool_at_most_256_scores():
    counts = np.array([1000, 256, 3, 0, 257])
    owner = np.repeat(np.arange(5), counts)
    drawn = calibration._drawn(owner, np.concatenate([[0], np.cumsum(counts)]))
    assert np.bincount(owner[drawn], minlength=5).tolist() == [256, 256, 3, 0, 256]
