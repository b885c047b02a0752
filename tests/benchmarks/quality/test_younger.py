"""The suite of younger methods on made sets, and the config for the tables of ADBench."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import run
from benchmarks.quality import studies, variants, younger
from benchmarks.record import rows as results
from benchmarks.settings import read_config
from jaxad.study import populations

pytest.importorskip("baycomp")
CONFIG = Path(__file__).parents[3] / "configs" / "variants" / "younger.toml"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of two sets of 3 and 4 columns."""
    random = np.random.default_rng(0)
    (tmp_path / "oddbench").mkdir()
    for features in (3, 4):
        test = random.normal(size=(60, features))
        test[:20] += random.choice([-3.0, 3.0], size=(20, features))
        np.savez(
            tmp_path / "oddbench" / f"set{features}.npz",
            train=random.normal(size=(60, features)).astype(np.float32),
            test=test.astype(np.float32),
            test_labels=(np.arange(60) < 20).astype(int),
        )
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.full
@pytest.mark.slow
def test_the_suite_from_end_to_end(folder, monkeypatch, capsys):
    """One method, so that it is quick; the others are made and padded below."""
    few = younger.SETTINGS["dean"] | {"epochs": 20, "n_members": 2}
    monkeypatch.setitem(younger.SETTINGS, "dean", few)
    out = folder / "out"
    given = ["younger", "--detectors", "dean,knn_mean", "--seeds", "2", "--out", str(out)]
    assert run.main(given) == 0
    found = results.read(out).rows
    names = ["sets", "dean", "dean untrained", "dean trimmed", "knn_mean"]
    assert [row.detector for row in found] == names
    table = studies.table_of(found)
    assert [len(row.metrics.get("auroc", ())) for row in found] == [0, 2, 2, 2, 2]  # for each set
    assert table.groupby("variant").size().to_dict() == dict.fromkeys(names[1:], 4)
    assert table["auroc"].between(0, 1).all()
    each = {name: part.to_numpy() for name, part in table.groupby("variant")["auroc"]}
    assert not np.array_equal(each["dean"], each["dean untrained"])
    printed = capsys.readouterr().out
    assert "  dean: " in printed.split("Trained against untrained:")[1].split("Plain")[0]
    assert "  dean: " in printed.split("Plain against trimmed:")[1]
    assert run.main(given) == 0  # nothing is measured again
    assert [row.details for row in results.read(out).rows] == [row.details for row in found]


def test_each_method_has_an_untrained_and_a_trimmed_copy(folder, monkeypatch):
    monkeypatch.setattr(studies, "parts", lambda variants, *_, **options: (variants, options))
    made, options = younger.parts(younger.DEFAULTS)
    assert options == {"known_anomalies": 10, "means": True}
    assert len(made) == 3 * len(younger.SETTINGS) + 3
    for name in younger.SETTINGS:
        plain = made[name].get_params()
        assert made[f"{name} untrained"].get_params() == plain | {"epochs": 0}
        assert made[f"{name} trimmed"].get_params() == plain | {"trim": 0.2}


@pytest.mark.parametrize("name", younger.SETTINGS)
def test_tables_of_one_padded_width_share_programs(name):
    detector = younger.detector(name)
    assert [populations.width_for(detector, columns) for columns in (3, 4, 5, 7, 9, 33, 64)] == [
        *(4, 4, 8, 8, 16, 64, 64)
    ]


def test_a_bag_is_the_largest_power_of_two_below_the_columns():
    bags = [younger.dean((columns,)).bag for columns in (1, 2, 3, 4, 5, 8, 9, 64, 65)]
    assert bags == [1, 1, 2, 2, 4, 4, 8, 32, 64]


def test_the_config_for_adbench_has_the_same_settings():
    config = read_config(CONFIG)
    made, numbers = variants.read(config["variants"])
    for name in younger.SETTINGS:
        assert made[name].get_params() == younger.detector(name).get_params()
        untrained = younger.detector(name, epochs=0).get_params()
        assert made[f"{name}_untrained"].get_params() == untrained
        assert numbers[name] == [{"trim": 0.0}, {"trim": younger.TRIM}]
    assert set(made) == {*younger.CONTENDERS, *(f"{name}_untrained" for name in younger.SETTINGS)}
