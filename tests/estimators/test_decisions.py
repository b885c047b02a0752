"""Thresholds, p-values and selection of fitted detectors."""

import pickle

import numpy as np
import pytest
from cases import fresh
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import jaxad
from jaxad import data, thresholds
from jaxad.estimators import thresholding

METHODS = {"split": {}, "cross": {"folds": 3}, "jackknife+": {"bootstraps": 4}}
NEW = np.random.default_rng(1).normal(size=(40, 5)) * np.linspace(0.5, 3, 40)[:, None]


@pytest.fixture(scope="module")
def made():
    x = np.random.default_rng(0).normal(size=(120, 5))
    return fresh("DeepSVDD", epochs=1, n_members=2).fit(x), x


@pytest.fixture
def fitted(made):
    return pickle.loads(pickle.dumps(made[0])), made[1]


def calibrated(detector, x, method):
    return detector.calibrate(
        NEW[::-1] if method == "split" else x, method=method, **METHODS[method]
    )


def test_a_threshold_by_contamination_is_that_of_fit(fitted):
    detector, x = fitted
    expected = clone(detector).set_params(contamination=0.25).fit(x)
    detector.set_threshold(contamination=0.25)
    assert detector.threshold_ == expected.threshold_
    assert detector.offset_ == -detector.threshold_
    assert (detector.predict(x) == -1).sum() == 30
    detector.set_threshold(contamination=0.25, X=NEW)
    assert (detector.predict(NEW) == -1).sum() == 10


def test_a_threshold_by_a_number_or_by_marks(fitted, tmp_path):
    detector, _ = fitted
    assert detector.set_threshold(np.float32(2.5)) is detector
    assert detector.threshold_ == 2.5
    score, marks = detector.anomaly_score(NEW), np.arange(40) % 4 == 3
    for beta in (0.5, 2):
        detector.set_threshold(beta=beta, X=NEW, y=marks.astype(int))
        assert detector.threshold_ == thresholds.best_f_beta(score, marks, beta)
    detector.save(tmp_path / "d")
    assert jaxad.load(tmp_path / "d").threshold_ == detector.threshold_


def test_a_false_alarm_rate_is_kept_on_the_rows_that_were_not_trained_on(fitted, rows):
    detector, _ = fitted
    score = detector.anomaly_score(NEW)
    expected = thresholds.target_false_positive_rate(score, 0.1)
    assert detector.set_threshold(false_alarm_rate=0.1, X=NEW).threshold_ == expected
    detector.set_threshold(0.0).calibrate(NEW).set_threshold(false_alarm_rate=0.1)
    assert detector.threshold_ == expected
    np.testing.assert_array_equal(detector.predict(rows) == -1, detector.p_value(rows) <= 0.1)


def test_held_out_rows_are_kept_for_thresholds_and_calibration(rows, tmp_path):
    detector = fresh("DeepSVDD", epochs=1, validation_fraction=0.2).fit(rows)
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d").set_threshold(false_alarm_rate=0.05)
    assert loaded.threshold_ == detector.set_threshold(false_alarm_rate=0.05).threshold_
    assert len(loaded.held_out_scores_) == len(loaded.reference_scores_) == 60
    assert np.isin(loaded.reference_scores_, detector.anomaly_score(rows)).all()
    calibration = loaded.calibrate().calibration_
    np.testing.assert_array_equal(calibration.scores, detector.reference_scores_)
    assert calibration.smallest_p_value == 1 / 61


@pytest.mark.defect
def test_known_anomalies_that_are_held_out_do_not_calibrate(rows):
    rows, y = rows.copy(), np.where(np.arange(len(rows)) % 10 == 0, -1, 0)
    rows[y == -1] += 5
    held_out = rows[:100], y[:100]
    detector = fresh("DeepSAD", epochs=1).fit(rows[100:], y[100:], validation=held_out)
    assert len(detector.reference_scores_) == 100
    calibration = detector.calibrate().calibration_
    normal = detector.anomaly_score(rows[:100][y[:100] == 0])
    np.testing.assert_allclose(calibration.scores, np.sort(normal), rtol=1e-5)


@pytest.mark.defect
def test_a_call_that_does_not_refit_drops_the_scores_of_held_out_rows(rows):
    detector = fresh("DeepSVDD", epochs=1).fit(rows[:200], validation=rows[200:])
    detector.partial_fit(rows[:20])
    with pytest.raises(ValueError, match="no rows to calibrate on"):
        detector.calibrate()


@pytest.mark.defect
@pytest.mark.parametrize("validation_fraction", [0.0, 0.4])
def test_a_threshold_by_contamination_is_that_of_fit_with_weights(validation_fraction, rows):
    weight = np.random.default_rng(0).uniform(0.1, 3, len(rows))
    given = {"epochs": 1, "validation_fraction": validation_fraction}
    detector = fresh("DeepSVDD", **given).fit(rows, sample_weight=weight)
    assert detector.threshold_ == detector.set_threshold(contamination=0.1).threshold_


