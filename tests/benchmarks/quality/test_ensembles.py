"""The suite on ensembles: which members it groups, and the table it leaves."""

import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import jaxad
from benchmarks import run
from benchmarks.quality import adbench, ensembles
from benchmarks.quality.detectors import DETECTORS
from benchmarks.record import rows as results


def test_ensembles_of_a_size_share_no_member(rng):
    train, test = rng.normal(size=(7, 90)), rng.normal(size=(7, 60))
    marks = np.arange(60) < 9
    test[:, marks] += 1
    found = ensembles.quality(train, test, marks)
    groups = {1: range(7), 3: (0, 3), 5: (0,)}
    for title, measure in (("AUROC", roc_auc_score), ("AP", average_precision_score)):
        for size, starts in groups.items():
            expected = [measure(marks, test[i : i + size].mean(0)) for i in starts]
            np.testing.assert_allclose(found[f"{title} mean {size}"], expected)
    assert "AUROC mean 10" not in found
    for rule in ("z", "rank"):
        assert found[f"AUROC {rule} 1"] == found["AUROC mean 1"]
        assert found[f"AUROC {rule} 3"] != found["AUROC mean 3"]


def test_the_command_measures_once_and_leaves_its_table(monkeypatch, tmp_path, capsys):
    class Small(jaxad.AutoEncoder):
        """Quickly compiled, so that it can stand for any detector."""

        def __init__(self, *, epochs, n_members, random_state):
            super().__init__(
                hidden=(),
                latent_dim=2,
                noise=0,
                batch_size=64,
                epochs=epochs,
                n_members=n_members,
                random_state=random_state,
            )

    def load(name):
        if name == "glass":
            raise ValueError("its file is damaged")
        marks = np.random.default_rng(0).permutation(60) < 12
        return np.random.default_rng(1).normal(size=(60, 4)) + 3 * marks[:, None], marks

    monkeypatch.setattr(adbench, "load", load)
    monkeypatch.setitem(DETECTORS, "goad", Small)
    config = tmp_path / "config.toml"
    config.write_text("epochs = 1\n")
    command = ["ensembles", "--datasets", "wine,glass", "--detectors", "goad", "--seeds", "3"]
    command += ["--config", str(config), "--out", str(tmp_path)]
    assert run.main(command) == 0
    wine, glass = results.read(tmp_path).rows
    assert len(wine.metrics["AUROC mean 1"]) == 3
    assert len(wine.metrics["AP rank 3"]) == 1
    assert glass.missing == "ValueError: its file is damaged"
    printed = capsys.readouterr().out
    assert (tmp_path / "table.txt").read_text().strip() in printed
    lines = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]
    gain = 100 * (wine.metrics["AUROC z 3"][0] - np.mean(wine.metrics["AUROC mean 1"]))
    (line,) = [line for line in lines if line[:2] == ["z", "3"]]
    assert line[2] == "1"
    assert line[4] == f"{gain:+.1f}"
    assert "missing: goad on glass" in printed
    monkeypatch.setattr(jaxad, "fit_many", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(
        adbench, "load", lambda name: pytest.fail("read") if name == "wine" else load(name)
    )
    assert run.main(command) == 0
