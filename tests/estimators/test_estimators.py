"""The detectors as a user meets them: options, error messages, files."""

import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import pandas as pd
import pytest
from cases import DETECTORS, fresh
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

import jaxad
from jaxad import networks, objectives, training
from jaxad.estimators import prepare


@pytest.fixture(params=list(DETECTORS))
def name(request):
    return request.param


def test_scores_agree_with_each_other(name, rows):
    detector = fresh(name).fit(rows)
    score = detector.anomaly_score(rows)
    np.testing.assert_array_equal(detector.score_samples(rows), -score)
    np.testing.assert_array_equal(
        detector.decision_function(rows), detector.score_samples(rows) - detector.offset_
    )
    flagged = detector.predict(rows) == -1
    np.testing.assert_array_equal(flagged, score > detector.threshold_)
    assert abs(flagged.mean() - 0.1) < 0.01


def test_the_threshold_can_be_changed_after_fitting(rows):
    detector = fresh("DeepSVDD").fit(rows)
    detector.threshold_ = float(np.median(detector.anomaly_score(rows)))
    assert (detector.predict(rows) == -1).mean() == 0.5


def test_contamination_zero_flags_no_training_row(name, rows):
    assert (fresh(name, contamination=0).fit(rows).predict(rows) == 1).all()


def test_refitting_with_the_same_seed_is_bit_identical(name, rows):
    scores = [fresh(name).fit(rows).anomaly_score(rows) for _ in range(2)]
    np.testing.assert_array_equal(*scores)
    other = fresh(name, random_state=1).fit(rows).anomaly_score(rows)
    assert (scores[0] != other).any()


def test_random_state_may_be_a_generator_or_nothing(rows):
    fresh("DeepSVDD", random_state=np.random.default_rng(0)).fit(rows)
    fresh("DeepSVDD", random_state=None).fit(rows)


def test_data_frames_integers_and_lists(rows):
    frame = pd.DataFrame(rows, columns=list("abcde"))
    detector = fresh("DeepSVDD").fit(frame)
    np.testing.assert_array_equal(
        detector.anomaly_score(frame), fresh("DeepSVDD").fit(rows).anomaly_score(rows)
    )
    integers = (rows * 10).astype(int)
    assert np.isfinite(fresh("DeepSVDD").fit(integers).anomaly_score(integers.tolist())).all()


@pytest.mark.parametrize("scaler", ["auto", "standard", "minmax", "robust", "none"])
def test_scalers_are_fitted_inside_and_applied_in_scoring(scaler, rows):
    shifted = rows * 100 + 1000
    detector = fresh("DeepSVDD", scaler=scaler).fit(shifted)
    assert np.isfinite(detector.anomaly_score(shifted)).all()
    if scaler != "none":
        plain = fresh("DeepSVDD", scaler=scaler).fit(rows)
        np.testing.assert_allclose(
            detector.anomaly_score(shifted), plain.anomaly_score(rows), rtol=2e-3
        )


def test_small_differences_of_large_numbers_survive_until_they_are_scaled(rows):
    far = rows.astype(np.float64) / 1000 + 1e6
    found, expected = (prepare.plan(fresh("DeepSVDD"), x, None).rows.like.x for x in (far, rows))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_validation_and_early_stopping(rows):
    options = {"validation_fraction": 0.3, "patience": 3, "epochs": 400, "learning_rate": 0.01}
    detector = fresh("AutoEncoder", **options).fit(rows)
    losses = detector.history_["validation_loss"]
    assert len(losses) < 400
    assert detector.best_epoch_ == int(np.argmin(losses))


def test_a_pipeline_and_a_grid_search(rows):
    pipeline = make_pipeline(QuantileTransformer(n_quantiles=50), fresh("DeepSVDD"))
    assert pipeline.fit(rows).predict(rows).shape == (300,)

    def spread(estimator, X, y=None):
        return float(np.std(estimator.anomaly_score(X)))

    search = GridSearchCV(fresh("DeepSVDD"), {"learning_rate": [1e-3, 1e-4]}, scoring=spread, cv=2)
    assert search.fit(rows).best_params_["learning_rate"] in (1e-3, 1e-4)


@pytest.mark.parametrize("name", ["DeepSVDD", "DAGMM", "GOAD", "AutoEncoder"])
def test_labels_are_ignored_by_detectors_that_take_none(name, rows):
    with_labels = fresh(name).fit(rows, np.arange(300)).anomaly_score(rows)
    np.testing.assert_array_equal(with_labels, fresh(name).fit(rows).anomaly_score(rows))


