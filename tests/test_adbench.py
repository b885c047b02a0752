"""The suite on ODDS and ADBench's tables: what it measures, keeps, compares and draws."""

import re
import warnings

import numpy as np
import pytest
from scipy import stats

import jaxad
from benchmarks import controls, published, ranks, run, schema
from benchmarks.paired import holm, paired, within
from benchmarks.suites import adbench, adbench_report
from jaxad import data

SETTINGS = adbench.DEFAULTS | {"seeds": 2}


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


@pytest.fixture
def command(sets, monkeypatch, tmp_path):
    """Run the suite on two sets with one epoch; returns the exit status and the rows."""
    for name in ("dagmm", "goad", "deep_sad"):
        monkeypatch.setitem(adbench.LEARNED, name, Still)
    config = tmp_path / "config.toml"
    config.write_text("epochs = 1\n")

    def command(out, *chosen, detectors="dagmm,knn_5th"):
        chosen = chosen or ("--seeds", "2", "--datasets", "wine,glass")
        detectors = ("--detectors", detectors, "--config", str(config))
        status = run.main(["adbench", *chosen, *detectors, "--out", str(tmp_path / out)])
        path = tmp_path / out / "rows.json"
        return status, schema.read(path).rows if path.exists() else []

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
    before = (tmp_path / "out" / "rows.json").read_bytes()
    assert command("out", *chosen, detectors=detectors)[0] == 2
    message = capsys.readouterr().err
    assert wrong in message
    assert "another --out" in message
    assert (tmp_path / "out" / "rows.json").read_bytes() == before


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


def test_the_sets_are_odds_and_the_classical_ones_once():
    assert len(adbench.SETS) == 6 + 47 - 5  # ADBench holds five of ODDS's six under other names
    assert not {"adbench_thyroid", "mnist", "kddcup99"} & set(adbench.SETS)


def test_by_default_the_sets_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    for name in ("wine", "cardio"):
        path = tmp_path / adbench_report.path(data.CARDS[name])
        path.parent.mkdir()
        path.touch()
    assert adbench.there(adbench.SETS) == ("cardio", "wine")
    assert adbench.there(("glass",)) == ("glass",)


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
        (controls.FifthNeighbour, distance[:, 4]),
        (controls.NearestNeighbours, distance.mean(axis=1)),
    ):
        np.testing.assert_allclose(kind().fit(rows).anomaly_score(test), expected, rtol=1e-4)


def made(values, setting="half"):
    """Rows of figures: detector -> set -> AUROC of two seeds about a mean."""
    return [
        schema.Row(
            name,
            detector,
            {m: [v - 0.01, v + 0.01] for m in adbench.METRICS},
            {"setting": setting, "seconds": 1.0},
            None if v == v else "seed 0: no",
        )
        for detector, figures in values.items()
        for name, v in figures.items()
    ]


THREE = {
    "dagmm": {"thyroid": 0.9, "annthyroid": 0.6, "wine": 0.7},
    "dagmm untrained": {"thyroid": 0.8, "annthyroid": 0.6, "wine": 0.5},
    "goad": {"thyroid": 0.5, "annthyroid": 0.5, "wine": 0.7},
    "knn_5th": {"thyroid": 0.6, "annthyroid": 0.9, "wine": 0.9},
}


def reported(values):
    settings = SETTINGS | {"datasets": ("thyroid", "annthyroid", "wine")}
    text = adbench_report.text(made(values), settings)
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return text, lines


def cells(lines, title):
    return next(line[1:] for line in lines if line[0] == title)


def test_means_and_ranks_count_shared_rows_once():
    text, lines = reported(THREE)
    assert "Left out: annthyroid." in text
    assert cells(lines, "AUROC %") == ["dagmm", "goad", "knn_5th"]
    assert cells(lines, "mean, 3 sets, all") == ["73.3", "56.7", "80.0"]
    assert cells(lines, "mean, 2 sets, no overlaps") == ["80.0", "60.0", "75.0"]
    # thyroid 1 3 2, annthyroid 2 3 1, wine 2.5 2.5 1
    assert cells(lines, "rank, 3 sets, all") == ["1.83", "2.83", "1.33"]
    assert cells(lines, "rank, 2 sets, no overlaps") == ["1.75", "2.75", "1.50"]


