"""Studies as suites: a contender is a part, a row holds its figures on all sets and seeds.

The first row of a result describes the sets; a contender's row has one figure for each set and
seed, set by set. That keeps a result of 300 sets small enough to commit. With two dozen contenders
a row has the mean over seeds instead, of AUROC alone.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.quality import references
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from jaxad import study

SETS = "sets"
_FACTS = ("train_rows", "features", "test_rows", "anomalies")
_OF_A_SET = ("average_precision", "partial_auroc")  # means over seeds, to keep the file small
_DIGITS = 4
_DIGITS_OF_MEANS = 3

# Variants that are no detectors of jaxad's.
REFERENCES: dict[str, Any] = {name: kind() for name, kind in references.KINDS.items()}


def parts(
    variants: Mapping[str, Any],
    sets: Mapping[str, Any],
    seeds: int,
    *,
    numbers: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    means: bool = False,
    **options: Any,
) -> dict[str, Part]:
    """A part for each variant with all choices of its numbers, and one for the sets.

    Args:
      variants: as for `jaxad.study.compare`.
      sets: likewise.
      seeds: likewise.
      numbers: name of a variant -> its choices of numbers.
      means: whether rows have means over seeds.
      **options: further arguments of `jaxad.study.compare`.
    """

    def measure(name: str) -> list[Row]:
        chosen = {name: numbers[name]} if numbers and name in numbers else None
        table = study.compare({name: variants[name]}, sets, seeds, numbers=chosen, **options)
        groups = table.groupby("numbers", sort=False)
        return [contender_row(part, table.attrs, len(groups), means) for _, part in groups]

    found: dict[str, Part] = {SETS: lambda: [_sets_row(sets, seeds, options)]}
    return found | {name: functools.partial(measure, name) for name in variants}


def contender_row(
    table: pd.DataFrame, effort: Mapping[str, float], sharing: int, means: bool = False
) -> Row:
    """The row of one contender, from the table of its runs.

    Args:
      table: its runs.
      effort: what the comparison took that they are from.
      sharing: contenders in that comparison, which share its time and programs equally.
      means: whether it has means over seeds.
    """
    first = table.iloc[0]
    by_set = table.groupby("set", sort=False)[["auroc", *_OF_A_SET]].mean()
    figures, digits = {"auroc": by_set["auroc"]}, _DIGITS_OF_MEANS
    if not means:
        digits = _DIGITS
        figures = {"auroc": table["auroc"]} | {name: by_set[name] for name in _OF_A_SET}
    metrics = {name: values.round(digits).tolist() for name, values in figures.items()}
    notes = table.loc[table["note"] != "", ["set", "seed", "note"]]
    details = {
        "numbers": first["numbers"],
        "config": first["config"],
        "core_seconds": round(float(table["fit_seconds"].sum()), 1),
        "compilations": round(effort["compilations"] / sharing, 1),
        "compile_seconds": round(effort["compile_seconds"] / sharing, 1),
        "seconds": round(effort["seconds"] / sharing, 1),
        "notes": [list(note) for note in notes.itertuples(index=False, name=None)],
    }
    if means:
        details["means_of"] = int(table["seed"].nunique())
    label = study.runs.name_of(first["variant"], first["numbers"])
    return Row(SETS, label, metrics, details | {"variant": first["variant"]}, part=first["variant"])


def _sets_row(sets: Mapping[str, Any], seeds: int, options: Mapping[str, Any]) -> Row:
    setting, known = options.get("setting"), options.get("known_anomalies", 0)
    tasks = [
        study.sets.task(name, given, seed, setting, known).facts
        for name, given in sets.items()
        for seed in range(seeds)
    ]
    facts = {fact: [task[fact] for task in tasks[::seeds]] for fact in _FACTS}
    details = {"names": list(sets), "splits": [task["split"][:8] for task in tasks]} | facts
    return Row(SETS, SETS, {"sets": [float(len(sets))]}, details, part=SETS)


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """The table of runs that `jaxad.study.report` judges."""
    (facts,) = (row.details for row in rows if row.detector == SETS)
    names, found = facts["names"], []
    for row in rows:
        if row.detector == SETS or not row.metrics:
            continue
        auroc = np.repeat(row.metrics["auroc"], row.details.get("means_of", 1))
        seeds = len(auroc) // len(names)
        of_sets = {n: row.metrics.get(n, [np.nan] * len(names)) for n in _OF_A_SET}
        notes = {(name, seed): note for name, seed, note in row.details["notes"]}
        for i, value in enumerate(auroc.tolist()):
            place, seed = divmod(i, seeds)
            note = notes.get((names[place], seed), "")
            value = np.nan if note.startswith("failed") else value  # of means, too
            share = facts["anomalies"][place] / facts["test_rows"][place]
            known = not np.isnan(value)  # figures of all seeds together
            precision = of_sets["average_precision"][place] if known else np.nan
            own = {fact: facts[fact][place] for fact in _FACTS}
            found.append(
                {"set": names[place], "variant": row.details["variant"], "seed": seed}
                | own
                | {
                    "numbers": row.details["numbers"],
                    "auroc": value,
                    "average_precision": precision,
                    "adjusted_average_precision": (precision - share) / (1 - share),
                    "partial_auroc": of_sets["partial_auroc"][place] if known else np.nan,
                    "split": facts["splits"][i],
                    "config": row.details["config"],
                    "fit_seconds": row.details["core_seconds"] / len(auroc),
                    "note": note,
                }
            )
    return pd.DataFrame(found)


def effort(rows: Sequence[Row]) -> str:
    """What the runs of a result took."""
    details = [row.details for row in rows if row.detector != SETS and row.metrics]
    total = {
        name: sum(one[name] for one in details)
        for name in ("seconds", "core_seconds", "compilations", "compile_seconds")
    }
    programs = f"{total['compilations']:.0f} programs were compiled"
    fits = sum(
        len(row.metrics["auroc"]) * row.details.get("means_of", 1)
        for row in rows
        if row.detector != SETS and row.metrics
    )
    return (
        f"{fits:,} fits took {total['seconds'] / 60:.1f} minutes, of which the cores spent "
        f"{total['core_seconds'] / 60:.1f} minutes fitting and scoring; {programs}, in "
        f"{total['compile_seconds'] / 60:.1f} minutes."
    )
