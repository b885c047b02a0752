"""Rows as a table to read: fixed width for a terminal, or Markdown."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.schema import Row, mean_std

Show = Callable[[Sequence[float]], str]


@dataclass(frozen=True)
class Column:
    """A metric under a title, its values shown by a function."""

    title: str
    metric: str
    show: Show


def spread(digits: int = 1, scale: float = 1.0) -> Show:
    """Mean and standard deviation, ``95.3 ± 0.4``; the mean alone for one value."""

    def show(values: Sequence[float]) -> str:
        mean, std = (scale * v for v in mean_std(values))
        if math.isnan(mean):
            return "-"
        tail = "" if math.isnan(std) else f" ± {std:.{digits}f}"
        return f"{mean:.{digits}f}{tail}"

    return show


def middle(digits: int = 2, scale: float = 1.0) -> Show:
    """The median, with thousands separated."""

    def show(values: Sequence[float]) -> str:
        known = [v for v in values if not math.isnan(v)]
        return f"{scale * statistics.median(known):,.{digits}f}" if known else "-"

    return show


def first(digits: int = 2) -> Show:
    """The first value: what only a first run pays."""
    number = middle(digits)
    return lambda values: number(values[:1])


def cells(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """Header and body; a row that could not be measured says so in its detector's cell."""
    header = ["dataset", "detector", *(c.title for c in columns)]
    body = []
    for row in rows:
        name = row.detector if row.missing is None else f"{row.detector} (missing: {row.missing})"
        shown = [c.show(row.metrics[c.metric]) if c.metric in row.metrics else "-" for c in columns]
        body.append([row.dataset, name, *shown])
    return header, body


def text(
    header: Sequence[str],
    body: Sequence[Sequence[str]],
    *,
    left: int = 2,
    grouped: bool = True,
) -> str:
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


def markdown(header: Sequence[str], body: Sequence[Sequence[str]], *, left: int = 2) -> str:
    """The same as a Markdown table.

    Example:
      >>> print(markdown(["set", "AUROC"], [["a", "1.0"]], left=1))
      | set | AUROC |
      | --- | ---: |
      | a | 1.0 |
    """
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(values) + " |" for values in [header, rule, *body])
