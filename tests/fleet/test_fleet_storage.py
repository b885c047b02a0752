"""Fleets in files and copies, and the waves of a fit as checkpoints."""

import copy
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from cases import ROOT
from flax import linen as nn
from fleets import COLUMNS, fitted, made, same, small

import jaxad
from jaxad import persistence
from jaxad.fleet import storage, survey

FRAME = made()


@pytest.fixture(scope="module")
def fleet():
    """A fitted fleet that no test changes."""
    return fitted()


@pytest.fixture
def path(fleet, tmp_path):
    """The file of that fleet."""
    fleet.save(tmp_path / "fleet.safetensors")
    return tmp_path / "fleet.safetensors"


@pytest.fixture
def small_waves(monkeypatch):
    """Waves of 100 rows, or one group: four waves of ``made()`` have a group to train."""
    monkeypatch.setattr(survey, "WAVE_BYTES", 100 * 4 * len(COLUMNS))


def equal(one, other):
    assert same(one.score(FRAME), other.score(FRAME))
    assert same(one.groups_, other.groups_)
    return True


def test_fitted_fleets_are_pickled_and_copied(fleet):
    for other in (pickle.loads(pickle.dumps(fleet)), copy.deepcopy(fleet)):
        assert equal(other, fleet)
        assert other.drop(["m1"]).score(FRAME).source.ne(fleet.score(FRAME).source).any()
    assert "m1" in fleet


def test_a_loaded_fleet_is_the_one_that_was_saved(fleet, path):
    loaded = jaxad.load(path)
    assert equal(loaded, fleet)
    assert repr(loaded) == repr(fleet)
    assert (list(loaded), len(loaded), loaded.columns_) == (list(fleet), 6, tuple(COLUMNS))
    assert same(loaded.explain(FRAME), fleet.explain(FRAME))
    rows = FRAME[COLUMNS]
    for one, other in [(loaded["m2"], fleet["m2"]), (loaded.global_, fleet.global_)]:
        assert same(one.anomaly_score(rows), other.anomaly_score(rows))
        assert one.threshold_ == other.threshold_
    loaded.save(path)  # over the file that it reads from
    assert equal(jaxad.load(path), fleet)
    assert equal(loaded, fleet)


def test_a_loaded_fleet_goes_on_as_the_one_that_was_saved(fleet, path):
    new, fleet = made(seed=5), copy.deepcopy(fleet)
    assert equal(jaxad.load(path).update(new), fleet.update(new))
    fleet.save(path)
    assert equal(jaxad.load(path), fleet)
    assert equal(jaxad.load(path).recalibrate(new), fleet.recalibrate(new))
    assert equal(jaxad.load(path).recalibrate(new).drop(["m0"]), fleet.drop(["m0"]))


def test_fleets_without_a_model_and_of_several_columns_are_saved(tmp_path):
    frame = FRAME.assign(line=FRAME.index % 2, on=FRAME.index % 3 == 0)
    with pytest.warns(RuntimeWarning, match="so the global model scores them all"):
        fleet = small(group=["machine", "line", "on"], min_rows=500).fit(frame)
    fleet.save(tmp_path / "f")
    loaded = jaxad.load(tmp_path / "f")
    assert same(loaded.score(frame), fleet.score(frame))
    assert same(loaded.groups_, fleet.groups_)
    assert ("m1", 0, True) in loaded


class Net(nn.Module):
    """A network of the user's."""

    @nn.compact
    def __call__(self, x):
        """Latent rows."""
        return nn.Dense(2, use_bias=False)(nn.relu(nn.Dense(4, use_bias=False)(x)))


def test_a_network_of_the_users_is_given_again(tmp_path):
    fleet = fitted(detector=jaxad.DeepSVDD(network=Net(), epochs=2))
    fleet.save(tmp_path / "f")
    with pytest.raises((TypeError, ValueError), match="network"):
        jaxad.load(tmp_path / "f")
    assert equal(jaxad.load(tmp_path / "f", network=Net()), fleet)


