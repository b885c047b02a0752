"""The detectors with their defaults on ODDS and ADBench's tables, beside untrained copies.

Han et al., "ADBench: Anomaly Detection Benchmark", NeurIPS 2022. Nothing is tuned for a set, and
what fits and scores never sees which test rows are anomalous.
"""

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score
from tqdm import tqdm

import jaxad
from benchmarks import controls, environment, kept, published, ranks, schema
from benchmarks.options import OptionError, Options
from benchmarks.suites import adbench_report as report
from jaxad import data
from jaxad.data import CARDS, Split, files, split_hash

DESCRIPTION = "the detectors on ODDS and ADBench's tables, beside untrained copies, kNN and forest"

LEARNED = {
    "deep_svdd": jaxad.DeepSVDD,
    "deep_sad": jaxad.DeepSAD,
    "dagmm": jaxad.DAGMM,
    "goad": jaxad.GOAD,
    "autoencoder": jaxad.AutoEncoder,
}
REFERENCES = {
    "knn_5th": controls.FifthNeighbour,
    "knn_mean": controls.NearestNeighbours,
    "isolation_forest": controls.IsolationForest,
}
RULES = {
    "half": "one_class_random",
    "file_order": "one_class_file_order",
    "unsupervised": "unsupervised",
}

_ODDS = tuple(name for name, card in CARDS.items() if report.path(card).startswith("odds/"))
SETS = _ODDS + tuple(
    name
    for name, card in CARDS.items()
    if report.path(card).startswith("adbench/") and name.removeprefix("adbench_") not in _ODDS
)
DEFAULTS: dict[str, Any] = {
    "seeds": 5,
    "datasets": SETS,
    "detectors": (*LEARNED, *REFERENCES),
    "settings": ("half", "unsupervised"),
    "epochs": "auto",
    "known_anomalies": 10,
    "max_rows": 1_000_000,
}
CHOICES = {"datasets": SETS, "detectors": (*LEARNED, *REFERENCES), "settings": tuple(RULES)}
METRICS = (
    "auroc",
    "average_precision",
    "auroc_unknown",
    "average_precision_unknown",
    "fit_seconds",
    "compile_seconds",
    "score_seconds",
)


class Case(NamedTuple):
    """Row numbers of a set for one seed.

    Attributes:
      split: ``train`` and ``test``.
      known: the anomalies that a detector with labels is given; where ``train`` holds none they
        are rows of ``test``, on which that detector is then not measured.
    """

    split: Split
    known: np.ndarray


