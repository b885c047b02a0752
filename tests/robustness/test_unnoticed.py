"""Changes of the code that the tests of its part did not notice: one test for each."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import partitioned
import pytest
import study_tables
from cases import KEY, RECIPE, fresh
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import jaxad
from jaxad import data, networks, study, thresholds, training
from jaxad.estimators import explanations, prepare
from jaxad.fleet import calibration, survey, survey_partition
from jaxad.fleet.tables import open_table
from jaxad.objectives import views, wrappers

SVDD = cases.OBJECTIVES["deep_svdd"]


def test_a_share_of_0_has_no_limit():
    limit = wrappers._limit(jnp.arange(5.0), jnp.ones(5), jnp.float32(0))
    assert limit == jnp.inf


def test_images_are_scaled_before_they_are_transformed():
    transform = views.GeometricViews(None, 1)
    for pixel in (0.0, 0.25, 1.0):
        found = transform({}, jnp.full((1, 8, 8, 1), pixel))
        np.testing.assert_array_equal(found, 2 * pixel - 1)


def test_parameters_are_drawn_by_the_key(rows):
    still = RECIPE.replace(epochs=1, learning_rate=1e-12)
    one, other = (training.fit(SVDD, still, jax.random.key(seed), rows) for seed in (1, 2))
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        assert np.abs(a - b).max() > 1e-2


def test_members_of_one_key_differ(rows):
    recipe = RECIPE.replace(learning_rate=np.array([1e-12, 1e-12]))
    result = training.fit_population(SVDD, recipe, KEY, rows)
    for leaf in jax.tree.leaves(result.params):
        assert np.abs(leaf[0] - leaf[1]).max() > 1e-2


def test_the_rows_of_a_stream_are_those_of_all_blocks(rows):
    detector, many = fresh("DeepSVDD", epochs="auto"), np.tile(rows, (10, 1))
    for x in (many, data.stream(many, rows=200)):
        assert prepare.plan(detector, x, None).run.recipe.epochs == 42  # of 24 steps


def test_an_error_in_fit_leaves_a_fitted_detector_as_it_was(rows):
    detector = fresh("DeepSVDD").fit(rows)
    before = detector.anomaly_score(rows)
    with pytest.raises(ValueError, match="NaN"):
        detector.fit(np.full((9, rows.shape[1]), np.nan))
    np.testing.assert_array_equal(detector.anomaly_score(rows), before)


def test_anomalies_may_count_in_the_centre(rows):
    y = np.where(np.arange(len(rows)) < 9, -1, 0)
    for choice in (True, False):
        detector = fresh("DeepSAD", anomalies_in_centre=choice)
        assert prepare.plan(detector, rows, y).objective.anomalies_in_centre == choice


def test_a_member_whose_pretraining_failed_has_failed_though_its_training_went_well(rows):
    how = {"batch_norm": True, "pretrain_epochs": 60}
    made = [fresh("DeepSVDD", **how, pretrain_learning_rate=rate) for rate in (1e-3, 1e10)]
    with pytest.warns(RuntimeWarning, match="left unfitted"):
        jaxad.fit_many(made, rows)
    with pytest.raises(NotFittedError):
        made[1].predict(rows)


def test_a_network_that_maps_all_rows_to_the_centre_is_noticed(rows):
    network = networks.MLP((16, 2), activation="relu", use_bias=True)
    detector = fresh("DeepSVDD", network=network, hidden=None, latent_dim=None)
    detector.set_params(learning_rate=0.05, epochs=1000)
    with pytest.warns(jaxad.CollapseWarning, match="mapped to the centre"):
        detector.fit(rows[:100, :2])


def test_a_p_value_at_the_rate_is_selected():
    assert thresholds.benjamini_hochberg([0.05], 0.05).tolist() == [True]
    assert thresholds.benjamini_hochberg([0.1, 0.05, 0.9], 0.15).tolist() == [True, True, False]


def test_weights_of_rows_count_in_the_threshold(rows):
    detector = fresh("DeepSVDD", epochs=0, contamination=0.1, scaler="none")
    scores = detector.fit(rows).anomaly_score(rows)
    weight = np.where(scores > np.quantile(scores, 0.8), 9.0, 1.0)
    detector.fit(rows, sample_weight=weight)
    flagged = detector.anomaly_score(rows) > detector.threshold_
    assert 0.05 < weight[flagged].sum() / weight.sum() < 0.15


def test_a_spread_that_overflows_is_refused(rows):
    wide = rows.astype(np.float64)
    wide[:, 1] = np.where(np.arange(len(rows)) % 2, 1e200, -1e200)  # the mean is 0, nothing is NaN
    with pytest.raises(ValueError, match="the spread of some feature of X overflows float64"):
        fresh("DeepSVDD").fit(wide)


def test_background_rows_are_neither_held_out_nor_known_anomalies(rows):
    """Of so few rows all that may be in the background are in it, unless their scores are odd."""
    few, scores = rows[:24], np.zeros((1, 24), np.float32)
    y = np.where(np.arange(24) < 9, -1, 0)
    plan = prepare.plan(fresh("DeepSAD", validation_fraction=0.4), few, y)
    background = explanations.background_of(plan, scores)
    barred = np.r_[np.flatnonzero(y == -1), plan.held_out]
    scaled = plan.rows.on_host()
    whole = np.concatenate([x for x, _ in scaled])
    assert len(background) > 2
    for row in background:
        (place,) = np.flatnonzero((whole == row).all(1))
        assert place not in barred


def test_a_row_of_a_new_group_is_flagged_above_the_threshold_and_at_the_rate():
    scores = np.arange(99.0)
    assert calibration.threshold(scores, 0.01) == 98
    values = thresholds.p_values_from_sorted(scores, np.array([98.0, 98.5]))
    assert values.tolist() == [0.02, 0.01]
    assert calibration.flags(values, 0.01).tolist() == [False, True]


def test_a_fit_of_a_fleet_is_known_by_its_global_model():
    table, marks = partitioned.table_of(), set()
    for epochs in (1, 2):
        fleet = partitioned.fleet_of()
        fleet.detector = clone(fleet.detector).set_params(epochs=epochs)
        marks.add(fleet.begin([survey_partition(table, fleet)])._begun.mark)
    assert len(marks) == 2


def test_a_group_larger_than_a_wave_is_a_wave_alone(monkeypatch):
    monkeypatch.setattr(survey, "WAVE_BYTES", 8 * 3)  # of three rows of a column
    frame = pd.DataFrame({"group": ["a"] * 9 + ["b"] * 2 + ["c"] * 9, "x": 0.1 * np.arange(20)})
    assert [*survey.waves(open_table(frame, "group"))] == [(0, 1), (1, 2), (2, 3)]


def test_a_run_may_not_stand_twice_with_different_figures():
    runs_of_one = study_tables.table({"svdd": 0.1}, sets=2, seeds=1)
    again = runs_of_one.assign(auroc=0.5)
    with pytest.raises(ValueError, match="table has 2 duplicate rows, first 'svdd' on 'set00'"):
        study.runs.check_runs(pd.concat([runs_of_one, again]))
