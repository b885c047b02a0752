"""The table of cases: one small detector and objective of every kind, for all tests of all kinds.

A new detector or objective takes one entry in each of `DETECTORS`, `OBJECTIVES` and `PLANTED`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.base import clone

import jaxad
from jaxad import networks, objectives, training
from jaxad.losses import hypersphere

ROOT = Path(__file__).parents[2]
KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 3)
TANH = {"activation": "tanh", "use_bias": True}
ENCODER = networks.MLP((8, 4))
OBJECTIVES = {
    "deep_svdd": objectives.deep_svdd(ENCODER),
    "soft_boundary": objectives.deep_svdd(
        networks.MLP((8, 4), batch_norm=True),
        loss=hypersphere.soft_boundary,
        radius=True,
        warm_up=1,
    ),
    "deep_sad": objectives.deep_sad(ENCODER),
    "autoencoder": objectives.autoencoder(ENCODER, networks.MLP((8, 5))),
    "dagmm": objectives.DAGMM(
        networks.MLP((4, 2), **TANH),
        networks.MLP((4, 5), **TANH),
        networks.MLP((6, 3), dropout=0.5, **TANH),
    ),
    "goad": objectives.goad(ENCODER, n_transforms=4, transform_dim=5),
}
WIDE, WIDE_DECODER = networks.MLP((32, 16, 8), batch_norm=True), networks.MLP((16, 32, 12))

# The same kinds, large enough for the planted set of the contract.
PLANTED = {
    "deep_svdd": objectives.deep_svdd(WIDE),
    "deep_svdd_soft": objectives.deep_svdd(
        WIDE, loss=hypersphere.soft_boundary, radius=True, nu=0.2, warm_up=2.0
    ),
    "deep_sad": objectives.deep_sad(WIDE),
    "autoencoder": objectives.autoencoder(WIDE, WIDE_DECODER),
    "denoising_autoencoder": objectives.autoencoder(WIDE, WIDE_DECODER, noise=0.5),
    "dagmm": objectives.DAGMM(
        networks.MLP((16, 4), activation="tanh", use_bias=True),
        networks.MLP((16, 12), activation="tanh", use_bias=True),
        networks.MLP((8, 3), activation="tanh", use_bias=True, dropout=0.5),
    ),
    "goad": objectives.goad(networks.MLP((16, 8)), n_transforms=8, transform_dim=8),
    "goad_reconstruction": objectives.Compound(
        (
            objectives.goad(networks.MLP((16, 8)), n_transforms=8, transform_dim=8),
            objectives.MapReconstruction(
                networks.MLP((16, 8)), networks.MLP((8,)), n_transforms=8, transform_dim=8
            ),
        ),
        (1.0, 0.5),
    ),
    "compound": objectives.Compound(
        (objectives.deep_svdd(WIDE), objectives.autoencoder(WIDE, WIDE_DECODER)), (1.0, 0.5)
    ),
    "trimmed": objectives.Trimmed(objectives.deep_svdd(WIDE), 0.1, 0.9),
    "loe": objectives.LOE(objectives.deep_sad(WIDE), 0.02, soft=True),
    "denoised": objectives.Denoised(objectives.deep_svdd(WIDE), 0.1),
    "k_dsm": objectives.k_dsm(networks.MLP((32, 32, 12)), draws=2),
    "icl": objectives.icl(networks.MLP((16, 8)), networks.MLP((16, 8))),
    "dte_c": objectives.dte_c(networks.MLP((32, 16, 7))),
    "dean": objectives.dean(networks.MLP((64, 64, 1)), bag=9),
    "tccm": objectives.tccm(networks.MLP((32, 32, 12))),
    "neutral_ad": objectives.neutral_ad(
        networks.MLP((16, 8)), networks.MLP((16, 12)), n_transforms=3
    ),
    # All features, because the weights of features outside the bag never move.
    "feature_bag": objectives.FeatureBag(objectives.deep_svdd(WIDE), 1.0),
    "padded": objectives.padded(objectives.deep_svdd(WIDE), 12.0),
}
# Methods whose training is known to add little: it must at least not hurt here. LOE is for training
# rows with anomalies, and these have none.
TRAINING_NEED_NOT_PAY = {"dagmm", "goad", "goad_reconstruction", "loe"}
# Noise of neighbouring bins is hard to tell apart, so this loss has a floor far above 0.
LOSS_FALLS_TO = {"dte_c": 0.9}

QUICK: dict[str, Any] = {"hidden": (8,), "epochs": 3, "n_members": 1, "random_state": 0}


@jaxad.register_loss
def small_autoencoder(shape):
    """An objective for `ObjectiveDetector`."""
    return objectives.autoencoder(networks.MLP((8, 2)), networks.MLP((8, *shape)), noise=0.1)


DETECTORS = {
    "DeepSVDD": jaxad.DeepSVDD(latent_dim=4, **QUICK),
    "DeepSAD": jaxad.DeepSAD(latent_dim=4, **QUICK),
    "DAGMM": jaxad.DAGMM(latent_dim=2, n_components=2, **QUICK),
    "GOAD": jaxad.GOAD(latent_dim=4, n_transforms=4, transform_dim=6, **QUICK),
    "AutoEncoder": jaxad.AutoEncoder(latent_dim=2, **QUICK),
    "KDSM": jaxad.KDSM(**QUICK),
    "TCCM": jaxad.TCCM(**QUICK),
}
OF_AN_OBJECTIVE = jaxad.ObjectiveDetector(small_autoencoder, epochs=3, n_members=1, random_state=0)

RECIPE = training.Recipe(epochs=3, batch_size=64, learning_rate=1e-2)
# Runs that several processes share: programs of their own, which no other test has traced.
SHARED = RECIPE.replace(batch_size=56)
WATCHED = RECIPE.replace(epochs=9, learning_rate=1e-1, patience=1)


def labelled(rows):
    label = np.zeros(len(rows), np.int32)
    label[:10], label[10:20] = -1, 1
    return training.as_rows(rows, label)


def assert_alike(objective, one, other, rows, rtol=2e-4):
    np.testing.assert_allclose(one.history["loss"], other.history["loss"], rtol=rtol)
    a, b = (training.score(objective, r.params, r.stats, rows) for r in (one, other))
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


def fresh(name, **options):
    """An unfitted copy with other options."""
    return clone(DETECTORS[name]).set_params(**options)


def sparing(names: Iterable[str]) -> list[Any]:
    """Names of cases; those dearest to compile are left to a full run."""
    full = pytest.mark.full
    return [pytest.param(n, marks=full) if n in ("dagmm", "goad") else n for n in names]
