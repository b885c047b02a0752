"""The suite on ODDS and ADBench's tables: what it measures, keeps, compares and draws."""

import warnings

import numpy as np
import pytest

import jaxad
from benchmarks import run
from benchmarks.internals import is_there
from benchmarks.quality import adbench, reference_numbers, references
from benchmarks.record import rows as results
from jaxad import data

SETTINGS = adbench.DEFAULTS | {"seeds": 2, "settings": ("half",)}


class Still:
    """A detector that learns its rows' mean: nothing to compile."""

    fitted = ()

    def __init__(self, *, epochs, random_state):
        self.epochs = epochs

    def fit(self, x, y=None):
        Still.fitted += ((x, y),)
        self.mean = x.mean(axis=0)
        return self

    def anomaly_score(self, x):
        return np.abs(x - self.mean * (self.epochs != 0)).sum(axis=1)


class Broken(Still):
    def fit(self, x, y=None):
        raise FloatingPointError("the third step was not finite")


class Blind(Still):
    def anomaly_score(self, x):
        return np.where(np.arange(len(x)) == 3, np.nan, 1.0)


def small(epochs, random_state):
    return jaxad.AutoEncoder(
        hidden=(),
        latent_dim=2,
        noise=0,
        epochs=epochs,
        batch_size=64,
        n_members=1,
        random_state=random_state,
    )


def table_of(name):
    rng = np.random.default_rng(len(name))
    is_anomaly = rng.permutation(60) < 12
    return rng.normal(size=(60, 4)) + 3 * is_anomaly[:, None], is_anomaly


@pytest.fixture
def sets(monkeypatch):
    """Made tables under the names of sets."""
    monkeypatch.setattr(adbench, "load", table_of)
    monkeypatch.setattr(Still, "fitted", ())
    adbench._prepared.cache_clear()


@pytest.fixture
def command(sets, monkeypatch, tmp_path):
    """Run the suite on two sets with one epoch; returns the exit status and the rows."""
    for name in ("dagmm", "goad", "deep_sad"):
        monkeypatch.setitem(adbench.LEARNED, name, Still)
    config = tmp_path / "config.toml"
    config.write_text("epochs = 1\n")

    def command(out, *chosen, detectors="dagmm,knn_5th"):
        chosen = chosen or ("--seeds", "2", "--datasets", "wine,glass", "--settings", "half")
        detectors = ("--detectors", detectors, "--config", str(config))
        status = run.main(["adbench", *chosen, *detectors, "--out", str(tmp_path / out)])
        written = (tmp_path / out / results.FILE).exists()
        return status, results.read(tmp_path / out).rows if written else []

    return command


def without_times(rows):
    return [
        (
            row.dataset,
            row.detector,
            {k: v for k, v in row.metrics.items() if not k.endswith("seconds")},
            {k: v for k, v in row.details.items() if k != "seconds"},
            row.missing,
        )
        for row in rows
    ]


def stopping_after(count, monkeypatch):
    """Let the suite fit so many times and then interrupt it; returns what is fitted."""
    fit, fitted = adbench.fit_and_score, []

    def fit_and_score(detector, epochs, seed, x, case):
        if len(fitted) == count:
            raise KeyboardInterrupt
        fitted.append((detector, epochs, seed))
        return fit(detector, epochs, seed, x, case)

    monkeypatch.setattr(adbench, "fit_and_score", fit_and_score)
    return fitted


@pytest.mark.parametrize(
    ("asked", "found"),
    [((), ["half", "unsupervised"]), (("--settings", "unsupervised"), ["unsupervised"])],
)
def test_both_settings_are_measured_unless_others_are_asked_for(command, asked, found):
    _, rows = command("out", "--seeds", "1", "--datasets", "wine", *asked)
    assert list(dict.fromkeys(row.details["setting"] for row in rows)) == found


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_rows(command, monkeypatch):
    monkeypatch.setitem(adbench.LEARNED, "goad", small)
    _, whole = command("whole", detectors="goad,knn_5th")
    assert len(whole) == 6
    with monkeypatch.context() as patch:
        stopping_after(5, patch)
        assert command("parts", detectors="goad,knn_5th")[0] == 130
    with monkeypatch.context() as patch:
        fitted = stopping_after(np.inf, patch)
        status, parts = command("parts", detectors="goad,knn_5th")
    # Of five fits the last was the first of two seeds: that row is measured anew.
    assert (status, len(fitted)) == (0, 12 - 4)
    assert without_times(parts) == without_times(whole)
    assert [row.detector for row in parts[:3]] == ["goad", "goad untrained", "knn_5th"]
    assert len(set(parts[0].metrics["auroc"])) == 2