def test_detectors_are_compared_set_by_set():
    _, lines = reported(THREE)
    start = next(i for i, line in enumerate(lines) if line[:2] == ["dagmm", "untrained"])
    # Differences 10, 0 and 20 points.
    p = stats.ttest_rel([0.9, 0.6, 0.7], [0.8, 0.6, 0.5]).pvalue
    assert lines[start][2:6] == ["3, all", "+10.0 ± 5.8", "2/1/0", f"{p:.4f}"]
    assert lines[start + 1][1:4] == ["2, no overlaps", "+15.0 ± 5.0", "2/0/0"]
    assert lines[start + 2][:4] == ["knn_5th", "3, all", "-6.7 ± 18.6", "1/0/2"]


def test_a_set_with_a_missing_figure_is_in_no_mean():
    values = THREE | {"goad": THREE["goad"] | {"wine": np.nan}}
    text, lines = reported(values)
    assert cells(lines, "wine") == ["70.0", "-", "90.0"]
    assert cells(lines, "mean, 2 sets, all") == ["75.0", "50.0", "75.0"]
    assert "missing: goad on wine (half): seed 0: no" in text


def test_a_detector_with_labels_is_marked_and_not_ranked():
    settings = SETTINGS | {"datasets": ("thyroid", "annthyroid", "wine")}
    values = THREE | {"deep_sad": THREE["knn_5th"], "deep_sad untrained": THREE["goad"]}
    rows = made(values)
    (ranking,) = adbench_report.rankings(rows, settings).values()
    assert "deep_sad" not in ranking.names
    assert "deep_sad*" in adbench_report.text(rows, settings)


def test_paired_differences_are_those_of_a_t_test(rng):
    first, second = rng.normal(size=(2, 12))
    found = paired([*first, np.nan], [*second, 0.0])
    expected = stats.ttest_rel(first, second)
    np.testing.assert_allclose(found.p, expected.pvalue)
    np.testing.assert_allclose(found.mean / found.error, expected.statistic)
    assert found.sets == found.wins + found.losses == 12
    assert np.isnan(paired([1.0, 2.0], [0.0, 1.0]).p)


def test_corrected_p_values_are_holms():
    """By the definition: the i-th smallest of m is multiplied by m - i + 1, and none falls."""
    p = np.array([0.03, 0.005, 0.2, 0.011, np.nan, 0.6])
    expected = [0.09, 0.025, 0.4, 0.044, np.nan, 0.6]
    np.testing.assert_allclose(holm(p), expected)
    np.testing.assert_allclose(within(["a", "a", "b", "b", "b", "b"], p)[:2], [0.03, 0.01])


def test_friedmans_test_is_scipys_and_needs_three_detectors(rng):
    figures = rng.normal(size=(12, 4)) + [0, 0, 1, 2]
    expected = stats.friedmanchisquare(*figures.T).pvalue
    np.testing.assert_allclose(ranks.friedman(figures), expected)
    assert expected < 0.05
    assert np.isnan(ranks.friedman(figures[:, :2]))
    assert np.isnan(ranks.friedman(np.ones((12, 4))))


def test_the_report_corrects_its_tests_and_says_whether_ranks_differ_at_all():
    text, lines = reported(THREE)
    assert "Holm p" in text
    assert "Friedman's test that all rank alike: p " in text
    start = next(i for i, line in enumerate(lines) if line[:2] == ["dagmm", "untrained"])
    p = float(lines[start][5])
    assert float(lines[start][6]) == pytest.approx(min(1, 2 * p), abs=2e-4)  # the smaller of two
    (title,) = adbench_report.rankings(made(THREE), SETTINGS | {"datasets": tuple(THREE["goad"])})
    assert "Friedman p " in title


