"""Autoencoders as a scikit-learn estimator."""

import dataclasses
from typing import Any

import numpy as np

from jaxad import objectives
from jaxad.checks import AT_LEAST_ZERO, POSITIVE, Choice, Each, Flag
from jaxad.estimators.base import argument
from jaxad.estimators.own_loss import LossDetector
from jaxad.networks import IMAGES, build
from jaxad.networks.types import TYPES
from jaxad.training.recipe import RANGES
from jaxad.typing import Objective


def _check_noise(name: str, value: Any) -> Any:
    """Raise an error unless ``value`` is a standard deviation or several."""
    if not np.ndim(value):
        return AT_LEAST_ZERO(name, value)
    if not len(value):
        raise ValueError(f"{name}={value!r} is empty: give a level for each member, or one number")
    Each(POSITIVE if len(value) > 1 else AT_LEAST_ZERO)(name, value)
    return value


class AutoEncoder(LossDetector):
    """Reconstruct normal rows through a bottleneck; the anomaly score is the mean squared error.

    Args:
      noise: standard deviation of Gaussian noise added to the scaled input in training (a
        denoising autoencoder); 0 adds none. Or a tuple with a level for each member of the
        ensemble, which then has as many members, or a multiple; what one level overlooks another
        may see.
      loss: a loss of your own, or None for the mean squared error. A function of any of ``x``
        ``[B, ...]``, ``reconstruction``, ``z`` ``[B, L]`` and its own ``loss_numbers``, matched by
        name; it returns ``[B]`` and is the score, too.
      loss_numbers: numbers of ``loss`` by name, see `DeepSVDD`.
      network: ``"mlp"``, ``"conv"``, ``"lenet"``, one of the papers' ``"mnist_lenet"``,
        ``"fmnist_lenet"``, ``"cifar10_lenet"``, or a Flax module ``[B, ...] -> [B, L]``.
      decoder: a Flax module ``[B, L] -> [B, ...]``, if ``network`` is a Flax module.
      batch_norm: batch normalisation in an MLP; image networks always have it.
      dtype: what the network computes in, see `DeepSVDD`.
      epochs: a number, or ``"auto"``: about 2,000 steps, 8,000 above 12,000 rows, from 1
        to 200 epochs. 0 leaves the network untrained (a control).
      time_decay: the rate is divided by ``1 + time_decay * step``.
      **others: ``hidden``, ``latent_dim`` and the arguments of `Detector`, see `DeepSVDD`.

    Attributes:
      params_: parameters of ``encoder`` and ``decoder``.
      stats_: their ``batch_stats``.
      **others: see `DeepSVDD`.

    Example:
      >>> import numpy as np
      >>> from jaxad import AutoEncoder
      >>> X = np.random.default_rng(0).normal(size=(200, 4))
      >>> detector = AutoEncoder(epochs=5, random_state=0).fit(X)
      >>> detector.reconstruct(X).shape
      (200, 4)
    """

    noise: Any = argument(0.5, _check_noise)
    network: Any = "mlp"
    decoder: Any = None
    hidden: tuple[int, ...] | None = None
    latent_dim: int | None = None
    batch_norm: bool = argument(False, Flag())
    dtype: Any = argument("float32", Choice(TYPES))
    learning_rate: float = argument(1e-3, RANGES["learning_rate"])
    time_decay: float = argument(0.0, RANGES["time_decay"])

    def reconstruct(self, X: Any) -> np.ndarray:
        """Reconstructions in the units and shape of ``X`` (images ``[N, H, W, C]``).

        An ensemble returns the mean of its members' reconstructions.
        """
        return self._reconstruct(X)

    def _steps(self, rows: int) -> int:
        return 8000 if rows > 12_000 else 2000

    def _recipe(self, rows: int):
        return dataclasses.replace(super()._recipe(rows), time_decay=self.time_decay)

    _passed = LossDetector._passed | {"x", "reconstruction", "z", "noise", "encoder", "decoder"}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        levels = len(self._levels)
        if levels > 1 and self.n_members != "auto" and self.n_members % levels:
            raise ValueError(
                f"n_members={self.n_members} is no multiple of the {levels} levels in "
                f"noise={self.noise!r}: leave it 'auto', or give a multiple"
            )
        if not isinstance(self.network, str):
            build.check_module("network", self.network)
        if not isinstance(self.network, str) and self.decoder is None:
            raise ValueError(
                "decoder=None: a Flax module as network needs the Flax module that maps its "
                "latent vectors back to rows"
            )
        if self.decoder is not None:
            build.check_module("decoder", self.decoder)

    def _objective(self, shape: tuple[int, ...], count: int) -> Objective:
        options = {
            "hidden": self.hidden,
            "latent_dim": self.latent_dim,
            "use_bias": True,
            "batch_norm": bool(self.batch_norm),
            "dtype": self.dtype,
        }
        output = "linear"
        if self.network in IMAGES:
            options["batch_norm"] = True
            # Both scalers map pixels to [0, 1].
            output = "sigmoid" if self.scaler in ("auto", "minmax") else "linear"
        else:
            options["activation"] = "relu"
        encoder = build.encoder(self.network, **options)
        decoder = self.decoder or build.decoder(
            self.network, shape, output_activation=output, **options
        )
        noise = max(self._levels) or None
        return objectives.autoencoder(encoder, decoder, noise=noise, **self._loss(None))

    @property
    def _levels(self) -> tuple[float, ...]:
        """Levels of noise."""
        return tuple(self.noise) if np.ndim(self.noise) else (float(self.noise),)

    def _members(self, rows: Any) -> int:
        several = self._fewest_members > 1 and self.n_members == "auto"
        return self._fewest_members if several else super()._members(rows)

    @property
    def _fewest_members(self) -> int:
        return len(self._levels)

    def _of_members(self, objective: Any, size: int) -> Any:
        levels = self._levels
        if len(levels) == 1:
            return objective
        return [_with_noise(objective, levels[p % len(levels)]) for p in range(size)]


def _with_noise(objective: Any, noise: float) -> Any:
    """The objective, in its wrappers, with another level of noise."""
    inner = getattr(objective, "objective", None)
    if inner is None:
        return objective.replace(noise=noise)
    return objective.replace(objective=_with_noise(inner, noise))
