"""The worked examples run, print their numbers and draw what they say."""

import argparse
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import codegen
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from jaxad import data as datasets

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
sys.path.insert(0, str(EXAMPLES))  # as `python docs/examples/blobs.py` does
NAMES = (
    *("blobs", "card_fraud_dagmm", "card_fraud_deep_sad", "common", "conv_autoencoder"),
    *("five_detectors", "fleet_kdd", "fleet_machines", "goad_kdd", "p_values"),
)
blobs, card_fraud_dagmm, card_fraud_deep_sad, common, conv_autoencoder, *others = map(
    importlib.import_module, NAMES
)
five_detectors, fleet_kdd, fleet_machines, goad_kdd, p_values = others
sys.path.remove(str(EXAMPLES))

pytestmark = pytest.mark.slow


def test_an_example_is_a_script(tmp_path):
    command = [sys.executable, "docs/examples/goad_kdd.py", "--help"]
    done = subprocess.run(command, cwd=EXAMPLES.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: python docs/examples/goad_kdd.py" in done.stdout


@pytest.fixture(scope="module")
def card_csv(tmp_path_factory):
    """600 rows with the columns of Kaggle's creditcard.csv, 20 of them frauds."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(600, 31)), columns=list(common.CARD_COLUMNS))
    table["Time"] = np.arange(600) * 60.0
    table["Amount"] = rng.lognormal(3, 1, 600).round(2)
    table["Class"] = np.arange(600) % 30 == 0
    table["Class"] = table["Class"].astype(int)
    table.loc[table["Class"] == 1, ["V3", "V10", "V14"]] -= 5
    path = tmp_path_factory.mktemp("card") / "creditcard.csv"
    table.to_csv(path, index=False)
    return path


def run(example, capsys, out, *options):
    """What an example prints; its folder must hold readable pictures and be named last."""
    assert example.main(["--out", str(out), *map(str, options)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"results: {out}"
    pictures = list(out.glob("*.png"))
    assert len(pictures) >= 2
    for picture in pictures:
        pixels = imread(picture)
        assert pixels.shape[0] > 300
        assert pixels.std() > 0.02  # something is drawn
    return printed


def auroc(printed, name):
    (found,) = re.findall(rf"^{re.escape(name)} +AUROC (\S+) ", printed, re.MULTILINE)
    return float(found)


def refused(example, capsys, *options):
    """The message of an example that must end with status 2."""
    with pytest.raises(SystemExit) as stopped:
        example.main(list(map(str, options)))
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("seed", [0, 1])
def test_blobs_trains_better_than_untrained(tmp_path, capsys, seed):
    printed = run(blobs, capsys, tmp_path, "--seed", seed)
    assert "no collapse" in printed
    assert auroc(printed, "trained") > max(0.95, auroc(printed, "untrained") + 0.05)
    before, after = (
        [float(v) for v in re.findall(r"(?:precision|recall) (\S+),", line)]
        for line in printed.splitlines()[:2]
    )
    assert all(a > b for a, b in zip(after, before, strict=True))


@pytest.mark.full
def test_blobs_with_biases_collapses_and_says_so(tmp_path, capsys):
    assert "CollapseWarning: DeepSVDD: every training row" in run(
        blobs, capsys, tmp_path, "--biases"
    )


def test_dagmm_searches_and_reports_the_test_rows(tmp_path, capsys, card_csv, monkeypatch):
    def space(trial):
        assert len(whole(trial)) == 9
        return {"learning_rate": trial.suggest_float("rate", 1e-4, 1e-2, log=True), "epochs": 2}

    whole = card_fraud_dagmm.space
    monkeypatch.setattr(card_fraud_dagmm, "space", space)
    options = "--csv", card_csv, "--epochs", 2, "--search", 1
    printed = run(card_fraud_dagmm, capsys, tmp_path, *options)
    assert "train 348 rows without fraud; validation 120 with 4 frauds; test 120 with 4" in printed
    assert "the best of 2 settings: " in printed
    assert auroc(printed, "isolation forest, test") > 0.9
    assert np.isfinite([auroc(printed, f"{name}, test") for name in ("untrained", "DAGMM")]).all()


def test_dagmm_scales_the_amount_by_the_rows_it_is_fitted_on(card_csv):
    x, _ = common.read_csv(card_csv, "Class", common.CARD_COLUMNS)
    x = x.drop(columns="Time")
    scale = card_fraud_dagmm.pipeline(0)["scale"].fit(x[:300])
    amount = (x["Amount"] - x["Amount"][:300].mean()) / x["Amount"][:300].std(ddof=0)
    np.testing.assert_allclose(scale.transform(x)[:, 0], amount)
    np.testing.assert_array_equal(scale.transform(x)[:, 1:], x.drop(columns="Amount"))


def test_deep_sad_learns_from_known_frauds(tmp_path, capsys, card_csv):
    options = "--csv", card_csv, "--known", 0.8, "--pretrain-epochs", 1, "--forest"
    faster = "--epochs", 30, "--learning-rate", 1e-3
    printed = run(card_fraud_deep_sad, capsys, tmp_path, *options, *faster)
    (known, frauds) = re.findall(r"(\d+) of (\d+) frauds known", printed)[0]
    assert 0 < int(known) < int(frauds)
    assert auroc(printed, "Deep SAD, test") > 0.9
    assert (tmp_path / "deep_sad.safetensors").is_file()


@pytest.mark.full
def test_conv_autoencoder_runs_without_downloads(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("JAXAD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with codegen.optimised():
        printed = run(conv_autoencoder, capsys, tmp_path, "--epochs", 3)
    assert "8 by 8 digits (set JAXAD_DATA for MNIST): 191 images, 9 of them 3s" in printed
    assert auroc(printed, "0.95 quantile") > 0.7
    assert auroc(printed, "0.999 quantile") == auroc(printed, "0.95 quantile")
    assert (tmp_path / "reconstructions.png").is_file()
    assert len(np.load(tmp_path / "data.npz")["x"]) == 191


def test_contamination_counts_and_keeps_apart():
    digit = np.repeat([1, 3, 7], [200, 50, 10])
    rows, unseen = conv_autoencoder.contaminated(digit, 0.05, np.random.default_rng(0))
    assert np.bincount(digit[rows]).tolist() == [0, 200, 0, 10]
    assert len(np.union1d(rows, unseen)) == 250
    assert not np.array_equal(rows, np.sort(rows))


def test_goad_on_a_table_of_ones_own(tmp_path, capsys, card_csv):
    options = "--csv", card_csv, "--label", "Class", "--scaler", "standard", "--epochs", 2
    printed = run(goad_kdd, capsys, tmp_path, *options, "--reconstruction-weight", 0.1)
    assert np.isfinite(
        [auroc(printed, f"standard, {name}") for name in ("untrained", "GOAD")]
    ).all()
    assert "weights of epoch 2 kept in goad_standard.safetensors" in printed


@pytest.mark.full
def test_a_fleet_of_machines_finds_the_broken_one_and_adopts_the_new_one(tmp_path, capsys):
    printed = run(fleet_machines, capsys, tmp_path, "--machines", 25, "--epochs", 60)
    flagged = dict(re.findall(r"^(.*\S) +flagged (\S+)%$", printed, re.MULTILINE))
    assert float(flagged["readings that are normal"]) < 2
    assert float(flagged["machine 1, its last 100 readings"]) > 30
    assert "machine new is scored by its own model" in printed
    assert "loads to the same scores" in printed


@pytest.mark.filterwarnings("ignore:Fleet")
def test_services_of_kdd_get_their_own_models(tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    names = "http", "smtp", "ftp"
    x = np.concatenate([rng.normal(20 * i, 1, (600, 4)) for i in range(3)])
    is_attack = np.arange(1800) % 10 == 0
    x[is_attack] += 6
    service = np.repeat(np.eye(3), 600, axis=0)
    features = (*"abcd", *(f"service={name}" for name in names))
    label = np.where(is_attack, "smurf.", "normal.")
    card = datasets.Card("kddcup99", 1800, (7,))
    made = datasets.Dataset(np.hstack([x, service]), card, ~is_attack, label, features=features)
    monkeypatch.setattr(fleet_kdd.datasets, "load", lambda *_, **__: made)
    printed = run(fleet_kdd, capsys, tmp_path, "--epochs", 20)
    own, pooled = (float(value) for value in re.findall(r"mean AUROC (\S+) of 3", printed))
    assert own > 0.95
    assert 0 < pooled < 1.001


@pytest.mark.skipif(
    not (Path(os.environ.get("JAXAD_DATA", "")) / "kdd" / "kdd_cup_dagmm.npz").is_file(),
    reason="needs kdd/kdd_cup_dagmm.npz in the folder JAXAD_DATA names",
)
def test_kdd_is_read_with_the_attacks_as_normal():
    x, is_anomaly = goad_kdd.data(argparse.Namespace(csv=None, rows=2000, seed=0))
    assert x.shape == (2000, 118)
    assert is_anomaly.mean() == pytest.approx(97_278 / 494_021, abs=0.05)


def test_false_alarms_of_p_values_are_counted_for_each_method(capsys):
    options = "--draws", "3", "--rows", "60", "--folds", "2", "--bootstraps", "3"
    assert p_values.main(options) == 0
    printed = capsys.readouterr().out
    alarms = re.findall(r"^\| (\S+) \| 10% \| (\S+) ± \S+ % \| (\S+) ±", printed, re.MULTILINE)
    assert [method for method, *_ in alarms] == ["split", "cross", "jackknife+"]
    for _, rate, found in alarms:
        assert 2 < float(rate) < 25  # by chance 10 ± 3
        assert float(found) > float(rate)


def test_a_csv_that_cannot_be_used_is_an_error_that_names_what_is_wrong(
    tmp_path, capsys, monkeypatch, card_csv
):
    lacking, worded = tmp_path / "lacking.csv", tmp_path / "worded.csv"
    lacking.write_text("Time,V1,Class\n0,1,0\n1,2,1\n")
    worded.write_text("a,b,label\n0,red,0\n1,blue,1\n")
    monkeypatch.delenv("JAXAD_DATA", raising=False)
    out = "--out", tmp_path / "out"
    for example in (card_fraud_dagmm, card_fraud_deep_sad):
        message = refused(example, capsys, *out, "--csv", tmp_path / "nowhere.csv")
        assert "cannot read" in message
        assert "nowhere.csv" in message
        message = refused(example, capsys, *out, "--csv", lacking)
        assert "lacks the columns V2, V3" in message
        assert "it has Time, V1, Class" in message
    assert "not every value is a number in b" in refused(goad_kdd, capsys, *out, "--csv", worded)
    assert "lacks the columns label" in refused(goad_kdd, capsys, *out, "--csv", card_csv)
    wrong = refused(goad_kdd, capsys, *out, "--csv", card_csv, "--label", "V1")
    assert "'V1' must hold 1 (anomaly) and 0" in wrong
    assert "set JAXAD_DATA, or name a table" in refused(goad_kdd, capsys, *out)
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    assert "set JAXAD_DATA: " in refused(fleet_kdd, capsys, *out)


@pytest.mark.full
def test_the_five_detectors_are_drawn_side_by_side(capsys, tmp_path):
    assert five_detectors.main(["--out", str(tmp_path), "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[:-1]] == [*five_detectors.DETECTORS]
    assert imread(tmp_path / "five_detectors.png").std() > 0.02
