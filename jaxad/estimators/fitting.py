"""The training of a detector, or of many detectors of one structure as one population."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxad import training
from jaxad.objectives import encoder_of
from jaxad.precision import in_single_precision
from jaxad.rows import ArrayRows, Rows
from jaxad.training.interrupts import deferred
from jaxad.training.mesh import platform
from jaxad.training.monitor import Callback, Progress
from jaxad.training.options import compiled
from jaxad.typing import Array, Key, Params, Stats

REMEDY = "Lower learning_rate, or set clip_norm (5 is a good start)"


class Run(NamedTuple):
    """The inputs of a training run; those of several detectors are lists with one entry per member.

    Attributes:
      objective: the objective, or a list.
      recipe: the recipe, or a list.
      key: the key of a single model, or keys ``[P]``.
      rows: rows to train on, or a list.
      validation: rows held out for the validation loss, or a list, or None.
      pretraining: the run of an autoencoder that initialises the encoder, or None.
      initial: fitted parameters and statistics to continue from, with keys ``[P]`` leaves
        ``[P, ...]``; or None.
    """

    objective: Any
    recipe: Any
    key: Key
    rows: Any
    validation: Any = None
    pretraining: "Run | None" = None
    initial: tuple[Params, Stats] | None = None

    @property
    def size(self) -> int:
        """P; 1 for a single model."""
        return int(np.size(self.key))

    @property
    def structure(self) -> Hashable:
        """A value that is equal for runs that can be trained as one population."""
        before = self.pretraining and self.pretraining.structure
        tree = jax.tree.structure((_first(self.objective), self.recipe))
        return tree, self.rows.shape, self.validation is None, self.initial is None, before


class Plan(NamedTuple):
    """The plan of a detector's ``fit``.

    Attributes:
      scaler: the fitted scaler.
      objective: the objective to score by, common to all members.
      rows: all rows, scaled; their scores determine the threshold.
      held_out: numbers of the rows held out from training.
      run: the training run.
    """

    scaler: Any
    objective: Any
    rows: Rows
    held_out: np.ndarray
    run: Run

    @property
    def reference_rows(self) -> Any:
        """The index of the rows that fix the combination and the threshold.

        Training rows score lower than new rows, so held-out rows are preferred.
        """
        return self.held_out if len(self.held_out) else slice(None)

    def sharing(self, other: "Plan") -> "Plan":
        """Reuse the equal arrays of another plan, so that P detectors share one copy."""
        rows = other.rows if _equal(self.rows, other.rows) else self.rows
        same = _equal(self.run.rows, other.run.rows)
        return self._replace(
            rows=rows, run=self.run._replace(rows=other.run.rows if same else self.run.rows)
        )


class Trained(NamedTuple):
    """The outcome of a plan.

    Attributes:
      result: the members that did not fail; a single one is a single model.
      pretrain_history: history of their pretraining, or None.
      lost: numbers of the members that failed.
      score: scores ``[P, N]`` of all rows of the plan; None: the threshold stays as it is.
    """

    result: training.Result
    pretrain_history: dict[str, np.ndarray] | None
    lost: list[int]
    score: np.ndarray | None


def epochs_of(trained: Trained) -> str:
    """The number of epochs, in words."""
    epochs = int(np.max(trained.result.epochs))
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


def key_from(seed: int, stream: int = 0) -> Key:
    """A typed key from a seed and a purpose (``stream``), made without compiling anything."""
    return _as_key(_words(seed, stream))


def member_keys(key: Key, size: int) -> Key:
    """Keys ``[P]`` for an ensemble, the first of which is ``key``; for P = 1 just ``key``."""
    if size == 1:
        return key
    return _as_key(_member_words(np.asarray(jax.random.key_data(key)), size))


def keys_from(seeds: Sequence[int], size: int, stream: int = 0) -> Key:
    """Keys ``[S * P]``: those of `member_keys` for each of S seeds, one seed after the other."""
    return _as_key(np.concatenate([_member_words(_words(seed, stream), size) for seed in seeds]))


def _words(*numbers: int) -> np.ndarray:
    return np.random.SeedSequence(numbers).generate_state(2)


def _member_words(words: np.ndarray, size: int) -> np.ndarray:
    return np.stack([words, *(_words(*words.tolist(), p) for p in range(1, size))])


def _as_key(words: np.ndarray) -> Key:
    return jax.random.wrap_key_data(jax.device_put(words))


def fit(
    plans: Sequence[Plan],
    *,
    mesh: Any = None,
    threads: int | None = None,
    checkpoints: Any = None,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    detector: Callable[[Trained], Any] | None = None,
    population: bool = False,
) -> list[Trained | None]:
    """Train the members of all plans, which must have one structure, as one population.

    Args:
      plans: the plans.
      mesh: from `jaxad.training.make_mesh`; None uses all devices.
      threads: as in `jaxad.training.fit_population`.
      checkpoints: as in `jaxad.training.fit`.
      progress: show a progress bar.
      callbacks: as in `jaxad.training.fit`, of pretraining and training.
      detector: makes a fitted detector of the outcome so far, of one plan, for callbacks.
      population: train a single model as a population of one, so that a failure does not raise.

    Returns:
      The outcome of each plan; None if all its members failed.

    Raises:
      jaxad.NonFiniteError: a single model had too many steps, or a score, that was not finite.
      jaxad.training.Interrupted: Ctrl-C, after at least one epoch; its ``result`` is the list.
    """
    run = as_population([plan.run for plan in plans], population)
    places = {"mesh": mesh, "threads": threads}

    def outcome(result: training.Result, pretrained: training.Result | None) -> list:
        return _outcomes(plans, run, _on_host(run, result, pretrained), pretrained, places)

    def now(result: training.Result, pretrained: training.Result | None) -> Any:
        (trained,) = outcome(result, pretrained)
        if trained is None:
            raise training.NonFiniteError(f"all {run.size} members met steps that are not finite")
        assert detector is not None
        return detector(trained)

    options = {"checkpoints": checkpoints, "progress": progress, "callbacks": callbacks}
    interrupted = False
    try:
        result, pretrained = _train(run, **places, **options, detector=detector and now)
    except _Interrupted as interrupt:
        (result, pretrained), interrupted = interrupt.result, True
    with deferred() as interrupt:
        trained = outcome(result, pretrained)
    if interrupted or interrupt.pressed:
        raise training.Interrupted(trained)
    return trained


class _Interrupted(training.Interrupted):
    """Its ``result`` is a pair: of the training, and of the pretraining or None."""


def _outcomes(
    plans: Sequence[Plan],
    run: Run,
    result: training.Result,
    pretrained: training.Result | None,
    places: dict[str, Any],
) -> list[Trained | None]:
    """What each plan has of a result, with the scores of its rows."""
    if run.key.ndim == 0:
        (plan,) = plans
        history = None if pretrained is None else pretrained.history
        scores = _score(plan, result, **places)
        if not np.isfinite(scores).all():
            raise training.NonFiniteError(
                f"after training {np.sum(~np.isfinite(scores))} of {scores.size} rows have scores "
                f"that are not finite. {REMEDY}, or scale the inputs"
            )
        return [Trained(result, history, [], scores)]
    return outcomes(plans, result, pretrained, **places)


def outcomes(
    plans: Sequence[Plan], result: training.Result, pretrained: Any, **places: Any
) -> list[Trained | None]:
    """The outcome of each plan, from the results of their population; see `fit`."""
    ends = np.cumsum([plan.run.size for plan in plans])[:-1]
    trained = []
    for plan, own in zip(plans, np.split(np.arange(result.size), ends), strict=True):
        kept = own[~result.failed[own]]
        scores = np.empty((0, 0))
        if len(kept):
            scores = _score(plan, _members(result, kept), **places)
            finite = np.isfinite(scores).all(axis=1)
            kept, scores = kept[finite], scores[finite]
        if not len(kept):
            trained.append(None)
            continue
        model = _members(result, kept)
        history = None if pretrained is None else _members(pretrained, kept).history
        lost = np.setdiff1d(own, kept) - own[0]
        trained.append(Trained(model, history, lost.tolist(), scores))
    return trained


class _Staged:
    """A callback that is told the stage of training, and how to make a detector."""

    def __init__(self, callback: Callback, stage: str, detector: Callable | None = None):
        self.every = getattr(callback, "every", None)
        self._callback, self._known = callback, {"stage": stage, "_detector": detector}

    def __call__(self, progress: Progress) -> Any:
        return self._callback(dataclasses.replace(progress, **self._known))


def initial_of(run: Run, **options: Any) -> tuple[Any, training.Result | None]:
    """The initial parameters and statistics of a run, and the pretraining's result, or None."""
    first = run.pretraining
    if first is None:
        return run.initial, None
    callbacks = [_Staged(callback, "pretraining") for callback in options.pop("callbacks", ())]
    try:
        pretrained, _ = _train(first, **options, callbacks=callbacks)
    except training.Interrupted:  # an autoencoder is no detector
        raise KeyboardInterrupt("pretraining was interrupted") from None
    objective, rows = _first(run.objective), _first(run.rows)
    model = pretrained.params, pretrained.stats
    return from_encoders(objective, *model, rows.shape, several=run.key.ndim > 0), pretrained


