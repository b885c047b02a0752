"""The base class of detectors, with the interface of scikit-learn."""

import copy
import dataclasses
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
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

from jaxad import deployment, objectives, training
from jaxad.checks import AT_LEAST_ZERO, Check, Choice, Flag, Interval, Special, Whole, check_choice
from jaxad.estimators import (
    ensemble,
    explanations,
    fitting,
    incremental,
    prepare,
    storage,
    thresholding,
)
from jaxad.estimators.decisions import Decisions
from jaxad.estimators.devices import check_device, on_device
from jaxad.estimators.fitting import REMEDY, Plan, Run, Trained
from jaxad.estimators.scaling import SCALERS
from jaxad.networks import IMAGES, TABULAR
from jaxad.registry import DETECTORS
from jaxad.registry import register as _register
from jaxad.rows import Rows
from jaxad.training.monitor import Callback, check_callbacks
from jaxad.training.recipe import RANGES
from jaxad.typing import Stats


class CollapseWarning(UserWarning):
    """All training rows have the same score: the network learnt a constant."""


class LabelWarning(UserWarning):
    """A detector that learns from known anomalies is fitted without any."""


logger = logging.getLogger("jaxad")

_TEACHER = 0.999  # decay of the average that judges which rows are trimmed, as in K-DSM


def _check_verbose(name: str, value: Any) -> Any:
    """Raise an error unless ``value`` is True or False, or 1 or 0."""
    if not isinstance(value, bool | int | np.bool_) or value not in (0, 1):
        raise ValueError(
            f"{name}={value!r} is not True or False: True shows a progress bar; for lines in a log "
            "call fit(X, callbacks=[jaxad.callbacks.LogProgress()])"
        )
    return value


