"""A suite of parts: the rows of each are on disk as soon as it is measured.

An interrupted run keeps them, its record says which parts are missing, and the same command with
the same ``--out`` measures those.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import kept, schema, table
from benchmarks.comparison import TARGET, Target, targets_of, targets_text, verdicts
from benchmarks.options import Options

Part = Callable[[], tuple[list[schema.Row], list[Target]]]
WAITING = "not measured: the run ended before it"


def run_parts(
    options: Options,
    parts: Mapping[str, Part],
    *,
    columns: Sequence[table.Column],
    note: str,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Measure the parts in turn; print and write ``table.txt`` and ``rows.json``.

    Args:
      options: the run's.
      parts: name -> measures rows and targets.
      columns: of the table.
      note: what to know to read it.
      about: goes into the details of every row: versions that are not of this process.
    """
    path = options.out / "rows.json"
    run = kept.circumstances(options, options.settings, [0])
    begun, measured = schema.begin(), {}
    if path.exists():
        old = kept.earlier(path, run)
        begun = begun._replace(time=old.started)
        rows = [row for row in old.rows if row.missing != WAITING]
        measured = {name: [r for r in rows if r.details.get("part") == name] for name in parts}
        measured = {name: rows for name, rows in measured.items() if rows}

    def write() -> list[schema.Row]:
        rows = [
            row
            for name in parts
            for row in measured.get(name, [schema.Row(name, "all", {}, {"part": name}, WAITING)])
        ]
        schema.write(path, schema.record(rows=rows, begun=begun, **run))
        (options.out / "table.txt").write_text(shown(rows, columns, note) + "\n")
        return rows

    rows = write()
    for name, measure in parts.items():
        if name not in measured:
            new, targets = measure()
            details = {"part": name} | dict(about or {})
            measured[name] = [
                dataclasses.replace(row, details={**row.details, **details})
                for row in (*new, *verdicts(targets))
            ]
            rows = write()
    print(f"\n{shown(rows, columns, note)}")


def shown(rows: Sequence[schema.Row], columns: Sequence[table.Column], note: str) -> str:
    """Note, table and targets, as a suite prints them."""
    measured = [row for row in rows if row.dataset != TARGET]
    text = f"{note}\n\n{table.text(*table.cells(measured, columns))}"
    targets = targets_of(rows)
    return f"{text}\n\n{targets_text(targets)}" if targets else text