def test_files_cut_short_and_of_other_versions_are_refused(path, monkeypatch):
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(jaxad.FileFormatError, match=r"fleet\.safetensors"):
            jaxad.load(path)
    path.write_bytes(whole)
    monkeypatch.setattr(persistence, "VERSION", 0)
    with pytest.raises(jaxad.FileFormatError, match="written in format 1 .* reads up to format 0"):
        jaxad.load(path)


def damaged(path, fleet, key):
    """Change one byte of the scale of a group's first feature."""
    scale = fleet._models.arrays["scaler"]["scale"][fleet._numbers[key,]]
    content = path.read_bytes()
    assert content.count(scale.tobytes()) == 1
    at = content.index(scale.tobytes())
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


def test_a_damaged_group_is_named_and_others_still_score(fleet, path):
    damaged(path, fleet, "m2")
    loaded = jaxad.load(path)
    others = FRAME[FRAME.machine != "m2"]
    assert same(loaded.score(others), fleet.score(others))
    found = r"damaged, the model of group 'm2' does not match its checksum; copy it again"
    new = made(seed=5).query("machine != 'm2'")
    for use in (
        lambda: loaded.score(FRAME),
        lambda: loaded["m2"],
        lambda: loaded.explain(FRAME),
        lambda: loaded.update(new),
        lambda: loaded.recalibrate(false_alarm_rate=0.2),
        lambda: loaded.drop(["m1"]),
        lambda: loaded.save(path),  # the damage would not be found any more
        lambda: pickle.loads(pickle.dumps(loaded)).score(FRAME),
    ):
        with pytest.raises(jaxad.FileFormatError, match=found):
            use()
    assert same(loaded.score(others), fleet.score(others))


def test_a_damaged_global_model_is_refused(fleet, path):
    held_out = fleet._common.held_out.tobytes()
    content = path.read_bytes()
    at = content.index(held_out)
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(jaxad.FileFormatError, match="global model does not match its checksum"):
        jaxad.load(path)


@pytest.mark.parametrize("shape", [(0,), (2, 1)])
def test_a_file_without_a_checksum_for_each_model_is_refused(fleet, path, shape):
    arrays, metadata = storage._pack(fleet)
    arrays["checksums"] = np.empty(shape, np.uint32)
    persistence.write(path, arrays, metadata)
    with pytest.raises(jaxad.FileFormatError, match="not one checksum for each model"):
        jaxad.load(path)


def test_saving_that_fails_leaves_the_old_file(fleet, path, monkeypatch, tmp_path):
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        copy.deepcopy(fleet).drop(["m1"]).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(FileNotFoundError, match="folder .* does not exist"):
        fleet.save(tmp_path / "no" / "f")


# Checkpoints.


