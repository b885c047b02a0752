"""What an ensemble gains over a single model, by its size and by how its members are combined.

Single models with different seeds are trained once for each set, as one population; ensembles of
every size are then made of them, none sharing a member with another of its size. Nothing is tuned
for a set, and what fits, scores and combines never sees which test rows are anomalous.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

import jaxad
from benchmarks.internals import RULES, combine, fit_combination
from benchmarks.quality import adbench
from benchmarks.quality.adbench import complete as complete
from benchmarks.quality.detectors import DETECTORS, WITH_LABELS
from benchmarks.record import environment, tables
from benchmarks.record.rows import Row, part_name
from benchmarks.record.store import Part
from jaxad.data import split_hash
from jaxad.study.statistics import paired, show_p

DESCRIPTION = "ensembles of 3, 5 and more members beside single models, by rule of combination"
SIZES = (1, 3, 5, 10)
QUALITY = {"AUROC": roc_auc_score, "AP": average_precision_score}
DEFAULTS: dict[str, Any] = {
    "seeds": 10,
    "datasets": adbench.SETS,
    "detectors": tuple(DETECTORS),
    "epochs": "auto",
    "known_anomalies": 10,
    "max_rows": 10_000,
}
CHOICES = {"datasets": adbench.SETS, "detectors": tuple(DETECTORS)}


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """A part for each set and detector."""
    return {
        part_name(name, detector, "half"): partial(_measure, name, detector, settings)
        for name in settings["datasets"]
        for detector in settings["detectors"]
    }


def _measure(name: str, detector: str, settings: Mapping[str, Any]) -> list[Row]:
    details: dict[str, Any] = {"setting": "half"}
    try:
        x, is_anomaly = adbench.load(name)
        (case,) = adbench.cases(is_anomaly, "half", {**settings, "seeds": 1})
        details |= {
            "train_rows": len(case.split.train),
            "test_rows": len(case.split.test),
            "split_sha256": split_hash(case.split),
        }
        marks = is_anomaly[case.split.test]
        train, test = _scores(detector, x, case, settings)
        if detector in WITH_LABELS:  # it is not measured on what it was told
            unknown = ~np.isin(case.split.test, case.known)
            marks, test = marks[unknown], test[:, unknown]
        details["members"] = len(test)
        return [Row(name, detector, quality(train, test, marks), details)]
    except Exception as error:  # the other sets are still worth measuring
        return [Row(name, detector, {}, details, f"{type(error).__name__}: {error}")]
    finally:
        environment.drop_programs()


def _scores(
    detector: str, x: np.ndarray, case: adbench.Case, settings: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores ``[M, N]`` of the training rows and of the test rows, by every single model."""
    kind, (rows, label) = DETECTORS[detector], adbench.training_rows(detector, case)
    options = {"epochs": settings["epochs"], "n_members": 1}
    models = [kind(**options, random_state=seed) for seed in range(settings["seeds"])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model that fails is left out below
        jaxad.fit_many(models, x[rows], label)
    fitted = [model for model in models if hasattr(model, "params_")]
    if not fitted:
        raise RuntimeError("no model could be trained")
    train, test = (
        np.stack([model.anomaly_score(part) for model in fitted])
        for part in (x[rows], x[case.split.test])
    )
    return train, test


def quality(train: np.ndarray, test: np.ndarray, is_anomaly: np.ndarray) -> dict[str, list[float]]:
    """Quality of ensembles that share no member, for every measure, rule and size.

    ``train`` ``[M, N]`` are scores of the training rows by single models, which the rules are
    fitted on, ``test`` ``[M, T]`` those of the test rows.
    """
    found = {}
    for rule in RULES:
        for size in (size for size in SIZES if size <= len(test)):
            scores = []
            for first in range(0, len(test) - size + 1, size):
                own = slice(first, first + size)
                how = fit_combination(rule if size > 1 else "mean", train[own])
                scores.append(combine(how, test[own]))
            for title, measure in QUALITY.items():
                found[f"{title} {rule} {size}"] = [float(measure(is_anomaly, s)) for s in scores]
    return found


def text(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """The header, the table, and what could not be measured."""
    note = tables.wrapped(
        f"{len(settings['datasets'])} sets, one-class by random halves; sets of more than "
        f"{settings['max_rows']:,} rows are drawn down to as many; {settings['seeds']} single "
        f"models for each set and detector, epochs={settings['epochs']!r}, other arguments at "
        "their defaults. "
        f"{', '.join(WITH_LABELS)} is given {settings['known_anomalies']} known anomalies and is "
        "not measured on them.",
        "An ensemble's figure on a set is the mean over all ensembles of its size that share no "
        "member. ±: standard deviation among these, its mean over sets. gain: over single models, "
        "mean over sets ± standard error, with p of the paired t-test.",
    )
    header = ["detector", "combine", "members", "sets"]
    for title in QUALITY:
        header += [f"{title} %", "gain", "won/tied/lost", "p"]
    table = tables.text(header, _body(rows, settings), left=2)
    return "\n\n".join(filter(None, [note, table, tables.missing(rows)]))


def _body(rows: Sequence[Row], settings: Mapping[str, Any]) -> list[list[str]]:
    body = []
    combinations = [(size, rule) for size in SIZES for rule in RULES[: 1 if size == 1 else None]]
    for detector in settings["detectors"]:
        mine = [row.metrics for row in rows if row.detector == detector and not row.missing]
        for size, rule in combinations:
            measured = [m for m in mine if f"AUROC {rule} {size}" in m]
            if measured:
                line = [detector, "-" if size == 1 else rule, str(size), str(len(measured))]
                body.append(line + [c for t in QUALITY for c in _cells(measured, t, rule, size)])
    return body


def _cells(measured: Sequence[Mapping], title: str, rule: str, size: int) -> list[str]:
    values = [100 * np.array(m[f"{title} {rule} {size}"]) for m in measured]
    single = [100 * np.mean(m[f"{title} {rule} 1"]) for m in measured]
    means = [v.mean() for v in values]
    among = [v.std(ddof=1) for v in values if len(v) > 1]
    shown = f"{np.mean(means):.1f}" + (f" ± {np.mean(among):.1f}" if among else "")
    found = paired(means, single)
    return [
        shown,
        *(["-"] * 3 if size == 1 else [*tables.difference_cells(found), show_p(found.p)]),
    ]
