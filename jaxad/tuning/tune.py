"""Search for hyper-parameters: Optuna asks, populations train, poor trials are pruned."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from sklearn.base import clone
from tqdm.auto import tqdm

from jaxad import training
from jaxad.checks import check_positive_int, seed_from
from jaxad.estimators import Detector, fitting, prepare
from jaxad.rows import Rows
from jaxad.tuning.criteria import Criterion, make_criterion
from jaxad.tuning.populations import Candidate, Population, populations
from jaxad.tuning.space import Space, as_function, settings_of

_REDUCTION = 3  # successive halving keeps one of so many trials at each report
_LOST = "not_finite"  # marks trials that failed by themselves, not with their batch


@dataclasses.dataclass(frozen=True, eq=False)
class Tuned:
    """The outcome of `tune`.

    Attributes:
      best_params_: the arguments of the best trial.
      best_value_: its criterion, on the validation rows. It is the best of many, so it is
        optimistic: report the quality on test rows that took no part in the search.
      best_detector_: the detector with these arguments, fitted to all training rows.
      study: Optuna's study, for its plots and importances.
    """

    best_params_: dict[str, Any]
    best_value_: float
    best_detector_: Detector
    study: Any

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: number, value, state, epochs trained, duration, and parameters.

        Where some failed by steps or a criterion that are not finite, they are True in the column
        ``not_finite``. Other failed trials are of batches that ended early.
        """
        table = self.study.trials_dataframe(
            attrs=("number", "value", "state", "user_attrs", "duration", "params")
        )
        return table.rename(columns={f"user_attrs_{name}": name for name in ("epochs", _LOST)})


