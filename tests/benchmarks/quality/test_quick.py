"""The quick suite: its sets, the reference detectors and a run from end to end."""

import numpy as np
import pytest

from benchmarks import run
from benchmarks.quality import quick, references
from benchmarks.quality.detectors import DETECTORS
from benchmarks.record import rows, suite
from benchmarks.record.rows import Row


@pytest.mark.parametrize("name", quick.SETS)
def test_split_trains_on_half_of_the_normal_rows(name):
    dataset = quick.load(name)
    split = quick.split(dataset, seed=0)
    normal = int((~dataset.is_anomaly).sum())
    assert len(split.train) == normal // 2
    assert len(split.known) == quick.KNOWN
    assert split.is_anomaly.sum() == dataset.is_anomaly.sum() - quick.KNOWN
    assert split.train.dtype == np.float32
    # The three parts together are the whole set: no row twice, none left out.
    together = np.concatenate([split.train, split.known, split.test])
    assert sorted(map(bytes, together)) == sorted(map(bytes, dataset.x))


def test_split_follows_its_seed_and_images_are_the_same_rows():
    table_set, image_set = quick.load("digits"), quick.load("digits_images")
    one, two = quick.split(table_set, 0), quick.split(table_set, 1)
    assert not np.array_equal(one.train, two.train)
    np.testing.assert_array_equal(one.train, quick.split(table_set, 0).train)
    pictures = quick.split(image_set, 0)
    np.testing.assert_array_equal(pictures.test.reshape(len(one.test), 64), one.test)


def test_unknown_dataset_names_the_valid_ones():
    with pytest.raises(ValueError, match="valid: breast_cancer, digits, digits_images"):
        quick.load("cats")


@pytest.mark.parametrize("kind", [references.IsolationForest, references.NearestNeighbours])
def test_controls_rank_far_rows_higher_and_flag_their_share(kind):
    x = np.random.default_rng(0).normal(size=(400, 2, 2)) * 100
    detector = kind(contamination=0.1, random_state=0).fit(x)
    near, far = detector.anomaly_score(np.stack([np.zeros((2, 2)), np.full((2, 2), 900.0)]))
    assert far > detector.threshold_ > near
    fresh = np.random.default_rng(1).normal(size=(2000, 2, 2)) * 100
    assert 0.05 < np.mean(detector.anomaly_score(fresh) > detector.threshold_) < 0.2


@pytest.mark.slow
def test_quick_suite_end_to_end(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text("seeds = 1\nepochs = 1\n")
    chosen = ["--datasets", "breast_cancer", "--detectors", "deep_svdd,nearest_neighbours"]
    out = tmp_path / "out"
    assert run.main(["quick", "--config", str(path), *chosen, "--out", str(out)]) == 0
    result = rows.read(out)
    assert [row.detector for row in result.rows] == [
        "deep_svdd",
        "deep_svdd untrained",
        "nearest_neighbours",
    ]
    for row in result.rows:
        assert 0.5 < row.metrics["auroc"][0] <= 1
        assert row.metrics["score_rows_per_second"][0] > 0
    drawn = {path.stem for path in out.glob("*.png")}
    assert drawn == {"loss_curves", "score_histogram", "latent_scatter"}
    printed = capsys.readouterr().out
    assert "95% quantile of the scores of 20% of the training rows, held out" in printed
    assert printed.splitlines()[-1] == f"results: {out}"


def test_a_detector_of_the_table_is_measured_without_further_change(monkeypatch):
    monkeypatch.setitem(DETECTORS, "sixth", DETECTORS["goad"])
    model = quick.build("sixth", False, epochs=3, contamination=0.1, random_state=0)
    assert (model.epochs, model.n_members) == (3, 1)
    settings = quick.DEFAULTS
    assert quick._epochs(quick.load("digits"), "sixth", settings) == ("auto", 0)
    assert quick._epochs(quick.load("digits_images"), "sixth", settings) == ()


def aurocs(**values):
    """Rows of breast_cancer; a name's double underscore is its space."""
    made = {name.replace("__", " "): {"auroc": auroc} for name, auroc in values.items()}
    return [Row("breast_cancer", name, metrics) for name, metrics in made.items()]


def test_the_table_ends_with_what_to_conclude():
    paid = aurocs(
        goad=[0.90, 0.92, 0.91],
        goad__untrained=[0.80, 0.81, 0.80],
        nearest_neighbours=[0.85, 0.85, 0.86],
    )
    text = suite.text(quick, paid, {**quick.DEFAULTS, "datasets": ("breast_cancer",)})
    assert " ".join(text.split()).endswith(
        "in 1 of 1 cases (breast_cancer: goad) and lowered it in 0. Without labels, the best "
        "trained detector ranked better than nearest_neighbours by more than two standard errors "
        "on 1 of 1 sets (breast_cancer: goad, 91.0 against 85.3)."
    )
    lost = aurocs(
        deep_sad=[0.99, 0.98],  # knows anomalies, so it is not compared with the references
        goad=[0.80, 0.81],
        goad__untrained=[0.90, 0.90],
        dagmm=[0.7, 0.9],  # no difference beyond its spread
        dagmm__untrained=[0.8, 0.79],
        nearest_neighbours=[0.85, 0.86],
        isolation_forest=[0.95, 0.95],
    )
    concluded = quick.conclusion(lost)
    assert "in 0 of 2 cases and lowered it in 1 (breast_cancer: goad)." in concluded
    assert "on 0 of 1 sets; on breast_cancer take a reference" in concluded
    assert quick.conclusion(lost) in quick.summary(lost, quick.DEFAULTS)


def test_what_was_not_measured_is_not_concluded():
    assert "One seed does not tell" in quick.conclusion(aurocs(goad=[0.9]))
    concluded = quick.conclusion(aurocs(goad=[0.9, 0.8]))
    assert "No detector was measured beside its untrained copy" in concluded
    assert "No reference was measured" in concluded
    assert quick.conclusion([Row("digits", "goad", missing="failed")]) == ""