@in_single_precision
def from_encoders(
    objective: Any, params: Params, stats: Stats, row: tuple[int, ...], *, several: bool
) -> tuple[Params, Stats]:
    """The initial parameters and statistics from one pretrained autoencoder, or from several."""
    numbers = jax.tree.map(np.float32, objective)
    sample = np.zeros((1, *row), np.float32)
    return _encoders_call(several, platform())(numbers, params, stats, sample)


@cache
def _encoders_call(several: bool, kind: str) -> Callable:
    def start(objective: Any, params: Params, stats: Stats, sample: Array) -> tuple[Params, Stats]:
        return objective.from_encoder(*encoder_of(params, stats), sample)

    each = jax.vmap(start, in_axes=(None, 0, 0, None)) if several else start
    return compiled(each, "from_encoders", kind, optimised=False)


def _train(
    run: Run,
    *,
    mesh: Any = None,
    threads: int | None = None,
    checkpoints: Any = None,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    detector: Callable | None = None,
) -> tuple[training.Result, training.Result | None]:
    """The results of a run and of its pretraining.

    Raises:
      _Interrupted: Ctrl-C ended the training, but not the pretraining.
    """
    below = subfolder(checkpoints, "pretraining")
    places, shown = {"mesh": mesh, "threads": threads}, {"progress": progress}
    first = {**places, **shown, "checkpoints": below, "callbacks": callbacks}
    initial, pretrained = initial_of(run, **first)
    make = detector and (lambda result: detector(result, pretrained))
    options = {
        "validation": run.validation,
        "initial": initial,
        "fitted": run.initial is not None,
        "checkpoints": checkpoints,
        "callbacks": [_Staged(callback, "training", make) for callback in callbacks],
        **shown,
    }
    inputs = run.objective, run.recipe, run.key, run.rows
    try:
        if run.key.ndim == 0:
            return training.fit(*inputs, **options), pretrained
        return training.fit_population(*inputs, **places, **options), pretrained
    except training.Interrupted as interrupt:
        raise _Interrupted((interrupt.result, pretrained)) from None