def tune(
    detector: Detector,
    space: Any,
    X: Any,
    y: Any = None,
    *,
    validation: Any,
    criterion: Any = "average_precision",
    trials: int = 50,
    batch: int = 16,
    reports: Sequence[int] | None = None,
    sampler: Any = None,
    pruner: Any = None,
    storage: Any = None,
    study_name: str | None = None,
    random_state: int = 0,
    threads: int | None = None,
    progress: bool = True,
) -> Tuned:
    """Search for the arguments of a detector with the highest criterion on validation rows.

    Optuna proposes a batch of trials at a time. Those of one structure are trained as one
    population: they may differ in any number (rates, weights, epochs), and share one compiled
    program. After some epochs every trial reports its criterion, and the pruner ends poor ones,
    which leave their population. All trials use the same seed. At the end the detector is fitted
    with the best arguments. Needs ``pip install 'jaxad[search]'``.

    Args:
      detector: the detector to vary; it stays unfitted.
      space: for each argument an Optuna distribution or a list of values, by name (numbers of a
        loss as ``loss_numbers__delta``); or a function that takes an ``optuna.Trial`` and returns
        a dict of arguments.
      X: rows, as for ``fit``, in memory.
      y: labels, as for ``fit``.
      validation: ``(X_val, is_anomaly)``, or ``X_val`` for a criterion without labels. Rows that
        are not trained on, and not the test rows of a reported result.
      criterion: ``"average_precision"`` or ``"auroc"``; a function of a fitted detector, higher =
        better; or, without labels and experimental, ``"excess_mass"``, ``"mass_volume"`` or
        ``"agreement"`` (see `jaxad.tuning.criteria`).
      trials: number of trials in the study, with those of earlier calls on the same ``storage``,
        but without those of batches that ended early.
      batch: trials that are asked for at a time. More of them train together, and Optuna learns
        from fewer batches.
      reports: epochs after which trials report and may be pruned; ``()`` prunes none. None is a
        ninth and a third of the most epochs.
      sampler: an Optuna sampler; None is ``TPESampler``.
      pruner: an Optuna pruner; None is ``SuccessiveHalvingPruner``, which keeps the best third of
        the trials at each report.
      storage: an Optuna storage such as ``"sqlite:///search.db"``: an interrupted search resumes
        if the call is repeated. Several processes may share one.
      study_name: name of the study in the storage; needed with ``storage``.
      random_state: seed of all trials and of the sampler.
      threads: as in `jaxad.training.fit_population`.
      progress: show a progress bar.

    Returns:
      A `Tuned`.

    Raises:
      ImportError: Optuna is not installed.
      ValueError: an argument is invalid, or the detector refuses a proposed setting; the message
        names both. The trials of that batch, as after Ctrl-C, are marked as failed in the study; a
        repeated call asks for others instead. Or the pruner ended every trial.
      jaxad.NonFiniteError: every trial met steps, or a criterion, that are not finite.

    References:
      Akiba et al., "Optuna", KDD 2019. Li et al., "A System for Massively Parallel Hyperparameter
      Tuning", MLSys 2020 (successive halving).

    Example:
      >>> import jaxad, numpy as np
      >>> rng = np.random.default_rng(0)
      >>> X, X_val = rng.normal(size=(200, 4)), rng.normal(size=(50, 4))
      >>> is_anomaly = np.arange(50) < 5
      >>> X_val[is_anomaly] += 3
      >>> found = jaxad.tune(
      ...     jaxad.DeepSVDD(epochs=3, n_members=1),
      ...     {"learning_rate": [1e-4, 1e-3, 1e-2]},
      ...     X,
      ...     validation=(X_val, is_anomaly),
      ...     trials=4,
      ...     progress=False,
      ... )
      >>> len(found.trials), sorted(found.best_params_)
      (4, ['learning_rate'])
    """
    optuna = _optuna()
    _check(detector, X, trials, batch, reports, storage, study_name)
    seed = seed_from(random_state)
    measure = make_criterion(criterion, validation)
    choose = as_function(space, detector)
    study = optuna.create_study(
        storage=storage,
        study_name=study_name,
        direction="maximize",
        load_if_exists=True,
        sampler=sampler,
        pruner=pruner,
    )
    if sampler is None:  # a search that resumes must not ask for the first trials again
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    with tqdm(total=trials, desc="trials", disable=not progress) as bar:
        while (finished := _finished(study)) < trials:
            bar.update(finished - bar.n)
            asked = [study.ask() for _ in range(min(batch, trials - finished))]
            try:
                candidates = [_candidate(t, choose, detector, X, y, seed) for t in asked]
                if not callable(criterion):
                    _check_validation(candidates[0].detector, validation)
                if reports is None:
                    reports = _default_reports(candidates)
                if pruner is None:
                    study.pruner = optuna.pruners.SuccessiveHalvingPruner(
                        min_resource=max(1, min(reports, default=1)), reduction_factor=_REDUCTION
                    )
                _run(study, candidates, measure, reports, threads)
            except BaseException:
                for trial in asked:
                    study.tell(trial, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
                raise
        bar.update(finished - bar.n)
    if not study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        _raise_none_complete(study, finished)
    fixed = optuna.trial.FixedTrial(study.best_trial.params, number=study.best_trial.number)
    best = settings_of(choose, fixed, detector)
    copy: Any = clone(detector)
    copy.set_params(random_state=seed, **best).fit(X, y)
    return Tuned(best, study.best_value, copy, study)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "jaxad.tune needs Optuna, which is not installed: pip install 'jaxad[search]'"
        ) from error
    return optuna


def _check(
    detector: Any,
    X: Any,
    trials: Any,
    batch: Any,
    reports: Any,
    storage: Any,
    study_name: str | None,
) -> None:
    if not isinstance(detector, Detector):
        raise ValueError(
            f"detector={detector!r} is not a detector of jaxad: transform the rows first, and give "
            "the detector of a Pipeline by itself"
        )
    if isinstance(X, Rows):
        raise ValueError("tune trains on rows in memory, which a stream's are not: give an array")
    check_positive_int("trials", trials)
    check_positive_int("batch", batch)
    if not isinstance(reports, Sequence | np.ndarray | None):
        raise ValueError(f"reports={reports!r} is not a list of epochs: give one, such as [5]")
    for i, epoch in enumerate(() if reports is None else reports):
        check_positive_int(f"reports[{i}]", epoch)
    if storage is not None and study_name is None:
        raise ValueError(
            f"storage={storage!r} without study_name: name the study, so that it can be resumed"
        )


