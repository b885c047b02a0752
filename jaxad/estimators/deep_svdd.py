"""Deep SVDD as a scikit-learn estimator."""

from typing import Any

from jaxad import objectives
from jaxad.checks import AT_LEAST_ZERO, Choice, Interval, Special
from jaxad.estimators.base import argument
from jaxad.estimators.centre import CentreDetector
from jaxad.estimators.fitting import Run
from jaxad.losses import hypersphere
from jaxad.rows import Rows

LOSSES = {"one-class": hypersphere.one_class, "soft-boundary": hypersphere.soft_boundary}


class DeepSVDD(CentreDetector):
    """Deep Support Vector Data Description (Ruff et al., ICML 2018).

    A bias-free network maps normal rows close to a fixed centre; the squared distance to the
    centre is the anomaly score. Train on rows that are mostly normal; no labels are used.

    Args:
      objective: ``"one-class"`` (mean squared distance) or ``"soft-boundary"`` (a ball whose
        radius leaves about a share ``nu`` of the rows outside).
      nu: in (0, 1], for the soft boundary.
      warm_up_epochs: epochs before the radius moves; ``"auto"`` is the paper's 10, at most a third
        of the run.
      network: ``"mlp"``, ``"lenet"``, ``"conv"``, one of the papers' ``"mnist_lenet"``,
        ``"fmnist_lenet"``, ``"cifar10_lenet"``, or a Flax module ``[B, ...] -> [B, L]``.
      hidden: hidden widths of an MLP, filters of an image network; None is the network's own.
      latent_dim: L; None is the network's own.
      batch_norm: batch normalisation (without scale and offset) before each activation.
      pretrain_epochs: epochs of an autoencoder whose encoder starts the run.
      pretrain_learning_rate: its rate; None is ``learning_rate``.
      pretrain_weight_decay: its weight decay.
      epochs: a number, or ``"auto"``: about 1,000 steps, from 1 to 200 epochs. 0 leaves the network
        untrained (a control).
      batch_size: rows per step.
      learning_rate: of Adam.
      weight_decay: coupled L2 as in the papers' code.
      milestones: epochs from which on the rate is a tenth.
      clip_norm: largest gradient norm, or None.
      validation_fraction: share of the rows held out, for ``history_["validation_loss"]`` and to
        set the threshold.
      patience: epochs without improvement before stopping and restoring the best, or None.
      n_members: models of an ensemble, which differ in their random keys and are trained as one
        population; ``"auto"``: 5 for tables, 1 (a single model) for images.
      combine: how an ensemble's scores make one: ``"mean"``; ``"z"``, standardised by their mean
        and deviation over the training (or held-out) rows; ``"rank"``, as shares of those rows
        that score lower; or ``"auto"``, which is "mean".
      scaler: ``"auto"`` (standard for tables, one min-max for images), ``"standard"``,
        ``"minmax"``, ``"robust"`` or ``"none"``; fitted on X and applied in scoring.
      contamination: share of the training (or held-out) rows above the threshold, in [0, 0.5].
      warm_start: let ``fit`` go on from the fitted network, scaler and statistics (the centre), if
        there are any, instead of starting anew; without pretraining, with a new optimizer.
      random_state: an int for the same result again, a numpy generator, or None.
      verbose: show a progress bar.

    Attributes:
      threshold_: scores above it are anomalies. May be assigned.
      history_: per epoch ``loss``, ``learning_rate``, ``skipped``, ``validation_loss``.
      params_: the network's parameters.
      stats_: ``centre`` ``[L]``, ``radius``, ``batch_stats``.
      n_members_: P, the members whose training did not fail. If there is more than one, what is in
        ``history_``, ``params_`` and ``stats_`` has a leading axis ``[P]``.
      n_features_in_: number of features.

    Example:
      >>> import numpy as np
      >>> from jaxad import DeepSVDD
      >>> X = np.random.default_rng(0).normal(size=(200, 4))
      >>> detector = DeepSVDD(epochs=5, random_state=0).fit(X)
      >>> detector.predict([[0.0, 0.1, 0.0, 0.2], [30.0, -40.0, 50.0, 60.0]]).tolist()
      [1, -1]
    """

    objective: str = argument("one-class", Choice(tuple(LOSSES)))
    nu: float = argument(0.1, Interval(0, 1, "right"))
    warm_up_epochs: float | str = argument("auto", Special("auto", AT_LEAST_ZERO))

    def _objective(self, shape: tuple[int, ...], count: int) -> objectives.Hypersphere:
        warm_up = self.warm_up_epochs
        if warm_up == "auto":
            warm_up = min(10, self._epochs(count) // 3)
        soft = self.objective == "soft-boundary"
        numbers = {"nu": self.nu, "warm_up": warm_up}
        loss = LOSSES[self.objective]
        return objectives.deep_svdd(self._encoder(), loss=loss, radius=soft, **numbers)

    def _pretraining(self, objective: Any, rows: Rows, seed: int) -> Run | None:
        return self._autoencoder(objective, rows, seed, objectives.sum_squared_error)
