"""Timings as rows a second: what the throughput suite keeps and shows."""

import dataclasses
from collections.abc import Mapping, Sequence

from benchmarks import schema, table
from benchmarks.comparison import Target, show_spread
from benchmarks.timing import Timing

COLUMNS = (
    table.Column("rows/s", "rows_per_second", show_spread(0)),
    table.Column("times jaxad", "ratio", show_spread(2)),
    table.Column("steady s", "seconds", show_spread(3)),
    table.Column("first s", "first_seconds", table.first(2)),
    table.Column("compile s", "compile_seconds", table.first(2)),
)


def timed_rows(
    part: str,
    first: Mapping[str, Timing],
    later: Mapping[str, Timing],
    failures: Mapping[str, str],
    *,
    reference: str,
    rows: int,
) -> list[schema.Row]:
    """Rows/s, seconds and the ratio to ``reference`` of every variant, or why there are none.

    Args:
      part: what was measured.
      first: of `timed`.
      later: of `timed`.
      failures: variant -> reason.
      reference: the variant that is ours.
      rows: trained on or scored in a run, every epoch counted.
    """
    made = []
    for name, timing in later.items():
        pairs = zip(timing.seconds, later[reference].seconds, strict=False)
        metrics = _metrics(rows, timing.seconds, first[name].median, [a / b for a, b in pairs])
        made.append(schema.Row(part, name, metrics, {"rows": rows}))
    return made + [schema.Row(part, name, missing=why) for name, why in failures.items()]


def as_rates(row: schema.Row, part: str, rows: int) -> schema.Row:
    """A row of `benchmarks.comparison.timed_rows` with the metrics of those here."""
    if row.missing is not None:
        return dataclasses.replace(row, dataset=part)
    (first,) = row.metrics["first_seconds"]
    metrics = _metrics(rows, row.metrics["seconds"], first, row.metrics["ratio"])
    return schema.Row(part, row.detector, metrics, {"rows": rows})


def _metrics(
    rows: int, seconds: Sequence[float], first: float, ratio: Sequence[float]
) -> dict[str, Sequence[float]]:
    return {
        "rows_per_second": [rows / s for s in seconds],
        "ratio": ratio,
        "seconds": seconds,
        "first_seconds": [first],
        "compile_seconds": [max(0.0, first - Timing(tuple(seconds)).median)],
    }


def rate_target(what: str, per_second: Sequence[float], goal: float | None) -> Target:
    """That ours does so many million rows a second; without a goal it is only told."""
    millions = Timing(tuple(value / 1e6 for value in per_second))
    low, high = millions.quartiles
    measured = f"{millions.median:.3g} M/s [{low:.3g}, {high:.3g}]"
    if goal is None:
        return Target(f"{what}: jaxad", "-", measured, None)
    return Target(f"{what}: jaxad", f">= {goal:g} M/s", measured, millions.median >= goal)
