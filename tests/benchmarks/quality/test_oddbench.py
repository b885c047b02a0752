"""The suite of OddBench on made sets: figures, files, text and pictures."""

import numpy as np
import pandas as pd
import pytest
from cases import fresh

from benchmarks import run
from benchmarks.quality import oddbench, studies
from benchmarks.record import rows as results
from jaxad import study

pytest.importorskip("baycomp")
NAMES = [f"set{i}" for i in range(8)]
CHOSEN = "deep_svdd,knn_mean,isolation_forest"


def small(**options):
    return fresh("DeepSVDD", latent_dim=2, **{"epochs": 2} | options)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of sets of other widths and lengths; the last one holds a NaN."""
    random = np.random.default_rng(0)
    (tmp_path / "oddbench").mkdir()
    for i, name in enumerate(NAMES):
        features = 2 + i
        test = random.normal(size=(60, features))
        test[:20] += random.choice([-2.0, 2.0], size=(20, features))
        train = random.normal(size=(40 + 10 * i, features))
        np.savez(
            tmp_path / "oddbench" / f"{name}.npz",
            train=train.astype(np.float32),
            test=test.astype(np.float32),
            test_labels=(np.arange(60) < 20).astype(int),
        )
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    monkeypatch.setitem(oddbench.DETECTORS, "deep_svdd", small)
    return tmp_path


@pytest.fixture
def command(folder):
    def measured(*arguments, detectors=CHOSEN):
        out = folder / "out"
        given = ["oddbench", "--detectors", detectors, "--out", str(out), *arguments]
        status = run.main(given)
        return status, results.read(out).rows if status == 0 else None

    return measured


@pytest.mark.full
@pytest.mark.slow
def test_the_suite_from_end_to_end(command, folder, capsys):
    status, found = command("--seeds", "2")
    assert status == 0
    assert [row.detector for row in found] == [
        "sets",
        "deep_svdd",
        "deep_svdd untrained",
        "knn_mean",
        "isolation_forest",
    ]
    printed = capsys.readouterr().out
    assert "8 sets of OddBench, 2 seeds. 64 fits took" in printed
    assert "== all sets" in printed
    assert "against `knn_mean`" in printed
    assert "deep_svdd: " in printed.split("Trained against untrained:")[1]
    drawn = {path.stem for path in (folder / "out").glob("*.png")}
    assert drawn == {"oddbench_ranks", "oddbench_deep_svdd"}
    assert "| contender" in oddbench.summary(found, {})

    # The rows of the file are the table of the comparison.
    variants = {"deep_svdd": small(), "knn_mean": studies.REFERENCES["knn_mean"]}
    expected = study.compare(variants, oddbench.load(oddbench.DEFAULTS), 2, known_anomalies=10)
    table = studies.table_of(found)
    table = table[table["variant"].isin(variants)].reset_index(drop=True)
    columns = ["set", "variant", "numbers", "seed", "train_rows", "features", "test_rows"]
    columns += ["anomalies", "config", "note"]
    pd.testing.assert_frame_equal(table[columns], expected[columns])
    np.testing.assert_allclose(table["auroc"], expected["auroc"], atol=6e-5)
    assert (table["anomalies"] == 10).all()
    for name in ("average_precision", "partial_auroc", "adjusted_average_precision"):
        means = [one.groupby(["variant", "set"])[name].mean() for one in (table, expected)]
        np.testing.assert_allclose(*means, atol=2e-4)
    assert table["split"].tolist() == [split[:8] for split in expected["split"]]

    # A further detector is added, and nothing is measured again.
    before = {row.detector: row.details for row in found}
    status, more = command("--seeds", "2", detectors=f"{CHOSEN},knn_5th")
    assert status == 0
    assert [row.detector for row in more][-1] == "knn_5th"
    assert all(row.details == before[row.detector] for row in more if row.detector in before)


def test_halves_are_of_the_alphabetical_list_counted_from_one(folder):
    settings = oddbench.DEFAULTS
    assert list(oddbench.load(settings)) == NAMES
    assert list(oddbench.load(settings | {"half": ("odd",)})) == NAMES[::2]
    even = oddbench.load(settings | {"half": ("even",), "max_sets": 2})
    assert list(even) == ["set1", "set3"]
    assert even["set1"].train.shape == (50, 3)
    assert even["set1"].is_anomaly.dtype == bool


def test_a_set_that_cannot_be_scored_is_noted_and_the_others_measured(command, folder, capsys):
    path = folder / "oddbench" / "set3.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["train"][5, 1] = np.nan
    np.savez(path, **arrays)
    config = folder / "config.toml"
    config.write_text("seeds = 1\nmax_sets = 5\n")
    status, found = command("--config", str(config), detectors="knn_mean,isolation_forest")
    assert status == 0
    table = studies.table_of(found).set_index(["variant", "set"])
    assert table.loc[("knn_mean", "set3"), "note"].startswith("failed: ")
    assert table["auroc"].isna().sum() <= 2
    assert "`knn_mean` failed on 1 of 5 sets; first: " in capsys.readouterr().out


def test_a_folder_without_sets_is_an_error_that_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    assert run.main(["oddbench", "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert f"no set is in {tmp_path / 'oddbench'}: set JAXAD_DATA to a folder with" in message
    assert "train, test and test_labels" in message
    with pytest.raises(oddbench.OptionError, match="no set is in"):
        oddbench.load(oddbench.DEFAULTS)


def test_a_seed_that_failed_has_no_figure_where_rows_have_means():
    found = [{"set": "a", "variant": "x", "numbers": "{}", "config": "c", "fit_seconds": 1.0}] * 2
    table = pd.DataFrame(found).assign(seed=[0, 1], auroc=[0.9, np.nan], note=["", "failed: full"])
    table = table.assign(average_precision=0.5, partial_auroc=0.5)
    effort = dict.fromkeys(("compilations", "compile_seconds", "seconds"), 1.0)
    facts = {"train_rows": [9], "features": [2], "test_rows": [9], "anomalies": [3]}
    sets = {"names": ["a"], "splits": ["s0", "s1"]} | facts
    described = results.Row("sets", "sets", {"sets": [1.0]}, sets, part="sets")
    for means in (False, True):
        row = studies.contender_row(table, effort, 1, means)
        assert len(row.metrics["auroc"]) == 2 - means
        read = studies.table_of([described, row])
        np.testing.assert_array_equal(read["auroc"], [0.9, np.nan])
