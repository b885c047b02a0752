"""The papers' tables as text: published beside ours, the untrained copy and the references."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.quality import paper_verdicts as verdicts
from benchmarks.quality.paper_fitting import MOST_NEIGHBOURS
from benchmarks.quality.paper_rows import (
    CERTAINTIES,
    METRICS,
    REFERENCES,
    PaperRow,
    Published,
    Table,
)
from benchmarks.record import tables
from benchmarks.record.rows import Row, mean_std

OURS, UNTRAINED = "ours", "untrained"
MEMBERS = (OURS, UNTRAINED, *REFERENCES)
_BEHIND = 2.0  # standard errors that training must be worth not to be remarked on
_TIED = 50.0  # per cent of distinct scores
_SHOW = tables.spread(1)


class Measured:
    """The rows of one table, by the row's name and the member."""

    def __init__(self, rows: Sequence[Row], name: str):
        self._rows = {
            (row.dataset, row.detector): row for row in rows if row.details["setting"] == name
        }

    def values(self, row: PaperRow, member: str, metric: str) -> list[float]:
        """In %, one per seed; none where nothing was measured."""
        found = self._rows.get((row.name, member))
        return [] if found is None else [100 * v for v in found.metrics.get(metric, ())]

    def details(self, row: PaperRow) -> Mapping[str, Any]:
        """Of our detector."""
        return self._rows[row.name, OURS].details

    def missing(self, row: PaperRow, member: str = OURS) -> str | None:
        """Why a member could not be measured, or None."""
        found = self._rows.get((row.name, member))
        return found and found.missing

    def steps(self, row: PaperRow) -> tuple[float, float]:
        """Steps done, and those of the paper's epochs; means over seeds."""
        found = self._rows[row.name, OURS]
        done, _ = mean_std(found.metrics.get("steps", ()))
        return done, found.details.get("papers_steps", math.nan)


def text(chosen: Sequence[Table], rows: Sequence[Row]) -> str:
    """All that is printed."""
    parts = [_header()]
    for one in chosen:
        measured = Measured(rows, one.name)
        head = [f"== {one.title}", f"   {one.command}"]
        if one.note:
            head.append(_wrapped(one.note.strip()))
        parts.append("\n".join(head))
        metric = one.rows[0].metric
        parts.append(_main(one, measured))
        for other in METRICS:
            if other != metric and metric == "f1":
                parts.append(_beside(one, measured, other))
        parts.append(_reasons(one, measured))
    return "\n\n".join(parts)


def verdicts_of(chosen: Sequence[Table], rows: Sequence[Row]) -> dict[str, list[str]]:
    """The words of the verdicts on every table's rows and groups, by the table's title."""
    found: dict[str, list[str]] = {}
    for one in chosen:
        measured = Measured(rows, one.name)
        found[one.title] = [_verdict(measured, row).word for row in one.rows if row.published]
        for name, members in _groups(one).items():
            values = _mean(members, measured, OURS)
            found[one.title].append(_group_verdict(one, name, values).word)
    return found