def test_a_percentile_counts_the_training_rows_below(fitted):
    detector, x = fitted
    below = detector.anomaly_score(x)[None] < detector.anomaly_score(NEW)[:, None]
    np.testing.assert_allclose(detector.score_percentile(NEW), 100 * below.mean(axis=1))
    own = np.sort(detector.score_percentile(x))  # no row is below itself
    np.testing.assert_allclose(own, 100 * np.arange(120) / 120)


def test_many_training_scores_are_kept_as_quantiles(fitted, monkeypatch):
    detector, x = fitted
    monkeypatch.setattr(thresholding, "QUANTILES", 21)
    detector.fit(x)
    score = np.sort(detector.anomaly_score(x))
    ranks = np.linspace(0, 119, 21).round().astype(int)
    np.testing.assert_array_equal(detector.reference_scores_, score[ranks])
    detector.set_threshold(contamination=0.2)
    assert (score > detector.threshold_).mean() == pytest.approx(0.2, abs=0.01)
    with pytest.raises(ValueError, match="contamination=0.01 is finer than the 20 quantiles"):
        detector.set_threshold(contamination=0.01)
    detector.set_threshold(contamination=0.01, X=x)


@pytest.mark.parametrize("method", METHODS)
def test_p_values_rank_rows_and_are_saved(fitted, method, tmp_path):
    detector, x = fitted
    before = detector.anomaly_score(NEW)
    p = calibrated(detector, x, method).p_value(NEW)
    assert detector.calibration_.method == method
    np.testing.assert_array_equal(detector.anomaly_score(NEW), before)
    count = detector.calibration_.n_rows
    assert count == (40 if method == "split" else pytest.approx(120, abs=30))
    np.testing.assert_allclose(p * (count + 1), np.round(p * (count + 1)), rtol=1e-12)
    far = detector.p_value(np.full((1, 5), 1e3))
    assert far == detector.calibration_.smallest_p_value == 1 / (count + 1)
    assert np.corrcoef(p, before)[0, 1] < -0.3
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    np.testing.assert_array_equal(loaded.p_value(NEW), p)
    np.testing.assert_array_equal(loaded.p_value(NEW[7:9]), p[7:9])
    loaded.save(tmp_path / "again")
    np.testing.assert_array_equal(jaxad.load(tmp_path / "again").p_value(NEW), p)


def test_a_split_p_value_is_a_share_of_the_calibration_rows(fitted):
    detector, x = fitted
    expected = thresholds.conformal_p_values(detector.anomaly_score(NEW), detector.anomaly_score(x))
    np.testing.assert_array_equal(detector.calibrate(NEW).p_value(x), expected)
    assert (np.diff(detector.calibration_.scores) >= 0).all()
    selected = detector.select(x, false_discovery_rate=0.9)
    np.testing.assert_array_equal(selected, thresholds.benjamini_hochberg(expected, 0.9))


def test_cross_conformal_models_are_those_of_a_fit_without_the_fold(rows):
    x = rows[:60]
    detector = fresh("DeepSVDD", epochs=1).fit(x)
    calibration = detector.calibrate(x, method="cross", folds=3).calibration_
    folds = np.array_split(np.random.default_rng(0).permutation(60), 3)
    higher = np.zeros(len(NEW))
    for fold, scores in zip(folds, calibration.scores, strict=True):
        alone = clone(detector).fit(np.delete(x, fold, axis=0))
        np.testing.assert_allclose(scores, np.sort(alone.anomaly_score(x[fold])), rtol=1e-4)
        higher += (alone.anomaly_score(x[fold]) >= alone.anomaly_score(NEW)[:, None]).sum(axis=1)
    np.testing.assert_allclose(detector.p_value(NEW), (1 + higher) / 61, atol=1 / 61)


def test_jackknife_compares_a_row_only_by_models_without_it(rows):
    x = rows[:50]
    detector = fresh("DeepSVDD", epochs=1).fit(x)
    calibration = detector.calibrate(x, method="jackknife+", bootstraps=5).calibration_
    out = calibration.out_of_bag
    assert 0.2 < out.mean() < 0.6
    scores = np.stack([model.score(detector, data.stream([NEW])) for model in calibration.models])
    mean = np.array(
        [scores[:, None, n][out[:, i]].mean() for n in range(40) for i in range(out.shape[1])]
    )
    higher = (calibration.scores >= mean.reshape(40, -1) - 1e-9).sum(axis=1)
    np.testing.assert_allclose(
        detector.p_value(NEW), (1 + higher) / (calibration.n_rows + 1), rtol=1e-12
    )
    bags = np.random.default_rng(0).choice(50, (5, 50))
    alone = clone(detector).fit(x[bags[0]])  # of the first bootstrap sample
    ranks = (np.argsort(np.argsort(s)) for s in (alone.anomaly_score(NEW), scores[0]))
    np.testing.assert_array_equal(*ranks)