def test_reconstructions_are_in_the_units_of_the_input(rows):
    shifted = rows * 50 + 300
    detector = fresh("AutoEncoder", epochs=300).fit(shifted)
    error = np.abs(detector.reconstruct(shifted) - shifted).mean()
    assert error < 0.8 * np.abs(shifted - shifted.mean(0)).mean()


def test_pretraining_reaches_the_detector(rows):
    pretrained = fresh("DeepSVDD", pretrain_epochs=5, epochs=0).fit(rows)
    untouched = fresh("DeepSVDD", epochs=0).fit(rows)
    assert len(pretrained.pretrain_history_["loss"]) == 5
    assert pretrained.pretrain_history_["loss"][-1] < pretrained.pretrain_history_["loss"][0]
    different = jax.tree.map(
        lambda a, b: bool((a != b).any()), pretrained.params_, untouched.params_
    )
    assert all(jax.tree.leaves(different))


def test_pretraining_has_the_loss_of_each_papers_code(rows):
    """Deep SVDD sums over a row's entries, Deep SAD averages."""
    of_svdd, of_sad = (
        fresh(name, pretrain_epochs=1, epochs=0).fit(rows).pretrain_history_["loss"][0]
        for name in ("DeepSVDD", "DeepSAD")
    )
    np.testing.assert_allclose(of_svdd, rows.shape[1] * of_sad, rtol=0.1)


def test_a_users_network(rows):
    class Custom(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, use_bias=False)(nn.relu(nn.Dense(8, use_bias=False)(x)))

    detector = fresh("DeepSVDD", network=Custom()).fit(rows)
    assert detector.transform(rows).shape == (300, 3)


TRAINING = {
    **{"epochs": 23, "batch_size": 41, "learning_rate": 0.01171875, "clip_norm": 3.59375},
    **{"weight_decay": 0.01953125, "milestones": (17, 19), "patience": 29, "trim": 0.21875},
}
ARGUMENTS = [
    ("DeepSVDD", {"objective": "soft-boundary", "nu": 0.3125, "warm_up_epochs": 7.25}),
    ("DeepSAD", {"eta": 1.78125, "epsilon": 0.0703125, "anomalies_in_centre": True}),
    ("AutoEncoder", {"noise": 0.28125, "time_decay": 0.0078125}),
    ("DAGMM", {"lambda_energy": 0.40625, "lambda_covariance": 0.0390625, "jitter": 0.015625}),
    ("DAGMM", {"n_components": 7, "dropout": 0.34375, "network_dropout": 0.15625}),
    ("GOAD", {"margin": 1.4375, "triplet_weight": 0.28125, "epsilon": 0.0234375}),
    ("GOAD", {"map_scale": 1.34375, "map_offset": 0.71875, "reconstruction_weight": 0.53125}),
]


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS, ids=str)
def test_arguments_reach_objective_and_recipe(name, arguments, rows):
    """Odd values, which stand nowhere by themselves."""
    arguments = TRAINING | arguments
    y = np.where(np.arange(300) < 9, -1, 0)
    run = prepare.plan(fresh(name, **arguments), rows, y).run
    told = repr((run.objective, run.recipe))
    lost = [name for name, value in arguments.items() if f"{value}" not in told]
    assert set(lost) <= {"objective"}  # the soft boundary is a function
    if "network_dropout" in arguments:  # of the input and of all units, in encoder and decoder
        assert told.count("dropout = 0.15625") == 4


def test_the_default_latent_space_of_dagmm_is_no_wider_than_the_rows(rows):
    widths = [
        prepare.plan(jaxad.DAGMM(random_state=0), x, None).objective.encoder.widths[-1]
        for x in (rows, np.tile(rows, 3))
    ]
    assert widths == [5, 8]


# Files


def test_a_saved_detector_gives_equal_scores_in_a_new_process(name, rows, tmp_path):
    detector = fresh(name).fit(rows)
    path, data, out = tmp_path / "d.safetensors", tmp_path / "x.npy", tmp_path / "s.npy"
    detector.save(path)
    np.save(data, rows)
    loaded = jaxad.load(path)
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))
    np.testing.assert_array_equal(loaded.predict(rows), detector.predict(rows))
    assert loaded.get_params() == detector.get_params()
    if name == "DeepSVDD":  # one new process is enough: the file is the same kind for all
        code = (
            "import jaxad, numpy as np, sys; path, data, out = sys.argv[1:]; "
            "np.save(out, jaxad.load(path).anomaly_score(np.load(data)))"
        )
        subprocess.run([sys.executable, "-c", code, path, data, out], check=True)
        np.testing.assert_array_equal(np.load(out), detector.anomaly_score(rows))