def cases(is_anomaly: np.ndarray, setting: str, settings: Mapping[str, Any]) -> list[Case]:
    """One case per seed. A set of more than ``max_rows`` rows is first drawn down to as many, but
    not where rows are taken in file order: that rule has its own limit.

    Known anomalies are ``known_anomalies``, at most half of those there are.
    """
    found = []
    for seed in range(settings["seeds"]):
        rows = np.arange(len(is_anomaly))
        if len(rows) > settings["max_rows"] and setting != "file_order":
            drawn = np.random.default_rng([seed, 1]).choice(rows, settings["max_rows"], False)
            rows = np.sort(drawn)
        of_split = published.seed_of_split(seed) if setting == "file_order" else seed
        split = data.split(is_anomaly[rows], RULES[setting], of_split)
        train, test = (rows[part] for part in split)
        anomalous = np.unique(train[is_anomaly[train]])
        if not len(anomalous):
            anomalous = np.unique(test[is_anomaly[test]])
        count = min(settings["known_anomalies"], len(anomalous) // 2)
        known = np.random.default_rng([seed, 2]).choice(anomalous, count, replace=False)
        found.append(Case(Split(train, test), np.sort(known)))
    return found


def run(options: Options) -> None:
    """Measure what is not yet in the folder; print the tables, write them and a picture."""
    begun = time.perf_counter()
    settings = dict(options.settings)
    settings["datasets"] = there(settings["datasets"])
    groups = [(setting, name) for setting in settings["settings"] for name in settings["datasets"]]
    members = [(d, epochs) for d in settings["detectors"] for epochs in _epochs(d, settings)]
    plan = [(name, _label(*member), setting) for setting, name in groups for member in members]
    results = kept.Kept(options.out / "rows.json", options, settings, settings["seeds"], plan)
    with tqdm(total=len(plan), initial=len(results.rows), unit="row") as bar:
        for setting, name in groups:
            left = [m for m in members if (name, _label(*m), setting) not in results]
            _measure_set(name, setting, left, settings, results, bar)
            environment.drop_programs()
    shown = report.text(results.rows, settings, time.perf_counter() - begun)
    (options.out / "table.txt").write_text(f"{shown}\n")
    rankings = report.rankings(results.rows, settings)
    if rankings:
        ranks.draw(rankings).savefig(options.out / "ranks.png")
    print(f"\n{shown}\n")


def there(names: Sequence[str]) -> tuple[str, ...]:
    """The names asked for; where none were, those of the sets that need no download."""
    if tuple(names) != SETS:
        return tuple(names)
    found = tuple(name for name in SETS if _is_there(name))
    if not found:
        raise OptionError(
            f"none of the sets is in {files.folder()}: set JAXAD_DATA to a folder that holds them "
            f"({report.path(CARDS[SETS[0]])}, {report.path(CARDS[SETS[-1]])}, ...), or name those "
            "to download with --datasets"
        )
    return found


def _is_there(name: str) -> bool:
    try:
        files.locate(CARDS[name], download=False)
    except FileNotFoundError:
        return False
    return True


def _epochs(detector: str, settings: Mapping[str, Any]) -> tuple:
    """The trained detector's epochs and its untrained copy's; nothing for a reference."""
    return tuple(dict.fromkeys((settings["epochs"], 0))) if detector in LEARNED else (None,)


def _label(detector: str, epochs: Any) -> str:
    return report.untrained(detector) if epochs == 0 else detector


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[N, D]`` of a named set and which of them are anomalous."""
    dataset = data.load(name)
    return dataset.x, dataset.is_anomaly


def _measure_set(
    name: str,
    setting: str,
    members: Sequence[tuple[str, Any]],
    settings: Mapping[str, Any],
    results: kept.Kept,
    bar: tqdm,
) -> None:
    """The rows of a set, each kept when it is measured: all seeds share compiled programs."""
    if not members:
        return
    details = {"setting": setting, "rule": RULES[setting], "commit": dict(results.commit)}
    try:
        x, is_anomaly = load(name)
        found = cases(is_anomaly, setting, settings)
    except Exception as error:  # the other sets are still worth measuring
        reason = f"{type(error).__name__}: {error}"
        results.add(schema.Row(name, _label(*m), {}, details, reason) for m in members)
        bar.update(len(members))
        return
    details |= {
        "rows": len(x),
        "features": x.shape[1],
        "train_rows": [len(case.split.train) for case in found],
        "test_rows": [len(case.split.test) for case in found],
        "test_anomalies": [int(is_anomaly[case.split.test].sum()) for case in found],
        "split_sha256": [split_hash(case.split) for case in found],
        "known_sha256": [split_hash((case.known,)) for case in found],
    }
    for detector, epochs in members:
        bar.set_description(f"{name}, {setting}, {_label(detector, epochs)}")
        results.add([_measure_seeds(name, detector, epochs, x, is_anomaly, found, details)])
        bar.update()


def _measure_seeds(
    name: str,
    detector: str,
    epochs: Any,
    x: np.ndarray,
    is_anomaly: np.ndarray,
    found: Sequence[Case],
    details: Mapping[str, Any],
) -> schema.Row:
    """One row: a seed that fails leaves NaN and its reason."""
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
    details = dict(details) | {
        "seconds": time.perf_counter() - start,
        "known_anomalies": [len(c.known) for c in found] if detector in report.WITH_LABELS else 0,
        "warnings": sorted({f"{w.category.__name__}: {w.message}" for w in caught}),
    }
    metrics = {key: [m[key] for m in measured] for key in METRICS}
    return schema.Row(name, _label(detector, epochs), metrics, details, "; ".join(failures) or None)


def fit_and_score(
    detector: str, epochs: Any, seed: int, x: np.ndarray, case: Case
) -> tuple[np.ndarray, dict[str, float]]:
    """Scores of the test rows, and seconds. Of the labels only ``case.known`` is at hand here."""
    if detector in REFERENCES:
        model = REFERENCES[detector](random_state=seed)
    else:
        model = LEARNED[detector](epochs=epochs, random_state=seed)
    train = case.split.train
    start = time.perf_counter()
    if detector in report.WITH_LABELS:
        train = np.concatenate([train, np.setdiff1d(case.known, train)])
        model.fit(x[train], -np.isin(train, case.known).astype(int))
    else:
        model.fit(x[train])
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
    """Quality on the test rows, and on those that no detector has learnt from."""
    if not np.isfinite(score).all():
        raise ValueError(f"{(~np.isfinite(score)).sum()} of {len(score)} scores are not finite")
    marks = is_anomaly[case.split.test]
    unknown = ~np.isin(case.split.test, case.known)
    everything = unknown if detector in report.WITH_LABELS else np.ones(len(score), bool)
    found = {}
    for suffix, rows in (("", everything), ("_unknown", unknown)):
        found[f"auroc{suffix}"] = roc_auc_score(marks[rows], score[rows])
        found[f"average_precision{suffix}"] = average_precision_score(marks[rows], score[rows])
    return found
