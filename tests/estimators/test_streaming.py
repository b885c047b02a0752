"""Detectors on streams, warm starts, and rows that arrive over time."""

import copy
import pickle
from functools import partial

import flax.linen as nn
import jax
import numpy as np
import pandas as pd
import pytest
from cases import DETECTORS, fresh
from sklearn.base import clone

import jaxad
from jaxad import data, training
from jaxad.estimators import incremental


@pytest.fixture
def in_file_order(monkeypatch):
    """Train without shuffling, so that runs on streams and in memory can be compared."""
    monkeypatch.setattr(training, "Recipe", partial(training.Recipe, shuffle=False))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DeepSAD", "GOAD"])
@pytest.mark.usefixtures("in_file_order")
def test_a_detector_on_a_stream_equals_one_in_memory(name, rows):
    label = np.where(np.arange(300) % 30 == 0, -1, 0)
    shifted = rows * 30 + 100
    options = {"pretrain_epochs": 2} if name == "DeepSAD" else {}
    in_memory = fresh(name, **options).fit(shifted, label)
    stream = data.stream(shifted, label=label, rows=128)
    streamed = fresh(name, **options).fit(stream)
    score = in_memory.anomaly_score(shifted)
    np.testing.assert_allclose(streamed.anomaly_score(shifted), score, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(streamed.anomaly_score(stream), streamed.anomaly_score(shifted))
    np.testing.assert_array_equal(streamed.predict(stream), streamed.predict(shifted))
    np.testing.assert_array_equal(streamed.transform(stream), streamed.transform(shifted))
    assert streamed.threshold_ == pytest.approx(in_memory.threshold_, rel=1e-3)
    assert streamed.n_features_in_ == 5
    assert streamed.n_steps_ == in_memory.n_steps_


@pytest.mark.parametrize("scaler", ["auto", "minmax", "none"])
def test_scalers_are_fitted_in_a_pass(scaler, rows):
    rows[:, 2] = 0.3
    expected = fresh("DeepSVDD", scaler=scaler, epochs=0).fit(rows).scaler_
    found = fresh("DeepSVDD", scaler=scaler, epochs=0).fit(data.stream(rows, rows=64)).scaler_
    np.testing.assert_allclose(found.shift, expected.shift, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-6)


def test_images_and_named_columns(rows):
    class Flat(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, use_bias=False)(x.reshape(len(x), -1))

    images = np.random.default_rng(0).random((40, 8, 8)).astype(np.float32)
    detector = fresh("DeepSVDD", network=Flat()).fit(data.stream(images, rows=16))
    assert detector.input_shape_ == (8, 8, 1)
    np.testing.assert_array_equal(
        detector.anomaly_score(data.stream(iter([images]))), detector.anomaly_score(images)
    )
    several = fresh("AutoEncoder", n_members=2).fit(rows)
    once = data.stream((rows[i : i + 90] for i in range(0, 300, 90)), rows=64)
    np.testing.assert_allclose(several.anomaly_score(once), several.anomaly_score(rows), rtol=1e-6)
    frame = pd.DataFrame(rows, columns=list("abcde"))
    detector = fresh("DeepSVDD").fit(data.stream([frame[:100], frame[100:]]))
    assert detector.feature_names_in_.tolist() == list("abcde")
    assert detector.anomaly_score(frame).shape == (300,)
    with pytest.raises(ValueError, match="feature names"):
        detector.anomaly_score(data.stream([frame.rename(columns={"a": "z"})]))
    with pytest.raises(ValueError, match="5 features"):
        fresh("DeepSVDD").fit(rows).anomaly_score(data.stream(rows[:, :3]))


BAD_FITS = {
    "labels twice": ({}, {"y": np.zeros(300)}, "label="),
    "validation_fraction": ({"validation_fraction": 0.1}, {}, "held out"),
    "robust": ({"scaler": "robust"}, {}, "robust"),
    "warm_start": ({"warm_start": 1}, {}, "warm_start=1"),
    "nu": ({"nu": 2}, {}, "nu=2"),
}


@pytest.mark.parametrize("case", list(BAD_FITS))
def test_unsupported_options_of_streams_raise_before_compiling(case, rows):
    options, arguments, match = BAD_FITS[case]
    with (
        training.Stopwatch() as watch,
        pytest.raises((ValueError, TypeError), match=match),
    ):
        fresh("DeepSVDD", **options).fit(data.stream(rows), **arguments)
    assert watch.compilations == 0


def test_invalid_rows_of_a_stream_are_named(rows):
    detector = fresh("DeepSAD")
    with pytest.raises(ValueError, match="only once.*partial_fit"):
        detector.fit(data.stream(iter([rows])))
    with pytest.raises(ValueError, match="at least one"):
        detector.fit(data.stream(rows, label=np.full(300, -1)))
    with pytest.raises(ValueError, match="at least 2"):
        detector.fit(data.stream(rows[:1]))
    rows[250] = np.nan
    with pytest.raises(ValueError, match="rows 200 to 299: contain NaN"):
        detector.fit(data.stream(rows, rows=100))
    assert not hasattr(detector, "params_")
    with pytest.raises(ValueError, match="explain"):
        detector.fit(rows[:200]).explain(data.stream(rows))
    with pytest.raises(ValueError, match="by itself"):
        jaxad.fit_many([fresh("DeepSVDD")], data.stream(rows[:200]))
    with pytest.raises(ValueError, match="sweep trains on rows in memory"):
        jaxad.sweep(fresh("DeepSVDD"), {}, data.stream(rows[:200]))


# partial_fit


@pytest.mark.parametrize("name", ["DeepSVDD", "GOAD", "AutoEncoder"])
def test_repeated_partial_fit_equals_the_epochs_of_a_fit(name, rows):
    fitted = fresh(name).fit(rows)
    detector = fresh(name)
    for _ in range(3):
        detector.partial_fit(rows)
    np.testing.assert_allclose(
        detector.anomaly_score(rows), fitted.anomaly_score(rows), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(detector.history_["loss"], fitted.history_["loss"], rtol=1e-5)
    assert detector.n_steps_ == fitted.n_steps_
    assert detector.threshold_ == pytest.approx(fitted.threshold_, rel=1e-4)


def test_partial_fit_keeps_the_first_scaler_and_centre(rows):
    detector = fresh("DeepSVDD", objective="soft-boundary", warm_up_epochs=0, contamination=0.05)
    detector.partial_fit(rows[:150])
    first = copy.deepcopy((detector.scaler_, detector.stats_["centre"]))
    radius, threshold = detector.stats_["radius"], detector.threshold_
    detector.partial_fit(rows[150:] * 5)
    np.testing.assert_array_equal(detector.scaler_.shift, first[0].shift)
    np.testing.assert_array_equal(detector.stats_["centre"], first[1])
    assert detector.stats_["radius"] > radius
    assert detector.threshold_ > threshold


def test_a_stream_is_one_call_for_each_chunk(rows):
    one, other = fresh("DeepSAD"), fresh("DeepSAD")
    label = np.where(np.arange(300) < 5, -1, 0)
    one.partial_fit(data.stream(iter([(rows, label)]), rows=150))
    other.partial_fit(rows[:150], label[:150]).partial_fit(rows[150:], label[150:])
    np.testing.assert_array_equal(one.anomaly_score(rows), other.anomaly_score(rows))


def test_a_short_last_chunk_joins_the_previous_one(rows):
    """Otherwise DAGMM's mixture would be fitted to a few rows."""
    one, other = fresh("DAGMM"), fresh("DAGMM")
    one.partial_fit(data.stream(rows, rows=149))
    other.partial_fit(rows[:149]).partial_fit(rows[149:])
    np.testing.assert_array_equal(one.anomaly_score(rows), other.anomaly_score(rows))
    shorter = fresh("DAGMM").partial_fit(data.stream(rows, rows=400))
    assert shorter.history_["loss"].shape == (1,)


def test_a_source_may_reuse_its_array(rows):
    def refilled():
        array = np.empty((100, 5))
        for start in (0, 100, 200):
            array[:] = rows[start : start + 100]
            yield array

    one = fresh("AutoEncoder").partial_fit(data.stream(refilled, rows=100))
    other = fresh("AutoEncoder")
    for start in (0, 100, 200):
        other.partial_fit(rows[start : start + 100])
    np.testing.assert_array_equal(one.history_["loss"], other.history_["loss"])


def test_partial_fit_continues_after_fit_copy_and_load(rows, tmp_path):
    detector = fresh("DeepSVDD").fit(rows)
    before = jax.tree.map(np.array, detector.params_)
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d").partial_fit(rows)
    detector.partial_fit(rows)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, detector.params_)
    assert 0 < max(jax.tree.leaves(moved)) < 0.05
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))
    for copied in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        copied.partial_fit(rows)
    detector.partial_fit(rows)
    np.testing.assert_array_equal(copied.anomaly_score(rows), detector.anomaly_score(rows))
    assert detector.history_["loss"].shape == (2,)
    assert not hasattr(clone(detector), "params_")
    again = detector.fit(rows).anomaly_score(rows)
    np.testing.assert_array_equal(again, fresh("DeepSVDD").fit(rows).anomaly_score(rows))


