"""The suite of variants from a config file on a made table."""

import dataclasses

import numpy as np
import pytest

from benchmarks import run
from benchmarks.quality import variants
from benchmarks.record import rows as results

pytest.importorskip("baycomp")
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
