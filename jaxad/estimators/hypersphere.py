"""What Deep SVDD and Deep SAD share: pretraining, and collapse onto the centre."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxad import objectives, training
from jaxad.estimators.base import Detector, key_from
from jaxad.estimators.checks import check_interval
from jaxad.estimators.plan import Pretraining
from jaxad.networks import IMAGES, build

_UNIT = ("auto", "minmax")  # scalers that bring pixels to [0, 1]


def pretraining(
    detector: Any, objective: Any, x: np.ndarray, seed: int, *, loss: Callable
) -> Pretraining | None:
    """An autoencoder whose encoder starts ``objective``, if the detector asks for one.

    Args:
      detector: an estimator with ``pretrain_*`` arguments.
      objective: has an ``encoder`` and ``from_encoder``.
      x: the rows to pretrain on.
      seed: the run's.
      loss: the autoencoder's; Deep SVDD's code sums over a row's entries, Deep SAD's averages.
    """
    if not detector.pretrain_epochs:
        return None
    images = detector.network in IMAGES
    decoder = build.decoder(
        detector.network,
        x.shape[1:],
        hidden=detector.hidden,
        latent_dim=detector.latent_dim,
        batch_norm=detector.batch_norm,
        use_bias=False,
        output_activation="sigmoid" if images and detector.scaler in _UNIT else "linear",
    )
    rate = detector.pretrain_learning_rate
    recipe = training.Recipe(
        epochs=detector.pretrain_epochs,
        batch_size=detector.batch_size,
        learning_rate=detector.learning_rate if rate is None else rate,
        weight_decay=detector.pretrain_weight_decay or None,
        clip_norm=detector.clip_norm,
    )
    autoencoder = objectives.AutoEncoder(objective.encoder, decoder, loss=loss)
    return Pretraining(autoencoder, recipe, key_from(seed, stream=1), training.as_rows(x))


def check_pretraining(detector: Detector) -> None:
    """Raise a ValueError that names the first ``pretrain_*`` argument out of range."""
    given = detector.get_params(deep=False)
    if given["pretrain_epochs"] and not isinstance(given["network"], str):
        raise ValueError(
            f"pretrain_epochs={given['pretrain_epochs']} needs a decoder, which a network given as "
            "a Flax module does not name: use a network by name, or pretrain_epochs=0"
        )
    for name in ("pretrain_epochs", "pretrain_weight_decay"):
        check_interval(name, given[name], 0, math.inf, closed="left")
    if given["pretrain_learning_rate"] is not None:
        rate = given["pretrain_learning_rate"]
        check_interval("pretrain_learning_rate", rate, 0, math.inf, closed="neither")


def collapsed_onto_centre(distance: np.ndarray, centre: Any) -> str | None:
    """Why squared ``distance`` ``[N]`` of all training rows show a collapse, or None."""
    if distance.mean() > 1e-4 * np.sum(np.square(centre)):
        return None
    return (
        f"every training row is mapped to the centre (mean squared distance {distance.mean():.2g})"
        ", as a network with biases or bounded activations can learn to do for any input. Use a "
        "network without them, or train fewer epochs"
    )
