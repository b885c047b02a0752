"""The table of runs that a report judges: its columns, its checks, and figures for each set."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

# The metrics of a run and how reports call them; all are shares of 1, and higher is better.
METRICS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "adjusted_average_precision": "adjusted AP",
    "partial_auroc": "partial AUROC",
}
COLUMNS = (
    *("set", "variant", "numbers", "seed", *METRICS),
    *("train_rows", "features", "split", "fit_seconds", "note"),
)
# What a note may say of a run. A run may have several notes, joined by ";".
NO_GRADIENT = "no gradient"
COLLAPSED = "collapsed"
NOT_FINITE = "not finite"
SEES_LABELS = "depends on test labels"
SEES_ROWS = "depends on other rows"
NOT_REPEATABLE = "not repeatable"
FAILED = "failed"
CODES = (NO_GRADIENT, COLLAPSED, NOT_FINITE, SEES_LABELS, SEES_ROWS, NOT_REPEATABLE, FAILED)


def check_runs(table: Any) -> pd.DataFrame:
    """The table with a further column, ``contender``: the variant and its numbers as one name.

    Raises:
      TypeError: the table is no pandas DataFrame.
      ValueError: it has no rows, lacks a column, has a run twice, or has metrics above 1; the
        message says which.
    """
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table is a {type(table).__name__}: pass a pandas DataFrame of runs")
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise ValueError(
            f"table has no column {', '.join(map(repr, missing))}: it needs {', '.join(COLUMNS)}"
        )
    if table.empty:
        raise ValueError("table has no rows: pass at least one run of each contender")
    pairs = zip(table["variant"], table["numbers"], strict=True)
    table = table.assign(contender=[name_of(*pair) for pair in pairs])
    twice = table.duplicated(["set", "contender", "seed"])
    if twice.any():
        run = table.loc[twice.idxmax()] if table.index.is_unique else table[twice].iloc[0]
        raise ValueError(
            f"table has {twice.sum()} duplicate rows, first {run['contender']!r} on "
            f"{run['set']!r} with seed {run['seed']}: keep one row for each set, variant, numbers "
            "and seed"
        )
    for metric in METRICS:
        highest = table[metric].astype(float).max()
        if highest > 1 + 1e-9:
            raise ValueError(
                f"table[{metric!r}] has {highest:g}: metrics are shares of 1, so divide "
                "percentages by 100"
            )
    return table


def name_of(variant: str, numbers: str) -> str:
    """One name for a variant and its numbers.

    Raises:
      ValueError: the numbers are not the JSON text of an object.

    Example:
      >>> name_of("trimmed", '{"share": 0.1}'), name_of("plain", "{}")
      ('trimmed (share=0.1)', 'plain')
    """
    try:
        values = json.loads(numbers)
    except (TypeError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise ValueError(
            f"numbers={numbers!r} of variant {variant!r} is not JSON text of an object: write "
            '\'{"share": 0.1}\', or "{}" if there are none'
        )
    shown = ", ".join(f"{key}={json.dumps(value)}" for key, value in sorted(values.items()))
    return f"{variant} ({shown})" if shown else str(variant)


def notes_of(note: Any) -> list[tuple[str, str]]:
    """The notes of a run as pairs of a code and its detail; of unknown codes, too.

    Example:
      >>> notes_of("collapsed;failed: out of memory; try less")
      [('collapsed', ''), ('failed', 'out of memory; try less')]
    """
    text = "" if pd.isna(note) else str(note).strip()
    found = []
    while text:
        code = next((code for code in CODES if text.startswith(code)), None)
        # The reason of a failure comes last, and may hold any character.
        part, text = (text, "") if code == FAILED else map(str.strip, f"{text};".split(";", 1))
        text = text.strip("; ")
        found.append((code or part, part.removeprefix(code).strip(": ") if code else ""))
    return found


def skipped(count: int, steps: int) -> str:
    """The note of a run with steps that were not finite.

    Example:
      >>> skipped(1, 24)
      'not finite: 1 of 24 steps'
    """
    return f"{NOT_FINITE}: {count} of {steps} steps"


def lines(table: Any) -> dict[str, dict[str, Any]]:
    """The rows of a table as mappings, by the name in its index.

    Example:
      >>> lines(pd.DataFrame({"mean": [0.1]}, index=["goad"]))
      {'goad': {'mean': 0.1}}
    """
    return {str(name): dict(row) for name, row in table.to_dict("index").items()}


def figures_of(table: Any, metric: str) -> Any:
    """A metric with a row for each set and seed and a column for each contender.

    Example:
      >>> table = {"set": "a", "seed": 0, "contender": ["goad", "knn"], "auroc": [0.9, 0.8]}
      >>> figures_of(pd.DataFrame(table), "auroc").loc[("a", 0), "knn"].item()
      0.8
    """
    return table.pivot(index=["set", "seed"], columns="contender", values=metric).astype(float)


def by_set(figures: Any, contenders: Sequence[str]) -> Any:
    """Means over the seeds that all ``contenders`` have, a row for each set that they share.

    Example:
      >>> table = {"set": "a", "seed": [0, 1], "contender": "goad", "auroc": [0.9, 0.7]}
      >>> by_set(figures_of(pd.DataFrame(table), "auroc"), ["goad"]).loc["a", "goad"].item()
      0.8
    """
    complete = figures[list(contenders)].dropna()
    return complete.groupby(level="set").mean()
