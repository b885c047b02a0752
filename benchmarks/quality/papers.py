"""The papers' tables by their own protocols: published figures beside ours and the references.

The folder ``configs`` says what is measured. Test labels are read in this module alone:
`paper_fitting`, which fits and scores, never sees them.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.quality import paper_fitting, paper_rows, paper_tables
from benchmarks.quality.adbench import draw
from benchmarks.quality.paper_fitting import Scored
from benchmarks.quality.paper_rows import Experiment, PaperRow, Table
from benchmarks.quality.paper_tables import OURS, UNTRAINED, VERDICTS
from benchmarks.record import environment
from benchmarks.record.rows import Row, hash_of_all, in_short, mean_std, part_name
from benchmarks.record.store import Part
from benchmarks.record.tables import pivot
from benchmarks.settings import OptionError, check_known
from jaxad import data
from jaxad.data import split_hash

DESCRIPTION = "the papers' tables by their protocols, beside untrained copies and references"

DEFAULTS: dict[str, Any] = {
    "tables": paper_rows.TABLES,
    "rows": (),
    "datasets": (),
    "seeds": "auto",
    "effort": "auto",
    "max_rows": 1_000_000,
}
CHOICES = {"tables": paper_rows.TABLES}
_ASKED = "seeds", "effort"
QUALITY = ("auroc", "average_precision", "f1")
METRICS = (*QUALITY, "distinct", "steps")


def circumstances(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the store: the largest number of seeds, and hashes of the tables."""
    tables = chosen(settings)
    hashes = {table.name: table.sha256 for table in tables}
    return {
        "seeds": max(row.seeds for table in tables for row in table.rows),
        "config": dict(settings) | {"seeds_asked": settings["seeds"], "sha256": hashes},
    }


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """A part for each row of a table and each detector on it."""
    return {
        part_name(row.name, detector, table.name): functools.partial(
            _measure, table.name, row, detector, settings["max_rows"]
        )
        for table in chosen(settings)
        for row in table.rows
        for detector in (OURS, UNTRAINED, *row.references)
    }


