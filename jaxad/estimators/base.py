"""What every detector shares: scikit-learn's face on an objective, a recipe and the engine."""

import dataclasses
import math
import warnings
from typing import Any, ClassVar, Self, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from jaxad import training
from jaxad.checks import AT_LEAST_ZERO, Check, Choice, Flag, Interval, Special, Whole, check_choice
from jaxad.estimators import ensemble, fitting, prepare, storage
from jaxad.estimators.fitting import REMEDY, Plan, Run, Trained
from jaxad.estimators.scaling import SCALERS
from jaxad.networks import IMAGES, TABULAR
from jaxad.registry import DETECTORS
from jaxad.registry import register as _register
from jaxad.rows import Rows
from jaxad.training.recipe import RANGES
from jaxad.typing import Stats


class CollapseWarning(UserWarning):
    """All rows have the same score: the network learnt a constant, or never saw a difference."""


def argument(default: Any, check: Check) -> Any:
    """A field of a `Detector` whose values must pass a check."""
    return dataclasses.field(default=default, metadata={"check": check})


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(argument,))
class Detector(ClassNamePrefixFeaturesOutMixin, TransformerMixin, OutlierMixin, BaseEstimator):
    """A deep anomaly detector with scikit-learn's conventions.

    ``anomaly_score`` is what everything derives from: higher = more anomalous. ``score_samples``
    is its negative, ``decision_function = score_samples - offset_``, and ``predict`` its sign:
    +1 normal, -1 anomaly. ``contamination`` sets only the threshold, which may be changed after
    fitting by assigning ``threshold_``. It is the quantile of the training rows' scores, or with a
    ``validation_fraction`` that of the held-out rows', which new rows resemble more. A detector
    that takes no labels ignores ``y``.

    With ``n_members`` P > 1 it is an ensemble: P models that differ in their random keys, trained
    as one population; the first is the model of ``n_members=1``. How their scores make one is
    fixed when fitting, so that a row's score never depends on other rows.

    Rows that do not fit into memory are given as a `jaxad.data.stream`, which all methods but
    ``explain`` take for ``X``.

    A subclass is a keyword-only dataclass without a decorator: its annotated attributes are
    arguments, and ``argument(default, check)`` states the values that one may have. It registers
    itself by its name, so that its files can be loaded; ``register=False`` is for a base class.

    Args:
      epochs: a number, or ``"auto"``: as many as make about the steps that the detector needs. 0
        leaves the network untrained (a control).
      batch_size: rows per step.
      learning_rate: of Adam.
      weight_decay: coupled L2, as in the papers' code.
      milestones: epochs from which on the rate is a tenth.
      clip_norm: largest gradient norm, or None.
      validation_fraction: share of the rows held out, for ``history_["validation_loss"]`` and to
        set the threshold.
      patience: epochs without improvement before stopping and restoring the best, or None.
      n_members: models of an ensemble; ``"auto"``: 5 for tables in memory, else 1.
      combine: how an ensemble's scores make one: ``"mean"``; ``"z"``, standardised by their mean
        and deviation over the training (or held-out) rows; ``"rank"``, as shares of those rows
        that score lower; or ``"auto"``.
      scaler: ``"auto"`` (standard for tables, one min-max for images), ``"standard"``,
        ``"minmax"``, ``"robust"`` or ``"none"``; fitted on X and applied in scoring.
      contamination: share of the training (or held-out) rows above the threshold, in [0, 0.5].
      warm_start: let ``fit`` go on from the fitted network, scaler and statistics, if there are
        any, instead of starting anew; without pretraining, with a new optimizer.
      random_state: an int for the same result again, a numpy generator, or None.
      verbose: show a progress bar.
    """

    epochs: Any = argument("auto", Special("auto", RANGES["epochs"]))
    batch_size: int = argument(128, RANGES["batch_size"])
    learning_rate: float = argument(1e-4, RANGES["learning_rate"])
    weight_decay: float = argument(0.0, AT_LEAST_ZERO)
    milestones: tuple[int, ...] = argument((), RANGES["milestones"])
    clip_norm: float | None = argument(None, RANGES["clip_norm"])
    validation_fraction: float = argument(0.0, Interval(0, 1))
    patience: int | None = argument(None, RANGES["patience"])
    n_members: Any = argument("auto", Special("auto", Whole()))
    combine: str = argument("auto", Choice(("auto", *ensemble.RULES)))
    scaler: str = argument("auto", Choice(SCALERS))
    contamination: float = argument(0.1, Interval(0, 0.5, "both"))
    warm_start: bool = argument(False, Flag())
    random_state: Any = None
    verbose: bool = False

    network: ClassVar[Any] = "mlp"  # an argument of most subclasses
    _networks: ClassVar[tuple[str, ...]] = (*TABULAR, *IMAGES)
    _combine: ClassVar[str] = "mean"  # what combine="auto" is
    _max_epochs: ClassVar[int] = 200  # of epochs="auto": more would learn few rows by heart

    def __init_subclass__(cls, register: bool = True, **options: Any):
        """Make the subclass a dataclass, and register it."""
        super().__init_subclass__(**options)
        dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
        if register:
            _register(DETECTORS, cls)

    def fit(self, X: Any, y: Any = None, *, checkpoints: Any = None) -> Self:
        """Train on ``X``.

        Args:
          X: ``[N, D]`` array or DataFrame; ``[N, H, W]`` or ``[N, H, W, C]`` for an image network;
            or a `jaxad.data.stream`. Memory is then bounded by its chunks, but for the scores
            that the threshold is taken from: about 12 bytes for each row and member.
          y: ignored by detectors that take no labels.
          checkpoints: `jaxad.training.Checkpoints`, or their folder: save the training now and
            then, and go on from what is saved there.

        Raises:
          ValueError: an argument or a value in X cannot be used, or the folder of the checkpoints
            holds another training; before anything is compiled.
          OSError: there is too little space for a checkpoint.
          jaxad.NonFiniteError: training met steps that are not finite, one after the other. A
            member of an ensemble is left out for that, with a warning, unless all fail.
        """
        plan = prepare.plan(self, X, y, checkpoints)
        with training.Stopwatch() as watch:
            (trained,) = fitting.fit([plan], checkpoints=checkpoints, progress=bool(self.verbose))
        if trained is None:
            raise training.NonFiniteError(
                f"all {plan.run.size} members met steps that are not finite. {REMEDY}"
            )
        return self._adopt(plan, trained, watch)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train one epoch on ``X``, going on from the calls before.

        The first call does what ``fit`` does before the first epoch: it fits the scaler, draws or
        pretrains the network and sets the centre, all of which stays. Parameters, the optimizer's
        state and the counters of epochs (for ``milestones`` and the warm-up) and steps are carried
        from call to call. Exact statistics (batch norm, radius, mixture, class centres) and the
        threshold are those of the rows of the last call. ``epochs`` and ``patience`` mean nothing
        here. After ``fit``, or with a
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
        if self.validation_fraction:
            raise ValueError(
                f"validation_fraction={self.validation_fraction}: partial_fit trains on all rows "
                "it is given; set it to 0"
            )
        self._check_parameters()
        rows = prepare.read(self, X, y, reset=not self.__sklearn_is_fitted__())
        for piece in rows.pieces():
            self._advance(piece)
        return self

    def _advance(self, rows: Rows) -> None:
        """Train one epoch on rows in memory."""
        plan = prepare.plan_of_rows(self, rows, continues=self.__sklearn_is_fitted__())
        run, state = plan.run, self._state
        with training.Stopwatch() as watch:
            before, history = {} if state is None else self.history_, None
            if state is None:
                initial, pretrained = fitting.initial_of(run, progress=bool(self.verbose))
                history = None if pretrained is None else pretrained.history
                fitted = run.initial is not None
                what = run.objective, run.recipe, run.key, run.rows
                state = training.begin(*what, initial=initial, fitted=fitted)
            state, result = training.advance(run.objective, run.recipe, state, run.rows)
            joined = {
                name: np.concatenate([before.get(name, values[..., :0]), values], axis=-1)
                for name, values in result.history.items()
            }
            result = result._replace(history=joined)
            model = run.objective, result.params, result.stats
            score = fitting.score(*model, plan.rows, result.size)
        self._adopt(plan, Trained(result, history, [], score), watch)
        self._state = state

    def _adopt(self, plan: Plan, trained: Trained, watch: training.Stopwatch) -> Self:
        """Become what was trained."""
        result, score = trained.result, trained.score
        self._state = None  # of partial_fit
        self.compile_seconds_ = watch.compile_seconds
        self.fit_seconds_ = watch.run_seconds
        self.scaler_ = plan.scaler
        self.objective_ = plan.run.objective
        self.params_ = result.params
        self.stats_ = result.stats
        self.history_ = result.history
        if trained.pretrain_history is not None:
            self.pretrain_history_ = trained.pretrain_history
        elif plan.run.initial is None:
            vars(self).pop("pretrain_history_", None)
        best = result.best_epoch
        several = result.size > 1
        self.best_epoch_ = tuple(best.tolist()) if several and best is not None else best
        self.n_steps_ = tuple(result.steps.tolist()) if several else result.steps
        self.n_skipped_ = tuple(result.skipped.tolist()) if several else result.skipped
        self.n_members_ = result.size
        # Rows that were trained on score lower than new ones: held-out rows, if any, are fairer.
        rows = plan.held_out if len(plan.held_out) else slice(None)
        self.combination_ = ensemble.fit_combination(self._rule(), score[:, rows])
        calibration = ensemble.combine(self.combination_, score[:, rows])
        share = 1 - self.contamination
        self.threshold_ = float(np.quantile(calibration, share, overwrite_input=True))
        name = type(self).__name__
        if trained.lost:
            warnings.warn(
                f"{name}: members {trained.lost} of {plan.run.size} are left "
                f"out: their training met steps that are not finite. {REMEDY}",
                RuntimeWarning,
                stacklevel=3,
            )
        if collapse := self._collapsed_members(plan.rows, score):
            warnings.warn(f"{name}: {collapse}", CollapseWarning, stacklevel=3)
        return self

    def _forget(self) -> None:
        """Become unfitted."""
        self._state = None
        vars(self).pop("params_", None)

    def anomaly_score(self, X: Any) -> np.ndarray:
        """Anomaly scores ``[N]``, higher = more anomalous; a row's never depends on its company."""
        scores = self.member_scores(X)
        return ensemble.combine(self.combination_, scores)

    def member_scores(self, X: Any) -> np.ndarray:
        """The members' own anomaly scores ``[P, N]``; P is 1 where there is no ensemble."""
        check_is_fitted(self)
        model = self.objective_, self.params_, self.stats_
        return fitting.score(*model, prepare.scaled(self, X), self.n_members_)

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
        check_is_fitted(self)
        return np.concatenate(list(self._apply("transform", prepare.scaled(self, X))), axis=1)

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
        rows, objective = prepare.scaled(self, X), self.objective_
        if not rows.resident:
            raise ValueError("explain takes rows in memory: give it those in question")
        reconstructs = hasattr(objective, "reconstruct")
        if method == "auto":
            method = "reconstruction" if reconstructs else "gradient"
        choices = ("gradient", "reconstruction") if reconstructs else ("gradient",)
        check_choice("method", method, choices)
        x = rows.like.x
        if method == "gradient":
            explained = self._apply("gradient", rows) * x
        else:
            explained = np.square(self._apply("reconstruct", rows) - x)
        scales = self.combination_["scale"].tolist()
        return ensemble.average([e / scale for e, scale in zip(explained, scales, strict=True)])

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
        """How many features ``transform`` makes."""
        row = jax.ShapeDtypeStruct((1, *self.scaler_.shift.shape), jnp.float32)
        model = self.params_, self.stats_
        if self.n_members_ > 1:
            model = jax.tree.map(lambda leaf: leaf[0], model)
        latent = jax.eval_shape(self.objective_.transform, *model, row)
        return self.n_members_ * latent.shape[1]

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a trained network; arguments seen by ``fit`` alone do not count."""
        return hasattr(self, "params_")

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's tags: latent vectors are float32 whatever the input."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    # What a subclass defines.

    def _objective(self, shape: tuple[int, ...], count: int) -> Any:
        """The objective for ``count`` training rows of this shape."""
        raise TypeError(f"{type(self).__name__} does not say what it is trained for")

    def _steps(self, rows: int) -> int:
        """How many steps ``epochs="auto"`` aims at."""
        del rows
        return 1000

    def _recipe(self, rows: int) -> training.Recipe:
        """How ``rows`` training rows are trained on."""
        return training.Recipe(
            epochs=self._epochs(rows),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            milestones=tuple(self.milestones),
            weight_decay=self.weight_decay or None,
            clip_norm=self.clip_norm,
            patience=self.patience,
        )

    def _labels(self, y: Any, count: int) -> np.ndarray:
        """Labels ``[count]``; a detector that takes none ignores ``y``."""
        del y
        return np.zeros(count, np.int32)

    def _pretraining(self, objective: Any, rows: Any, seed: int) -> Run | None:
        """What is to be trained first on the scaled training rows, or None."""
        del objective, rows, seed
        return None

    def _check_parameters(self) -> None:
        """Raise an error that names the first argument out of range."""
        for field in dataclasses.fields(self):
            if check := field.metadata.get("check"):
                check(field.name, getattr(self, field.name))
        if isinstance(self.network, str):
            check_choice("network", self.network, self._networks)

    def _check_rows(self, shape: tuple[int, ...], count: int) -> None:
        """Raise a ValueError if ``count`` rows of this shape and the arguments do not fit."""

    def _takes_images(self, X: Any) -> bool:
        """Whether the network takes images."""
        if isinstance(self.network, str):
            return self.network in IMAGES
        return np.ndim(X) > 2  # a user's module takes what it is given

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

    # What all share.

    _state = None  # of the training that partial_fit continues

    def _epochs(self, rows: int) -> int:
        if self.epochs != "auto":
            return self.epochs
        epochs = round(self._steps(rows) / math.ceil(rows / self.batch_size))
        return min(max(1, epochs), self._max_epochs)

    def _rule(self) -> str:
        """How scores are combined; those of a single model stay as they are."""
        if self.n_members_ == 1:
            return "mean"
        return self._combine if self.combine == "auto" else self.combine

    def _apply(self, method: str, rows: Rows) -> np.ndarray:
        """A function of the objective for all scaled rows, by each member ``[P, N, ...]``."""
        model = self.objective_, self.params_, self.stats_
        return fitting.apply(method, *model, rows, self.n_members_)

    def _reconstruct(self, X: Any) -> np.ndarray:
        """Reconstructions in the units of ``X``; of an ensemble the mean of its members'."""
        check_is_fitted(self)
        members = self._apply("reconstruct", prepare.scaled(self, X))
        return self.scaler_.inverse(ensemble.average(list(members)))

    def _collapsed_members(self, rows: Rows, score: np.ndarray) -> str | None:
        """Why the fitted detector, or which of its members, is of no use, or None."""
        x, _ = next(rows.on_host())
        stats = jax.tree.map(np.asarray, self.stats_)
        each = [stats]
        if self.n_members_ > 1:
            each = [jax.tree.map(lambda leaf, p=p: leaf[p], stats) for p in range(len(score))]
        found = [self._collapse(x, *pair) for pair in zip(score, each, strict=True)]
        lost = [p for p, reason in enumerate(found) if reason]
        if not lost:
            return None
        which = "" if self.n_members_ == 1 else f"members {lost} of {self.n_members_}: "
        return f"{which}{found[lost[0]]}"