def test_a_saved_detector_keeps_names_and_history(rows, tmp_path):
    frame = pd.DataFrame(rows, columns=list("abcde"))
    detector = fresh("DeepSVDD").fit(frame)
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    assert loaded.feature_names_in_.tolist() == list("abcde")
    np.testing.assert_array_equal(loaded.history_["loss"], detector.history_["loss"])
    with pytest.raises(ValueError, match="feature names"):
        loaded.anomaly_score(frame.rename(columns={"a": "z"}))


def test_loading_needs_the_flax_modules(rows, tmp_path):
    network = networks.MLP((6, 3))
    detector = fresh("DeepSVDD", network=network).fit(rows)
    detector.save(tmp_path / "d")
    with pytest.raises(ValueError, match="network"):
        jaxad.load(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d", network=network)
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))


def test_an_unfitted_detector_is_not_saved(tmp_path):
    with pytest.raises(Exception, match="not fitted"):
        fresh("DeepSVDD").save(tmp_path / "d")
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_is_named(tmp_path):
    (tmp_path / "d").write_bytes(b"hello")
    with pytest.raises(jaxad.FileFormatError, match="d"):
        jaxad.load(tmp_path / "d")


def test_a_file_of_another_objective_is_refused(rows, tmp_path, monkeypatch):
    fresh("GOAD").fit(rows).save(tmp_path / "d")
    made = jaxad.GOAD._objective
    other = lambda self, *given: objectives.Compound((made(self, *given),), (1.0,))  # noqa: E731
    monkeypatch.setattr(jaxad.GOAD, "_objective", other)
    with pytest.raises(jaxad.FileFormatError, match="trained for 'ViewClassifier'.*'Compound'"):
        jaxad.load(tmp_path / "d")


@pytest.mark.defect
@pytest.mark.parametrize("n_members", [1, 2])
def test_latent_vectors_are_named_for_pandas(n_members, rows):
    detector = fresh("DeepSVDD", n_members=n_members).fit(rows).set_output(transform="pandas")
    columns = detector.transform(rows).columns.tolist()
    assert columns == [f"deepsvdd{i}" for i in range(4 * n_members)]


# Bad input: each names the argument and the value, before anything is compiled

BAD_ROWS = {
    "nan": (lambda x: np.where(np.arange(5) == 2, np.nan, x), "NaN"),
    "inf": (lambda x: np.where(np.arange(5) == 2, np.inf, x), "infinity"),
    "strings": (lambda x: np.full((9, 2), "abc"), "could not convert|numeric"),
    "one row": (lambda x: x[:1], "sample"),
    "empty": (lambda x: x[:0], "sample"),
    "a column": (lambda x: x[:, 0], "2D|two"),
    "images": (lambda x: np.zeros((9, 8, 8)), "network for images"),
    "text column": (
        lambda x: pd.DataFrame({"a": [1.0, 2, 3], "city": ["x", "y", "z"]}),
        "'city'",
    ),
}


@pytest.mark.parametrize("case", list(BAD_ROWS))
def test_invalid_rows_raise_before_compiling(case, rows):
    make, match = BAD_ROWS[case]
    with training.Stopwatch() as watch, pytest.raises(ValueError, match=match):
        fresh("DeepSVDD").fit(make(rows))
    assert watch.compilations == 0


BAD_OPTIONS = [
    ("DeepSVDD", {"nu": 0}),
    ("DeepSVDD", {"nu": 1.7}),
    ("DeepSVDD", {"contamination": 0.6}),
    ("DeepSVDD", {"contamination": -0.1}),
    ("DeepSVDD", {"hidden": (8, 0)}),
    ("DeepSVDD", {"latent_dim": -2}),
    ("DeepSVDD", {"batch_size": 0}),
    ("DeepSVDD", {"epochs": -1}),
    ("DeepSVDD", {"learning_rate": 0}),
    ("DeepSVDD", {"objective": "two-class"}),
    ("DeepSVDD", {"network": "resnet"}),
    ("DeepSVDD", {"scaler": "quantile"}),
    ("DeepSVDD", {"validation_fraction": 1.0}),
    ("DeepSVDD", {"patience": 0}),
    ("DeepSVDD", {"n_members": 0}),
    ("DeepSVDD", {"n_members": 2.5}),
    ("DeepSVDD", {"combine": "median"}),
    ("DeepSVDD", {"random_state": "x"}),
    ("DeepSAD", {"eta": 0}),
    ("DAGMM", {"n_components": 301}),
    ("DAGMM", {"latent_dim": 6}),
    ("DAGMM", {"jitter": 0}),
    ("DAGMM", {"dropout": 1.0}),
    ("GOAD", {"n_transforms": 1}),
    ("GOAD", {"epsilon": 0}),
    ("AutoEncoder", {"noise": -1}),
]


