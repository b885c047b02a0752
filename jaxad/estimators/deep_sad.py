"""Deep SAD as a scikit-learn estimator."""

import math
from typing import Any

import numpy as np

from jaxad import objectives
from jaxad.estimators.base import Detector
from jaxad.estimators.checks import check_choice, check_interval, check_labels
from jaxad.estimators.hypersphere import (
    check_pretraining,
    collapsed_onto_centre,
    pretraining,
)
from jaxad.estimators.plan import Pretraining
from jaxad.networks import build


class DeepSAD(Detector):
    """Deep Semi-supervised Anomaly Detection (Ruff et al., ICLR 2020).

    Deep SVDD that also learns from labels: known normals are drawn to the centre like unlabelled
    rows, known anomalies pushed away. ``fit(X, y)`` takes ``y`` ``[N]``: +1 known normal, -1 known
    anomaly, 0 unlabelled; `jaxad.labels_from_anomalies` makes it from a 0/1 column. Without labels
    it is Deep SVDD.

    Args:
      eta: how much labelled rows count, > 0.
      epsilon: added to the distance of labelled rows, > 0.
      anomalies_in_centre: let known anomalies count for the centre, as the paper's code does.
      pretrain_on: ``"unlabelled"`` rows or ``"all"``.
      epochs: a number, or ``"auto"``: about 3,000 steps, from 1 to 1,500 epochs. 0 leaves the
        network untrained (a control).
      **others: the other arguments, and the fitted attributes, are those of `DeepSVDD`.

    Example:
      >>> import numpy as np
      >>> from jaxad import DeepSAD
      >>> rng = np.random.default_rng(0)
      >>> X = np.concatenate([rng.normal(size=(190, 4)), rng.normal(size=(10, 4)) + 4])
      >>> y = np.zeros(200, int)
      >>> y[195:] = -1
      >>> detector = DeepSAD(epochs=20, random_state=0).fit(X, y)
      >>> detector.anomaly_score(X).shape
      (200,)
    """

    _most_epochs = 1500  # labels keep a small set from being learnt by heart

    def __init__(
        self,
        *,
        eta: float = 1.0,
        epsilon: float = 1e-6,
        anomalies_in_centre: bool = False,
        pretrain_on: str = "unlabelled",
        network: Any = "mlp",
        hidden: tuple[int, ...] | None = None,
        latent_dim: int | None = None,
        batch_norm: bool = True,
        pretrain_epochs: int = 0,
        pretrain_learning_rate: float | None = None,
        pretrain_weight_decay: float = 0.0,
        epochs: int | str = "auto",
        batch_size: int = 128,
        learning_rate: float = 1e-4,
        weight_decay: float = 5e-7,
        milestones: tuple[int, ...] = (),
        clip_norm: float | None = None,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        n_members: int | str = "auto",
        combine: str = "auto",
        scaler: str = "auto",
        contamination: float = 0.1,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
    ):
        self.eta = eta
        self.epsilon = epsilon
        self.anomalies_in_centre = anomalies_in_centre
        self.pretrain_on = pretrain_on
        self.network = network
        self.hidden = hidden
        self.latent_dim = latent_dim
        self.batch_norm = batch_norm
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_learning_rate = pretrain_learning_rate
        self.pretrain_weight_decay = pretrain_weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.milestones = milestones
        self.clip_norm = clip_norm
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.n_members = n_members
        self.combine = combine
        self.scaler = scaler
        self.contamination = contamination
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_interval("eta", self.eta, 0, math.inf, closed="neither")
        check_interval("epsilon", self.epsilon, 0, math.inf, closed="neither")
        check_choice("pretrain_on", self.pretrain_on, ("unlabelled", "all"))
        check_pretraining(self)

    def _encoder(self):
        return build.encoder(
            self.network,
            hidden=self.hidden,
            latent_dim=self.latent_dim,
            batch_norm=self.batch_norm,
            use_bias=False,
        )

    def _objective(self, shape: tuple[int, ...], count: int):
        return objectives.DeepSAD(
            self._encoder(),
            eta=self.eta,
            epsilon=self.epsilon,
            anomalies_in_centre=self.anomalies_in_centre,
        )

    def _steps(self, rows: int) -> int:
        return 3000  # what is pushed away goes on moving after the rest has settled

    def _labels(self, y: Any, count: int) -> np.ndarray:
        if y is None:
            return np.zeros(count, np.int32)
        label = check_labels(y, count)
        if (label < 0).all():
            raise ValueError(
                "y marks every row as a known anomaly (-1): at least one row must be unlabelled "
                "(0) or known normal (+1)"
            )
        return label

    def _pretraining(self, objective, x, label, seed) -> Pretraining | None:
        on = label == 0 if self.pretrain_on == "unlabelled" else np.ones(len(label), bool)
        # Without an unlabelled row what is not a known anomaly stands in.
        on = on if on.any() else label >= 0
        return pretraining(self, objective, x[on], seed, loss=objectives.mean_squared_error)

    def _collapse(self, x, score, stats) -> str | None:
        collapse = collapsed_onto_centre(score, stats["centre"])
        return collapse or super()._collapse(x, score, stats)
