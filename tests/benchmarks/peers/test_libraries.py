"""PyOD and DeepOD in an environment of their own: making it, finding it, talking to it."""

import sys

import numpy as np
import pytest

from benchmarks import run
from benchmarks.peers import environment, libraries
from benchmarks.peers.environment import Library
from benchmarks.speed.worker import WorkerError

GOAD = {"widths": [4, 4], "transforms": 4, "mapped": 3}


@pytest.fixture
def without_peers(tmp_path):
    """An environment whose python is this one, which has neither PyOD nor DeepOD."""
    folder = tmp_path / "peers"
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (folder / "finished").touch()
    return folder


def test_without_an_environment_the_error_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAD_PEERS", str(tmp_path))
    with pytest.raises(WorkerError, match="python -m benchmarks.run peers"):
        Library()


def test_a_half_made_environment_is_not_used(without_peers):
    assert environment.python(without_peers).exists()
    (without_peers / "finished").unlink()
    with pytest.raises(WorkerError, match="no environment of the peers"):
        environment.python(without_peers)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run.main(["peers", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_is_a_clear_error(tmp_path, capsys):
    folder = tmp_path / "peers"
    wheel = str(tmp_path / "torch-9.9-py3-none-any.whl")
    assert run.main(["peers", str(folder), "--torch", wheel]) == 2
    message = capsys.readouterr().err
    assert "pip install" in message
    assert "torch-9.9" in message
    with pytest.raises(WorkerError, match="no environment of the peers"):
        environment.python(folder)


def test_a_peer_that_fails_says_why_and_the_next_command_still_works(without_peers):
    x = np.zeros((8, 3), np.float32)
    how = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
    with Library(without_peers) as peer:
        for _ in range(2):
            with pytest.raises(WorkerError, match="No module named 'deepod'"):
                peer.make("DeepOD GOAD", x, x, **GOAD, **how)
        with pytest.raises(WorkerError, match="KeyError: 'PyOD KNN'"):
            peer.make("PyOD KNN", x, x)
    with pytest.raises(WorkerError, match="process ended"):
        peer.call("fit")


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("detector", libraries.DETECTORS)
def test_every_peer_fits_and_scores(detector):
    try:
        peer = Library()
    except WorkerError as error:
        pytest.skip(str(error))
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    label = np.arange(64) < 4 if "SAD" in detector else None
    special = GOAD if "GOAD" in detector else {"widths": [8, 4]}
    if detector == "PyOD DeepSVDD":
        special = {"widths": [8, 6, 4]}
    with peer:
        peer.make(detector, x, x[:9], label, epochs=1, batch_size=32, learning_rate=1e-3, **special)
        assert peer.call("fit").seconds > 0
        assert peer.call("score").seconds > 0
        assert peer.call("versions").result["pyod"]
