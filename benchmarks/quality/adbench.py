"""The detectors with their defaults on ODDS and ADBench's tables, beside untrained copies.

Han et al., "ADBench: Anomaly Detection Benchmark", NeurIPS 2022. Nothing is tuned for a set, and
what fits and scores never sees which test rows are anomalous.
"""

import functools
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.internals import data_folder, is_there
from benchmarks.quality import adbench_tables, reference_numbers, references
from benchmarks.quality.adbench_tables import summary as summary
from benchmarks.quality.adbench_tables import text as text
from benchmarks.quality.adbench_tables import untrained
from benchmarks.quality.detectors import DETECTORS, WITH_LABELS
from benchmarks.record import environment
from benchmarks.record.rows import Row, hash_of_all, in_short, part_name
from benchmarks.record.store import Part
from benchmarks.settings import OptionError
from jaxad import data, plotting
from jaxad.data import CARDS, Split, split_hash

DESCRIPTION = "the detectors on ODDS and ADBench's tables, beside untrained copies, kNN and forest"

LEARNED = dict(DETECTORS)
REFERENCES = references.KINDS
RULES = {
    "half": "one_class_random",
    "file_order": "one_class_file_order",
    "unsupervised": "unsupervised",
}


def path(name: str) -> str:
    """Where the file of a set lies below the data folder."""
    return CARDS[name].copies[0].files[0].path


_ODDS = tuple(name for name in CARDS if path(name).startswith("odds/"))
SETS = _ODDS + tuple(
    name
    for name in CARDS
    if path(name).startswith("adbench/") and name.removeprefix("adbench_") not in _ODDS
)
CHOICES = {"datasets": SETS, "detectors": (*LEARNED, *REFERENCES), "settings": tuple(RULES)}
DEFAULTS: dict[str, Any] = {
    "seeds": 5,
    "datasets": SETS,
    "detectors": (*LEARNED, *REFERENCES),
    "settings": ("half", "unsupervised"),
    "epochs": "auto",
    "known_anomalies": 10,
    "max_rows": 1_000_000,
}
_QUALITY = ("auroc", "average_precision", "auroc_unknown", "average_precision_unknown")
METRICS = (*_QUALITY, "fit_seconds", "compile_seconds", "score_seconds")


class Case(NamedTuple):
    """Row numbers of a set for one seed.

    ``known`` are the anomalies that a detector with labels is given. Where ``split.train`` holds
    none they are rows of the test, on which that detector is then not measured.
    """

    split: Split
    known: np.ndarray


def draw(count: int, most: int, seed: int) -> np.ndarray:
    """At most ``most`` of ``count`` row numbers, ascending."""
    rows = np.arange(count)
    if count <= most:
        return rows
    return np.sort(np.random.default_rng([seed, 1]).choice(rows, most, replace=False))


