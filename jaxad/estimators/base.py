"""What every detector shares: scikit-learn's face on an objective, a recipe and the engine."""

import math
import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from jaxad import training
from jaxad.estimators import ensemble, explaining, incremental, members, storage, streaming
from jaxad.estimators.checks import (
    check_choice,
    check_interval,
    check_positive_int,
    check_rows,
    seed_from,
)
from jaxad.estimators.plan import (
    REMEDY,
    Plan,
    Pretraining,
    Trained,
    key_from,
    train,
    validation_split,
)
from jaxad.estimators.scaling import SCALERS, fit_scaler
from jaxad.networks import IMAGES, TABULAR
from jaxad.stream import Stream
from jaxad.typing import Objective, Stats


class CollapseWarning(UserWarning):
    """All rows have the same score: the network learnt a constant, or never saw a difference."""


class Detector(ClassNamePrefixFeaturesOutMixin, TransformerMixin, OutlierMixin, BaseEstimator):
    """A deep anomaly detector with scikit-learn's conventions.

    ``anomaly_score`` is what everything derives from: higher = more anomalous. ``score_samples``
    is its negative, ``decision_function = score_samples - offset_``, and ``predict`` its sign:
    +1 normal, -1 anomaly. ``contamination`` sets only the threshold, which may be changed after
    fitting by assigning ``threshold_``. It is the quantile of the training rows' scores, or with a
    ``validation_fraction`` that of the held-out rows', which new rows resemble more. A detector
    that takes no labels ignores ``y``.

    With ``n_members`` P > 1 it is an ensemble: P models that differ in their random keys, trained
    as one population, the first of them that of ``n_members=1``. How their scores make one is
    fixed when fitting, so that a row's score never depends on other rows.

    Rows that do not fit into memory are given as a `jaxad.data.stream`, which all methods but
    ``explain`` take for ``X``.
    """

    _most_epochs = 200  # few rows are learnt by heart before the steps of epochs="auto" are done
    _networks: tuple[str, ...] = (*TABULAR, *IMAGES)
    _combine = "mean"  # what combine="auto" is
    network: Any
    epochs: Any
    batch_size: int
    learning_rate: float
    weight_decay: float
    milestones: tuple[int, ...]
    clip_norm: float | None
    validation_fraction: float
    patience: int | None
    n_members: int | str = 1
    combine: str = "auto"
    scaler: str
    contamination: float
    warm_start: bool
    random_state: Any
    verbose: bool

    def fit(self, X: Any, y: Any = None, *, checkpoints: Any = None) -> Self:
        """Train on ``X``.

        Args:
          X: ``[N, D]`` array or DataFrame; ``[N, H, W]`` or ``[N, H, W, C]`` for an image network;
            or a `jaxad.data.stream`, on which members of an ensemble train one after the other
            (``n_members="auto"`` is 1). Memory is then bounded by its chunks, but for the scores
            that the threshold is taken from: about 12 bytes for each row.
          y: ignored by detectors that take no labels.
          checkpoints: `jaxad.training.Checkpoints`, or their folder: save the training now and
            then, and go on from what is saved there.

        Raises:
          ValueError: an argument or a value in X cannot be used, or the folder of the checkpoints
            holds another training; before anything is compiled.
          OSError: there is too little space for a checkpoint.
          jaxad.NonFiniteError: training met steps that are not finite, one after the other. A
            member of an ensemble is left out for that, with a warning, unless it befalls all.
        """
        plan = self._plan(X, y, checkpoints)
        with training.Stopwatch() as watch:
            trained = train(plan, checkpoints=checkpoints, progress=bool(self.verbose))
            score = trained.score(plan)  # [P, N]
        self.compile_seconds_ = watch.compile_seconds
        self.fit_seconds_ = watch.run_seconds
        return self._adopt(plan, trained, score)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train one epoch on ``X``, going on from the calls before.

        The first call does what ``fit`` does before the first epoch: it fits the scaler, draws or
        pretrains the network and sets the centre, all of which stays. Parameters, the optimizer's
        state and the counters of epochs (for ``milestones`` and the warm-up) and steps are carried
        from call to call. Exact statistics (batch norm, radius, mixture, class centres) and the
        threshold are those of the rows of the last call. ``epochs`` and ``patience`` mean nothing
        here; members of an ensemble are trained one after the other. After ``fit``, or with a
        loaded detector, the calls go on with a new optimizer and counters at 0.

        Args:
          X: rows, as for ``fit``; a `jaxad.data.stream` counts as one call for each chunk (a last
            one of less than half the rows goes with that before), and may be read only once.
          y: labels, as for ``fit``.

        Raises:
          ValueError: as ``fit`` does, or rows or arguments that do not go with the calls before.
          jaxad.NonFiniteError: training of any member met steps that are not finite; the detector
            stays as it was.
        """
        return incremental.partial_fit(self, X, y)

    def _plan(
        self, X: Any, y: Any, checkpoints: Any = None, *, going_on: bool | None = None
    ) -> Plan:
        """Check everything, fit the scaler, and say what is to be trained.

        ``going_on``: from what is fitted, scaler included; None: where ``warm_start`` says so.
        """
        self._check_parameters()
        if checkpoints is not None and self.random_state is None:
            raise ValueError(
                "random_state=None is another seed in every fit, and none could go on from the "
                "checkpoints of the one before: give a whole number"
            )
        seed = seed_from(self.random_state)
        if going_on is None:
            going_on = self.warm_start and hasattr(self, "params_")
        if isinstance(X, Stream):
            return streaming.plan(self, X, y, seed, going_on)
        rows = check_rows(X, images=self._takes_images(X), estimator=self, reset=not going_on)
        label = self._labels(y, len(rows))
        scaler = self.scaler_ if going_on else fit_scaler(self.scaler, rows)
        x = scaler(rows)
        self._check_rows(x)
        train, held_out = validation_split(len(x), self.validation_fraction, seed)
        trained = x[train] if len(held_out) else x
        objective = self._objective(x.shape[1:], len(train))
        first = None if going_on else self._pretraining(objective, trained, label[train], seed)
        return Plan(
            scaler=scaler,
            x=x,
            held_out=held_out,
            objective=objective,
            recipe=self._recipe(len(train)),
            key=key_from(seed),
            rows=training.as_rows(trained, label[train]),
            validation=training.as_rows(x[held_out], label[held_out]) if len(held_out) else None,
            pretraining=first,
            n_members=self.n_members_ if going_on else self._count(x),
            initial=members.to_go_on(self, objective, x.shape[1:]) if going_on else None,
        )

    def _adopt(self, plan: Plan, trained: Trained, score: np.ndarray) -> Self:
        """Become what was trained; ``score`` ``[P, N]`` are the scores of all rows of the plan."""
        result = trained.result
        vars(self).pop("_states", None)  # of a partial_fit
        self.scaler_ = plan.scaler
        self.objective_ = plan.objective
        self.params_ = result.params
        self.stats_ = result.stats
        self.history_ = result.history
        if plan.initial is None:
            vars(self).pop("pretrain_history_", None)
        if trained.pretrain_history is not None:
            self.pretrain_history_ = trained.pretrain_history
        self.best_epoch_ = result.best_epoch
        self.n_steps_ = result.steps
        self.n_skipped_ = result.skipped
        self.n_members_ = trained.n_members
        # Rows that were trained on score lower than new ones: held-out rows, if any, are fairer.
        rows = plan.held_out if len(plan.held_out) else slice(None)
        self.combination_ = ensemble.fit_combination(self._rule(), score[:, rows])
        calibration = ensemble.combine(self.combination_, score[:, rows])
        share = 1 - self.contamination
        self.threshold_ = float(np.quantile(calibration, share, overwrite_input=True))
        if trained.lost:
            warnings.warn(
                f"{type(self).__name__}: members {[*trained.lost]} of {plan.n_members} are left "
                f"out: their training met steps that are not finite. {REMEDY}",
                RuntimeWarning,
                stacklevel=3,
            )
        collapse = self._collapsed_members(plan.x, score)
        if collapse:
            warnings.warn(f"{type(self).__name__}: {collapse}", CollapseWarning, stacklevel=3)
        return self

    def anomaly_score(self, X: Any) -> np.ndarray:
        """Anomaly scores ``[N]``, higher = more anomalous; a row's never depends on its company."""
        scores = self.member_scores(X)
        return ensemble.combine(self.combination_, scores)

    def member_scores(self, X: Any) -> np.ndarray:
        """The members' own anomaly scores ``[P, N]``; P is 1 where there is no ensemble."""
        x = self._scaled(X)
        return members.score(self.objective_, self.params_, self.stats_, x, self.n_members_)

    def score_spread(self, X: Any) -> np.ndarray:
        """How far the members disagree on each row ``[N]``.

        It is the standard deviation of what ``anomaly_score`` averages: scores with
        ``combine="mean"``, standardised scores with ``"z"``, shares of training rows with
        ``"rank"``.

        Raises:
          ValueError: there is no ensemble.
        """
        check_is_fitted(self)
        if self.n_members_ == 1:
            raise ValueError(
                f"{type(self).__name__} is a single model (n_members_=1), which has no spread: fit "
                "it with more members, such as n_members=5"
            )
        return ensemble.spread(self.combination_, self.member_scores(X))

    def score_samples(self, X: Any) -> np.ndarray:
        """Negative anomaly scores ``[N]``: higher = more normal, scikit-learn's convention."""
        return -self.anomaly_score(X)

    def decision_function(self, X: Any) -> np.ndarray:
        """``score_samples(X) - offset_``: negative for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """+1 for normal rows, -1 for anomalies: those scoring above ``threshold_``."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def transform(self, X: Any) -> np.ndarray:
        """Latent vectors ``[N, L]``, float32; an ensemble's members side by side ``[N, P * L]``."""
        return np.concatenate(self._apply("transform", X), axis=1)

    def explain(self, X: Any, method: str = "auto") -> np.ndarray:
        """How much each entry of ``X`` adds to its row's score, the shape of ``X``.

        Of an ensemble it is the mean over members, whose scores have the units that they are
        averaged in; with ``combine="rank"`` those of ``"z"``.

        Args:
          X: rows.
          method: ``"gradient"``: the score's slope in every scaled entry times the entry, for all
            detectors. ``"reconstruction"``: every entry's squared reconstruction error in scaled
            units, for detectors that reconstruct. ``"auto"``: the latter where there is one.
        """
        check_is_fitted(self)
        return explaining.explain(self, X, method)

    def save(self, path: Any) -> None:
        """Write the fitted detector to one file, which `jaxad.load` reads. Written atomically."""
        check_is_fitted(self)
        storage.save(self, path)

    @property
    def offset_(self) -> float:
        """``-threshold_``: what ``decision_function`` subtracts."""
        return -self.threshold_

    @property
    def _n_features_out(self) -> int:
        return self.transform(np.zeros((1, *self.scaler_.shift.shape))).shape[1]

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a trained network; arguments seen by ``fit`` alone do not count."""
        return hasattr(self, "params_")

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's tags: latent vectors are float32 whatever the input."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _objective(self, shape: tuple[int, ...], count: int) -> Objective:
        """The objective for ``count`` training rows of this shape."""
        raise TypeError(f"{type(self).__name__} does not say what it is trained for")

    def _recipe(self, rows: int) -> training.Recipe:
        return training.Recipe(
            epochs=self._epochs(rows),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            milestones=tuple(self.milestones),
            weight_decay=self.weight_decay or None,
            clip_norm=self.clip_norm,
            patience=self.patience,
        )

    def _steps(self, rows: int) -> int:
        """What ``epochs="auto"`` aims at."""
        del rows
        return 1000

    def _epochs(self, rows: int) -> int:
        if self.epochs != "auto":
            return self.epochs
        epochs = round(self._steps(rows) / math.ceil(rows / self.batch_size))
        return min(max(1, epochs), self._most_epochs)

    def _pretraining(
        self, objective: Any, x: np.ndarray, label: np.ndarray, seed: int
    ) -> Pretraining | None:
        """What is to be trained first, or None."""
        del objective, x, label, seed
        return None

    def _labels(self, y: Any, count: int) -> np.ndarray:
        del y
        return np.zeros(count, np.int32)

    def _takes_images(self, X: Any) -> bool:
        if isinstance(self.network, str):
            return self.network in IMAGES
        return np.ndim(X) > 2  # a user's module takes what it is given

    def _scaled(self, X: Any) -> Any:
        check_is_fitted(self)
        if isinstance(X, Stream):
            return streaming.scaled(self, X)
        return self.scaler_(
            check_rows(X, images=self._takes_images(X), estimator=self, reset=False)
        )

    def _count(self, x: np.ndarray) -> int:
        if self.n_members != "auto":
            return int(self.n_members)
        return 5 if x.ndim == 2 else 1

    def _rule(self) -> str:
        """How scores are combined; those of a single model stay as they are."""
        if self.n_members_ == 1:
            return "mean"
        return self._combine if self.combine == "auto" else self.combine

    def _apply(self, method: str, X: Any) -> list[np.ndarray]:
        """A function of the objective for all rows, by each member."""
        x = self._scaled(X)
        return members.apply(method, self.objective_, self.params_, self.stats_, x, self.n_members_)

    def _check_parameters(self) -> None:
        if self.epochs != "auto":
            check_interval("epochs", self.epochs, 0, math.inf, closed="left")
        check_positive_int("batch_size", self.batch_size)
        if self.n_members != "auto":
            check_positive_int("n_members", self.n_members)
        check_choice("combine", self.combine, ("auto", *ensemble.RULES))
        check_interval("learning_rate", self.learning_rate, 0, math.inf, closed="neither")
        check_interval("weight_decay", self.weight_decay, 0, math.inf, closed="left")
        check_interval("contamination", self.contamination, 0, 0.5, closed="both")
        check_interval("validation_fraction", self.validation_fraction, 0, 1, closed="left")
        check_choice("scaler", self.scaler, SCALERS)
        if not isinstance(self.warm_start, bool):
            raise TypeError(f"warm_start={self.warm_start!r} is not True or False")
        if isinstance(self.network, str):
            check_choice("network", self.network, self._networks)
        for name in ("clip_norm", "patience"):
            if getattr(self, name) is not None:
                check_interval(name, getattr(self, name), 0, math.inf, closed="neither")

    def _check_rows(self, x: np.ndarray) -> None:
        """Raise a ValueError if the rows and the arguments do not fit together."""

    def _collapsed_members(self, x: np.ndarray, score: np.ndarray) -> str | None:
        """Why the fitted detector, or which of its members, is of no use, or None."""
        pairs = zip(score, members.split(self.params_, self.stats_, self.n_members_), strict=True)
        found = [self._collapse(x, own, stats) for own, (_, stats) in pairs]
        lost = [p for p, reason in enumerate(found) if reason]
        if not lost:
            return None
        which = "" if self.n_members_ == 1 else f"members {lost} of {self.n_members_}: "
        return f"{which}{found[lost[0]]}"

    def _collapse(self, x: np.ndarray, score: np.ndarray, stats: Stats) -> str | None:
        """Why a model with these statistics and scores ``[N]`` is of no use, or None."""
        del stats
        if np.ptp(score) > 1e-6 * max(score.max(), -score.min()) or not np.ptp(x, axis=0).any():
            return None
        return (
            f"every training row has the score {score[0]:.6g}: the network has collapsed to a "
            "constant. Train fewer epochs, lower learning_rate, or use a network without biases "
            "and with an unbounded activation"
        )
