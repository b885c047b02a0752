"""What a suite is, how it is run, and how its rows are shown.

A suite is a module with

* ``DESCRIPTION``, ``DEFAULTS`` (setting -> value) and ``CHOICES`` (setting -> valid names);
* ``parts(settings)``: name -> what measures the rows of a part, in the order of the table;
* ``COLUMNS`` and ``NOTE`` (text, or a function of the settings) of its table, and perhaps
  ``remarks(rows)`` below it; or ``text(rows, settings)``;
* perhaps ``conclusion(rows)``, the sentences that end the text;

and, where there is more to it, ``complete(settings)`` (settings with what depends on this machine
filled in), ``circumstances(settings)`` (arguments of `ResultStore`), ``pictures(rows, settings)``
(file name -> title and figure) and ``summary(rows, settings)`` (Markdown for the report).
"""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from benchmarks.record import machines, tables
from benchmarks.record.rows import Row
from benchmarks.record.store import ResultStore
from benchmarks.record.timing import TARGET
from benchmarks.settings import Options


def run(suite: ModuleType, options: Options) -> None:
    """Measure what is not yet in the folder, print the table, and write table and pictures."""
    begun, settings = time.perf_counter(), dict(options.settings)
    if hasattr(suite, "complete"):
        settings = suite.complete(settings)
    how = {"seeds": settings.get("seeds", 1)}
    if hasattr(suite, "circumstances"):
        how = suite.circumstances(settings)
    parts = suite.parts(settings)
    store = ResultStore(dataclasses.replace(options, settings=settings), parts, **how)
    rows = store.measure()
    store.finish(text(suite, rows, settings, store.machines))
    for name, (_, figure) in pictures(suite, rows, settings).items():
        figure.savefig(options.out / f"{name}.png")
    print(f"This command ran for {(time.perf_counter() - begun) / 60:.1f} minutes.")


def text(
    suite: ModuleType,
    rows: Sequence[Row],
    settings: Mapping[str, Any],
    measured_on: Iterable[Mapping[str, Any]] = (),
) -> str:
    """The printed table of a suite, and the machines it was measured on."""
    make = suite.text if hasattr(suite, "text") else partial(_table, suite)
    concluded = suite.conclusion(rows) if hasattr(suite, "conclusion") else ""
    shown = make(rows, settings).rstrip(), machines.text(measured_on), tables.wrapped(concluded)
    return "\n\n".join(part for part in shown if part)


def _table(suite: ModuleType, rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    body = [row for row in rows if row.dataset != TARGET]
    table = tables.text(*tables.cells(body, suite.COLUMNS))
    note = suite.NOTE(settings) if callable(suite.NOTE) else suite.NOTE
    remarks = suite.remarks(body) if hasattr(suite, "remarks") else ""
    parts = note, table, remarks, tables.missing(body), tables.targets(rows)
    return "\n\n".join(part for part in parts if part)


def pictures(
    suite: ModuleType, rows: Sequence[Row], settings: Mapping[str, Any]
) -> dict[str, tuple[str, Any]]:
    """File name -> title and figure."""
    return suite.pictures(rows, settings) if hasattr(suite, "pictures") else {}


def summary(suite: ModuleType, rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """A Markdown table of a suite's rows."""
    body = [row for row in rows if row.dataset != TARGET]
    if hasattr(suite, "summary"):
        return suite.summary(body, settings)
    return tables.markdown(*tables.cells(body, suite.COLUMNS))
