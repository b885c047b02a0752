"""Thresholds against their definitions, brute force and simulation."""

import numpy as np
import pytest

from jaxad import thresholds


def f_beta_score(is_anomaly, flagged, beta=1.0):
    hits = np.sum(is_anomaly & flagged)
    false_alarms, missed = np.sum(~is_anomaly & flagged), np.sum(is_anomaly & ~flagged)
    return (1 + beta**2) * hits / ((1 + beta**2) * hits + beta**2 * missed + false_alarms)


def test_quantile_is_the_threshold_of_contamination(rng):
    scores = rng.normal(size=200)
    threshold = thresholds.quantile(scores, 0.95)
    assert threshold == np.quantile(scores, 0.95)
    assert (scores > threshold).sum() == 10


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.29, 0.5, 0.9])
@pytest.mark.parametrize("count", [99, 137, 1000])
def test_false_positive_rate_flags_what_p_values_flag(rng, rate, count):
    normals = rng.integers(0, 60, count).astype(float)
    scores = np.r_[normals, rng.normal(30, 40, 500)]
    threshold = thresholds.target_false_positive_rate(normals, rate)
    p_values = thresholds.conformal_p_values(normals, scores)
    np.testing.assert_array_equal(scores > threshold, p_values <= rate)


def test_false_positive_rate_holds_on_average_and_is_not_wasteful(rng):
    """With 19 rows and a rate of .1 a new row exceeds the 18th with a probability of 2/20."""
    draws = rng.exponential(size=(20_000, 20))
    flagged = [row[19] > thresholds.target_false_positive_rate(row[:19], 0.1) for row in draws]
    assert np.mean(flagged) == pytest.approx(0.1, abs=0.01)  # five standard errors


def test_too_few_normal_rows_for_a_rate_says_how_many_it_needs():
    with pytest.raises(ValueError, match="smallest possible p-value is 0.0101: pass at least 99"):
        thresholds.target_false_positive_rate(np.arange(98.0), 0.01)
    assert thresholds.target_false_positive_rate(np.arange(99.0), 0.01) == 98
    assert thresholds.target_false_positive_rate(np.arange(99.0), 0.29) == 70  # .29 * 100 < 29


def test_p_values_of_normal_rows_are_valid(rng):
    draws = rng.normal(size=(4000, 41))
    p = np.array([thresholds.conformal_p_values(row[1:], row[:1])[0] for row in draws])
    for level in (1 / 41, 0.1, 0.5):
        error = 5 * np.sqrt(level * (1 - level) / len(p))
        assert (p <= level).mean() < level + error
    assert p.mean() == pytest.approx(21 / 41, abs=0.025)


def test_p_values_count_ties_against_the_row():
    p = thresholds.conformal_p_values([1, 2, 2, 3], [2, 3, 3.5])
    np.testing.assert_allclose(p, [4 / 5, 2 / 5, 1 / 5])


@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize(("share", "beta"), [(0.02, 1.0), (0.3, 0.5), (0.3, 3.0), (0.9, 1.0)])
def test_best_f_beta_equals_brute_force(decimals, share, beta):
    rng = np.random.default_rng(int(100 * share) + decimals)
    for _ in range(20):
        is_anomaly = rng.random(60) < share
        is_anomaly[0] = True
        scores = (rng.normal(size=60) + is_anomaly).round(decimals)
        cuts = np.r_[-np.inf, np.unique(scores)]
        found = [f_beta_score(is_anomaly, scores > cut, beta) for cut in cuts]
        threshold = thresholds.best_f_beta(scores, is_anomaly, beta)
        best = pytest.approx(max(found), rel=1e-12)
        assert f_beta_score(is_anomaly, scores > threshold, beta) == best
        fewest = min((scores > c).sum() for c, f in zip(cuts, found, strict=True) if f == best)
        assert (scores > threshold).sum() == fewest


def test_best_f_beta_keeps_a_distance_from_the_scores():
    assert thresholds.best_f_beta([0.0, 1.0, 3.0, 4.0], [0, 0, 1, 1]) == 2


@pytest.mark.parametrize(
    "scores", [[1.0, np.nextafter(1.0, 2)], [-1.7e308, 1.7e308], [0.0, 5e-324], [7.0, 7.0]]
)
def test_best_f_beta_flags_the_anomaly_at_the_edges_of_floating_point(scores):
    scores, is_anomaly = np.array(scores), np.array([False, True])
    flagged = scores > thresholds.best_f_beta(scores, is_anomaly)
    assert flagged[1]
    assert flagged[0] == (scores[0] == scores[1])


def test_of_equally_good_thresholds_the_one_that_flags_fewest_rows_is_the_best():
    """One row with one hit is as good as all four with two: F1 is 2/3."""
    assert thresholds.best_f_beta([1.0, 2.0, 3.0, 4.0], [1, 0, 0, 1]) == 3.5


def test_best_f_beta_can_flag_every_row():
    assert (np.ones(3) > thresholds.best_f_beta(np.ones(3), np.ones(3))).all()


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5])
def test_benjamini_hochberg_equals_its_definition(rng, rate):
    for count in (1, 7, 40):
        p = np.ceil(rng.random(count) ** 2 * 100) / 100
        ranked = np.sort(p)
        passed = np.flatnonzero(ranked <= rate * np.arange(1, count + 1) / count + 1e-12)
        cut = ranked[passed[-1]] if len(passed) else -1
        np.testing.assert_array_equal(thresholds.benjamini_hochberg(p, rate), p <= cut)


def test_selection_by_conformal_p_values_controls_the_share_of_false_alarms(rng):
    shares = []
    for _ in range(1000):
        p = thresholds.conformal_p_values(
            rng.normal(size=99), np.r_[rng.normal(size=40), rng.normal(3, 1, 10)]
        )
        flagged = thresholds.benjamini_hochberg(p, 0.2)
        shares.append(flagged[:40].sum() / max(1, flagged.sum()))
    # Of 50 rows 40 are normal: the procedure keeps 40/50 of the rate.
    assert np.mean(shares) == pytest.approx(0.16, abs=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: thresholds.quantile([1.0], 1.5), r"q=1.5 is outside \[0, 1\]"),
        (lambda: thresholds.quantile([], 0.5), "at least one"),
        (lambda: thresholds.quantile([1.0, np.inf], 0.5), r"scores\[1\] is not finite"),
        (lambda: thresholds.quantile([[1.0]], 0.5), r"shape \(1, 1\)"),
        (lambda: thresholds.target_false_positive_rate([1.0], 0.0), r"outside \(0, 1\)"),
        (lambda: thresholds.best_f_beta([1.0, np.nan], [0, 1]), r"scores\[1\] is not finite"),
        (lambda: thresholds.best_f_beta([1.0, 2.0], [0]), r"shape \(1,\)"),
        (
            lambda: thresholds.best_f_beta([1.0, 2.0], [1, -1]),
            "0 and 1.*is_anomaly == -1",
        ),
        (lambda: thresholds.best_f_beta([1.0, 2.0], [0, 1], 0), "beta=0 is not a positive number"),
        (lambda: thresholds.benjamini_hochberg([0.5, 2.0], 0.1), r"lie in \[0.5, 2\], not in"),
        (lambda: thresholds.benjamini_hochberg([0.5], 1.0), r"rate=1.0 is outside \(0, 1\)"),
        (lambda: thresholds.best_f_beta([1.0, 2.0], [0, 0]), "none of the rows is an anomaly"),
        (lambda: thresholds.conformal_p_values([], [1.0]), "calibration_scores has shape"),
    ],
)
def test_invalid_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
