"""Searches train trials as populations, prune and resume; what they report can be had again."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optuna
import pandas as pd
import polars as pl
import pytest
from cases import fresh
from optuna.distributions import FloatDistribution, IntDistribution
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import jaxad
from jaxad import metrics, training
from jaxad.tuning import criteria

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 5)).astype(np.float32)
X_VAL = RNG.normal(size=(60, 5)).astype(np.float32)
IS_ANOMALY = np.arange(60) < 12
X_VAL[IS_ANOMALY] *= 1.8
VALIDATION = X_VAL, IS_ANOMALY
RATE = FloatDistribution(1e-4, 1e-1, log=True)


@pytest.fixture(autouse=True)
def _quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def tuned(space, detector=None, **options):
    options = {"validation": VALIDATION, "trials": 6, "progress": False} | options
    return jaxad.tune(detector or fresh("AutoEncoder", epochs=9), space, X, **options)


@pytest.fixture(scope="module")
def found():
    space = {
        "learning_rate": RATE,
        "epochs": IntDistribution(4, 9),
        "hidden": [(8,), (6, 4)],
        "scaler": ["standard", "minmax"],
    }
    return tuned(space, fresh("AutoEncoder", n_members=2), trials=12, batch=6, random_state=3)


def test_trials_are_pruned_and_the_table_says_so(found):
    table = found.trials
    assert len(table) == 12
    states = set(table["state"])
    assert states == {"COMPLETE", "PRUNED"}
    pruned, complete = (table[table["state"] == state] for state in ("PRUNED", "COMPLETE"))
    assert (pruned["epochs"] < pruned["params_epochs"]).all()
    assert (complete["epochs"] == complete["params_epochs"]).all()
    assert found.best_value_ == complete["value"].max()


def test_the_best_value_is_that_of_the_refitted_detector(found):
    """Training in pieces, in a population that others leave, equals ``fit``."""
    best = found.best_detector_
    assert {name: getattr(best, name) for name in found.best_params_} == found.best_params_
    assert best.random_state == 3
    assert found.best_params_["hidden"] in [(8,), (6, 4)]
    value = metrics.average_precision(best.anomaly_score(X_VAL), IS_ANOMALY)
    np.testing.assert_allclose(value, found.best_value_, rtol=1e-5)


def test_trials_of_one_structure_share_a_program():
    """New rates compile nothing once a search of this structure has run."""
    detector = fresh("AutoEncoder", epochs=7)
    tuned({"learning_rate": RATE}, detector, trials=2, reports=())
    with training.Stopwatch() as watch:
        tuned({"learning_rate": RATE}, detector, trials=2, reports=(), random_state=1)
    assert watch.compilations <= 2  # only the slices of the smaller populations


def test_a_search_resumes(tmp_path):
    storage = {"storage": f"sqlite:///{tmp_path}/search.db", "study_name": "one"}
    space = {"learning_rate": RATE, "hidden": [(8,), (6,)]}
    first = tuned(space, trials=3, batch=2, **storage)
    second = tuned(space, trials=5, batch=2, **storage)
    assert len(first.study.trials) == 5  # the same study
    rates = second.trials["params_learning_rate"]
    assert rates.nunique() == 5
    third = tuned(space, trials=5, **storage)  # nothing is left to do but the last fit
    assert third.best_params_ == second.best_params_
    assert third.best_value_ == second.best_value_


def test_a_function_is_a_space():
    def space(trial):
        deep = trial.suggest_categorical("deep", [True, False])
        return {
            "hidden": (8, 6) if deep else (8,),
            "loss_numbers__delta": trial.suggest_float("d", 1, 2),
        }

    def pseudo_huber(distance, *, delta):
        return delta**2 * (jnp.sqrt(1 + distance / delta**2) - 1)

    found = tuned(
        space, fresh("DeepSVDD", loss=pseudo_huber, loss_numbers={"delta": 1.0}), trials=2
    )
    assert set(found.best_params_) == {"hidden", "loss_numbers__delta"}
    assert found.best_detector_.loss_numbers["delta"] == found.best_params_["loss_numbers__delta"]


def test_a_failed_trial_leaves_the_others():
    found = tuned({"learning_rate": [1e-3, 1e30]})
    table = found.trials.set_index("params_learning_rate")
    assert set(table.loc[[1e30], "state"]) == {"FAIL"}
    assert set(table.index[table["not_finite"].notna()]) == {1e30}
    assert "COMPLETE" in set(table.loc[[1e-3], "state"])
    with pytest.raises(jaxad.NonFiniteError, match="all 2 trials"):
        tuned({"learning_rate": [1e30]}, trials=2)


def test_a_repeated_call_trains_the_trials_of_an_interrupted_batch():
    storage = optuna.storages.InMemoryStorage()
    options = {"storage": storage, "study_name": "two", "reports": (), "trials": 3, "batch": 2}
    measured = []

    def stops(detector):
        measured.append(detector)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return 1.0

    quick = fresh("AutoEncoder", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        tuned({"learning_rate": RATE}, quick, criterion=stops, **options)
    stopped = optuna.load_study(study_name="two", storage=storage)
    assert [trial.state.name for trial in stopped.trials] == ["COMPLETE", "FAIL"]
    again = tuned({"learning_rate": RATE}, quick, criterion=stops, **options)
    assert again.trials["state"].tolist() == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


def test_a_search_resumes_after_a_corrected_setting():
    options = {"storage": optuna.storages.InMemoryStorage(), "study_name": "three", "trials": 2}
    with pytest.raises(ValueError, match="batch_size=-1"):
        tuned({"learning_rate": RATE}, fresh("AutoEncoder", batch_size=-1), **options)
    found = tuned({"learning_rate": RATE}, fresh("AutoEncoder", epochs=1), **options)
    assert found.trials["state"].value_counts().to_dict() == {"FAIL": 2, "COMPLETE": 2}


def test_a_study_with_another_list_of_values_is_named():
    options = {"storage": optuna.storages.InMemoryStorage(), "study_name": "four"}
    with pytest.raises(ValueError, match="batch_size=-1"):
        tuned({"batch_size": [-1]}, **options)
    with pytest.raises(ValueError, match=r"space\['batch_size'\]=\[64\]: the study has another"):
        tuned({"batch_size": [64]}, **options)


def test_a_search_whose_trials_were_all_pruned_says_so():
    pruner = optuna.pruners.ThresholdPruner(lower=2.0)  # above any average precision
    with pytest.raises(ValueError, match="the pruner ended 2 of 2 trials.*give a pruner"):
        tuned({"learning_rate": RATE}, pruner=pruner, trials=2)


@pytest.mark.parametrize("name", criteria.LABEL_FREE)
def test_criteria_without_labels_are_experimental(name):
    with pytest.warns(UserWarning, match=f"criterion='{name}' is experimental"):
        found = tuned(
            {"learning_rate": RATE},
            fresh("AutoEncoder", n_members=2, epochs=2),
            criterion=name,
            validation=pd.DataFrame(X_VAL) if name == "mass_volume" else X_VAL,
            trials=2,
        )
    assert np.isfinite(found.best_value_)


def test_validation_rows_without_labels_may_be_a_frame_of_polars():
    x, rows = (pl.DataFrame(values, schema=list("abcde")) for values in (X, X_VAL))
    with pytest.warns(UserWarning, match="experimental"):
        measure = criteria.make_criterion("excess_mass", rows)
    assert np.isfinite(measure(fresh("AutoEncoder", epochs=1).fit(x)))


def test_mass_and_volume_prefer_the_true_density():
    """Of scores by distance and by its opposite on Gaussian rows, the first is better."""
    rows, box = RNG.normal(size=(500, 2)), RNG.uniform(-3.5, 3.5, (2000, 2))
    near, far = np.linalg.norm(rows, axis=1), np.linalg.norm(box, axis=1)
    for measure in (criteria.excess_mass, criteria.mass_volume):
        assert measure(near, far) > measure(-near, -far)
    # By hand: half of the box holds all rows, so EM falls from 1 to .9 between 0 and .2.
    np.testing.assert_allclose(criteria.excess_mass(np.zeros(9), [0, 0, 1, 1]), 0.19, rtol=1e-6)
    np.testing.assert_allclose(criteria.mass_volume(np.zeros(9), [0, 0, 1, 1]), -0.05, rtol=1e-6)
    assert criteria.agreement(np.array([[1, 2, 3], [3, 2, 1]])) == -1


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({"learning_rte": RATE}, {}, "cannot vary 'learning_rte'"),
        ({"random_state": [1]}, {}, "cannot vary 'random_state'"),
        ({"learning_rate": 3}, {}, r"space\['learning_rate'\]=3: give a list"),
        ({}, {}, "give a dict"),
        (lambda trial: 3, {}, "space returned 3"),
        ({"batch_size": [-1]}, {}, "trial 0 with {'batch_size': -1}: batch_size=-1"),
        ({"patience": [2]}, {}, "patience=2 ends training by the loss"),
        ({"learning_rate": RATE}, {"trials": 0}, "trials=0"),
        ({"learning_rate": RATE}, {"reports": 5}, "reports=5 is not a list of epochs"),
        ({"learning_rate": RATE}, {"reports": [3, 0]}, r"reports\[1\]=0"),
        ({"learning_rate": RATE}, {"criterion": "f1"}, "criterion='f1'"),
        ({"learning_rate": RATE}, {"validation": X_VAL}, "needs labelled rows"),
        ({"learning_rate": RATE}, {"validation": (X_VAL, IS_ANOMALY[:3])}, "3 marks for 60"),
        ({"learning_rate": RATE}, {"validation": (X_VAL, IS_ANOMALY > 1)}, "both normal rows"),
        ({"learning_rate": RATE}, {"validation": (X_VAL[:, 1:], IS_ANOMALY)}, "X has 4 features"),
        ({"learning_rate": RATE}, {"criterion": "agreement"}, "uses no labels"),
        ({"learning_rate": RATE}, {"storage": "sqlite://"}, "without study_name"),
    ],
)
def test_wrong_input_is_named_before_training(space, options, message, monkeypatch):
    monkeypatch.setattr(training, "begin", None)
    with pytest.raises(ValueError, match=message):
        tuned(space, **options)


def test_what_else_cannot_be_searched(monkeypatch):
    pipeline = make_pipeline(StandardScaler(), fresh("AutoEncoder"))
    with pytest.raises(ValueError, match="the detector of a Pipeline by itself"):
        tuned({"learning_rate": RATE}, pipeline)
    with (
        pytest.warns(UserWarning, match="experimental"),
        pytest.raises(ValueError, match="set n_members to 2"),
    ):
        tuned({"learning_rate": RATE}, criterion="agreement", validation=X_VAL)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxad\[search\]'"):
        tuned({"learning_rate": RATE})


def test_trials_are_trained_on_the_detectors_device(monkeypatch):
    """Proposed devices, too, are populations of their own."""
    used, original = [], training.advance

    def told(*inputs, **options):
        state, result = original(*inputs, **options)
        used.append(training.mesh.used_devices())
        return state, result

    monkeypatch.setattr(training, "advance", told)
    space = {"device": ["cpu:1", "cpu:2"]}
    found = tuned(space, fresh("AutoEncoder", epochs=1, n_members=1), trials=4, random_state=1)
    chosen = found.best_params_["device"]
    (device,) = {leaf.device for leaf in jax.tree.leaves(found.best_detector_.params_)}
    assert str(device) == str(jax.devices()[int(chosen[-1])])
    assert sorted(used, key=str) == [[jax.devices()[n]] for n in (1, 2)]
