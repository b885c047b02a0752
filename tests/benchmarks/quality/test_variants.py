"""The suite of variants from a config file on a made table."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmarks import run
from benchmarks.quality import studies, variants
from benchmarks.record import rows as results
from benchmarks.settings import read_config

pytest.importorskip("baycomp")
TRAINING = Path(__file__).parents[3] / "configs" / "variants" / "training.toml"
CONFIG = """
suite = "variants"
seeds = 2
datasets = ["thyroid"]
one_by_one = true

[variants.plain]
detector = "DeepSVDD"
arguments = { hidden = [4], latent_dim = 2, n_members = 1, epochs = 1 }

[variants.huber]
detector = "DeepSVDD"
loss = "jaxad.losses.hypersphere.pseudo_huber"
arguments = { hidden = [4], latent_dim = 2, n_members = 1, epochs = 1 }
numbers = { loss_numbers__delta = [0.5, 1.0] }
"""


def table(name, most):
    x = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    x[:20] += 3
    return x, np.arange(80) < 20


@pytest.mark.full
def test_one_by_one_counts_the_same_fits_of_a_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(variants, "_table", table)
    (tmp_path / "c.toml").write_text(CONFIG)
    arguments = ["variants", "--config", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out")]
    assert run.main(arguments) == 0
    (row,) = [r for r in results.read(tmp_path / "out").rows if r.detector == variants.SINGLY]
    assert row.details["fits"] == 3  # plain, and Huber's loss with two numbers
    printed = " ".join(capsys.readouterr().out.split())
    assert "the 3 fits of one seed took" in printed

    # Seeds run on the same programs: only the time without compilation counts again.
    seconds, compiling = row.metrics["seconds"][0], row.details["compile_seconds"]
    slow = dataclasses.replace(row, metrics={"seconds": [60 + compiling]})
    others = [r for r in results.read(tmp_path / "out").rows if r.detector != variants.SINGLY]
    settings = variants.DEFAULTS | {"seeds": 2}
    told = variants.text([*others, slow], settings)
    assert f"would take {(120 + compiling) / 60:.1f} minutes" in " ".join(told.split())
    assert seconds >= compiling


def test_some_sets_of_a_half_of_oddbench_have_their_own_splits(tmp_path, monkeypatch):
    (tmp_path / "oddbench").mkdir()
    for i in range(8):
        x = np.full((6, 2), i, np.float32)
        np.savez(tmp_path / "oddbench" / f"s{i}.npz", train=x, test=x, test_labels=np.eye(6)[0])
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    monkeypatch.setattr(studies, "parts", lambda *given, **options: (given, options))
    chosen = {"oddbench": ("even",), "every": 3, "seeds": 1}
    given = {"variants": read_config(TRAINING)["variants"]}
    settings = variants.complete(variants.DEFAULTS | given | chosen)
    (made, sets, seeds), options = variants.parts(settings)
    assert [*sets] == ["s1", "s7"]  # the second and, three even-numbered ones on, the eighth
    assert sets["s7"].train[0, 0] == 7
    assert (seeds, options["setting"]) == (1, None)
    assert {"dagmm", "goad_untrained", "knn_mean"} <= made.keys()