def argument(default: Any, check: Check, *, positional: bool = False) -> Any:
    """An argument of a `Detector` whose value must pass ``check``; most are given by keyword."""
    how: dict[str, Any] = {"kw_only": False} if positional else {}
    return dataclasses.field(default=default, metadata={"check": check}, **how)


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(argument,))
class Detector(
    Decisions, ClassNamePrefixFeaturesOutMixin, TransformerMixin, OutlierMixin, BaseEstimator
):
    """A deep anomaly detector with scikit-learn's conventions.

    All methods build on ``anomaly_score``, where higher is more anomalous. ``score_samples`` is its
    negative, ``decision_function`` is ``score_samples - offset_``, and ``predict`` is its sign: +1
    normal, -1 anomaly. ``contamination`` affects only ``threshold_``: a quantile of the training
    scores or, with a ``validation_fraction``, of the held-out rows' scores, which resemble new
    rows' scores more. ``set_threshold`` chooses another one after fitting, and ``calibrate`` makes
    ``p_value`` available. Detectors without labels ignore ``y``.

    With ``n_members`` P > 1 it is an ensemble: P models with different random keys, trained as one
    population. The first member is the model of ``n_members=1``. Fitting fixes how scores are
    combined, so a row's score never depends on other rows.

    For rows that do not fit into memory pass a `jaxad.data.stream` as ``X``; only ``explain`` does
    not accept it.

    A subclass becomes a keyword-only dataclass without a decorator: annotated attributes are
    arguments, and ``argument(default, check)`` restricts their values. Subclasses register
    themselves by name, so that their files can be loaded; base classes use ``register=False``.

    Arguments control training (``epochs`` to ``trim``), the ensemble (``n_members``,
    ``combine``), preprocessing and threshold (``scaler``, ``contamination``), repeated fits
    (``warm_start``, ``random_state``), what is recorded (``diagnostics``), and how it works
    (``threads``, ``device``, ``verbose``). `DeepSVDD` describes each of them.
    """

    epochs: Any = argument("auto", Special("auto", RANGES["epochs"]))
    batch_size: int = argument(128, RANGES["batch_size"])
    learning_rate: float = argument(1e-4, RANGES["learning_rate"])
    weight_decay: float = argument(0.0, AT_LEAST_ZERO)
    milestones: tuple[int, ...] = argument((), RANGES["milestones"])
    clip_norm: float | None = argument(None, RANGES["clip_norm"])
    validation_fraction: float = argument(0.0, Interval(0, 1))
    patience: int | None = argument(None, RANGES["patience"])
    trim: float = argument(0.0, Interval(0, 1))
    n_members: Any = argument("auto", Special("auto", Whole()))
    combine: str = argument("auto", Choice(("auto", *ensemble.RULES)))
    scaler: str = argument("auto", Choice(SCALERS))
    contamination: float = argument(0.1, thresholding.CONTAMINATION)
    warm_start: bool = argument(False, Flag())
    random_state: Any = None
    diagnostics: Any = argument((), RANGES["diagnostics"])
    threads: int | None = argument(None, Special(None, Whole()))
    device: Any = argument(None, check_device)
    verbose: bool = argument(False, _check_verbose)

    network: ClassVar[Any] = "mlp"  # an argument of most subclasses
    dtype: ClassVar[Any] = "float32"  # likewise
    _own_init: ClassVar[bool] = False  # whether the class or a base has written its __init__
    _networks: ClassVar[tuple[str, ...]] = (*TABULAR, *IMAGES)
    _combine: ClassVar[str] = "mean"  # the meaning of combine="auto"
    _numbers: ClassVar[tuple[str, ...]] = ()  # arguments that are dicts of numbers
    _max_epochs: ClassVar[int] = 200  # limit of epochs="auto": more epochs overfit small sets

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Arguments by name; with ``deep`` also the numbers in them, as ``loss_numbers__delta``."""
        found = super().get_params(deep=deep)
        if deep:
            for name in self._numbers:
                own = getattr(self, name, None)
                if isinstance(own, Mapping):
                    found |= {f"{name}__{key}": value for key, value in own.items()}
        return found

    def set_params(self, **params: Any) -> Self:
        """Set arguments; ``loss_numbers__delta=2.0`` sets one number and keeps the others."""
        numbers: dict[str, dict[str, Any]] = {}
        for name in list(params):
            whole, _, part = name.partition("__")
            if part and whole in self._numbers:
                numbers.setdefault(whole, {})[part] = params.pop(name)
        super().set_params(**params)
        for name, own in numbers.items():
            setattr(self, name, {**(getattr(self, name) or {}), **own})
        return self

    def __init_subclass__(cls, register: bool = True, **options: Any):
        """Make the subclass a dataclass, and register it."""
        super().__init_subclass__(**options)
        cls._own_init = cls._own_init or "__init__" in vars(cls)
        dataclasses.dataclass(kw_only=True, eq=False, repr=False, init=not cls._own_init)(cls)
        if register:
            _register(DETECTORS, cls)

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        validation: Any = None,
        sample_weight: Any = None,
        callbacks: Sequence[Callback] = (),
        checkpoints: Any = None,
    ) -> Self:
        """Train on ``X``.

        After an error the detector is what it was before.

        Args:
          X: ``[N, D]`` array or DataFrame; ``[N, H, W]`` or ``[N, H, W, C]`` for an image network;
            or a `jaxad.data.stream`, of which a few chunks are in memory at a time. The threshold
            takes about 12 further bytes per row and member.
          y: labels ``[N]``; ignored by detectors without labels.
          validation: further rows like ``X``, or ``(rows, labels)``: for the validation loss and
            patience, and the threshold is a quantile of their scores, as of those that
            ``validation_fraction`` holds out. They change no weight, scaler or statistic.
          sample_weight: ``[N]`` finite weights of at least 0, whose scale does not matter. They
            count in the loss, in the exact statistics, in mean and variance of the scaler, and in
            the threshold, but not in how members' scores are combined by ``"z"`` and ``"rank"``. A
            row of weight 0 is as good as absent.
          callbacks: functions of a `jaxad.callbacks.Progress`, called after each group of epochs;
            one that returns True ends training.
          checkpoints: `jaxad.training.Checkpoints`, or a folder: save the training regularly, and
            resume from the newest checkpoint.

        Raises:
          ValueError: an argument or a value in X is invalid, or the checkpoints are another run's;
            raised before anything is compiled.
          OSError: there is too little space for a checkpoint.
          jaxad.NonFiniteError: too many consecutive steps were not finite. In an ensemble such
            members are left out with a warning, unless all of them fail.
          KeyboardInterrupt: Ctrl-C. After at least one epoch of training (pretraining does not
            count) the detector is fitted with the epochs done, as its message says. A second
            Ctrl-C during the last pass over the rows leaves it as it was.
        """
        given = {"validation": validation, "sample_weight": sample_weight}
        return self._fit(X, y, checkpoints, callbacks, **given)

    def _fit(
        self, X: Any, y: Any, checkpoints: Any, callbacks: Sequence[Callback] = (), **given: Any
    ) -> Self:
        """Train as `fit` does; ``given`` goes to `prepare.plan`."""
        interrupted = False
        with prepare.unchanged_by_errors(self), on_device(self.device):
            check_callbacks(callbacks)
            plan = prepare.plan(self, X, y, checkpoints, **given)
            options = {"threads": self.threads, "progress": bool(self.verbose)}
            options |= {"callbacks": callbacks, "detector": partial(self._ended, plan)}
            with training.Stopwatch() as watch:
                try:
                    (trained,) = fitting.fit([plan], checkpoints=checkpoints, **options)
                except training.Interrupted as interrupt:
                    (trained,), interrupted = interrupt.result, True
            if trained is None:
                raise training.NonFiniteError(
                    f"all {plan.run.size} members met steps or scores that are not finite. {REMEDY}"
                )
            self._adopt(plan, trained, watch)
        if interrupted:
            raise KeyboardInterrupt(
                f"{type(self).__name__} was interrupted and is fitted with what it has learnt in "
                f"{fitting.epochs_of(trained)}"
            )
        return self

    def _ended(self, plan: Plan, trained: Trained) -> Self:
        """A copy as if its training ended here, for callbacks."""
        made = copy.copy(self)
        return made._adopt(plan, trained, training.Stopwatch())

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train one more epoch, on ``X``.

        The first call fits the scaler, draws or pretrains the network and sets the centre; later
        calls keep them. Parameters, the optimizer's state and the counters of epochs (for
        ``milestones`` and the warm-up) and steps continue from call to call. ``epochs`` and
        ``patience`` are ignored. After ``fit`` or ``jaxad.load``, the first call starts a new
        optimizer, with counters at 0.

        A call trains on its own rows alone. Later calls with fewer rows than ``batch_size`` train
        at a rate that is lower in proportion. Exact statistics (batch norm, radius, mixture, class
        centres), the combination of members and the threshold are then refitted to the last 2,048
        rows of all calls, or to all rows of a longer call. After ``fit`` or ``jaxad.load``, whose
        rows are not kept, they stay as they are until the calls have brought 256 rows. So a call
        may bring a single row.

        Args:
          X: rows, as for ``fit``. Each chunk of a `jaxad.data.stream` counts as one call, and the
            stream may be readable only once. A last chunk below half size joins the previous one.
          y: labels, as for ``fit``.

        Raises:
          ValueError: as in ``fit``, or the rows or arguments do not match the earlier calls.
          jaxad.NonFiniteError: too many consecutive steps of some member were not finite; the
            detector is unchanged.

        Example:
          >>> import jaxad, numpy as np
          >>> rows = np.random.default_rng(0).normal(size=(300, 4))
          >>> detector = jaxad.DeepSVDD(epochs=5, n_members=1, random_state=0).fit(rows)
          >>> before = detector.threshold_
          >>> detector.partial_fit(rows[:1]).threshold_ == before
          True
        """
        with prepare.unchanged_by_errors(self), on_device(self.device):
            return incremental.partial_fit(self, X, y)

    def _adopt(self, plan: Plan, trained: Trained, watch: training.Stopwatch) -> Self:
        """Set the fitted attributes."""
        result, score = trained.result, trained.score
        self._state = self._recent = None
        self.compile_seconds_ = watch.compile_seconds
        self.fit_seconds_ = watch.run_seconds
        self.scaler_ = plan.scaler
        self.objective_ = plan.objective
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
        for name in ("calibration_", "held_out_scores_"):  # of the parameters before
            vars(self).pop(name, None)
        name = type(self).__name__
        if trained.lost:
            warnings.warn(
                f"{name}: members {trained.lost} of {plan.run.size} are left "
                f"out: their training met steps or scores that are not finite. {REMEDY}",
                RuntimeWarning,
                stacklevel=3,
            )
        if score is not None:
            self._adopt_scores(plan, score)
        what = name, fitting.epochs_of(trained), self.fit_seconds_, self.compile_seconds_
        logger.info("%s: %s in %.2f s, compiled in %.2f s", *what)
        return self

    def _adopt_scores(self, plan: Plan, score: np.ndarray) -> None:
        """Set what follows from the scores ``[P, N]`` of the plan's rows."""
        reference = score[:, plan.reference_rows]
        self.combination_ = ensemble.fit_combination(self._rule(), reference)
        combined = ensemble.combine(self.combination_, reference)
        thresholding.adopt_scores(self, combined, plan)
        self.background_ = explanations.background_of(plan, score)
        if collapse := self._collapsed_members(plan.rows, score):
            warnings.warn(f"{type(self).__name__}: {collapse}", CollapseWarning, stacklevel=5)

    def _forget(self) -> None:
        """Become unfitted."""
        self._state = self._recent = None
        vars(self).pop("params_", None)

    def anomaly_score(self, X: Any) -> np.ndarray:
        """Anomaly scores ``[N]``, higher = more anomalous; rows are scored independently."""
        scores = self.member_scores(X)
        return ensemble.combine(self.combination_, scores)

    def member_scores(self, X: Any) -> np.ndarray:
        """Anomaly scores ``[P, N]`` of each member; P is 1 for a single model."""
        check_is_fitted(self)
        model = self.objective_, self.params_, self.stats_
        rows = prepare.scaled(self, X)
        with on_device(self.device):
            return fitting.score(*model, rows, self.n_members_, threads=self.threads)

    def score_spread(self, X: Any) -> np.ndarray:
        """Disagreement of the members on each row ``[N]``.

        The standard deviation over members of the values that ``anomaly_score`` averages: scores
        with ``combine="mean"``, standardised scores with ``"z"``, ranks with ``"rank"``.

        Raises:
          ValueError: the detector is a single model.
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
        """-1 for rows with scores above ``threshold_`` (anomalies), +1 for the others, ``[N]``."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def transform(self, X: Any) -> np.ndarray:
        """Latent vectors ``[N, L]``, float32; those of an ensemble are joined to ``[N, P * L]``."""
        check_is_fitted(self)
        return np.concatenate(list(self._apply("transform", prepare.scaled(self, X))), axis=1)

    def explain(
        self, X: Any, method: str = "auto", *, background: Any = None, return_base: bool = False
    ) -> Any:
        """What each entry of ``X`` contributes to its row's score: ``base + sum`` is the score.

        ``"reconstruction"``, for detectors whose score is a squared reconstruction error (the
        autoencoder): the entry's part of that error. The base is 0. ``"integrated_gradients"``, for
        all detectors (Sundararajan, Taly & Yan, "Axiomatic Attribution for Deep Networks", ICML
        2017, equation 1): the gradient of the score is integrated along the straight line from a
        background row to the row, and averaged over the background rows (expected gradients, Erion
        et al., "Improving performance of deep learning models with axiomatic attribution priors and
        expected gradients", 2021). The base is the background's mean score. The integral is refined
        until it misses the change of the score by at most 1 % of the sum of absolute contributions;
        the rest is shared out in proportion to them.

        The explained score is ``anomaly_score``. An ensemble with ``combine="rank"`` (the default
        of DAGMM) ranks scores, which have no gradient; for it, and for ``"z"``, the explained score
        is the mean of its members' standardised scores.

        Args:
          X: rows in memory.
          method: one of the above; ``"auto"`` prefers ``"reconstruction"``.
          background: normal rows ``[K, ...]`` to compare with, in the units of ``X``; 10 to 100 are
            enough. None: ``background_``, up to 16 typical rows of the training rows. The mean row
            alone would be a poor choice: many detectors score it as an anomaly.
          return_base: whether to return the base, too.

        Returns:
          ``[N, D]``, for a DataFrame of pandas or polars one with its columns; heat maps
          ``[N, H, W]`` of images, summed over channels. With ``return_base`` a pair: these and the
          base, a float.

        Raises:
          ValueError: X is a stream, the detector lacks the method, or it has no background rows.

        Warns:
          RuntimeWarning: the integral of some row stays inaccurate.

        Example:
          >>> import jaxad, numpy as np, pandas as pd
          >>> values = np.random.default_rng(0).normal(size=(200, 3))
          >>> frame = pd.DataFrame(values, columns=["power", "heat", "speed"])
          >>> detector = jaxad.DeepSVDD(epochs=5, n_members=1, random_state=0).fit(frame)
          >>> row = pd.DataFrame({"power": [0.1], "heat": [9.0], "speed": [-0.2]})
          >>> parts, base = detector.explain(row, return_base=True)
          >>> parts.idxmax(axis=1).tolist()
          ['heat']
          >>> bool(np.isclose(base + parts.sum(axis=1), detector.anomaly_score(row))[0])
          True
        """
        options: dict[str, Any] = {"background": background, "return_base": return_base}
        with on_device(self.device):
            return explanations.explain(self, X, method, **options)

    def save(self, path: Any) -> None:
        """Write the fitted detector atomically to one file; `jaxad.load` reads it.

        The file holds up to 16 training rows, `background_`, for ``explain``. Set it to None before
        if no row may leave the machine.

        Raises:
          ValueError: the detector's class is not registered.
          FileNotFoundError: the folder does not exist.
        """
        check_is_fitted(self)
        storage.save(self, path)

    def export(self, path: Any, format: str = "stablehlo") -> None:
        """Write the fitted detector as one program that runs without this class.

        The program takes rows in the units of ``X``, float32, any number at a time, and returns
        ``score``, ``is_anomaly`` (above ``threshold_``) and, if the detector is calibrated by
        ``method="split"``, ``p_value``. Scaler, networks and ``combine`` are inside. The file also
        holds the versions of the libraries, and the shape and names of the features.

        Args:
          path: the file to create or replace.
          format: ``"stablehlo"``, for CPU, GPU and TPU, opened by `jaxad.load_exported`; or
            ``"onnx"``, run by onnxruntime, which needs ``pip install 'jaxad[onnx]'``.

        Raises:
          ValueError: an operation of the network cannot be converted (the message names it), or
            the detector is calibrated by another method.
          ImportError: jax2onnx is not installed.
          FileNotFoundError: the folder does not exist.
        """
        check_is_fitted(self)
        deployment.export(self, path, format)

    @property
    def offset_(self) -> float:
        """``-threshold_``, the offset in ``decision_function``."""
        return -self.threshold_

    @property
    def _n_features_out(self) -> int:
        """Number of features that ``transform`` returns."""
        row = jax.ShapeDtypeStruct((1, *self.scaler_.shift.shape), jnp.float32)
        model = self.params_, self.stats_
        if self.n_members_ > 1:
            model = jax.tree.map(lambda leaf: leaf[0], model)
        latent = jax.eval_shape(self.objective_.transform, *model, row)
        return self.n_members_ * latent.shape[1]

    def __sklearn_is_fitted__(self) -> bool:
        """Whether a network is trained; a failed ``fit`` sets only other attributes."""
        return hasattr(self, "params_")

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's tags: latent vectors are float32 for every type of input."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    # Hooks for subclasses.

    def _objective(self, shape: tuple[int, ...], count: int) -> Any:
        """The objective for ``count`` training rows of ``shape``."""
        raise TypeError(f"{type(self).__name__} does not say what it is trained for")

    def _full_objective(self, shape: tuple[int, ...], count: int) -> Any:
        """The objective with the wrappers that arguments of all detectors ask for."""
        return self._trimmed(self._objective(shape, count))

    def _trimmed(self, objective: Any) -> Any:
        """The objective, without the rows that ``trim`` leaves out."""
        return objectives.Trimmed(objective, self.trim, _TEACHER) if self.trim else objective

    def _members(self, rows: Rows) -> int:
        """P; ``"auto"`` is 5 for tables in memory, else 1."""
        if self.n_members != "auto":
            return int(self.n_members)
        return 5 if rows.resident and len(rows.shape) == 1 else self._fewest_members

    @property
    def _fewest_members(self) -> int:
        """P where an ensemble is not asked for."""
        return 1

    def _settled(self, shape: tuple[int, ...]) -> Any:
        """The detector, with arguments that depend on the shape of a row as numbers."""
        del shape
        return self

    def _of_members(self, objective: Any, size: int) -> Any:
        """The objective that all members have, or a list with each one's."""
        del size
        return objective

    def _steps(self, rows: int) -> int:
        """Number of steps that ``epochs="auto"`` aims at."""
        del rows
        return 1000

    def _recipe(self, rows: int) -> training.Recipe:
        """The recipe for ``rows`` training rows."""
        return training.Recipe(
            epochs=self._epochs(rows),
            batch_size=int(self.batch_size),
            learning_rate=self.learning_rate,
            milestones=tuple(self.milestones),
            weight_decay=self.weight_decay or None,
            clip_norm=self.clip_norm,
            patience=self.patience,
            diagnostics=self.diagnostics,
        )

    def _labels(self, y: Any, count: int) -> np.ndarray:
        """Labels ``[count]``; detectors without labels ignore ``y``."""
        del y
        return np.zeros(count, np.int32)

    def _pretraining(self, objective: Any, rows: Any, seed: int) -> Run | None:
        """The pretraining run on the scaled training rows, or None."""
        del objective, rows, seed
        return None

    def _check_labels(self, labels: set[int]) -> None:
        """Raise a ValueError if the labels that occur in the training rows are not enough."""

    def _check_marks(self, labels: set[int]) -> None:
        """Raise a ValueError, or warn, if all labels that there are look misunderstood."""

    def _check_parameters(self) -> None:
        """Raise an error that names the first argument out of range."""
        for field in dataclasses.fields(self):
            if check := field.metadata.get("check"):
                check(field.name, getattr(self, field.name))
        if isinstance(self.network, str):
            check_choice("network", self.network, self._networks)
        elif self.dtype != "float32":
            raise ValueError(
                f"dtype={self.dtype!r} is for networks by name: leave it out and give the module "
                f"its own, such as networks.LeNetEncoder(dtype={self.dtype!r})"
            )

    def _check_rows(self, shape: tuple[int, ...], count: int) -> None:
        """Raise a ValueError if the arguments do not fit ``count`` rows of ``shape``."""

    def _takes_images(self, X: Any) -> bool:
        """Whether the network takes images."""
        if isinstance(self.network, str):
            return self.network in IMAGES
        return np.ndim(X) > 2  # a Flax module accepts tables and images

    def _collapse(self, rows: Rows, score: np.ndarray, stats: Stats) -> str | None:
        """Why a model with these statistics and training scores ``[N]`` is useless, or None."""
        del stats
        if np.ptp(score) > 1e-6 * max(score.max(), -score.min()):
            return None
        x, _ = next(rows.on_host())
        if not np.ptp(x, axis=0).any():
            return None
        return (
            f"every training row has the score {score[0]:.6g}: the network has collapsed to a "
            "constant. Train fewer epochs, lower learning_rate, or use a network without biases "
            "and with an unbounded activation"
        )

    # Shared by all detectors.

    _state = _recent = None  # of partial_fit: the training's state, and the last rows

    def _epochs(self, rows: int) -> int:
        if self.epochs != "auto":
            return self.epochs
        epochs = round(self._steps(rows) / math.ceil(rows / self.batch_size))
        return min(max(1, epochs), self._max_epochs)

    def _rule(self) -> str:
        """The rule that combines scores; "mean" leaves those of a single model unchanged."""
        return "mean" if self.n_members_ == 1 else self._ensemble_rule

    @property
    def _ensemble_rule(self) -> str:
        """The rule that combines the scores of several members."""
        return self._combine if self.combine == "auto" else self.combine

    def _apply(self, method: str, rows: Rows) -> np.ndarray:
        """A method of the objective on all scaled rows, for each member ``[P, N, ...]``."""
        model = self.objective_, self.params_, self.stats_
        with on_device(self.device):
            return fitting.apply(method, *model, rows, self.n_members_, threads=self.threads)

    def _reconstruct(self, X: Any) -> np.ndarray:
        """Reconstructions in the units of ``X``, averaged over members."""
        check_is_fitted(self)
        members = self._apply("reconstruct", prepare.scaled(self, X))
        return self.scaler_.inverse(ensemble.average(list(members)))

    def _collapsed_members(self, rows: Rows, score: np.ndarray) -> str | None:
        """Why the fitted detector or some members are useless, or None."""
        stats = jax.tree.map(np.asarray, self.stats_)
        each = [stats]
        if self.n_members_ > 1:
            each = [jax.tree.map(lambda leaf, p=p: leaf[p], stats) for p in range(len(score))]
        found = [self._collapse(rows, *pair) for pair in zip(score, each, strict=True)]
        lost = [p for p, reason in enumerate(found) if reason]
        if not lost:
            return None
        which = "" if self.n_members_ == 1 else f"members {lost} of {self.n_members_}: "
        return f"{which}{found[lost[0]]}"