def points(chosen: Sequence[Table], rows: Sequence[Row]) -> dict[str, list[tuple[float, ...]]]:
    """Published figure, ours, and our standard error, of every row that has both, by table."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for one in chosen:
        measured = Measured(rows, one.name)
        for row in one.rows:
            values = [v for v in measured.values(row, OURS, row.metric) if not math.isnan(v)]
            if row.published and values:
                mean, std = mean_std(values)
                error = std / math.sqrt(len(values)) if len(values) > 1 else 0.0
                found.setdefault(one.title, []).append((row.published.mean, mean, error))
    return found


def _header() -> str:
    marks = ", ".join(f"{mark} {word}" for word, mark in CERTAINTIES.items() if mark)
    paragraphs = (
        "Figures in %, mean ± standard deviation over seeds, each with its own networks and, but "
        "where a protocol draws nothing, its own split. untrained: the same detector, no epoch. "
        "knn: mean distance to the 5 nearest training rows and distance to the 5th, of at most "
        f"{MOST_NEIGHBOURS:,}. A random forest learns known anomalies against all other training "
        "rows. Columns of tables are standardised for the references.",
        f"Published figures: unmarked ones were read in the paper; {marks}: not verified.",
        "s.e.: ours less published, in standard errors of ours. 'reproduced' means within one "
        "published standard deviation over runs, and in any case one point, with a standard error "
        "no larger; another published run of the same method counts too, and is named. 'above' and "
        "'below' are further off, with the published mean outside the 95% confidence interval of "
        "ours; 'not testable' is neither, or has nothing to compare with.",
        "F1 is an oracle's: the number of flagged test rows comes from the share of anomalies, "
        "which no user knows. No other figure, threshold or setting depends on test labels.",
    )
    return "\n".join(map(_wrapped, paragraphs))


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(" ".join(paragraph.split()), 100, subsequent_indent="  ")


def _main(one: Table, measured: Measured) -> str:
    """Published, all members, distance, verdict and steps: a line for each row and group."""
    members = _members(one, measured)
    body = []
    for row in one.rows:
        verdict = _verdict(measured, row)
        cells = [_SHOW(measured.values(row, m, row.metric)) for m in members]
        body.append(
            [row.name, _published(row.published), *cells, _errors(verdict), verdict.word]
            + [_steps(*measured.steps(row))]
        )
    for name, rows in _groups(one).items():
        values = {m: _mean(rows, measured, m) for m in members}
        verdict = _group_verdict(one, name, values[OURS])
        group = one.groups.get(name)
        cells = [_SHOW(values[m]) for m in members]
        label = f"mean of {len(rows)}" + (f", {name}" if name else "")
        body.append(
            [label, _published(group and group.published), *cells, _errors(verdict), verdict.word]
            + ["-"]
        )
    title = METRICS[one.rows[0].metric]
    header = [f"{title} %", "published", *members, "s.e.", "verdict", "steps / paper's"]
    return tables.text(header, body, left=1, grouped=False)


def _beside(one: Table, measured: Measured, metric: str) -> str:
    """A metric that was not published, beside the one that was."""
    members = _members(one, measured)
    body = [
        [row.name, *(_SHOW(measured.values(row, m, metric)) for m in members)] for row in one.rows
    ]
    return tables.text([f"{METRICS[metric]} %", *members], body, left=1, grouped=False)


def _members(one: Table, measured: Measured) -> list[str]:
    """Those that some row has a figure of; ours and its untrained copy always."""
    return [
        m for m in MEMBERS if m in (OURS, UNTRAINED) or any(m in row.references for row in one.rows)
    ]


def _groups(one: Table) -> dict[str, list[PaperRow]]:
    """Rows by their group, those groups that have several."""
    found: dict[str, list[PaperRow]] = {}
    for row in one.rows:
        found.setdefault(row.group, []).append(row)
    return {name: rows for name, rows in found.items() if name and len(rows) > 1}


def _mean(rows: Sequence[PaperRow], measured: Measured, member: str) -> list[float]:
    """Seed by seed the mean over rows; nothing where a row has no figure."""
    values = [measured.values(row, member, row.metric) for row in rows]
    if not all(values):
        return []
    count = min(map(len, values))
    return [float(v) for v in np.mean([v[:count] for v in values], axis=0)]


def _verdict(measured: Measured, row: PaperRow) -> verdicts.Verdict:
    values = measured.values(row, OURS, row.metric)
    return verdicts.judge(values, row.published, row.rerun, missing=measured.missing(row))


def _group_verdict(one: Table, name: str, values: Sequence[float]) -> verdicts.Verdict:
    group = one.groups.get(name)
    figures = (group.published, group.rerun) if group else (None, None)
    missing = None if values else "not every row could be measured"
    rows, size = sum(row.group == name for row in one.rows), one.group_sizes[name]
    if rows < size:
        missing = f"{rows} of its {size} rows"
    return verdicts.judge(values, *figures, missing=missing)


def _reasons(one: Table, measured: Measured) -> str:
    """Why each verdict, and what else explains it."""
    lines = []
    for row in one.rows:
        verdict = _verdict(measured, row)
        reason = [verdict.reason, *_remarks(measured, row)]
        if row.published:
            reason.append(f"published: {row.published.source}")
        reason += [row.note] if row.note else []
        lines.append(f"{row.name}: {verdict.word}: {'; '.join(reason)}")
    for name, rows in _groups(one).items():
        verdict = _group_verdict(one, name, _mean(rows, measured, OURS))
        group = one.groups.get(name)
        note = f"; {group.note}" if group and group.note else ""
        lines.append(f"mean of {len(rows)}, {name}: {verdict.word}: {verdict.reason}{note}")
    return "\n".join(map(_wrapped, lines))


def _remarks(measured: Measured, row: PaperRow) -> list[str]:
    """What the numbers themselves say about a figure."""
    if measured.missing(row):
        return []
    found = []
    done, papers = measured.steps(row)
    if done < papers:
        found.append(f"{done / papers:.0%} of the paper's steps")
    ours = measured.values(row, OURS, row.metric)
    diverged = sum(math.isnan(v) for v in ours)
    if diverged:
        found.append(f"{diverged} of {len(ours)} seeds met no finite step and are left out")
    distinct, _ = mean_std(measured.values(row, OURS, "distinct"))
    if distinct < _TIED:
        found.append(f"only {distinct:.0f}% of the test rows' scores differ")
    untrained = measured.values(row, UNTRAINED, row.metric)
    gain = [a - b for a, b in zip(ours, untrained, strict=False)]
    mean, std = mean_std(gain)
    known = sum(not math.isnan(v) for v in gain)
    if known > 1 and mean < _BEHIND * std / math.sqrt(known):
        found.append(f"training adds {mean:+.1f} ± {std / math.sqrt(known):.1f} to the untrained")
    if row.published and known and verdicts.passes(mean_std(untrained)[0], row.published):
        found.append("its untrained copy is within the tolerance")
    for member in (UNTRAINED, *row.references):
        if measured.missing(row, member):
            found.append(f"{member} is missing: {measured.missing(row, member)}")
    reached = measured.details(row).get("achieved")
    return found + ([reached] if reached else [])


def _published(figure: Published | None) -> str:
    if figure is None:
        return "-"
    mark = CERTAINTIES[figure.certainty]
    if figure.std is None:
        return f"{figure.mean:.1f}{mark}"
    second = CERTAINTIES[figure.std_certainty or figure.certainty]
    return f"{figure.mean:.1f}{mark} ± {figure.std}{second}"


def _errors(verdict: verdicts.Verdict) -> str:
    return "-" if math.isnan(verdict.errors) else f"{verdict.errors:+.1f}"


def _steps(done: float, papers: float) -> str:
    if math.isnan(done):
        return "-"
    return f"{done:,.0f} / " + ("-" if math.isnan(papers) else f"{papers:,.0f}")
