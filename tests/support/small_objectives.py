"""One small objective of every kind, and how to compare two of its runs."""

import jax
import numpy as np

from jaxad import networks, objectives, training
from jaxad.losses import hypersphere

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