def text(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """The printed tables."""
    return paper_tables.text(_measured(rows), rows)


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """How often each table's published figures were reproduced."""
    cells = {}
    for table in _measured(rows):
        words = [x.verdict.word for x in paper_tables.lines_of(table, rows) if x.published]
        cells |= {(table.title, verdict): str(words.count(verdict)) for verdict in VERDICTS}
    return pivot("published rows and means", cells)


def pictures(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, tuple[str, Figure]]:
    """A scatter plot of our figures against the published ones."""
    figure = Figure((6.4, 5), dpi=100, layout="constrained")
    ax = figure.subplots()
    ax.axline((50, 50), slope=1, color="#999999", linewidth=1)
    for i, table in enumerate(_measured(rows)):
        known = [
            (line.published.mean, *mean_std(line.values[OURS]), len(line.values[OURS]))
            for line in paper_tables.lines_of(table, rows)
            if line.published and line.measured and any(line.values[OURS])
        ]
        if known:
            published, ours, std, count = np.array(known).T
            style = {"fmt": "osD^vPX*"[i % 8], "markersize": 4, "capsize": 2}
            error = np.nan_to_num(std / np.sqrt(count))
            ax.errorbar(published, ours, error, **style, label=table.title.split(" (")[0])
    ax.set(xlabel="published, %", ylabel="ours, %, mean ± standard error")
    ax.grid(color="#eeeeee")
    figure.legend(loc="outside upper center", ncols=2, fontsize=7, frameon=False)
    return {"papers": ("Published figures and ours (AUROC or F1)", figure)}


def _measured(rows: Sequence[Row]) -> list[Table]:
    """The tables that rows belong to, as the folder ``configs`` has them now."""
    details = {(row.details["setting"], row.dataset): row.details for row in rows}
    found = []
    for table in map(paper_rows.read, paper_rows.TABLES):
        own = [
            dataclasses.replace(row, **{k: details[table.name, row.name][k] for k in _ASKED})
            for row in table.rows
            if (table.name, row.name) in details
        ]
        found += [dataclasses.replace(table, rows=own)] if own else []
    return found


def chosen(settings: Mapping[str, Any]) -> list[Table]:
    """The tables asked for, with the rows, seeds and effort asked for."""
    if settings["seeds"] == 0:
        raise OptionError("setting 'seeds' must be at least 1, or 'auto': what a table says")
    asked = {k: settings[k] for k in _ASKED if settings[k] != "auto"}
    tables = [paper_rows.read(name) for name in settings["tables"]]
    rows = [row for table in tables for row in table.rows]
    check_known("row", settings["rows"], sorted({row.name for row in rows}))
    check_known("dataset", settings["datasets"], sorted({row.dataset for row in rows}))
    found = []
    for table in tables:
        left = [
            dataclasses.replace(row, **asked)
            for row in table.rows
            if row.name in (settings["rows"] or [row.name])
            and row.dataset in (settings["datasets"] or [row.dataset])
        ]
        if left:
            found.append(dataclasses.replace(table, rows=left))
    if not found:
        raise OptionError("no row has that name and that set: leave out --rows or --datasets")
    return found


@functools.lru_cache(maxsize=1)
def load(name: str) -> data.Dataset:
    """Load a named set; the last one stays in memory."""
    environment.drop_programs()
    return data.load(name)


def experiments(row: PaperRow, dataset: data.Dataset, max_rows: int) -> list[Experiment]:
    """One experiment per seed. A set of more than ``max_rows`` rows is drawn down to as many."""
    make = paper_rows.PROTOCOLS[row.protocol]
    return [
        make(dataset, draw(len(dataset.x), max_rows, seed), seed, **row.split)
        for seed in range(row.seeds)
    ]


@functools.lru_cache(maxsize=1)
def _prepared(
    row: PaperRow, max_rows: int
) -> tuple[np.ndarray, list[Experiment], dict[str, Any]] | Exception:
    """The set's rows, experiments and details of a row, or the error; the last stays in memory."""
    try:
        dataset = load(row.dataset)
        made = experiments(row, dataset, max_rows)
        return dataset.x, made, _facts(row, made)
    except Exception as error:  # not there, damaged, or too small: the other rows are measured
        return error


def _measure(table: str, row: PaperRow, detector: str, max_rows: int) -> list[Row]:
    """Measure one detector on a published row, all seeds."""
    details = {"setting": table, "seeds": row.seeds, "effort": row.effort}
    prepared = _prepared(row, max_rows)
    if isinstance(prepared, Exception):
        plain = isinstance(prepared, OSError | ValueError)
        return [Row(row.name, detector, {}, details, str(prepared) if plain else repr(prepared))]
    x, made, facts = prepared
    if detector == OURS:  # all detectors of a row have the same
        details |= facts
    start, cases = time.perf_counter(), [experiment.case for experiment in made]
    names = METRICS if detector in (OURS, UNTRAINED) else QUALITY
    try:
        if detector in (OURS, UNTRAINED):
            effort = row.effort if detector == OURS else 0
            scored = paper_fitting.fit_and_score(row, effort, x, cases)
        else:
            scored = paper_fitting.reference(detector, x, cases)
        pairs = enumerate(zip(made, scored, strict=True))
        measured = [quality(experiment, one, seed) for seed, (experiment, one) in pairs]
    except Exception as error:  # the other rows are still worth measuring
        return [Row(row.name, detector, {}, details, f"{type(error).__name__}: {error}")]
    metrics = {key: [m[key] for m in measured] for key in names}
    details["seconds"] = round(time.perf_counter() - start, 4)
    return [Row(row.name, detector, metrics, details)]


def _facts(row: PaperRow, made: Sequence[Experiment]) -> dict[str, Any]:
    """Details that identify the experiments of a row."""
    steps = paper_fitting.papers_steps(row, made[0].case)
    facts = {
        "dataset": row.dataset,
        "preset": row.preset,
        "arguments": dict(row.arguments),
        "split": dict(row.split),
        "train_rows": in_short([len(e.case.train) for e in made]),
        "test_rows": in_short([len(e.case.test) for e in made]),
        "test_anomalies": in_short([int(e.is_anomaly.sum()) for e in made]),
        "split_sha256": hash_of_all(split_hash((e.case.train, e.case.test)) for e in made),
    }
    if any(e.case.label is not None for e in made):
        facts["label_sha256"] = hash_of_all(split_hash((e.case.label,)) for e in made)
    if not math.isnan(steps):
        facts["papers_steps"] = steps
    ratios = [e.achieved for e in made if e.achieved]
    if ratios:
        known, pollution, _ = np.mean(ratios, axis=0)
        facts["achieved"] = f"{known:.1%} known, {pollution:.1%} pollution achieved"
    return facts


def quality(experiment: Experiment, scored: Scored, seed: int) -> dict[str, float]:
    """Every metric of one experiment; NaN where training met no finite step.

    ``f1`` flags as many rows as the protocol says: an oracle's choice, not a detector's.
    """
    score, is_anomaly, flagged = scored.score, experiment.is_anomaly, experiment.flagged
    if score is None:
        return dict.fromkeys(METRICS, math.nan)
    return {
        "auroc": float(roc_auc_score(is_anomaly, score)),
        "average_precision": float(average_precision_score(is_anomaly, score)),
        "f1": oracle_f1(score, is_anomaly, flagged, seed) if flagged else math.nan,
        "distinct": len(np.unique(score)) / len(score),
        "steps": scored.steps,
    }


def oracle_f1(score: np.ndarray, is_anomaly: np.ndarray, count: int, seed: int) -> float:
    """F1 of flagging the ``count`` highest scores, ties broken at random.

    Example:
      >>> oracle_f1(np.array([3.0, 1.0, 2.0]), np.array([True, True, False]), 2, seed=0)
      0.5
    """
    ties = np.random.default_rng(seed).permutation(len(score))
    flagged = np.lexsort((ties, -score))[:count]
    return 2 * int(is_anomaly[flagged].sum()) / (count + int(is_anomaly.sum()))
