"""A report as an object: tables to compute with, and text to read."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from jaxad.checks import check_choice
from jaxad.study import runs
from jaxad.study.statistics import DIGITS, Ranking, show_p


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """What `jaxad.study.report` found. Printed, it is the sentences and both tables.

    Attributes:
      contenders: a row for each contender, the best rank first: the mean over sets of each metric
        (seeds averaged first) with its interval by Student's t (``auroc``, ``auroc_low``,
        ``auroc_high``), the average ``rank`` by the chosen metric, the number of ``sets`` and
        ``seeds`` that were scored, the median ``seconds`` of a fit, and why it is ``excluded``, if
        it is.
      differences: a row for each contender that is compared with the baseline, over the ``sets``
        that both have: ``mean`` difference with the ends ``low`` and ``high`` of its bootstrap
        interval, ``median``, ``spread`` (standard deviation over sets), ``wins``, ``ties``,
        ``losses``, p-values of the paired t-test (``t_p``) and of Wilcoxon's test before and after
        Holm's correction (``wilcoxon_p``, ``p``), the probabilities ``better``, ``equal`` and
        ``worse`` of the Bayesian signed-rank test (see
        `jaxad.study.statistics.signed_rank_posterior`), the ``conclusion`` ("better", "equal",
        "worse" or "open"), and of an open one roughly the ``sets_needed`` to show a difference.
      sentences: conclusions, warnings and remarks in plain English.
      ranking: average ranks and cliques, or None if no set has figures of all contenders.
      baseline: the contender that the others are compared with.
      metric: the chosen metric's column.
      rope: half the width of the region of practical equivalence.
      level: the level of significance; intervals are at ``1 - level``.
      runs: the table of runs, with the column ``contender``.
    """

    contenders: pd.DataFrame
    differences: pd.DataFrame
    sentences: list[str]
    ranking: Ranking | None
    baseline: str
    metric: str
    rope: float
    level: float
    runs: pd.DataFrame

    @property
    def figures(self) -> Any:
        """The chosen metric with a row for each set and seed and a column for each contender."""
        return runs.figures_of(self.runs, self.metric)

    def by_set(self, contender: str) -> pd.DataFrame:
        """The ``difference`` to the baseline on each shared set, ``train_rows`` and ``features``.

        `jaxad.plotting.differences_by_size` draws it.

        Raises:
          ValueError: there is no such contender.
        """
        check_choice("contender", contender, list(self.contenders.index))
        pair = runs.by_set(self.figures, list(dict.fromkeys([contender, self.baseline])))
        table: Any = self.runs
        sizes = table.groupby("set")[["train_rows", "features"]].median()
        difference = (pair[contender] - pair[self.baseline]).round(DIGITS).rename("difference")
        return difference.to_frame().join(sizes)

    def markdown(self) -> str:
        """The report in Markdown."""
        return self._written(_markdown_table, "- ")

    def text(self) -> str:
        """The report as plain text."""
        return self._written(_text_table, "* ")

    def __str__(self) -> str:
        return self.text()

    def _written(self, table: Callable[[list[str], list[list[str]]], str], bullet: str) -> str:
        parts = ["\n".join(bullet + sentence for sentence in self.sentences)]
        parts.append(table(*_contender_cells(self.contenders)))
        if len(self.differences):
            title = f"{runs.METRICS[self.metric]} against {self.baseline}, in points"
            parts.append(table(*_difference_cells(self.differences, title, self.level)))
        return "\n\n".join(parts)


def _contender_cells(contenders: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    header = ["contender", "rank", *(f"{title} %" for title in runs.METRICS.values())]
    body = []
    for name, row in runs.lines(contenders).items():
        shown = [_number(row["rank"], ".2f")]
        for metric in runs.METRICS:
            half = 100 * (row[f"{metric}_high"] - row[metric])
            tail = "" if math.isnan(half) else f" ± {half:.1f}"
            shown.append(_number(100 * row[metric], ".1f") + tail)
        counts = [str(row["sets"]), str(row["seeds"]), _number(row["seconds"], ".3g")]
        body.append([name, *shown, *counts, str(row["excluded"])])
    header += ["sets", "seeds", "fit s"]
    if not any(line[-1] for line in body):
        return header, [line[:-1] for line in body]
    return [*header, "excluded, for it"], body


def _difference_cells(
    frame: pd.DataFrame, title: str, level: float
) -> tuple[list[str], list[list[str]]]:
    header = [
        *(title, "mean", f"{100 * (1 - level):g} % interval", "median", "won/tied/lost"),
        *("Holm p", "P better", "P equal", "P worse", "conclusion"),
    ]
    body = []
    for name, row in runs.lines(frame).items():
        mean, low, high, median = (
            _number(100 * row[c], "+.1f") for c in ("mean", "low", "high", "median")
        )
        won = f"{row['wins']}/{row['ties']}/{row['losses']}"
        odds = [_number(row[c], ".2f") for c in ("better", "equal", "worse")]
        cells = [mean, f"{low} to {high}", median, won, show_p(row["p"]), *odds]
        body.append([name, *cells, row["conclusion"]])
    return header, body


def _number(value: float, spec: str) -> str:
    return "-" if math.isnan(value) else f"{value:{spec}}"


def _text_table(header: list[str], body: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, *body)
    ]
    return "\n".join(lines)


def _markdown_table(header: list[str], body: list[list[str]]) -> str:
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, *body)]
    lines.insert(1, ["---", *["---:"] * (len(header) - 1)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
