"""Fitting and scoring the experiments of a row; nothing here knows which test rows are anomalous.

A `Case` is all that comes in, so no threshold and no setting can be chosen by test labels.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestClassifier

import jaxad
from benchmarks.quality import references
from benchmarks.quality.paper_rows import Case, PaperRow

MOST_NEIGHBOURS = 10_000  # training rows of the nearest neighbours; more are drawn down to as many
_POPULATION_BYTES = 2**30


class Scored(NamedTuple):
    """Scores of the test rows (None: training met no finite step), and steps after pretraining."""

    score: np.ndarray | None
    steps: float = math.nan


def build(row: PaperRow, effort: int, seed: int) -> Any:
    """The row's detector, its epochs and milestones in per cent of the paper's.

    ``effort=0`` is the untrained copy.
    """
    detector = getattr(jaxad, row.detector)
    # The papers' figures are of single networks.
    arguments = {"random_state": seed, "n_members": 1, **row.arguments}
    model = detector.paper(row.preset, **arguments) if row.preset else detector(**arguments)
    return model.set_params(**_shortened(model.get_params(), effort))


def _shortened(arguments: Mapping[str, Any], effort: int) -> dict[str, Any]:
    schedules = [key for key in ("epochs", "pretrain_epochs") if key in arguments]
    if not effort:
        return dict.fromkeys(schedules, 0)
    found: dict[str, Any] = {
        key: max(1, round(arguments[key] * effort / 100))
        for key in schedules
        if arguments[key] and arguments[key] != "auto"
    }
    if found:
        found["milestones"] = tuple(m * effort / 100 for m in arguments["milestones"])
    return found


def papers_steps(row: PaperRow, case: Case) -> float:
    """Steps that the paper's epochs take on a case; NaN if epochs are chosen automatically."""
    model = build(row, 100, 0)
    if model.epochs == "auto":
        return math.nan
    return model.epochs * math.ceil(len(case.train) / model.batch_size)


def fit_and_score(
    row: PaperRow, effort: int, x: np.ndarray, cases: Sequence[Case]
) -> Iterator[Scored]:
    """Fit the row's detector to every case, seeds as one population, and score the test rows."""
    seeds = range(len(cases))
    for part in _parts(x, cases):
        models = [build(row, effort, seed) for seed in seeds[part]]
        with warnings.catch_warnings():
            # That scores collapse or training diverges is a result here: columns show it.
            warnings.simplefilter("ignore", jaxad.CollapseWarning)
            warnings.filterwarnings("ignore", "(?s).* is left unfitted", RuntimeWarning)
            rows, label, subsets = _training(x, cases[part])
            jaxad.fit_many(models, rows, label, subsets=subsets)
        for model, case in zip(models, cases[part], strict=True):
            if hasattr(model, "params_"):
                yield Scored(model.anomaly_score(case.prepare(x[case.test])), model.n_steps_)
            else:
                yield Scored(None)


def _parts(x: np.ndarray, cases: Sequence[Case]) -> Iterator[slice]:
    """Slices of cases whose training rows fit into memory together."""
    if _same(cases):
        yield slice(0, len(cases))
        return
    row_bytes, first, total = 4 * math.prod(x.shape[1:]), 0, 0
    for i, case in enumerate(cases):
        total += row_bytes * len(case.train)
        if total > _POPULATION_BYTES and i > first:
            yield slice(first, i)
            first, total = i, row_bytes * len(case.train)
    yield slice(first, len(cases))


def _training(x: np.ndarray, cases: Sequence[Case]) -> tuple[Any, Any, Any]:
    """Rows, labels and subsets, as `jaxad.fit_many` takes them."""
    if _same(cases):
        return cases[0].prepare(x[cases[0].train]), cases[0].label, None
    rows = [case.prepare(x[case.train]) for case in cases]
    ends = np.cumsum([len(part) for part in rows])
    labels = [case.label for case in cases if case.label is not None]
    return (
        np.concatenate(rows),
        np.concatenate(labels) if labels else None,
        [np.arange(end - len(part), end) for part, end in zip(rows, ends, strict=True)],
    )


def _same(cases: Sequence[Case]) -> bool:
    """Whether all cases train on the same rows with the same labels."""
    first = cases[0]
    return all(
        np.array_equal(first.train, case.train) and np.array_equal(first.label, case.label)
        for case in cases[1:]
    )


def reference(name: str, x: np.ndarray, cases: Sequence[Case]) -> Iterator[Scored]:
    """Fit a reference detector to every case and score the test rows."""
    same_test = all(np.array_equal(cases[0].test, case.test) for case in cases)
    repeated = name.startswith("knn") and same_test and _same(cases)  # the seed changes nothing
    score = _random_forest if name == "random_forest" else partial(_unlabelled, name)
    first = None
    for seed, case in enumerate(cases):
        if first is None or not repeated:
            first = Scored(score(x, case, seed))
        yield first


def _unlabelled(name: str, x: np.ndarray, case: Case, seed: int) -> np.ndarray:
    train = case.train
    if name.startswith("knn") and len(train) > MOST_NEIGHBOURS:
        train = np.random.default_rng([seed, 3]).choice(train, MOST_NEIGHBOURS, replace=False)
    # Pixels share one scale; a column of a table has its own.
    model = references.KINDS[name](random_state=seed, standardise=x.ndim == 2)
    return model.fit(case.prepare(x[train])).anomaly_score(case.prepare(x[case.test]))


def _random_forest(x: np.ndarray, case: Case, seed: int) -> np.ndarray | None:
    """Known anomalies against all other training rows: what labels are worth without a detector."""
    if case.label is None or not (case.label < 0).any():
        return None
    train, test = (references.flat(case.prepare(x[rows])) for rows in (case.train, case.test))
    forest = RandomForestClassifier(random_state=seed).fit(train, case.label < 0)
    return forest.predict_proba(test)[:, -1]