def cases(is_anomaly: np.ndarray, setting: str, settings: Mapping[str, Any]) -> list[Case]:
    """One case per seed. A set of more than ``max_rows`` rows is first drawn down to as many, but
    not where rows are taken in file order: that rule has its own limit.
    """
    found = []
    for seed in range(settings["seeds"]):
        count = len(is_anomaly)
        rows = draw(count, count if setting == "file_order" else settings["max_rows"], seed)
        of_split = reference_numbers.seed_of_split(seed) if setting == "file_order" else seed
        split = data.split(is_anomaly[rows], RULES[setting], of_split)
        train, test = (rows[part] for part in split)
        anomalous = np.unique(train[is_anomaly[train]])
        if not len(anomalous):
            anomalous = np.unique(test[is_anomaly[test]])
        count = min(settings["known_anomalies"], len(anomalous) // 2)
        known = np.random.default_rng([seed, 2]).choice(anomalous, count, replace=False)
        found.append(Case(Split(train, test), np.sort(known)))
    return found


def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the default sets by those that need no download."""
    return {**settings, "datasets": available(settings["datasets"])}


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """A part for each setting, set and detector; an untrained copy is one of its own."""
    return {
        part_name(name, label, setting): functools.partial(
            _measure, name, setting, detector, epochs, settings
        )
        for setting in settings["settings"]
        for name in settings["datasets"]
        for detector in settings["detectors"]
        for label, epochs in _copies(detector, settings)
    }


def pictures(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Average ranks; a bar joins detectors that do not differ significantly."""
    rankings = adbench_tables.rankings(rows, settings)
    if not rankings:
        return {}
    return {"ranks": ("Average ranks on sets without overlaps", plotting.average_ranks(rankings))}


def available(names: Sequence[str]) -> tuple[str, ...]:
    """The given names; if they are the default, the sets that need no download."""
    if tuple(names) != SETS:
        return tuple(names)
    found = tuple(name for name in SETS if is_there(CARDS[name]))
    if not found:
        raise OptionError(
            f"none of the sets is in {data_folder()}: set JAXAD_DATA to a folder that holds them "
            f"({path(SETS[0])}, {path(SETS[-1])}, ...), or name those to download with --datasets"
        )
    return found


def _copies(detector: str, settings: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Label and epochs of a detector and its untrained copy; a reference has None."""
    if detector in REFERENCES:
        return [(detector, None)]
    labels = {settings["epochs"]: detector} | {0: untrained(detector)}
    return [(label, epochs) for epochs, label in labels.items()]


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[N, D]`` of a named set and which of them are anomalous."""
    dataset = data.load(name)
    return dataset.x, dataset.is_anomaly


@functools.lru_cache(maxsize=1)
def _prepared(
    name: str, setting: str, chosen: tuple[tuple[str, Any], ...]
) -> tuple[np.ndarray, np.ndarray, list[Case], dict[str, Any]] | Exception:
    """Rows, marks, one case per seed and details of a set, or the error that prevents them."""
    environment.drop_programs()
    try:
        x, is_anomaly = load(name)
        found = cases(is_anomaly, setting, dict(chosen))
    except Exception as error:  # the other sets are still worth measuring
        return error
    facts = {
        "rows": len(x),
        "features": x.shape[1],
        "train_rows": in_short([len(case.split.train) for case in found]),
        "test_rows": in_short([len(case.split.test) for case in found]),
        "test_anomalies": in_short([int(is_anomaly[case.split.test].sum()) for case in found]),
        "split_sha256": hash_of_all(split_hash(case.split) for case in found),
        "known_sha256": hash_of_all(split_hash((case.known,)) for case in found),
    }
    return x, is_anomaly, found, facts


def _measure(
    name: str, setting: str, detector: str, epochs: Any, settings: Mapping[str, Any]
) -> list[Row]:
    """Measure all seeds of a detector; a seed that fails leaves NaN."""
    label = untrained(detector) if epochs == 0 else detector
    details: dict[str, Any] = {"setting": setting}
    chosen = tuple((k, settings[k]) for k in ("seeds", "max_rows", "known_anomalies"))
    prepared = _prepared(name, setting, chosen)
    if isinstance(prepared, Exception):
        return [Row(name, label, {}, details, f"{type(prepared).__name__}: {prepared}")]
    x, is_anomaly, found, facts = prepared
    measured, failures, start = [], [], time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed, case in enumerate(found):
            try:
                score, seconds = fit_and_score(detector, epochs, seed, x, case)
                measured.append(_quality(detector, score, is_anomaly, case) | seconds)
            except Exception as error:  # whatever a detector dies of is its result
                failures.append(f"seed {seed}: {type(error).__name__}: {error}")
                measured.append(dict.fromkeys(METRICS, np.nan))
    details |= facts | {"seconds": round(time.perf_counter() - start, 4)}
    if detector in WITH_LABELS:
        details["known_anomalies"] = in_short([len(case.known) for case in found])
    if caught:
        details["warnings"] = sorted({f"{w.category.__name__}: {w.message}" for w in caught})
    metrics = {key: [m[key] for m in measured] for key in METRICS}
    return [Row(name, label, metrics, details, "; ".join(failures) or None)]


def training_rows(detector: str, case: Case) -> tuple[np.ndarray, np.ndarray | None]:
    """Row numbers to train on, and labels for a detector that takes them: -1 known, else 0."""
    rows = case.split.train
    if detector not in WITH_LABELS:
        return rows, None
    rows = np.concatenate([rows, np.setdiff1d(case.known, rows)])
    return rows, -np.isin(rows, case.known).astype(int)


def fit_and_score(
    detector: str, epochs: Any, seed: int, x: np.ndarray, case: Case
) -> tuple[np.ndarray, dict[str, float]]:
    """Scores of the test rows, and seconds. The only labels it sees are ``case.known``."""
    if detector in REFERENCES:
        model = REFERENCES[detector](random_state=seed)
    else:
        model = LEARNED[detector](epochs=epochs, random_state=seed)
    rows, label = training_rows(detector, case)
    start = time.perf_counter()
    model.fit(x[rows], label)
    fitted = time.perf_counter()
    score = model.anomaly_score(x[case.split.test])
    scored = time.perf_counter()
    compiling = getattr(model, "compile_seconds_", 0.0)
    return score, {
        "fit_seconds": fitted - start - compiling,
        "compile_seconds": compiling,
        "score_seconds": scored - fitted,
    }


def _quality(
    detector: str, score: np.ndarray, is_anomaly: np.ndarray, case: Case
) -> dict[str, float]:
    """Quality on the test rows, and on those that are no known anomalies."""
    if not np.isfinite(score).all():
        raise ValueError(f"{(~np.isfinite(score)).sum()} of {len(score)} scores are not finite")
    marks = is_anomaly[case.split.test]
    unknown = ~np.isin(case.split.test, case.known)
    everything = unknown if detector in WITH_LABELS else np.ones(len(score), bool)
    found = {}
    for suffix, rows in (("", everything), ("_unknown", unknown)):
        found[f"auroc{suffix}"] = roc_auc_score(marks[rows], score[rows])
        found[f"average_precision{suffix}"] = average_precision_score(marks[rows], score[rows])
    return found
