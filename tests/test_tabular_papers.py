"""The suite of DAGMM's and GOAD's tabular protocols."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

import jaxad
from benchmarks import run, schema
from benchmarks.suites import tabular_papers


def test_f1_of_the_highest_scores_is_that_of_a_threshold(rng):
    score, is_anomaly = rng.normal(size=200), rng.random(200) < 0.2
    flagged = score > np.sort(score)[-31]
    found = tabular_papers.f1_of_highest(score, is_anomaly, 30, seed=0)
    np.testing.assert_allclose(found, f1_score(is_anomaly, flagged))


def test_constant_scores_earn_no_more_than_chance():
    """Whatever the order of the rows: ties are not broken in the anomalies' favour."""
    is_anomaly = np.arange(200) < 40
    f1 = [
        tabular_papers.f1_of_highest(np.ones(200), marks, 40, seed)
        for marks in (is_anomaly, is_anomaly[::-1])
        for seed in range(100)
    ]
    assert abs(np.mean(f1) - 0.2) < 0.02


def test_flagged_rows_follow_the_papers():
    test = np.arange(1886) < 60
    assert tabular_papers.PROTOCOLS["DAGMM"].flagged("thyroid", test) == 47
    assert tabular_papers.PROTOCOLS["GOAD"].flagged("thyroid", test) == 60


def test_without_the_data_the_table_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    assert run.main(["odds", "--seeds", "1", "--out", str(tmp_path / "out")]) == 0
    assert "set JAXAD_DATA" in capsys.readouterr().out
    assert all(row.missing for row in schema.read(tmp_path / "out" / "rows.json").rows)


@pytest.mark.slow
def test_the_suite_end_to_end(tmp_path, monkeypatch, rng):
    is_anomaly = rng.random(300) < 0.1
    x = rng.normal(size=(300, 6)) + 8 * is_anomaly[:, None]
    monkeypatch.setattr(tabular_papers, "load", lambda name: (x, is_anomaly))
    # A detector that compiles quickly stands for DAGMM.
    monkeypatch.setitem(
        tabular_papers.LEARNED,
        "dagmm_scaled",
        lambda dataset, epochs, seed: jaxad.AutoEncoder(
            hidden=(),
            latent_dim=2,
            noise=0,
            epochs=epochs,
            batch_size=256,
            n_members=1,
            random_state=seed,
        ),
    )
    config, out = tmp_path / "config.toml", tmp_path / "out"
    config.write_text("seeds = 2\nthyroid_epochs = 1\n")
    chosen = ["--datasets", "thyroid", "--detectors", "dagmm_scaled,nearest_neighbours"]
    assert run.main(["odds", "--config", str(config), *chosen, "--out", str(out)]) == 0
    rows = {(row.dataset, row.detector): row for row in schema.read(out / "rows.json").rows}
    assert [detector for _, detector in rows] == [
        "dagmm_scaled",
        "dagmm_scaled untrained",
        "nearest_neighbours",
        "nearest_neighbours",
    ]
    trained, untrained = (
        rows["thyroid, DAGMM split", name].metrics
        for name in ("dagmm_scaled", "dagmm_scaled untrained")
    )
    assert trained["steps"] == [1, 1]
    assert untrained["steps"] == [0, 0]
    assert rows["thyroid, GOAD split", "nearest_neighbours"].metrics["auroc"] == [1, 1]
    assert "47.8" in (out / "table.txt").read_text()