def test_a_finished_run_measures_nothing_again(command, monkeypatch):
    _, once = command("out")
    fitted = stopping_after(0, monkeypatch)
    status, again = command("out")
    assert (status, fitted, again) == (0, [], once)


@pytest.mark.parametrize(
    ("chosen", "detectors", "wrong"),
    [
        (("--seeds", "3", "--datasets", "wine,glass"), "dagmm,knn_5th", "seeds is [0, 1]"),
        (("--seeds", "2", "--datasets", "wine"), "dagmm,knn_5th", "datasets is ['wine', 'glass']"),
        ((), "dagmm", "detectors is ['dagmm', 'knn_5th']"),
    ],
)
def test_a_folder_of_another_run_is_refused(command, tmp_path, capsys, chosen, detectors, wrong):
    command("out")
    before = (tmp_path / "out" / results.FILE).read_bytes()
    assert command("out", *chosen, detectors=detectors)[0] == 2
    message = capsys.readouterr().err
    assert wrong in message
    assert "another --out" in message
    assert (tmp_path / "out" / results.FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Broken, "FloatingPointError: the third step was not finite"),
        (Blind, "1 of 36 scores are not finite"),
    ],
)
def test_a_failing_detector_is_missing_with_its_reason(command, monkeypatch, capsys, kind, reason):
    monkeypatch.setitem(adbench.LEARNED, "goad", kind)
    status, rows = command("out", detectors="dagmm,goad,knn_5th")
    missing = [row for row in rows if row.missing]
    assert status == 0
    assert {row.detector for row in missing} == {"goad", "goad untrained"}
    assert all(reason in row.missing for row in missing)
    assert np.isnan(missing[0].metrics["auroc"]).all()
    assert np.isfinite(rows[0].metrics["auroc"]).all()
    printed = capsys.readouterr().out
    assert "missing: goad on wine (half): seed 0: " in printed
    assert reason in printed


def test_a_set_that_cannot_be_read_is_missing_and_the_others_measured(command, monkeypatch):
    def load(name):
        if name == "wine":
            raise ValueError("its file is damaged")
        return table_of(name)

    monkeypatch.setattr(adbench, "load", load)
    adbench._prepared.cache_clear()
    _, rows = command("out")
    assert {row.dataset: row.missing for row in rows} == {
        "wine": "ValueError: its file is damaged",
        "glass": None,
    }


def test_what_a_detector_warns_of_is_told(command, monkeypatch, capsys):
    class Warned(Still):
        def fit(self, x, y=None):
            warnings.warn("scores are all but constant", jaxad.CollapseWarning, stacklevel=2)
            return super().fit(x, y)

    monkeypatch.setitem(adbench.LEARNED, "goad", Warned)
    _, rows = command("out", detectors="goad")
    assert rows[0].details["warnings"] == ["CollapseWarning: scores are all but constant"]
    assert "CollapseWarning from goad on wine (half), glass (half)" in capsys.readouterr().out


