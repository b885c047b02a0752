"""Which changes recompile programs, and which must not."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxad
from jaxad import networks, objectives, training


def fit(n=1000, seed=0, **recipe):
    x = np.random.default_rng(seed).normal(size=(n, 7)).astype(np.float32)
    objective = objectives.deep_svdd(networks.MLP((6, 3)), nu=recipe.pop("nu", 0.1))
    recipe = training.Recipe(**({"epochs": 3, "weight_decay": 1e-6} | recipe))
    return training.fit(objective, recipe, jax.random.key(seed), x)


@pytest.fixture
def warm():
    fit()


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"n": 900},
        {"epochs": 70},
        {"learning_rate": 3e-4},
        {"weight_decay": 1},
        {"time_decay": 0.1},
        {"nu": 0.5},
    ],
    ids=lambda o: next(iter(o)),
)
@pytest.mark.usefixtures("warm")
def test_new_numbers_do_not_recompile(other):
    assert fit(**other).compilations == 0


@pytest.mark.usefixtures("warm")
def test_a_new_structure_recompiles():
    assert fit(clip_norm=1.0).compilations > 0


def test_a_first_run_compiles_a_handful_of_programs():
    """Runs in a new process, because emptying the caches would slow down later tests."""
    code = "import test_compilation; assert 1 <= test_compilation.fit(n=333).compilations <= 8"
    folder = pathlib.Path(__file__).parent
    path = os.pathsep.join((str(folder), str(folder.parents[1])))
    environment = os.environ | {"PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("n_members", [1, 3])
def test_scoring_odd_sizes_does_not_recompile(n_members, rng):
    x = rng.normal(size=(5000, 6))
    options = {"hidden": (8,), "latent_dim": 4, "epochs": 1, "n_members": n_members}
    detector = jaxad.DeepSVDD(**options, random_state=0).fit(x)
    for size in (100, 2000):
        detector.anomaly_score(x[:size])
    with training.Stopwatch() as watch:
        for size in (1, 2, 99, 256, 1000, 2047):
            detector.anomaly_score(x[:size])
    assert watch.compilations == 0


@pytest.mark.parametrize("n_members", [1, 3])
def test_an_estimator_refitted_on_other_data_does_not_recompile(n_members, rng):
    options = {"hidden": (8,), "latent_dim": 4, "epochs": 3, "n_members": n_members}
    jaxad.DeepSVDD(**options, random_state=0).fit(rng.normal(size=(400, 9)))
    with training.Stopwatch() as watch:
        jaxad.DeepSVDD(**options, random_state=1, learning_rate=1e-3).fit(
            rng.normal(size=(500, 9)) * 7
        )
    assert watch.compilations == 0


@pytest.mark.parametrize("name", ["DAGMM", "GOAD", "AutoEncoder"])
def test_scoring_fewer_rows_than_were_fitted_does_not_recompile(name, rng):
    x = rng.normal(size=(4000, 4))
    detector = getattr(jaxad, name)(epochs=1, n_members=1, random_state=0).fit(x)
    with training.Stopwatch() as watch:
        detector.anomaly_score(x[:2500])
    assert watch.compilations == 0