def test_partial_fit_refuses_arguments_that_contradict_earlier_calls(rows):
    detector = fresh("DeepSVDD").partial_fit(rows)
    score = detector.anomaly_score(rows)
    with pytest.raises(ValueError, match="5 features"):
        detector.partial_fit(rows[:, :3])
    with pytest.raises(ValueError, match=r"other networks.*shapes differ"):
        detector.set_params(latent_dim=3).partial_fit(rows)
    with pytest.raises(ValueError, match="validation_fraction"):
        detector.set_params(latent_dim=4, validation_fraction=0.5).partial_fit(rows)
    with pytest.raises(ValueError, match=r"clip_norm=1.0.*weight_decay=None.*leave those"):
        detector.set_params(validation_fraction=0, clip_norm=1.0).partial_fit(rows)
    np.testing.assert_array_equal(detector.anomaly_score(rows), score)
    detector.set_params(clip_norm=None, learning_rate=1e-2).partial_fit(rows)


def test_a_failed_partial_fit_leaves_the_detector_unchanged(rows):
    one, other = (fresh("AutoEncoder").partial_fit(rows) for _ in range(2))
    rate = one.learning_rate
    with pytest.raises(jaxad.NonFiniteError):
        one.set_params(learning_rate=1e38).partial_fit(rows)
    one.set_params(learning_rate=rate)
    np.testing.assert_array_equal(one.anomaly_score(rows), other.anomaly_score(rows))
    one.partial_fit(rows), other.partial_fit(rows)
    np.testing.assert_array_equal(one.anomaly_score(rows), other.anomaly_score(rows))


