"""Rows as a table to read: fixed width for a terminal, or Markdown."""

import math
import statistics
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.record.rows import Row, mean_std
from benchmarks.record.timing import TARGET, Timing
from jaxad.study.statistics import Paired

Show = Callable[[Sequence[float]], str]
Body = Sequence[Sequence[str]]


class Column(NamedTuple):
    """A title, a metric's name or a function of a row (None: no values), and how to show them."""

    title: str
    values: str | Callable[[Row], Sequence[float] | None]
    show: Show

    def cell(self, row: Row) -> str:
        """The row's text in this column."""
        values = row.metrics.get(self.values) if isinstance(self.values, str) else self.values(row)
        return "-" if values is None else self.show(values)


def spread(digits: int = 1, scale: float = 1.0) -> Show:
    """Mean and standard deviation, ``95.3 ± 0.4``; the mean alone for one value."""

    def show(values: Sequence[float]) -> str:
        mean, std = (scale * v for v in mean_std(values))
        if math.isnan(mean):
            return "-"
        tail = "" if math.isnan(std) else f" ± {std:.{digits}f}"
        return f"{mean:.{digits}f}{tail}"

    return show


def wrapped(*paragraphs: str) -> str:
    """Paragraphs in lines of 100 characters, indented after the first."""
    lines = (" ".join(paragraph.split()) for paragraph in paragraphs)
    return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ") for line in lines)


def number(value: float, spec: str) -> str:
    """The formatted value; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:{spec}}"


def difference_cells(found: Paired) -> list[str]:
    """Mean difference ± its standard error, and won/tied/lost."""
    if not found.sets:
        return ["-", "-"]
    error = "" if math.isnan(found.error) else f" ± {found.error:.1f}"
    return [f"{found.mean:+.1f}{error}", f"{found.wins}/{found.ties}/{found.losses}"]


def quartiles(digits: int) -> Show:
    """The median with the quartiles, ``1.20 [1.10, 1.30]``."""
    return lambda values: Timing(tuple(values)).show(f",.{digits}f")


def middle(digits: int = 2) -> Show:
    """The median, with thousands separated."""

    def show(values: Sequence[float]) -> str:
        known = [v for v in values if not math.isnan(v)]
        return f"{statistics.median(known):,.{digits}f}" if known else "-"

    return show


def first(digits: int = 2) -> Show:
    """The first value alone."""
    return lambda values: number(values[0], f",.{digits}f")


def per_second(row: Row) -> list[float] | None:
    """Units of work a second, of a row of `timed_rows`."""
    seconds = row.metrics.get("seconds")
    return None if seconds is None else [row.details["units"] / s for s in seconds]


def microseconds(row: Row) -> list[float] | None:
    """Microseconds of a unit of work, of a row of `timed_rows`."""
    seconds = row.metrics.get("seconds")
    return None if seconds is None else [1e6 * s / row.details["units"] for s in seconds]


COMPARISON = (
    Column("seconds", "seconds", quartiles(3)),
    Column("us per step or row", microseconds, quartiles(2)),
    Column("times jaxad", "ratio", quartiles(2)),
    Column("first run s", "first_seconds", first(2)),
)
COMPARISON_NOTE = (
    "Medians [quartiles]; variants interleaved in one process, first runs (compilation) apart.\n"
    "Where variants do the same work, one 10 times slower than the fastest in the first round is "
    "not repeated."
)


def cells(rows: Iterable[Row], columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """Header and body; a row that could not be measured has a dash in every column."""
    header = ["dataset", "detector", *(c.title for c in columns)]
    return header, [[row.dataset, row.detector, *(c.cell(row) for c in columns)] for row in rows]


def missing(rows: Iterable[Row]) -> str:
    """A line for every row that could not be measured, with the reason; or nothing."""
    found = (row for row in rows if row.missing is not None)
    return "\n".join(f"missing: {row.detector} on {row.dataset}: {row.missing}" for row in found)


def targets(rows: Iterable[Row]) -> str:
    """A table of the targets among rows, with the bounds of those that were missed."""
    found = [row for row in rows if row.dataset == TARGET]
    if not found:
        return ""
    verdict = {True: "yes", False: "no", None: "-"}
    body = [
        [row.detector, row.details["goal"], row.details["measured"], verdict[row.details["met"]]]
        for row in found
    ]
    lines = [text(["target", "goal", "measured", "met"], body, left=1, grouped=False)]
    missed = [row for row in found if row.details["met"] is False and "bound" in row.details]
    lines += [f"\n{row.detector}: {row.details['bound']}" for row in missed]
    return "\n".join(lines)


def text(header: Sequence[str], body: Body, *, left: int = 2, grouped: bool = True) -> str:
    """Fixed width: the first ``left`` columns flush left, numbers flush right.

    Where rows are ``grouped`` by the first column its value is shown once for each group, and a
    rule separates the groups.

    Example:
      >>> print(text(["set", "name", "AUROC"], [["a", "x", "1.0"], ["a", "long", "22.0"]]))
      set  name  AUROC
      ---  ----  -----
      a    x       1.0
           long   22.0
    """
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]

    def line(values: Sequence[str]) -> str:
        padded = [
            v.ljust(w) if i < left else v.rjust(w)
            for i, (v, w) in enumerate(zip(values, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    rule = line(["-" * w for w in widths])
    lines, previous = [line(header), rule], None
    for values in body:
        if grouped and previous not in (None, values[0]):
            lines.append(rule)
        repeated = grouped and values[0] == previous
        lines.append(line(["" if repeated else values[0], *values[1:]]))
        previous = values[0]
    return "\n".join(lines)


def markdown(header: Sequence[str], body: Body, *, left: int = 2) -> str:
    """The same as a Markdown table.

    Example:
      >>> print(markdown(["set", "AUROC"], [["a", "1.0"]], left=1))
      | set | AUROC |
      | --- | ---: |
      | a | 1.0 |
    """
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(values) + " |" for values in [header, rule, *body])


def pivot(corner: str, cells: Mapping[tuple[str, str], str]) -> str:
    """A Markdown table of the text of every (row, column); ``-`` where there is none.

    Example:
      >>> print(pivot("set", {("a", "one"): "1.0", ("b", "two"): "2.0"}))
      | set | one | two |
      | --- | ---: | ---: |
      | a | 1.0 | - |
      | b | - | 2.0 |
    """
    names, titles = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    body = [[name, *(cells.get((name, title), "-") for title in titles)] for name in names]
    return markdown([corner, *titles], body, left=1)
