"""The common base of Deep SVDD and Deep SAD: encoder, pretraining, test for collapse."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxad import objectives, training
from jaxad.checks import AT_LEAST_ZERO, POSITIVE, Choice, Flag, Special
from jaxad.estimators.base import argument
from jaxad.estimators.fitting import Run, key_from
from jaxad.estimators.own_loss import LossDetector
from jaxad.networks import IMAGES, build
from jaxad.networks.types import TYPES
from jaxad.rows import Rows
from jaxad.training.recipe import RANGES
from jaxad.typing import Array

_UNIT = ("auto", "minmax")  # scalers that map pixels to [0, 1]


class CentreDetector(LossDetector, register=False):
    """A bias-free network that maps normal rows close to a centre; see `DeepSVDD`."""

    network: Any = "mlp"
    hidden: tuple[int, ...] | None = None
    latent_dim: int | None = None
    batch_norm: bool = argument(True, Flag())
    dtype: Any = argument("float32", Choice(TYPES))
    pretrain_epochs: int = argument(0, RANGES["epochs"])
    pretrain_learning_rate: float | None = argument(None, Special(None, POSITIVE))
    pretrain_weight_decay: float = argument(0.0, AT_LEAST_ZERO)
    weight_decay: float = argument(5e-7, AT_LEAST_ZERO)

    _passed = LossDetector._passed | {
        *("encoder", "distance", "label", "z", "centre", "radius"),
        *("nu", "warm_up", "minimum_centre", "eta", "epsilon", "anomalies_in_centre"),
    }

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.pretrain_epochs and not isinstance(self.network, str):
            raise ValueError(
                f"pretrain_epochs={self.pretrain_epochs} needs a decoder, which a network given as "
                "a Flax module does not name: use a network by name, or pretrain_epochs=0"
            )

    def _encoder(self) -> Any:
        return build.encoder(
            self.network,
            hidden=self.hidden,
            latent_dim=self.latent_dim,
            batch_norm=bool(self.batch_norm),
            use_bias=False,
            dtype=self.dtype,
        )

    def _autoencoder(
        self, objective: Any, rows: Rows, seed: int, loss: Callable[..., Array]
    ) -> Run | None:
        """The run that pretrains the objective's ``encoder`` as an autoencoder, if wanted."""
        if not self.pretrain_epochs:
            return None
        images = self.network in IMAGES
        decoder = build.decoder(
            self.network,
            rows.shape,
            hidden=self.hidden,
            latent_dim=self.latent_dim,
            batch_norm=bool(self.batch_norm),
            use_bias=False,
            output_activation="sigmoid" if images and self.scaler in _UNIT else "linear",
            dtype=self.dtype,
        )
        rate = self.pretrain_learning_rate
        recipe = training.Recipe(
            epochs=self.pretrain_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate if rate is None else rate,
            weight_decay=self.pretrain_weight_decay or None,
            clip_norm=self.clip_norm,
        )
        autoencoder = objectives.autoencoder(objective.encoder, decoder, loss=loss)
        return Run(self._trimmed(autoencoder), recipe, key_from(seed, stream=1), rows)

    def _collapse(self, rows, score, stats) -> str | None:
        distance = score + np.square(stats["radius"])  # 0 without a soft boundary
        if distance.mean() > 1e-4 * np.sum(np.square(stats["centre"])):
            return super()._collapse(rows, score, stats)
        return (
            f"every training row is mapped to the centre (mean squared distance "
            f"{distance.mean():.2g}), as a network with biases or bounded activations can learn to "
            "do for any input. Use a network without them, or train fewer epochs"
        )