def test_a_fit_resumes_after_its_last_wave(fleet, small_waves, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    first = fitted(checkpoints=folder)
    assert equal(first, fleet)
    files = sorted(folder.glob("wave-*"))
    assert len(files) == 4
    content = [file.read_bytes() for file in files]
    files[0].write_bytes(content[0][:-7])
    files[1].write_bytes(content[1][:40])
    files[2].write_bytes(content[2][:-9] + bytes([content[2][-9] ^ 1]) + content[2][-8:])
    last = files[3].stat().st_mtime_ns
    assert equal(fitted(checkpoints=folder), fleet)
    assert [len(file.read_bytes()) for file in files] == [len(c) for c in content]
    assert files[3].stat().st_mtime_ns == last
    assert equal(fitted(checkpoints=folder, threads=1, verbose=True), fleet)


@pytest.mark.parametrize(
    ("options", "frame", "message"),
    [
        ({"start": "random"}, FRAME, "start was global, is random"),
        ({"min_rows": 61}, FRAME, "min_rows was 50, is 61"),
        ({"false_alarm_rate": 0.11}, FRAME, r"false_alarm_rate was 0\.1, is 0\.11"),
        ({"random_state": 1}, FRAME, "another"),
        ({"settings": {"epochs": 4}}, FRAME, "another"),
        ({"columns": ["a", "b"]}, FRAME, "another"),
        ({}, made(seed=1), "another"),
        ({}, FRAME.replace("m1", "m9"), "another"),
        ({}, made(shuffled=False), "another"),
    ],
)
def test_checkpoints_of_another_fit_are_refused(options, frame, message, run, small_waves):
    before = {file: file.read_bytes() for file in run.glob("wave-*")}
    with pytest.raises(ValueError, match=message):
        fitted(frame, checkpoints=run, **options)
    assert before == {file: file.read_bytes() for file in run.glob("wave-*")}


def test_waves_of_other_rows_are_refused_where_all_else_is_equal(
    tmp_path, small_waves, monkeypatch
):
    """Rows that the global model does not see, with the same moments."""
    monkeypatch.setattr(survey, "_DRAWN", 50)
    frame = made()
    frame[COLUMNS] = frame[COLUMNS].round()  # sums of whole numbers are exact in any order
    fitted(frame, checkpoints=tmp_path)
    one, other = frame.index[frame.machine == "m2"][[10, 20]]
    frame.loc[[one, other], "a"] = frame.loc[[other, one], "a"].to_numpy()
    with pytest.raises(ValueError, match="is of other rows or labels: give another folder"):
        fitted(frame, checkpoints=tmp_path)


def test_groups_in_another_order_are_another_fit(tmp_path, small_waves):
    parts = [part for _, part in FRAME.groupby("machine")]
    frames = [pd.concat(parts), pd.concat(parts[::-1])]
    fitted(frames[0], checkpoints=tmp_path)
    with pytest.raises(ValueError, match="not the same groups|groups was"):
        fitted(frames[1], checkpoints=tmp_path)
    same_result = fitted(frames[1])
    assert same(same_result.groups_, fitted(frames[0]).groups_)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a whole fit."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "WAVE_BYTES", 100 * 4 * len(COLUMNS))
        fitted(checkpoints=folder)
    return folder


WORKER = """
import os, signal, sys
from fleets import fitted
from jaxad import persistence
from jaxad.fleet import survey
survey.WAVE_BYTES, write = 100 * 4 * 4, persistence.write
def dies(path, *content):
    write(path, *content)
    if str(path).endswith(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
persistence.write = dies
fitted(checkpoints=sys.argv[1]).save(sys.argv[2])
"""


@pytest.mark.full
def test_a_killed_fit_resumes_to_the_bit(fleet, tmp_path):
    folder, out = tmp_path / "run", tmp_path / "fleet"
    command = [sys.executable, "-c", WORKER, str(folder), str(out)]
    paths = [str(ROOT), str(ROOT / "tests/support")]
    options = {"cwd": ROOT, "env": os.environ | {"PYTHONPATH": os.pathsep.join(paths)}}
    killed = subprocess.run([*command, "wave-000001.safetensors"], timeout=300, **options)
    assert killed.returncode == -signal.SIGKILL
    done = {file: file.stat().st_mtime_ns for file in folder.glob("wave-*")}
    assert len(done) == 2
    assert not out.exists()
    subprocess.run([*command, "none"], check=True, timeout=300, **options)
    assert equal(jaxad.load(out), fleet)
    assert done.items() <= {f: f.stat().st_mtime_ns for f in folder.glob("wave-*")}.items()


def test_a_loaded_fleet_knows_how_long_its_fit_took(tmp_path):
    fleet = fitted()
    fleet.save(tmp_path / "fleet.safetensors")
    loaded = jaxad.load(tmp_path / "fleet.safetensors")
    assert loaded.fit_seconds_ == fleet.fit_seconds_
    assert loaded.compile_seconds_ == fleet.compile_seconds_