def _on_host(
    run: Run, result: training.Result, pretrained: training.Result | None
) -> training.Result:
    """The result of a population on the host; a member fails if its pretraining did."""
    if run.key.ndim == 0:
        return result
    # Members that did not fail may lie on any device of the mesh; collect them.
    params, stats = jax.device_get((result.params, result.stats))
    failed = result.failed if pretrained is None else result.failed | pretrained.failed
    return result._replace(params=params, stats=stats, failed=failed)


def as_population(runs: Sequence[Run], population: bool) -> Run:
    """Merge runs of one structure; a single model stays one unless ``population``."""
    if len(runs) == 1 and (runs[0].key.ndim or not population):
        return runs[0]
    firsts = [run.pretraining for run in runs if run.pretraining is not None]
    fitted = [_with_axis(run) for run in runs if run.initial is not None]
    return Run(
        [own for run in runs for own in each_member(run.objective, run.size)],
        [run.recipe for run in runs for _ in range(run.size)],
        jnp.concatenate([jnp.atleast_1d(run.key) for run in runs]),
        _shared([run.rows for run in runs for _ in range(run.size)]),
        _shared([run.validation for run in runs for _ in range(run.size)]),
        as_population(firsts, population) if firsts else None,
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *fitted) if fitted else None,
    )


def _with_axis(run: Run) -> Any:
    if run.key.ndim:
        return run.initial
    return jax.tree.map(lambda leaf: np.asarray(leaf)[None], run.initial)


def _members(result: training.Result, kept: np.ndarray) -> training.Result:
    """The members ``kept``; a single one becomes a single model."""
    part = result.member(kept[0]) if len(kept) == 1 else result.take(kept)
    params, stats = jax.device_put((part.params, part.stats))
    return part._replace(params=params, stats=stats)


def _score(plan: Plan, result: training.Result, **places: Any) -> np.ndarray:
    model = plan.objective, result.params, result.stats
    return score(*model, plan.rows, result.size, **places)


def score(
    objective: Any, params: Params, stats: Stats, rows: Rows, size: int, **places: Any
) -> np.ndarray:
    """Scores ``[P, N]`` of an ensemble of ``size`` members, or of a single model.

    They are float64; for a stream they stay float32 to save memory.
    """
    scores = apply("score", objective, params, stats, rows, size, **places)
    return scores.astype(np.float64) if rows.resident else scores


def apply(
    method: str,
    objective: Any,
    params: Params,
    stats: Stats,
    rows: Rows,
    size: int,
    *,
    mesh: Any = None,
    threads: int | None = None,
) -> np.ndarray:
    """A row-wise method of the objective for every member, ``[P, N, ...]``."""
    given = method, objective, params, stats, rows
    if size == 1:
        return training.apply_rows(*given, threads=threads)[None]
    return training.apply_population(*given, mesh=mesh, threads=threads)


def each_member(objective: Any, size: int) -> list[Any]:
    """The objective of each of ``size`` members, from one or from a list."""
    return objective if isinstance(objective, list) else [objective] * size


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def subfolder(checkpoints: Any, name: str) -> training.Checkpoints | None:
    """Checkpoints in the subfolder ``name``; None stays None."""
    given = training.Checkpoints.of(checkpoints)
    return None if given is None else given.within(name)


def _shared(sets: list[Any]) -> Any:
    """One set if all are equal, so that it is in memory only once; else the list."""
    first = sets[0]
    return first if first is None or all(_equal(first, other) for other in sets[1:]) else sets


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if not (isinstance(one, ArrayRows) and isinstance(other, ArrayRows)):
        return False
    pairs: list[tuple[Array, Array]] = list(zip(one.like[:3], other.like[:3], strict=True))
    return all(a is b or np.array_equal(a, b) for a, b in pairs)
