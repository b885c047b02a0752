"""Lists of detectors, sweeps and cross-validation: one population, the same detectors."""

import numpy as np
import pandas as pd
import pytest
from cases import fresh
from scipy import stats
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import jaxad
from jaxad import training

SMALL = {"hidden": (8,), "latent_dim": 3, "epochs": 3, "batch_size": 64, "n_members": 1}
SVDD = jaxad.DeepSVDD(**SMALL)


@pytest.fixture
def planted(rng):
    x = rng.normal(size=(260, 4)).astype(np.float32)
    marks = np.arange(260) >= 240
    x[marks] += 4
    return x, marks


@pytest.mark.parametrize(
    ("detector", "options"),
    [
        (jaxad.DeepSVDD, {"objective": "soft-boundary", "pretrain_epochs": 2}),
        (jaxad.DeepSAD, {"validation_fraction": 0.2}),
        (jaxad.AutoEncoder, {}),
        (jaxad.GOAD, {"n_transforms": 8}),
        (jaxad.DAGMM, {"n_components": 2}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_fit_many_equals_single_fits(detector, options, rows):
    y = np.zeros(len(rows), int)
    y[:5] = -1
    made = [
        detector(**SMALL, **options, learning_rate=rate, random_state=seed)
        for seed, rate in enumerate((1e-3, 3e-3))
    ]
    assert jaxad.fit_many(made, rows, y) == made
    alone = detector(**SMALL, **options, learning_rate=3e-3, random_state=1).fit(rows, y)
    expected = alone.anomaly_score(rows)
    tolerance = {"rtol": 1e-3, "atol": 1e-4 * np.abs(expected).max()}
    np.testing.assert_allclose(made[1].anomaly_score(rows), expected, **tolerance)
    np.testing.assert_allclose(made[1].threshold_, alone.threshold_, **tolerance)
    np.testing.assert_allclose(made[1].history_["loss"], alone.history_["loss"], rtol=1e-3)
    assert set(vars(made[1])) == set(vars(alone))


def test_each_structure_is_one_population(rows):
    made = [jaxad.DeepSVDD(**(SMALL | {"hidden": (n,)})) for n in (8, 4, 8)]
    jaxad.fit_many([*made, jaxad.AutoEncoder(**SMALL)], rows)
    widths = [d.params_["encoder"]["Dense_0"]["kernel"].shape[1] for d in made]
    assert widths == [8, 4, 8]


def test_subsets_are_scaled_by_themselves(rows):
    table = pd.DataFrame(rows * [1, 10, 100, 1, 1], columns=list("abcde"))
    half = np.arange(150)
    both = [jaxad.DeepSVDD(**SMALL) for _ in range(2)]
    jaxad.fit_many(both, table, subsets=[half, half + 150])
    np.testing.assert_allclose(both[1].scaler_.shift, table[150:].mean(), rtol=1e-4, atol=1e-5)
    assert both[0].feature_names_in_.tolist() == list("abcde")


def test_a_failing_detector_stays_unfitted(rows):
    options = SMALL | {"epochs": 60}
    made = [jaxad.AutoEncoder(**options, learning_rate=rate) for rate in (1e-3, 1e30)]
    with pytest.warns(RuntimeWarning, match="left unfitted"):
        jaxad.fit_many(made, rows)
    assert made[0].predict(rows).shape == (300,)
    with pytest.raises(NotFittedError):
        made[1].predict(rows)


def test_a_detector_with_failing_pretraining_stays_unfitted(rows):
    made = [
        jaxad.DeepSVDD(**SMALL, pretrain_epochs=60, pretrain_learning_rate=rate)
        for rate in (1e-3, 1e30)
    ]
    with pytest.warns(RuntimeWarning, match="left unfitted"):
        jaxad.fit_many(made, rows)
    assert made[0].predict(rows).shape == (300,)
    with pytest.raises(NotFittedError):
        made[1].predict(rows)


def test_a_sweep_lists_every_setting_and_seed(planted):
    x, marks = planted
    grid = {"learning_rate": [1e-3, 1e-2], "nu": [0.1]}
    found = jaxad.sweep(SVDD, grid, x[:200], test=(x[200:], marks[200:]), seeds=3, progress=False)
    assert len(found) == 6
    one = found[(found.learning_rate == 1e-2) & (found.seed == 2)].iloc[0]
    alone = jaxad.DeepSVDD(**SMALL, learning_rate=1e-2, random_state=2).fit(x[:200])
    np.testing.assert_allclose(one.loss, alone.history_["loss"][-1], rtol=1e-4)
    assert (found.auroc > 0.9).all()
    np.testing.assert_allclose(
        one.detector.anomaly_score(x), alone.anomaly_score(x), rtol=1e-4, atol=1e-5
    )
    assert not hasattr(SVDD, "params_")


def test_a_random_sweep_draws_settings(planted):
    grid = {"learning_rate": stats.loguniform(1e-4, 1e-2)}
    found = jaxad.sweep(SVDD, grid, planted[0], n_iter=4, seeds=1, progress=False)
    assert found.learning_rate.nunique() == 4
    assert found.learning_rate.between(1e-4, 1e-2).all()
    assert "auroc" not in found


def test_cross_validation_scores_only_rows_left_out(planted):
    x, marks = planted
    found = jaxad.cross_val(SVDD, x, marks, folds=4, seeds=2, progress=False)
    assert len(found) == 8
    assert found.auroc.mean() > 0.9
    again = jaxad.cross_val(SVDD, x, marks, folds=4, seeds=2, progress=False)
    pd.testing.assert_frame_equal(found.drop(columns="detector"), again.drop(columns="detector"))
    assert found.detector[0].scaler_.shift[0] != found.detector[1].scaler_.shift[0]


@pytest.mark.parametrize(
    ("grid", "options", "match"),
    [
        ({"eta": [1]}, {}, "DeepSVDD cannot vary 'eta': it has batch_norm"),
        ({"random_state": [1]}, {}, "use seeds="),
        ({}, {"seeds": 0}, "seeds=0"),
        ({}, {"folds": 3}, "folds needs is_anomaly"),
        ({}, {"is_anomaly": np.ones(3)}, "is_anomaly is for folds"),
        ({}, {"is_anomaly": np.ones(3), "folds": 2}, "3 marks for 300 rows"),
        ({}, {"test": (np.ones((2, 5)), [-1, 1])}, r"is_anomaly\[0\]=-1 is neither"),
        ({"nu": [0.1, 2.0]}, {}, "nu=2.0"),
    ],
)
def test_invalid_arguments_raise_before_compiling(grid, options, match, rows):
    with training.Stopwatch() as watch, pytest.raises(ValueError, match=match):
        jaxad.sweep(SVDD, grid, rows, progress=False, **options)
    assert watch.compilations == 0


def test_every_detector_needs_a_subset(rows):
    with pytest.raises(ValueError, match="1 subsets for 2 detectors"):
        jaxad.fit_many([SVDD, SVDD], rows, subsets=[np.arange(9)])


def test_a_pipeline_is_told_how_to_be_swept(rows):
    pipeline = make_pipeline(StandardScaler(), jaxad.DeepSVDD())
    with pytest.raises(TypeError, match=r"Pipeline: .*pipeline\[-1\], and rows"):
        jaxad.sweep(pipeline, {}, rows)


@pytest.mark.defect
def test_a_plan_that_fails_leaves_fitted_detectors_as_they_were(rows):
    fitted = fresh("DeepSVDD", epochs=1).fit(rows)
    before = fitted.anomaly_score(rows)
    with pytest.raises(ValueError, match="learning_rate"):
        jaxad.fit_many([fitted, fresh("DeepSVDD", learning_rate=-1)], rows[:, :3])
    np.testing.assert_array_equal(fitted.anomaly_score(rows), before)
