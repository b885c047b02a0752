"""scikit-learn's own suite for every estimator, without a waiver."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import jaxad

SMALL = {"hidden": (8,), "latent_dim": 4, "epochs": 2, "random_state": 0}


@pytest.mark.slow
@parametrize_with_checks([jaxad.DeepSVDD(**SMALL), jaxad.AutoEncoder(**SMALL)])
def test_scikit_learn(estimator, check):
    check(estimator)
