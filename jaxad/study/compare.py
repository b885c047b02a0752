"""Compare variants over sets and seeds, as few compiled populations."""

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import Pipeline
from tqdm.auto import tqdm

from jaxad import persistence, training
from jaxad.checks import check_positive_int
from jaxad.estimators import CollapseWarning, Detector
from jaxad.study import populations, probes, runs
from jaxad.study.contenders import Contender, contenders
from jaxad.study.populations import Job, Outcome
from jaxad.study.runs import METRICS
from jaxad.study.sets import Task, check_sets, task
from jaxad.training.contract import check_batch_size, check_objective
from jaxad.training.threads import in_order

FILE = "rows.jsonl"
MOST_FALSE_ALARMS = 0.05  # of the partial AUROC


def compare(
    variants: Mapping[str, Any],
    sets: Mapping[str, Any],
    seeds: int = 3,
    *,
    numbers: Mapping[str, Any] | None = None,
    setting: str | None = None,
    known_anomalies: int = 0,
    folder: Any = None,
    together: bool = True,
    threads: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Fit every variant, with each choice of its numbers, to every set with every seed.

    All contenders get the same splits, and those with the same networks the same first weights and
    orders of rows. Detectors of jaxad train as populations: rows are padded to a power of two and
    columns to one of few widths (see `objectives.padded`; this may change what is drawn, but not
    its distribution), so that hundreds of sets are tens of programs. Others are fitted one by one.

    Args:
      variants: name -> a detector, a scikit-learn ``Pipeline`` that ends with one, or a function
        ``(task, seed)`` that makes one for a `jaxad.study.Task`. A detector has ``fit`` and
        ``anomaly_score`` or ``score_samples``.
      sets: name -> a `jaxad.study.Set`, which has a fixed split; or ``(X, is_anomaly)`` or a
        `jaxad.data.Dataset`, which ``setting`` divides anew for each seed.
      seeds: number of seeds, from 0 on.
      numbers: name of a variant -> a grid such as ``{"loss_numbers__delta": [0.5, 1.0]}``, or a
        list of settings such as ``[{"epochs": 0}, {"epochs": 100}]``.
      setting: a rule of `jaxad.data.split`, such as ``"one_class_random"``.
      known_anomalies: so many of each test's anomalies, but at most half of them, are taken out of
        it and given to detectors that learn from labels.
      folder: rows are written there as soon as they are known, and the same call goes on from them.
      together: whether sets of different width may share programs, by padding.
      threads: as in `jaxad.training.fit_population`.
      progress: show a progress bar.

    Returns:
      One row for each set, variant, choice of numbers and seed: ``set``, ``variant``, ``numbers``
      (JSON), ``seed``, ``auroc``, ``average_precision``, ``adjusted_average_precision`` ((AP - π) /
      (1 - π) for a share π of anomalies), ``partial_auroc`` (false alarms up to 5 %, standardised),
      ``loss`` (of the last epoch), ``train_rows``, ``features``, ``test_rows``, ``anomalies``,
      ``split`` (a hash of the rows), ``config`` (a hash of the contender), ``fit_seconds`` (of one
      core; compilation counts where it happens) and ``note``, what is wrong: ``no gradient``,
      ``collapsed``, ``not finite``, ``depends on test labels``, ``depends on other rows``, ``not
      repeatable`` or ``failed: ...``. ``attrs`` has ``compilations``, ``compile_seconds`` and
      ``seconds`` of this call.

    Raises:
      ValueError: a set, variant or number is invalid, or the folder holds rows of another study;
        raised before anything is compiled.

    Example:
      >>> import jaxad, numpy as np
      >>> random = np.random.default_rng(0)
      >>> def blobs():
      ...     x = random.normal(size=(120, 4))
      ...     x[:20] += 4
      ...     return x, np.arange(120) < 20
      >>> table = jaxad.study.compare(
      ...     {"svdd": jaxad.DeepSVDD(n_members=1), "untrained": jaxad.DeepSVDD(n_members=1)},
      ...     {"a": blobs(), "b": blobs()},
      ...     seeds=2,
      ...     numbers={"svdd": {"epochs": [2, 5]}, "untrained": [{"epochs": 0}]},
      ...     setting="one_class_random",
      ... )
      >>> len(table), bool(table["auroc"].between(0, 1).all())
      (12, True)
    """
    check_positive_int("seeds", seeds)
    check_sets(sets)
    found = contenders(variants, numbers)
    read = lru_cache(maxsize=16)(
        lambda name, seed: task(name, sets[name], seed, setting, known_anomalies)
    )
    facts = {(name, seed): read(name, seed).facts for name in sets for seed in range(seeds)}
    units = [
        _Unit(contender, name, seed, partial(read, name, seed), facts[name, seed])
        for contender in found
        for name in sets
        for seed in range(seeds)
    ]
    rows = _earlier(folder, units)
    began, left = time.perf_counter(), [unit for unit in units if unit.key not in rows]
    with (
        training.Stopwatch() as watch,
        tqdm(total=len(left), unit="fit", disable=not progress) as bar,
    ):
        for unit, row in _measured(left, together, threads):
            rows[unit.key] = row
            _append(folder, row)
            bar.update()
    table = pd.DataFrame([rows[unit.key] for unit in units])
    table.attrs |= {
        "compilations": watch.compilations,
        "compile_seconds": watch.compile_seconds,
        "seconds": time.perf_counter() - began,
    }
    return table


class _Unit(NamedTuple):
    """One row of the table to be."""

    contender: Contender
    set: str
    seed: int
    read: Callable[[], Task]
    facts: dict[str, Any]

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells it from others."""
        return self.set, self.contender.variant, self.contender.text, self.seed


def _measured(
    units: Sequence[_Unit], together: bool, threads: int | None
) -> Iterator[tuple[_Unit, dict[str, Any]]]:
    """The rows of units, in an order that suits the compiler."""
    probed: dict[tuple[str, str], tuple[str, ...]] = {}
    jobs: list[Job] = []
    alone: list[int] = []
    chosen = {(unit.contender.variant, unit.contender.text): unit for unit in units}
    for unit in chosen.values():
        if not unit.contender.makes:
            _check(unit.contender.detector(unit.read()), unit.read())
    for number, unit in enumerate(units):
        contender, first = unit.contender, unit.read()
        if (which := (contender.variant, contender.text)) not in probed:
            probed[which] = probes.wrong_with(contender, first)
        if contender.makes:
            alone.append(number)
            continue
        job = populations.job(number, contender.detector(first), unit.read)
        if job is not None:
            jobs.append(job)
        else:
            alone.append(number)
    ours = [n for n in alone if isinstance(units[n].contender.given, Detector)]
    others = [n for n in alone if n not in set(ours)]
    for outcome in chain(
        map(partial(_watched, units), ours),  # they have threads of their own
        in_order(partial(_alone, units), others, threads, ahead=2),
    ):
        unit = units[outcome.number]
        yield unit, _row(unit, outcome, probed[unit.contender.variant, unit.contender.text])
    calls = populations.train(jobs, together=together)
    finished = in_order(lambda call: call.run(), calls, threads, ahead=2)
    for outcome in populations.outcomes(finished):
        unit = units[outcome.number]
        yield unit, _row(unit, outcome, probed[unit.contender.variant, unit.contender.text])


def _check(detector: Any, given: Task) -> None:
    """Raise an error if the arguments of a detector, or its objective, are invalid."""
    if isinstance(detector, Pipeline):
        detector = detector[-1]
    if not isinstance(detector, Detector):
        return
    detector._check_parameters()
    shape = given.train.shape[1:]
    if len(shape) == 1:
        objective, recipe = detector._full_objective(shape, len(given.train)), detector._recipe(2)
        check_objective(objective, shape)
        check_batch_size(objective, recipe.batch_size, shape)
        training.check_diagnostics(objective, recipe, shape)


def _watched(units: Sequence[_Unit], number: int) -> Outcome:
    """`_alone` in the main thread, where a warning of collapse can be caught."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcome = _alone(units, number)
    if any(issubclass(one.category, CollapseWarning) for one in caught):
        outcome = outcome._replace(notes=(*outcome.notes, runs.COLLAPSED))
    return outcome


def _alone(units: Sequence[_Unit], number: int) -> Outcome:
    """The outcome of a detector that is fitted by itself."""
    given, notes, score = units[number].read(), [], None
    began = time.perf_counter()
    try:
        detector = units[number].contender.detector(given)
        score = probes.fitted_scores(detector, given)
        if skipped := int(np.sum(getattr(detector, "n_skipped_", 0))):
            notes.append(runs.skipped(skipped, int(np.sum(detector.n_steps_))))
    except training.NonFiniteError:
        notes.append(runs.NOT_FINITE)
    except Exception as error:  # one failure must not lose the others
        notes.append(f"{runs.FAILED}: {error}")
    if score is not None and (lost := int((~np.isfinite(score)).sum())):
        notes.append(f"{runs.FAILED}: {lost} of {len(score)} scores are not finite")
        score = None
    seconds = time.perf_counter() - began
    return Outcome(number, score, float("nan"), seconds, tuple(notes))


def _row(unit: _Unit, outcome: Outcome, probed: tuple[str, ...]) -> dict[str, Any]:
    notes = [*dict.fromkeys((*probed, *outcome.notes))]
    quality: Mapping[str, float] = dict.fromkeys(METRICS, float("nan"))
    if outcome.score is not None:
        quality = measured(outcome.score, unit.read().is_anomaly)
    return {
        "set": unit.set,
        "variant": unit.contender.variant,
        "numbers": unit.contender.text,
        "seed": unit.seed,
        **quality,
        "loss": outcome.loss,
        **unit.facts,
        "config": unit.contender.configuration,
        "fit_seconds": outcome.seconds,
        "note": ";".join(note.replace(";", ",") for note in notes),
    }


def measured(score: np.ndarray, is_anomaly: np.ndarray) -> dict[str, float]:
    """The metrics of scores ``[M]``, higher = more anomalous.

    Example:
      >>> measured(np.array([0.1, 0.2, 0.9, 0.3]), np.array([False, False, True, True]))["auroc"]
      1.0
    """
    precision, share = float(average_precision_score(is_anomaly, score)), float(is_anomaly.mean())
    partial_area = roc_auc_score(is_anomaly, score, max_fpr=MOST_FALSE_ALARMS)
    values = float(roc_auc_score(is_anomaly, score)), precision
    adjusted = (precision - share) / (1 - share)
    return dict(zip(METRICS, (*values, adjusted, float(partial_area)), strict=True))


def _earlier(folder: Any, units: Sequence[_Unit]) -> dict[tuple, dict[str, Any]]:
    """The rows of these units that the folder holds."""
    path = None if folder is None else Path(folder) / FILE
    if path is None or not path.exists():
        return {}
    wanted: dict[Any, _Unit] = {unit.key: unit for unit in units}
    rows: dict[Any, dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a run that was killed
        row = {k: float("nan") if v is None else v for k, v in row.items()}
        unit = wanted.get((row["set"], row["variant"], row["numbers"], row["seed"]))
        if unit is None:
            continue
        for what, now in (("config", unit.contender.configuration), ("split", unit.facts["split"])):
            if row[what] != now:
                whose = unit.set if what == "split" else unit.contender.variant
                raise ValueError(
                    f"{path} holds rows of another study: the {what} of {whose!r} was {row[what]} "
                    f"and is {now}. Give another folder, or delete this one to begin again"
                )
        rows[unit.key] = row
    return rows


def _append(folder: Any, row: Mapping[str, Any]) -> None:
    if folder is None:
        return
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {k: None if v != v else v for k, v in row.items()}
    broken = False
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, 2)
            broken = file.read() != b"\n"
    with persistence.needing_room(path), path.open("a") as file:
        file.write(("\n" if broken else "") + json.dumps(known) + "\n")
