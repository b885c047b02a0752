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

    A bias-free network maps normal rows close to a fixed centre. The anomaly score is the squared
    distance to the centre. Train on mostly normal rows; labels are not used.

    Args:
      objective: ``"one-class"`` (mean squared distance) or ``"soft-boundary"`` (a ball whose
        radius leaves about a share ``nu`` of the rows outside).
      loss: a loss of your own, or None for the objective's. A function of any of ``distance``
        ``[B]`` (squared), ``label`` ``[B]``, ``z`` ``[B, L]``, ``centre`` ``[L]``, ``nu``, with the
        soft boundary ``radius``, and its own ``loss_numbers``, matched by name; it returns ``[B]``.
      loss_numbers: numbers of ``loss`` by name. Other values compile nothing anew; a sweep names
        them ``loss_numbers__delta``.
      nu: share of rows outside the soft boundary, in (0, 1].
      warm_up_epochs: epochs before the radius moves; ``"auto"`` is the paper's 10, but at most a
        third of the run.
      network: ``"mlp"``, ``"lenet"``, ``"conv"``, one of the papers' ``"mnist_lenet"``,
        ``"fmnist_lenet"``, ``"cifar10_lenet"``, or a Flax module ``[B, ...] -> [B, L]``.
      hidden: hidden widths of an MLP, or filters of an image network; None is its default.
      latent_dim: L; None is the network's default.
      batch_norm: batch normalisation (without scale and offset) before each activation.
      dtype: what the network computes in: ``"float32"``, or ``"bfloat16"`` for large networks on
        accelerators. Parameters, losses and scores are float32 in both. A network given as a module
        has a ``dtype`` of its own.
      pretrain_epochs: epochs of an autoencoder that initialises the encoder.
      pretrain_learning_rate: learning rate of the autoencoder; None is ``learning_rate``.
      pretrain_weight_decay: weight decay of the autoencoder.
      epochs: a number, or ``"auto"``: about 1,000 steps, from 1 to 200 epochs. 0 leaves the network
        untrained (a control).
      batch_size: rows per step.
      learning_rate: learning rate of Adam.
      weight_decay: coupled L2 as in the papers' code.
      milestones: epochs at which the learning rate drops to a tenth.
      clip_norm: largest gradient norm, or None.
      validation_fraction: share of the rows held out for ``history_["validation_loss"]`` and for
        the threshold.
      patience: epochs without improvement before training stops and restores the best, or None.
      trim: share of each batch, in [0, 1), whose losses are left out, those of the rows that look
        most anomalous (`jaxad.objectives.Trimmed`). For training rows that may hold anomalies.
      n_members: members of an ensemble, which differ in their random keys and are trained as one
        population; ``"auto"``: 5 for tables in memory, otherwise 1 (a single model).
      combine: how an ensemble averages its members' scores: ``"mean"`` averages them unchanged;
        ``"z"`` standardises them by mean and standard deviation over the training (or held-out)
        rows; ``"rank"`` replaces them by the share of these rows with lower scores; ``"auto"`` is
        "mean".
      scaler: ``"auto"`` (standard for tables, one min-max for images), ``"standard"``,
        ``"minmax"``, ``"robust"`` or ``"none"``; fitted on X and applied in scoring.
      contamination: share of the training (or held-out) rows above the threshold, in [0, 0.5].
      warm_start: whether ``fit`` on a fitted detector keeps its network, scaler and statistics (the
        centre) and trains on, without pretraining and with a new optimizer.
      random_state: an int for reproducible results, a numpy generator, or None.
      diagnostics: further records for ``history_``, measured inside the compiled run on at most 512
        training rows: ``"all"``, or some of ``"gradient_norm"`` (of each layer), ``"scores"``
        (three quantiles), ``"collapse"``, ``"effective_rank"`` (of the latent vectors) and, with a
        soft boundary, ``"radius"``. See `jaxad.training.diagnostics`; `jaxad.plotting.diagnostics`
        draws them.
      threads: at most so many threads share out the members, and rows to score, on a CPU; None: the
        environment variable ``JAXAD_THREADS``, or one for each core that this process may use. The
        results are the same.
      device: where training and scoring take place: None, JAX's default; a kind of device, such as
        ``"cpu"`` or ``"gpu"``, of which the first is used; or one with a number from 0, such as
        ``"gpu:1"``. Not saved.
      verbose: show a progress bar; for log lines see `jaxad.callbacks.LogProgress`.

    Attributes:
      threshold_: scores above it are anomalies. ``set_threshold`` chooses another one.
      history_: ``loss``, ``learning_rate``, ``skipped``, ``validation_loss`` and ``diagnostics`` of
        each epoch.
      params_: the network's parameters.
      stats_: ``centre`` ``[L]``, ``radius``, ``batch_stats``.
      n_members_: P, the number of members whose training did not fail. If P > 1, the arrays in
        ``history_``, ``params_`` and ``stats_`` have a leading axis ``[P]``.
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
        loss = self._loss(LOSSES[self.objective])
        return objectives.deep_svdd(self._encoder(), radius=soft, **numbers, **loss)

    def _pretraining(self, objective: Any, rows: Rows, seed: int) -> Run | None:
        return self._autoencoder(objective, rows, seed, objectives.sum_squared_error)
