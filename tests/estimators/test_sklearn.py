"""scikit-learn's checks for every estimator, with one exception."""

import cases
import numpy as np
import pytest
from cases import fresh
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import jaxad

DETECTORS = [fresh(name, epochs=2, n_members=1 + i % 2) for i, name in enumerate(cases.DETECTORS)]
DETECTORS[list(cases.DETECTORS).index("DAGMM")].set_params(latent_dim=None)  # of one feature, too
DEAR = (jaxad.KDSM, jaxad.TCCM)


@pytest.fixture(autouse=True)
def classes_as_labels(monkeypatch):
    """The suite passes classes from 0 to 3, of which detectors with labels refuse 2 and 3."""
    labels = jaxad.DeepSAD._labels

    def from_classes(self, y, count):
        if y is not None:
            y = (np.asarray(y) + 1) % 3 - 1
            y = -y if set(np.unique(y)) == {0, 1} else y  # without an anomaly they are refused
        return labels(self, y, count)

    monkeypatch.setattr(jaxad.DeepSAD, "_labels", from_classes)
    monkeypatch.setattr(jaxad.ObjectiveDetector, "_labels", from_classes)


# Batches are drawn from the rows, so training on a row twice is not training on weight 2. The other
# half of this check, that weight 0 is absence, has a test in test_weights.py.
EXPECTED = {"check_sample_weight_equivalence_on_dense_data": "training draws batches of rows"}


@pytest.mark.slow
@parametrize_with_checks(
    [made for made in DETECTORS if type(made) not in DEAR],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_scikit_learn(estimator, check, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # else the check of array dispatch is skipped
    check(estimator)


@pytest.mark.full
@pytest.mark.parametrize("name", [kind.__name__ for kind in DEAR])
def test_scikit_learn_of_those_dear_to_compile(name, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    made = fresh(name, epochs=2)
    check_estimator(made, expected_failed_checks=EXPECTED, on_skip=None)


@pytest.mark.full
def test_scikit_learn_of_an_objective(monkeypatch):
    """In one test, since the function in its repr has another address in each worker of pytest."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    made = clone(cases.OF_AN_OBJECTIVE).set_params(epochs=2)
    check_estimator(made, expected_failed_checks=EXPECTED, on_skip=None)