# warm_start


@pytest.mark.parametrize("name", ["DeepSVDD", "GOAD"])
def test_a_warm_start_continues_the_previous_fit(name, rows):
    detector = fresh(name, warm_start=True, epochs=20).fit(rows)
    score, first = detector.anomaly_score(rows), detector.history_["loss"]
    scaler = detector.scaler_
    detector.set_params(epochs=0).fit(rows)
    np.testing.assert_allclose(detector.anomaly_score(rows), score, rtol=1e-4, atol=1e-5)
    detector.set_params(epochs=3).fit(rows)
    assert detector.history_["loss"][0] < first[0]
    assert detector.scaler_ is scaler


def test_a_warm_start_on_a_stream_and_without_an_earlier_fit(rows):
    warm, cold = fresh("DeepSVDD", warm_start=True), fresh("DeepSVDD")
    np.testing.assert_array_equal(
        warm.fit(rows).anomaly_score(rows), cold.fit(rows).anomaly_score(rows)
    )
    centre = np.array(warm.stats_["centre"])
    warm.set_params(pretrain_epochs=3).fit(data.stream(rows, rows=64))
    np.testing.assert_array_equal(warm.stats_["centre"], centre)
    assert not hasattr(warm, "pretrain_history_")


def test_a_warm_start_of_another_shape_is_refused_and_nothing_changes(rows):
    detector = fresh("DeepSVDD", warm_start=True).fit(rows)
    score = detector.anomaly_score(rows)
    for X, options, match in (
        (rows[:, :3], {}, "5 features"),
        (rows, {"hidden": (9,)}, "other networks"),
    ):
        with pytest.raises(ValueError, match=match):
            detector.set_params(**options).fit(X)
        np.testing.assert_array_equal(detector.anomaly_score(rows), score)


def test_a_failed_warm_start_leaves_the_detector_unchanged(rows):
    detector = fresh("AutoEncoder", warm_start=True).fit(rows)
    score = detector.anomaly_score(rows)
    with pytest.raises(jaxad.NonFiniteError):
        detector.set_params(learning_rate=1e38).fit(rows)
    np.testing.assert_array_equal(detector.anomaly_score(rows), score)


def test_the_pretraining_history_survives_continued_training(rows):
    detector = fresh("DeepSVDD", pretrain_epochs=2)
    detector.partial_fit(rows).partial_fit(rows)
    assert len(detector.pretrain_history_["loss"]) == 2
    detector.set_params(pretrain_epochs=0, warm_start=True).fit(rows)
    assert len(detector.pretrain_history_["loss"]) == 2
    detector.set_params(warm_start=False).fit(rows)
    assert not hasattr(detector, "pretrain_history_")


# Ensembles


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_source_that_can_be_read_once_is_read_once_by_all_members(n_members, rows):
    detector = fresh("AutoEncoder", n_members=n_members).fit(rows)
    blocks = [rows[:100], rows[100:]]
    for method in ("member_scores", "transform", "reconstruct", "predict"):
        found = getattr(detector, method)(data.stream(iter(blocks), rows=128))
        np.testing.assert_array_equal(found, getattr(detector, method)(rows))


