"""The papers' tables by their own protocols: published figures beside ours and the references.

What is measured stands in the folder ``configs``, see `benchmarks.papers`.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import environment, kept, schema
from benchmarks.options import OptionError, Options, check_known
from benchmarks.papers import configs, fitting, measure, protocols, report
from benchmarks.papers.configs import Row, Table
from benchmarks.papers.fitting import Scored
from benchmarks.papers.protocols import Experiment
from jaxad import data
from jaxad.data import split_hash

DESCRIPTION = "the papers' tables by their protocols, beside untrained copies and references"

DEFAULTS: dict[str, Any] = {
    "tables": configs.TABLES,
    "rows": (),
    "datasets": (),
    "seeds": "auto",
    "effort": "auto",
    "max_rows": 1_000_000,
}
CHOICES = {"tables": configs.TABLES}


def run(options: Options) -> None:
    """Measure what is not yet in the folder; print the tables and write them."""
    environment.cores_as_devices()
    tables = chosen(options.settings)
    members = [
        (table, row, (report.OURS, report.UNTRAINED, *row.references))
        for table in tables
        for row in table.rows
    ]
    plan = [(row.name, member, table.name) for table, row, names in members for member in names]
    config = dict(options.settings) | {
        "seeds_asked": options.settings["seeds"],
        "sha256": {table.name: table.sha256 for table in tables},
    }
    seeds = max(row.seeds for _, row, _ in members)
    results = kept.Kept(options.out / "rows.json", options, config, seeds, plan)
    before = None  # table and set of the row before
    with tqdm(total=len(plan), initial=len(results.rows), unit="row") as bar:
        for table, row, names in members:
            left = [name for name in names if (row.name, name, table.name) not in results]
            if (table.name, row.dataset) != before:
                environment.drop_programs()
            before = table.name, row.dataset
            _measure_row(table, row, left, options.settings["max_rows"], results, bar)
    shown = report.text(tables, results.rows)
    (options.out / "table.txt").write_text(f"{shown}\n")
    print(f"\n{shown}\n")


def chosen(settings: Mapping[str, Any]) -> list[Table]:
    """The tables asked for, with the rows, seeds and effort asked for.

    Raises:
      OptionError: a file of the folder is not right, or there are no such rows or sets.
    """
    for name in ("seeds", "effort"):
        if settings[name] == 0:
            raise OptionError(f"setting {name!r} must be at least 1, or 'auto': what a table says")
    asked = {k: settings[k] for k in ("seeds", "effort") if settings[k] != "auto"}
    tables = [configs.read(name) for name in settings["tables"]]
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
    """A named set; the last one stays in memory."""
    return data.load(name)


def experiments(row: Row, dataset: data.Dataset, max_rows: int) -> list[Experiment]:
    """One experiment per seed. A set of more than ``max_rows`` rows is drawn down to as many."""
    make = protocols.PROTOCOLS[row.protocol]
    return [
        make(dataset, protocols.draw(len(dataset.x), max_rows, seed), seed, **row.split)
        for seed in range(row.seeds)
    ]


def _measure_row(
    table: Table, row: Row, members: Sequence[str], max_rows: int, results: kept.Kept, bar: tqdm
) -> None:
    """The members of a published row, each kept when it is measured."""
    if not members:
        return
    details = {
        "setting": table.name,
        "dataset": row.dataset,
        "seeds": row.seeds,
        "effort": row.effort,
        "preset": row.preset,
        "arguments": dict(row.arguments),
        "split": dict(row.split),
        "commit": dict(results.commit),
    }
    try:
        dataset = load(row.dataset)
        made = experiments(row, dataset, max_rows)
        details |= _facts(row, made)
    except Exception as error:  # not there, damaged, or too small: the other rows are measured
        reason = str(error) if isinstance(error, OSError | ValueError) else repr(error)
        results.add(schema.Row(row.name, m, {}, details, reason) for m in members)
        bar.update(len(members))
        return
    for member in members:
        bar.set_description(f"{table.name}, {row.name}, {member}")
        try:
            measured = _measure(row, member, dataset.x, made, details)
        except Exception as error:  # the other rows are still worth measuring
            measured = schema.Row(row.name, member, {}, details, f"{type(error).__name__}: {error}")
        results.add([measured])
        bar.update()


def _facts(row: Row, made: Sequence[Experiment]) -> dict[str, Any]:
    """What a result has to name to be repeated."""
    steps = fitting.papers_steps(row, made[0].case)
    facts = {
        "train_rows": [len(e.case.train) for e in made],
        "test_rows": [len(e.case.test) for e in made],
        "test_anomalies": [int(e.is_anomaly.sum()) for e in made],
        "split_sha256": [split_hash((e.case.train, e.case.test)) for e in made],
    }
    if any(e.case.label is not None for e in made):
        facts["label_sha256"] = [split_hash((e.case.label,)) for e in made]
    if not math.isnan(steps):
        facts["papers_steps"] = steps
    ratios = [e.achieved for e in made if e.achieved]
    if ratios:
        known, pollution, _ = np.mean(ratios, axis=0)
        facts["achieved"] = f"{known:.1%} known, {pollution:.1%} pollution achieved"
    return facts


def _measure(
    row: Row, member: str, x: np.ndarray, made: Sequence[Experiment], details: Mapping[str, Any]
) -> schema.Row:
    """One member on all seeds."""
    start, cases = time.perf_counter(), [experiment.case for experiment in made]
    scored: Iterable[Scored]
    if member in (report.OURS, report.UNTRAINED):
        effort = row.effort if member == report.OURS else 0
        scored = fitting.fit_and_score(row, effort, x, cases)
    else:
        scored = fitting.reference(member, x, cases)
    measured = [
        measure.quality(experiment, one, seed)
        for seed, (experiment, one) in enumerate(zip(made, scored, strict=True))
    ]
    metrics = {key: [m[key] for m in measured] for key in measure.METRICS}
    seconds = {"seconds": time.perf_counter() - start}
    return schema.Row(row.name, member, metrics, {**details, **seconds})
