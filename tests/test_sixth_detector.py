"""The detector of docs/losses.md is a whole one: what it promises is run here."""

import importlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from cases import ROOT
from sklearn.base import clone

import jaxad
from jaxad import data, training


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the page's code as the module ``sixth``."""
    page = (ROOT / "docs/losses.md").read_text(encoding="utf-8")
    section = page.split("## A detector\n")[1]
    code, _ = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    folder = tmp_path_factory.mktemp("sixth")
    (folder / "sixth.py").write_text(code)
    return folder


@pytest.fixture(scope="module")
def sixth(folder):
    sys.path.insert(0, str(folder))
    yield importlib.import_module("sixth")
    sys.path.remove(str(folder))


def fresh(sixth, **options):
    return sixth.SubspaceDetector(**{"epochs": 5, "random_state": 0} | options)


@pytest.mark.slow
def test_its_objective_keeps_the_contract(folder):
    (folder / "sixth_case.py").write_text(
        "import cases\nfrom sixth import Subspace\ncases.PLANTED['sixth'] = Subspace(2)\n"
    )
    paths = (str(folder), str(ROOT / "tests/support"), str(ROOT))
    command = [sys.executable, "-m", "pytest", "tests/objectives/test_contract.py"]
    command += ["-n0", "-k", "sixth", "-p", "sixth_case"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout


def test_it_is_an_ensemble_a_stream_and_goes_on(sixth, rows):
    ensemble = fresh(sixth, n_members=3).fit(rows)
    assert ensemble.member_scores(rows).shape == (3, 300)
    assert ensemble.transform(rows).shape == (300, 6)
    assert ensemble.explain(rows).shape == rows.shape
    streamed = fresh(sixth).fit(data.stream(rows, rows=128))
    assert np.isfinite(streamed.anomaly_score(rows)).all()
    assert len(streamed.partial_fit(rows).history_["loss"]) == 1


def test_a_population_of_it_is_each_alone(sixth, rows):
    many = [fresh(sixth, n_members=1, learning_rate=rate) for rate in (1e-2, 1e-3)]
    alone = [clone(one).fit(rows) for one in many]
    jaxad.fit_many(many, rows)
    for one, other in zip(many, alone, strict=True):
        np.testing.assert_allclose(one.anomaly_score(rows), other.anomaly_score(rows), rtol=1e-4)


def test_it_is_saved_loaded_and_resumed(sixth, rows, tmp_path):
    detector = fresh(sixth, latent_dim=3).fit(rows)
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    assert type(loaded) is sixth.SubspaceDetector
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))
    checkpoints = tmp_path / "run"
    fresh(sixth, latent_dim=3, epochs=2).fit(rows, checkpoints=checkpoints)
    resumed = fresh(sixth, latent_dim=3).fit(rows, checkpoints=checkpoints)
    np.testing.assert_array_equal(resumed.anomaly_score(rows), detector.anomaly_score(rows))


def test_its_arguments_are_checked_before_compiling(sixth, rows):
    with training.Stopwatch() as watch, pytest.raises(ValueError, match="latent_dim=0"):
        fresh(sixth, latent_dim=0).fit(rows)
    assert watch.compilations == 0


@pytest.mark.full
def test_the_quick_suite_measures_it(folder, tmp_path):
    arguments = ["--detectors", "subspace_detector", "--datasets", "breast_cancer", "--seeds", "1"]
    arguments += ["--out", str(tmp_path / "out")]
    code = f"import sixth; from benchmarks import run; raise SystemExit(run.main({arguments}))"
    paths = os.pathsep.join((str(folder), str(ROOT)))
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "subspace_detector" in done.stdout