def test_every_member_of_an_ensemble_continues(rows):
    """In memory as one population; by partial_fit and on streams one after the other."""
    options = {"n_members": 2, "combine": "z"}
    fitted = fresh("DeepSVDD", **options).fit(rows)
    detector = fresh("DeepSVDD", **options)
    for _ in range(3):
        detector.partial_fit(rows)
    np.testing.assert_allclose(
        detector.member_scores(rows), fitted.member_scores(rows), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(detector.history_["loss"], fitted.history_["loss"], rtol=1e-4)
    assert detector.n_steps_ == fitted.n_steps_
    centre = np.array(fitted.stats_["centre"])
    fitted.set_params(warm_start=True).fit(rows)
    np.testing.assert_array_equal(fitted.stats_["centre"], centre)
    scores = fitted.member_scores(rows)
    fitted.set_params(epochs=0).fit(data.stream(rows, rows=128))
    np.testing.assert_allclose(fitted.member_scores(rows), scores, rtol=1e-3, atol=1e-5)
    assert fitted.n_members_ == 2
    assert fresh("DeepSVDD", n_members="auto").fit(data.stream(rows)).n_members_ == 1


# Few rows


@pytest.mark.parametrize("name", list(DETECTORS))
@pytest.mark.defect
def test_a_single_normal_row_does_not_wreck_a_fitted_detector(name, rows):
    detector = fresh(name, contamination=0.05).fit(rows)
    before = detector.threshold_, jax.tree.map(np.array, detector.stats_)
    params = jax.tree.map(np.array, detector.params_)
    label = [-1] if name == "DeepSAD" else None  # a known anomaly, too
    detector.partial_fit(rows[:1], label)
    assert np.mean(detector.predict(rows) < 0) < 0.1
    assert detector.threshold_ == before[0]
    jax.tree.map(np.testing.assert_array_equal, detector.stats_, before[1])
    assert any(map(np.any, jax.tree.leaves(jax.tree.map(np.not_equal, params, detector.params_))))


@pytest.mark.parametrize("begins", ["fit", "partial_fit"])
def test_few_rows_join_the_earlier_ones(begins, rows):
    """After 256 rows, or from the first call on if it was no fit."""
    detector = fresh("DAGMM", contamination=0.05)
    getattr(detector, begins)(rows[:200])
    threshold = detector.threshold_
    detector.partial_fit(rows[200:205])
    assert (detector.threshold_ == threshold) == (begins == "fit")
    detector.partial_fit(rows)
    assert detector.threshold_ != threshold
    assert np.mean(detector.predict(rows) < 0) == pytest.approx(0.05, abs=0.02)
    copied = pickle.loads(pickle.dumps(detector)).partial_fit(rows[:5])
    detector.partial_fit(rows[:5])
    np.testing.assert_array_equal(copied.anomaly_score(rows), detector.anomaly_score(rows))


def test_statistics_are_those_of_the_last_rows(monkeypatch, rows):
    monkeypatch.setattr(incremental, "WINDOW", 120)
    detector = fresh("DeepSVDD", learning_rate=1e-12).partial_fit(rows)  # weights stay
    for start in range(0, 300, 60):
        detector.partial_fit(rows[start : start + 60])
        latest = np.concatenate([rows, rows[: start + 60]])[-120:]
        expected = np.quantile(detector.anomaly_score(latest), 0.9)
        assert detector.threshold_ == pytest.approx(expected, rel=1e-4)
    assert len(detector._recent.rows.x) == 120
    detector.partial_fit(rows)  # a longer call alone
    assert detector.threshold_ == pytest.approx(
        np.quantile(detector.anomaly_score(rows), 0.9), 1e-4
    )


@pytest.mark.defect
@pytest.mark.parametrize(("count", "share"), [(1, 1 / 1024), (256, 0.25), (300, 300 / 1024)])
def test_few_rows_train_at_a_rate_in_proportion_to_the_batch(count, share, rows, monkeypatch):
    detector = fresh("DeepSVDD", epochs=1, batch_size=1024, n_members=1).fit(rows)
    recipes = []
    advance = training.advance

    def watched(objective, recipe, *given, **options):
        recipes.append(recipe)
        return advance(objective, recipe, *given, **options)

    monkeypatch.setattr(training, "advance", watched)
    detector.partial_fit(rows[:count])
    assert recipes[0].learning_rate == pytest.approx(share * detector.learning_rate)
