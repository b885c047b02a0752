"""DAGMM as a scikit-learn estimator."""

from typing import Any

import numpy as np
from sklearn.base import clone

from jaxad import objectives
from jaxad.checks import (
    AT_LEAST_ZERO,
    POSITIVE,
    Choice,
    Each,
    Interval,
    Special,
    Whole,
    check_choice,
)
from jaxad.estimators.base import argument
from jaxad.estimators.own_loss import LossDetector
from jaxad.networks import MLP, build
from jaxad.objectives.dagmm import AVAILABLE
from jaxad.training.recipe import RANGES


class DAGMM(LossDetector):
    """Deep Autoencoding Gaussian Mixture Model (Zong et al., ICLR 2018).

    A Gaussian mixture models an autoencoder's latent vectors and two reconstruction features. The
    anomaly score is the energy under the mixture of all training rows. Train on mostly normal rows;
    labels are not used.

    `DAGMM.paper` has the paper's networks and settings for its four data sets. The defaults here
    have a wider latent space and short training, because long training ranked anomalies worse.
    More jitter and clipped gradients prevent the NaNs of long training.

    Args:
      latent_dim: L of the compression network, at most the number of features D; None is
        ``min(8, D)``.
      n_components: K of the mixture.
      hidden: hidden widths of the encoder; the decoder mirrors them.
      estimation_hidden: hidden widths of the estimation network.
      lambda_energy: weight of the energy.
      lambda_covariance: weight of the inverse variances.
      jitter: added to the covariances, relative to their mean variance.
      dropout: dropout rate in the estimation network.
      network_dropout: dropout rate of the input and of all hidden units of encoder and decoder.
      reduction: ``"sum"`` of squared errors over features (the paper) or ``"mean"``.
      loss: a loss of your own, or None for the paper's. A function of any of ``error`` ``[B]``,
        ``energy`` ``[B]``, ``penalty``, ``z`` ``[B, L + 2]``, ``x``, ``reconstruction``,
        ``responsibilities`` ``[B, K]``, ``lambda_energy``, ``lambda_covariance`` and its own
        ``loss_numbers``, matched by name; it returns ``[B]``.
      loss_numbers: numbers of ``loss`` by name, see `DeepSVDD`.
      epochs: a number, or ``"auto"``: about 100 steps, from 1 to 50 epochs. 0 leaves the networks
        untrained (a control).
      combine: see `DeepSVDD`; ``"auto"`` is "rank".
      **others: the other arguments of `Detector`; see `DeepSVDD`, also for fitted attributes.

    Example:
      >>> import numpy as np
      >>> from jaxad import DAGMM
      >>> X = np.random.default_rng(0).normal(size=(300, 6))
      >>> detector = DAGMM(latent_dim=2, n_components=2, epochs=5, n_members=1, random_state=0)
      >>> detector.fit(X).transform(X).shape
      (300, 4)
    """

    latent_dim: int | None = argument(None, Special(None, Whole()))
    n_components: int = argument(4, Whole())
    hidden: tuple[int, ...] = (60, 30)
    estimation_hidden: tuple[int, ...] = argument((10,), Each(Whole()))
    lambda_energy: float = argument(0.1, AT_LEAST_ZERO)
    lambda_covariance: float = argument(0.005, AT_LEAST_ZERO)
    jitter: float = argument(1e-3, POSITIVE)
    dropout: float = argument(0.5, Interval(0, 1))
    network_dropout: float = argument(0.0, Interval(0, 1))
    reduction: str = argument("sum", Choice(("sum", "mean")))
    clip_norm: float | None = argument(5.0, RANGES["clip_norm"])

    _passed = LossDetector._passed | set(AVAILABLE)
    _max_epochs = 50
    _combine = "rank"  # energies of different mixtures have different units

    @classmethod
    def paper(cls, dataset: str, **others: Any) -> "DAGMM":
        """The paper's networks and settings (section 4.3) for one of its data sets.

        Args:
          dataset: ``"kddcup"``, ``"kddcup_rev"``, ``"thyroid"`` or ``"arrhythmia"``.
          **others: arguments that replace the paper's.

        Raises:
          ValueError: the paper has no such data set.

        Example:
          >>> from jaxad import DAGMM
          >>> DAGMM.paper("thyroid").hidden
          (12, 4)
        """
        check_choice("dataset", dataset, tuple(_PAPER))
        hidden, latent_dim, n_components, epochs, batch_size = _PAPER[dataset]
        settings = {
            "hidden": hidden,
            "latent_dim": latent_dim,
            "n_components": n_components,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": 1e-4,
            "jitter": 1e-6,
            "clip_norm": None,
            "n_members": 1,
        }
        return cls(**(settings | others))

    def reconstruct(self, X: Any) -> np.ndarray:
        """Reconstructions ``[N, D]`` in the units of ``X``, averaged over members."""
        return self._reconstruct(X)

    def _check_rows(self, shape: tuple[int, ...], count: int) -> None:
        if self.latent_dim is not None and self.latent_dim > shape[0]:
            raise ValueError(
                f"latent_dim={self.latent_dim} is more than the {shape[0]} features: a latent "
                "space larger than the input compresses nothing"
            )
        if self.n_components > count:
            raise ValueError(
                f"n_components={self.n_components} is more than the {count} rows: lower it"
            )

    def _steps(self, rows: int) -> int:
        return 100

    def _settled(self, shape: tuple[int, ...]) -> "DAGMM":
        if self.latent_dim is not None:
            return self
        settled: Any = clone(self)
        return settled.set_params(latent_dim=self._latent(shape))

    def _latent(self, shape: tuple[int, ...]) -> int:
        return min(8, shape[0]) if self.latent_dim is None else self.latent_dim

    def _objective(self, shape: tuple[int, ...], count: int) -> objectives.DAGMM:
        sizes = {"hidden": self.hidden, "latent_dim": self._latent(shape)}
        options = {
            "use_bias": True,
            "activation": "tanh",
            "dropout": self.network_dropout,
            "input_dropout": self.network_dropout,
        }
        estimator = MLP(
            (*self.estimation_hidden, self.n_components),
            activation="tanh",
            use_bias=True,
            dropout=self.dropout,
        )
        return objectives.DAGMM(
            build.encoder(self.network, **sizes, **options),
            build.decoder(self.network, shape, **sizes, **options),
            estimator,
            lambda_energy=self.lambda_energy,
            lambda_covariance=self.lambda_covariance,
            jitter=self.jitter,
            reduction=self.reduction,
            function=self.loss,
            numbers=dict(self.loss_numbers or {}),
        )


# hidden, latent_dim, n_components, epochs, batch_size
_PAPER = {
    "kddcup": ((60, 30, 10), 1, 4, 200, 1024),
    "kddcup_rev": ((60, 30, 10), 1, 2, 400, 1024),
    "thyroid": ((12, 4), 1, 2, 20_000, 1024),
    "arrhythmia": ((10,), 2, 2, 10_000, 128),
}