@pytest.mark.parametrize(("name", "options"), BAD_OPTIONS, ids=str)
def test_arguments_out_of_range_are_named_before_compiling(name, options, rows):
    (argument,) = options
    with training.Stopwatch() as watch, pytest.raises((ValueError, TypeError), match=argument):
        fresh(name, **options).fit(rows)
    assert watch.compilations == 0


def test_another_number_of_features_at_scoring(rows):
    with pytest.raises(ValueError, match="5 features"):
        fresh("DeepSVDD").fit(rows).anomaly_score(rows[:, :3])


def test_an_image_network_on_a_table(rows):
    with pytest.raises(ValueError, match=r"\[N, H, W"):
        fresh("DeepSVDD", network="conv").fit(rows)


@pytest.mark.parametrize("bad", [[0, 1, 2], [0.5, 0, 0], ["a", "b", "c"]])
def test_labels_outside_the_convention(bad, rows):
    with pytest.raises((ValueError, TypeError), match="y"):
        fresh("DeepSAD").fit(rows[:3], bad)


def test_only_anomalies_labelled_only_normals_labelled_no_unlabelled_rows(rows):
    label = np.zeros(300, int)
    for marks in ({0: -1}, {0: 1, 1: -1}):
        some = label.copy()
        for row, mark in marks.items():
            some[row] = mark
        assert np.isfinite(fresh("DeepSAD").fit(rows, some).anomaly_score(rows)).all()
    everything = np.where(np.arange(300) < 20, -1, 1)
    detector = fresh("DeepSAD", pretrain_epochs=2).fit(rows, everything)
    assert np.isfinite(detector.anomaly_score(rows)).all()
    with pytest.raises(ValueError, match="at least one"):
        fresh("DeepSAD").fit(rows, np.full(300, -1))


def test_labels_from_a_column_of_zeros_and_ones():
    assert jaxad.labels_from_anomalies([0, 1, 0]).tolist() == [0, -1, 0]


def test_a_far_too_high_rate_does_not_fail_silently(rows):
    """The card-fraud example trains Deep SAD at rate 0.1: a clean result, a warning or an error."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            label = np.zeros(300, int)
            label[:5] = -1
            options = {"learning_rate": 0.1, "epochs": 200, "eta": 1.5}
            detector = fresh("DeepSAD", **options).fit(rows, label)
        except jaxad.NonFiniteError:
            return
    score = detector.anomaly_score(rows)
    assert np.isfinite(score).all()
    assert len(np.unique(score)) > 250 or any(
        issubclass(w.category, jaxad.CollapseWarning) for w in caught
    )


def test_goad_with_a_linear_trunk_is_explained(rows):
    with pytest.warns(jaxad.CollapseWarning, match="linear"):
        fresh("GOAD", hidden=()).fit(rows)


@pytest.mark.parametrize(
    ("dataset", "hidden", "others"),
    [
        ("kddcup", (60, 30, 10), (1, 4, 200, 1024)),
        ("kddcup_rev", (60, 30, 10), (1, 2, 400, 1024)),
        ("thyroid", (12, 4), (1, 2, 20_000, 1024)),
        ("arrhythmia", (10,), (2, 2, 10_000, 128)),
    ],
)
def test_dagmm_paper_settings(dataset, hidden, others):
    """Section 4.3 of the paper."""
    paper = jaxad.DAGMM.paper(dataset, random_state=3)
    assert paper.hidden == hidden
    names = "latent_dim", "n_components", "epochs", "batch_size"
    assert tuple(getattr(paper, name) for name in names) == others
    assert (paper.jitter, paper.clip_norm, paper.learning_rate) == (1e-6, None, 1e-4)
    with pytest.raises(ValueError, match="thyroid"):
        jaxad.DAGMM.paper("iris")