def test_without_data_the_message_says_what_to_set(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    assert run.main(["adbench", "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "set JAXAD_DATA" in message
    assert "odds/thyroid.mat" in message
    assert not (tmp_path / "out").exists()


def test_the_sets_are_odds_and_the_classical_ones_once():
    assert len(adbench.SETS) == 6 + 47 - 5  # ADBench holds five of ODDS's six under other names
    assert not {"adbench_thyroid", "mnist", "kddcup99"} & set(adbench.SETS)


def test_by_default_the_sets_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    for name in ("wine", "cardio"):
        path = tmp_path / adbench.path(name)
        path.parent.mkdir()
        path.touch()
    assert adbench.available(adbench.SETS) == ("cardio", "wine")
    assert adbench.available(("glass",)) == ("glass",)


@pytest.mark.parametrize("setting", adbench.RULES)
def test_no_row_is_measured_that_a_detector_has_labels_of(setting):
    is_anomaly = np.random.default_rng(0).permutation(400) < 30
    for seed, (split, known) in enumerate(adbench.cases(is_anomaly, setting, SETTINGS)):
        rule = data.split(is_anomaly, adbench.RULES[setting], seed)
        assert data.split_hash(split) == data.split_hash(rule)
        assert is_anomaly[known].all()
        assert len(known) == len(set(known)) == 10
        in_train = is_anomaly[split.train].any()
        assert np.isin(known, split.train).all() == in_train
        assert np.isin(known, split.test).any() != in_train


def test_only_half_of_few_anomalies_are_given_away():
    case = adbench.cases(np.arange(40) < 9, "half", SETTINGS)[0]
    assert len(case.known) == 4


def test_a_huge_set_is_drawn_down_by_seed():
    is_anomaly = np.arange(1000) % 10 == 0
    found = adbench.cases(is_anomaly, "half", SETTINGS | {"max_rows": 300})
    rows = [set(np.concatenate(case.split)) for case in found]
    assert [len(r) for r in rows] == [300, 300]
    assert rows[0] != rows[1]
    assert all(not is_anomaly[case.split.train].any() for case in found)


def test_a_set_in_file_order_is_not_drawn_down():
    is_anomaly = np.arange(1000) % 10 == 0
    found = adbench.cases(is_anomaly, "file_order", SETTINGS | {"max_rows": 300})
    assert {len(np.concatenate(case.split)) for case in found} == {1000}


def test_labels_go_to_the_detector_that_takes_them_alone(sets, monkeypatch):
    for name in ("deep_sad", "goad"):
        monkeypatch.setitem(adbench.LEARNED, name, Still)
    x, is_anomaly = table_of("wine")
    case = adbench.cases(is_anomaly, "half", SETTINGS)[0]
    score, _ = adbench.fit_and_score("goad", 1, 0, x, case)
    adbench.fit_and_score("deep_sad", 1, 0, x, case)
    (rows, none), (more, label) = Still.fitted
    assert none is None
    np.testing.assert_array_equal(rows, x[case.split.train])
    np.testing.assert_array_equal(more[label == 0], rows)
    np.testing.assert_array_equal(more[label == -1], x[case.known])
    # Scores that are high on the known anomalies alone earn nothing.
    score = np.isin(case.split.test, case.known).astype(float)
    found = adbench._quality("deep_sad", score, is_anomaly, case)
    assert found["auroc"] == found["auroc_unknown"] == 0.5
    found = adbench._quality("goad", score, is_anomaly, case)
    assert found["auroc"] > 0.7
    assert found["auroc_unknown"] == 0.5


def test_the_fifth_neighbour_is_the_last_of_five(rows):
    test = rows[:7] + 0.1
    scaled, train = ((x - rows.mean(axis=0)) / rows.std(axis=0) for x in (test, rows))
    distance = np.sort(np.linalg.norm(scaled[:, None] - train, axis=2), axis=1)[:, :5]
    for kind, expected in (
        (references.FifthNeighbour, distance[:, 4]),
        (references.NearestNeighbours, distance.mean(axis=1)),
    ):
        np.testing.assert_allclose(kind().fit(rows).anomaly_score(test), expected, rtol=1e-4)


@pytest.mark.skipif(not is_there(data.CARDS["wine"]), reason="JAXAD_DATA has no wine")
def test_nearest_neighbours_are_the_published_ones_by_the_published_rule():
    x, is_anomaly = adbench.load("wine")
    found = adbench.cases(is_anomaly, "file_order", SETTINGS | {"seeds": 5})
    scores = [adbench.fit_and_score("knn_5th", None, 0, x, case)[0] for case in found]
    quality = [
        adbench._quality("knn_5th", score, is_anomaly, case)
        for score, case in zip(scores, found, strict=True)
    ]
    for metric, figure in reference_numbers.one_class().loc["wine", "knn_5th"].items():
        np.testing.assert_allclose(100 * np.mean([q[metric] for q in quality]), figure, atol=0.006)


def test_the_command_leaves_table_and_picture(command, tmp_path, capsys):
    _, rows = command("out", detectors="dagmm,deep_sad,knn_5th,knn_mean")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        results.FILE,
        "table.txt",
        "ranks.png",
    }
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "table.txt").read_text().strip() in printed
    assert printed.splitlines()[-1] == f"results: {tmp_path / 'out'}"
    details = rows[0].details
    assert (details["train_rows"], details["test_rows"]) == (24, 36)
    assert details["split_sha256"] != details["known_sha256"]
    assert details["seconds"] > 0
