"""Fitting and scoring the experiments of a row; nothing here knows which test rows are anomalous.

A `Case` is all that comes in, so no threshold and no setting can be chosen by test labels.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestClassifier

import jaxad
from benchmarks.quality import references
from benchmarks.quality.paper_protocols import Case
from benchmarks.quality.paper_rows import PaperRow

MOST_NEIGHBOURS = 10_000  # training rows of the nearest neighbours; more are drawn down to as many
_POPULATION_BYTES = 2**30


class Scored(NamedTuple):
    """The scores of a case.

    Attributes:
      score: ``[m]`` of its test rows, or None where training met no finite step.
      steps: done in training, pretraining apart; NaN for a reference.
    """

    score: np.ndarray | None
    steps: float


def build(row: PaperRow, effort: int, seed: int) -> Any:
    """The row's detector, its epochs and milestones in per cent of the paper's.

    ``effort=0`` is the untrained copy.
    """
    detector = getattr(jaxad, row.detector)
    # The papers' figures are of single networks.
    arguments = {"random_state": seed, "n_members": 1, **row.arguments}
    model = detector.paper(row.preset, **arguments) if row.preset else detector(**arguments)
    return model.set_params(**_shortened(model.get_params(), effort))


def _shortened(arguments: dict[str, Any], effort: int) -> dict[str, Any]:
    if not effort:
        return {key: 0 for key in ("epochs", "pretrain_epochs") if key in arguments}
    found: dict[str, Any] = {}
    for key in ("epochs", "pretrain_epochs"):
        paper = arguments.get(key, 0)
        if paper and paper != "auto":
            found[key] = max(1, round(paper * effort / 100))
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
                score = model.anomaly_score(case.prepare(x[case.test]))
                yield Scored(score, model.n_steps_)
            else:
                yield Scored(None, math.nan)


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
    repeated = name not in _SEEDED and _same(cases)
    repeated = repeated and all(np.array_equal(cases[0].test, case.test) for case in cases)
    first = None
    for seed, case in enumerate(cases):
        if first is None or not repeated:
            first = Scored(_REFERENCES[name](x, case, seed), math.nan)
        yield first


def _unlabelled(kind: Callable, most: float) -> Callable:
    def score(x: np.ndarray, case: Case, seed: int) -> np.ndarray:
        train = case.train
        if len(train) > most:
            train = np.random.default_rng([seed, 3]).choice(train, int(most), replace=False)
        # Pixels share one scale; a column of a table has its own.
        model = kind(random_state=seed, standardise=x.ndim == 2)
        return model.fit(case.prepare(x[train])).anomaly_score(case.prepare(x[case.test]))

    return score


def _random_forest(x: np.ndarray, case: Case, seed: int) -> np.ndarray | None:
    """Known anomalies against all other training rows: what labels are worth without a detector."""
    if case.label is None or not (case.label < 0).any():
        return None
    train, test = (references.flat(case.prepare(x[rows])) for rows in (case.train, case.test))
    forest = RandomForestClassifier(random_state=seed).fit(train, case.label < 0)
    return forest.predict_proba(test)[:, -1]


_REFERENCES: dict[str, Callable] = {
    "knn_mean": _unlabelled(references.NearestNeighbours, MOST_NEIGHBOURS),
    "knn_5th": _unlabelled(references.FifthNeighbour, MOST_NEIGHBOURS),
    "isolation_forest": _unlabelled(references.IsolationForest, math.inf),
    "random_forest": _random_forest,
}
_SEEDED = ("isolation_forest", "random_forest")
