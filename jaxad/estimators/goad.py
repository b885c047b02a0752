"""GOAD as a scikit-learn estimator."""

import math
from typing import Any

from jaxad import objectives
from jaxad.estimators.base import Detector
from jaxad.estimators.checks import check_interval, check_positive_int
from jaxad.networks import MLP, build


class GOAD(Detector):
    """Classification-based anomaly detection for tables (Bergman & Hoshen, ICLR 2020).

    A network learns to tell M random linear maps of a row apart; a row whose maps are confused is
    anomalous. Train on rows that are mostly normal; no labels are used.

    Args:
      n_transforms: M, at least 2.
      transform_dim: r, what a row is mapped to.
      hidden: hidden widths of the trunk; with none it is linear, and on standardised rows all
        scores are nearly equal (a warning says so).
      latent_dim: L.
      margin: of the triplet-centre loss.
      triplet_weight: weight of the triplet-centre loss, the paper's lambda.
      epsilon: least squared distance in the score's probabilities.
      map_scale: standard deviation of the maps' entries; 1 in the paper.
      reconstruction_weight: weight, in loss and score, of reconstructing every mapped row from its
        latent vector by a decoder of its own; 0 for none.
      epochs: a number, or ``"auto"``: about 300 steps, at least one epoch. 0 leaves the
        networks untrained (a control).
      **others: ``batch_size``, ``learning_rate``, ``weight_decay``, ``milestones``, ``clip_norm``,
        ``validation_fraction``, ``patience``, ``scaler``, ``contamination``, ``random_state`` and
        ``verbose``, and the fitted attributes, are those of `DeepSVDD`.

    Example:
      >>> import numpy as np
      >>> from jaxad import GOAD
      >>> X = np.random.default_rng(0).normal(size=(300, 6))
      >>> GOAD(n_transforms=8, epochs=2, random_state=0).fit(X).anomaly_score(X).shape
      (300,)
    """

    network = "mlp"

    def __init__(
        self,
        *,
        n_transforms: int = 32,
        transform_dim: int = 32,
        hidden: tuple[int, ...] = (64,),
        latent_dim: int = 32,
        margin: float = 1.0,
        triplet_weight: float = 0.1,
        epsilon: float = 1e-6,
        map_scale: float = 1.0,
        reconstruction_weight: float = 0.0,
        epochs: int | str = "auto",
        batch_size: int = 128,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        milestones: tuple[int, ...] = (),
        clip_norm: float | None = None,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        scaler: str = "auto",
        contamination: float = 0.1,
        random_state: Any = None,
        verbose: bool = False,
    ):
        self.n_transforms = n_transforms
        self.transform_dim = transform_dim
        self.hidden = hidden
        self.latent_dim = latent_dim
        self.margin = margin
        self.triplet_weight = triplet_weight
        self.epsilon = epsilon
        self.map_scale = map_scale
        self.reconstruction_weight = reconstruction_weight
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.milestones = milestones
        self.clip_norm = clip_norm
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.scaler = scaler
        self.contamination = contamination
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_positive_int("n_transforms", self.n_transforms)
        if self.n_transforms < 2:
            raise ValueError(
                f"n_transforms={self.n_transforms}: there must be at least 2 to tell apart"
            )
        check_positive_int("transform_dim", self.transform_dim)
        for name in ("margin", "triplet_weight", "reconstruction_weight"):
            check_interval(name, getattr(self, name), 0, math.inf, closed="left")
        for name in ("epsilon", "map_scale"):
            check_interval(name, getattr(self, name), 0, math.inf, closed="neither")

    def _steps(self, rows: int) -> int:
        return 300

    def _objective(self, shape: tuple[int, ...]):
        trunk = build.encoder(self.network, hidden=self.hidden, latent_dim=self.latent_dim)
        maps = {
            "n_transforms": self.n_transforms,
            "transform_dim": self.transform_dim,
            "map_scale": self.map_scale,
        }
        objective = objectives.GOAD(
            trunk,
            margin=self.margin,
            triplet_weight=self.triplet_weight,
            epsilon=self.epsilon,
            **maps,
        )
        if not self.reconstruction_weight:
            return objective
        decoder = MLP((*reversed(self.hidden), self.transform_dim))
        part = objectives.MapReconstruction(trunk, decoder, **maps)
        return objectives.Compound((objective, part), (1.0, self.reconstruction_weight))

    def _collapse(self, x, score) -> str | None:
        if not self.hidden:
            return (
                "the trunk is linear (hidden=()), so on standardised rows every class centre is 0 "
                "and the maps cannot be told apart: give it a hidden layer"
            )
        return super()._collapse(x, score)
