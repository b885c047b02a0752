"""Pretraining: an autoencoder whose encoder starts the run of Deep SVDD or Deep SAD."""

import math
from typing import Any

import numpy as np

from jaxad import objectives, training
from jaxad.estimators.base import Detector, key_from
from jaxad.estimators.checks import check_interval
from jaxad.networks import build
from jaxad.typing import Batch, Params, Stats


def pretrain(
    detector: Any, objective: Any, seed: int, rows: Batch
) -> tuple[tuple[Params, Stats], dict[str, np.ndarray]]:
    """Train an autoencoder around the objective's encoder.

    Args:
      detector: an estimator with ``pretrain_*`` arguments.
      objective: has an ``encoder`` and ``from_encoder``.
      seed: the run's seed.
      rows: what to train on.

    Returns:
      The parameters and statistics to start from, and the autoencoder's history.
    """
    decoder = build.decoder(
        detector.network,
        rows.x.shape[1:],
        hidden=detector.hidden,
        latent_dim=detector.latent_dim,
        batch_norm=detector.batch_norm,
        use_bias=False,
    )
    rate = detector.pretrain_learning_rate
    recipe = training.Recipe(
        epochs=detector.pretrain_epochs,
        batch_size=detector.batch_size,
        learning_rate=detector.learning_rate if rate is None else rate,
        weight_decay=detector.pretrain_weight_decay or None,
        clip_norm=detector.clip_norm,
    )
    autoencoder = objectives.AutoEncoder(
        objective.encoder, decoder, loss=objectives.sum_squared_error
    )
    result = training.fit(
        autoencoder, recipe, key_from(seed, stream=1), rows, progress=bool(detector.verbose)
    )
    encoder = objectives.encoder_of(result.params, result.stats)
    return objective.from_encoder(*encoder, rows.x[:1]), result.history


def check_pretraining(detector: Detector) -> None:
    """Raise a ValueError that names the first ``pretrain_*`` argument out of range."""
    given = detector.get_params(deep=False)
    for name in ("pretrain_epochs", "pretrain_weight_decay"):
        check_interval(name, given[name], 0, math.inf, closed="left")
    if given["pretrain_learning_rate"] is not None:
        rate = given["pretrain_learning_rate"]
        check_interval("pretrain_learning_rate", rate, 0, math.inf, closed="neither")