def test_known_anomalies_train_and_do_not_calibrate(rows):
    y = np.zeros(60, int)
    y[:6] = -1
    detector = fresh("DeepSAD", epochs=1, pretrain_epochs=0).fit(rows[:60], y)
    calibration = detector.calibrate(rows[:60], y, method="cross", folds=2).calibration_
    assert calibration.n_rows == 54
    folds = np.array_split(np.random.default_rng(0).permutation(np.arange(6, 60)), 2)
    alone = clone(detector).fit(np.delete(rows[:60], folds[0], axis=0), np.delete(y, folds[0]))
    score = np.sort(alone.anomaly_score(rows[folds[0]]))
    np.testing.assert_allclose(calibration.scores[0], score, rtol=1e-4)


def test_fitting_again_drops_the_calibration(fitted):
    detector, x = fitted
    detector.calibrate(NEW).partial_fit(x)
    assert not hasattr(detector, "calibration_")
    detector.calibrate(NEW).fit(x)
    with pytest.raises(ValueError, match=r"not calibrated: call detector.calibrate\(X\)"):
        detector.p_value(NEW)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "was given nothing to choose by: give one of value, contamination"),
        ({"value": 1.0, "beta": 1}, "was given value and beta"),
        ({"value": np.nan}, "value=nan is not a finite number"),
        ({"value": "high"}, "value='high' is not a finite number"),
        ({"value": 1.0, "X": NEW}, "X was given with value"),
        ({"contamination": 0.6}, r"contamination=0.6 is outside \[0, 0.5\]"),
        ({"contamination": 0.1, "y": np.ones(40)}, "y was given with contamination: only beta"),
        ({"false_alarm_rate": 0}, r"false_alarm_rate=0 is outside \(0, 1\)"),
        ({"false_alarm_rate": 1}, r"false_alarm_rate=1 is outside \(0, 1\)"),
        ({"false_alarm_rate": 0.01}, "needs normal rows that were not trained on.*validation_frac"),
        ({"false_alarm_rate": 0.01, "X": NEW}, "40 rows of X, whose smallest.*0.0244: give at lea"),
        ({"beta": 0, "X": NEW, "y": np.ones(40)}, "beta=0 is outside"),
        ({"beta": 1}, "beta=1.0 needs validation rows X and their marks y"),
        ({"beta": 1, "X": NEW, "y": np.ones(3)}, r"y has shape \(3,\), but X has 40 rows"),
        ({"beta": 1, "X": NEW, "y": np.full(40, -1)}, "y has values other than.*pass y == -1"),
        ({"beta": 1, "X": NEW, "y": np.zeros(40)}, "y marks no row as an anomaly"),
    ],
)
def test_a_threshold_that_cannot_be_chosen_is_an_error(fitted, arguments, message):
    detector, _ = fitted
    before = detector.threshold_
    with pytest.raises(ValueError, match=message):
        detector.set_threshold(**arguments)
    assert detector.threshold_ == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "loo"}, "method='loo' is not one of: 'split', 'cross', 'jackknife"),
        ({}, "no rows to calibrate on.*validation_fraction=0.2, or give the training rows"),
        ({"X": NEW, "y": np.zeros(40)}, "leave anomalies out of X"),
        ({"method": "cross"}, "give the training rows as X"),
        ({"method": "cross", "X": NEW, "folds": 1}, r"folds=1 is outside \[2, 40\]"),
        ({"method": "cross", "X": NEW, "folds": 41}, r"folds=41 is outside \[2, 40\]"),
        ({"method": "jackknife+", "X": NEW, "bootstraps": 0}, "bootstraps=0 is outside"),
        ({"method": "cross", "X": data.stream([NEW])}, "needs rows in memory"),
        ({"method": "cross", "X": NEW[:, :4]}, "expecting 5 features"),
    ],
)
def test_a_calibration_that_cannot_be_made_is_an_error(fitted, arguments, message):
    detector, _ = fitted
    detector.calibrate(NEW)
    before = detector.calibration_
    with pytest.raises(ValueError, match=message):
        detector.calibrate(**arguments)
    assert detector.calibration_ is before


def test_further_errors(fitted):
    detector, x = fitted
    for call in ("calibrate", "p_value", "select", "set_threshold", "score_percentile"):
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            getattr(fresh("DeepSVDD"), call)(NEW)
    with pytest.raises(ValueError, match=r"false_discovery_rate=1 is outside \(0, 1\)"):
        detector.select(NEW, false_discovery_rate=1)
    detector.calibrate(NEW)
    with pytest.raises(ValueError, match="=0.02 can flag no row: the smallest.* is 0.0244"):
        detector.select(NEW, false_discovery_rate=0.02)
    detector.calibrate(x, method="cross", folds=2)
    with pytest.raises(ValueError, match="method='cross', whose p-values no single threshold"):
        detector.set_threshold(false_alarm_rate=0.1)
    with pytest.raises(ValueError, match="source can be read only once"):
        detector.p_value(data.stream(iter([NEW])))


def test_a_file_of_an_earlier_version_needs_rows_for_a_threshold(fitted):
    detector, _ = fitted
    del detector.reference_scores_
    with pytest.raises(ValueError, match="from a file of an earlier version or from a Fleet"):
        detector.set_threshold(contamination=0.1)
    detector.set_threshold(contamination=0.1, X=NEW)