def test_file_order_stands_beside_the_published_table():
    values = {
        "knn_5th": {"thyroid": 0.9868, "wine": 0.9799, "arrhythmia": 0.5},
        "deep_svdd": {"thyroid": 0.9, "wine": np.nan, "arrhythmia": 0.5},
    }
    settings = SETTINGS | {"datasets": tuple(values["knn_5th"]), "settings": ("file_order",)}
    text = adbench_report.text(made(values, "file_order"), settings)
    table = text[text.index("beside the published table") :]
    lines = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    assert cells(lines, "set") == ["knn_5th", "deep_svdd"]
    assert cells(lines, "thyroid") == ["98.7 98.7", "+0.00", "90.0 88.8", "+1.23"]
    assert cells(lines, "wine") == ["98.0 99.2", "-1.20", "-"]
    assert cells(lines, "mean difference") == ["-0.60", "+1.23"]
    assert cells(lines, "largest") == ["-1.20", "+1.23"]
    assert not any(line[0] == "arrhythmia" for line in lines[:8])
    assert "published table" not in adbench_report.text(
        made(values), SETTINGS | {"datasets": tuple(values["knn_5th"])}
    )


def test_the_published_tables_seeds_come_first():
    assert [published.seed_of_split(seed) for seed in range(8)] == [0, 1, 2, 3, 6, 5, 4, 7]
    is_anomaly = np.arange(300) < 30
    found = adbench.cases(is_anomaly, "file_order", SETTINGS | {"seeds": 5})[4]
    assert data.split_hash(found.split) == data.split_hash(
        data.split(is_anomaly, "one_class_file_order", 6)
    )


@pytest.mark.skipif(not adbench._is_there("wine"), reason="JAXAD_DATA has no wine")
def test_nearest_neighbours_are_the_published_ones_by_the_published_rule():
    x, is_anomaly = adbench.load("wine")
    found = adbench.cases(is_anomaly, "file_order", SETTINGS | {"seeds": 5})
    scores = [adbench.fit_and_score("knn_5th", None, 0, x, case)[0] for case in found]
    quality = [
        adbench._quality("knn_5th", score, is_anomaly, case)
        for score, case in zip(scores, found, strict=True)
    ]
    for metric, figure in published.one_class()["wine", "knn_5th"].items():
        np.testing.assert_allclose(100 * np.mean([q[metric] for q in quality]), figure, atol=0.006)


@pytest.mark.parametrize(
    ("detectors", "sets", "q"), [(2, 10, 1.960), (4, 14, 2.569), (7, 20, 2.949), (10, 30, 3.164)]
)
def test_the_critical_difference_is_nemenyis(detectors, sets, q):
    """q from table 5 of Demšar (JMLR 2006)."""
    expected = q * np.sqrt(detectors * (detectors + 1) / (6 * sets))
    np.testing.assert_allclose(ranks.critical_difference(detectors, sets), expected, rtol=5e-4)


def test_bars_join_the_longest_runs_that_do_not_differ():
    found = ranks.indistinct(np.array([1.0, 1.8, 2.0, 3.5, 4.4, 6.0]), 1.0)
    assert found == [(0, 2), (3, 4)]
    assert ranks.indistinct(np.array([1.0, 3.0]), 1.0) == []


def test_the_picture_names_every_detector_at_its_rank():
    names = ["goad", "dagmm", "knn_5th"]
    ranking = ranks.Ranking(names, np.array([2.9, 1.9, 1.2]), 40)
    (axes,) = ranks.draw({"half": ranking}).axes
    texts = [text.get_text().strip() for text in axes.texts]
    assert {"goad (2.90)", "dagmm (1.90)", "knn_5th (1.20)"} <= set(texts)
    assert f"critical difference {ranks.critical_difference(3, 40):.2f}" in texts
    assert axes.get_title() == "half"


def test_the_command_leaves_table_and_picture(command, tmp_path, capsys):
    _, rows = command("out", detectors="dagmm,deep_sad,knn_5th,knn_mean")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"rows.json", "table.txt", "ranks.png"}
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "table.txt").read_text().strip() in printed
    assert printed.splitlines()[-1] == f"results: {tmp_path / 'out'}"
    details = rows[0].details
    assert (details["train_rows"], details["test_rows"]) == ([24, 24], [36, 36])
    assert len(set(details["split_sha256"])) == 2
    assert details["seconds"] > 0