def _finished(study: Any) -> int:
    """The number of trials that ended by themselves; those of an interrupted batch did not."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED])
    return len(trials) + _lost(study)


def _lost(study: Any) -> int:
    from optuna.trial import TrialState

    failed = study.get_trials(deepcopy=False, states=[TrialState.FAIL])
    return sum(_LOST in trial.user_attrs for trial in failed)


def _raise_none_complete(study: Any, finished: int) -> NoReturn:
    lost = _lost(study)
    if lost >= finished:  # more, if other processes go on
        raise training.NonFiniteError(
            f"all {finished} trials met steps, or a criterion, that are not finite. "
            f"{fitting.REMEDY}, or narrow the space"
        )
    raise ValueError(
        f"the pruner ended {finished - lost} of {finished} trials, and the others are not finite: "
        "give a pruner that keeps some, or reports=()"
    )


def _candidate(
    trial: Any, choose: Space, detector: Detector, X: Any, y: Any, seed: int
) -> Candidate:
    """A trial's detector and plan; everything is checked before anything is compiled."""
    settings = settings_of(choose, trial, detector)
    copy: Any = clone(detector)
    try:
        copy.set_params(random_state=seed, **settings)
        plan = prepare.plan(copy, X, y)
    except (TypeError, ValueError) as error:
        raise ValueError(f"trial {trial.number} with {settings}: {error}") from error
    if plan.run.recipe.patience is not None:
        raise ValueError(
            f"trial {trial.number} with {settings}: patience={plan.run.recipe.patience} ends "
            "training by the loss, the search by the criterion: set patience=None"
        )
    return Candidate(trial, copy, plan)


def _check_validation(detector: Detector, validation: Any) -> None:
    """Check validation rows against those that a detector's plan was made of."""
    rows = validation[0] if isinstance(validation, tuple) else validation
    try:
        prepare.read(detector, rows, reset=False, labelled=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"validation rows: {error}") from error


def _default_reports(candidates: Sequence[Candidate]) -> tuple[int, ...]:
    most = max(candidate.epochs for candidate in candidates)
    return tuple(sorted({max(1, most // _REDUCTION**2), max(1, most // _REDUCTION)}))


def _run(
    study: Any,
    candidates: Sequence[Candidate],
    measure: Criterion,
    reports: Sequence[int],
    threads: int | None,
) -> None:
    """Train a batch of trials, and tell the study how each of them ended."""
    shared: list[Candidate] = []
    for candidate in candidates:  # equal rows are in memory once
        plan = candidate.plan.sharing(shared[-1].plan) if shared else candidate.plan
        shared.append(candidate._replace(plan=plan))
    most = max(candidate.epochs for candidate in candidates)
    groups = populations(shared, threads)
    for until in [*sorted({int(r) for r in reports if 0 < r < most}), most]:
        reported: list[tuple[Population, Candidate]] = []
        for group in groups:
            while group.candidates and group.epoch < until:
                _advance(study, group, until, measure)
            reported += [(group, candidate) for candidate in group.candidates]
        # All report before any is pruned, so that the first ones are compared with the others.
        for group in groups:
            group.drop([c for g, c in reported if g is group and _is_pruned(study, c)])


def _advance(study: Any, group: Population, until: int, measure: Criterion) -> None:
    """Train a population to ``until``, or to the last epoch of some candidates, which then end."""
    from optuna.trial import TrialState

    epoch = min(until, *(candidate.epochs for candidate in group.candidates))
    failed = group.advance(epoch)
    leaving = []
    for candidate in group.candidates:
        trial = candidate.trial
        trial.set_user_attr("epochs", epoch)
        lost = any(candidate is one for one in failed)
        value = math.nan if lost else float(measure(candidate.detector))
        if math.isnan(value):
            trial.set_user_attr(_LOST, True)
            study.tell(trial, state=TrialState.FAIL)
            leaving.append(candidate)
        elif candidate.epochs == epoch:
            study.tell(trial, value)
            leaving.append(candidate)
        else:
            trial.report(value, epoch)
    group.drop(leaving)


def _is_pruned(study: Any, candidate: Candidate) -> bool:
    from optuna.trial import TrialState

    if not candidate.trial.should_prune():
        return False
    study.tell(candidate.trial, state=TrialState.PRUNED)
    return True
