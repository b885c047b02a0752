"""One small detector of every kind: the table that tests of all detectors draw from."""

from typing import Any

from sklearn.base import clone

import jaxad

QUICK: dict[str, Any] = {"hidden": (8,), "epochs": 3, "n_members": 1, "random_state": 0}
DETECTORS = {
    "DeepSVDD": jaxad.DeepSVDD(latent_dim=4, **QUICK),
    "DeepSAD": jaxad.DeepSAD(latent_dim=4, **QUICK),
    "DAGMM": jaxad.DAGMM(latent_dim=2, n_components=2, **QUICK),
    "GOAD": jaxad.GOAD(latent_dim=4, n_transforms=4, transform_dim=6, **QUICK),
    "AutoEncoder": jaxad.AutoEncoder(latent_dim=2, **QUICK),
}


def fresh(name, **options):
    """An unfitted copy with other options."""
    return clone(DETECTORS[name]).set_params(**options)
