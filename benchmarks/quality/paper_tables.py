"""The papers' tables as text: published beside ours, the untrained copy and the references."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.quality import paper_verdicts
from benchmarks.quality.paper_fitting import MOST_NEIGHBOURS
from benchmarks.quality.paper_rows import CERTAINTIES, METRICS, REFERENCES, Group, Published, Table
from benchmarks.quality.paper_verdicts import Verdict
from benchmarks.record import tables
from benchmarks.record.rows import Row, mean_std

OURS, UNTRAINED = "ours", "untrained"
DETECTORS = (OURS, UNTRAINED, *REFERENCES)
_BEHIND = 2.0  # standard errors that training must be worth not to be remarked on
_TIED = 50.0  # per cent of distinct scores
_SHOW = tables.spread(1)


class Line(NamedTuple):
    """A row of a table, or the mean of a group of its rows.

    Attributes:
      name: what it is called.
      published: the figure to expect, or None.
      values: detector -> figures in %, one per seed; empty where nothing was measured.
      verdict: ours against the published figure.
      reason: why, and what else explains it.
      measured: detector -> the row of the result; empty for a group.
    """

    name: str
    published: Published | None
    values: Mapping[str, Sequence[float]]
    verdict: Verdict
    reason: Sequence[str]
    measured: Mapping[str, Row]


def detectors_of(one: Table) -> list[str]:
    """The detectors in the table's columns: ours, its untrained copy, and references of any row."""
    named = {OURS, UNTRAINED}.union(*(row.references for row in one.rows))
    return [detector for detector in DETECTORS if detector in named]


def lines_of(one: Table, rows: Sequence[Row]) -> list[Line]:
    """The rows of a table, then the means of its groups that have several rows."""
    results = {(r.dataset, r.detector): r for r in rows if r.details["setting"] == one.name}
    lines, groups = [], {}
    for row in one.rows:
        own = {m: results[row.name, m] for m in DETECTORS if (row.name, m) in results}
        values = {m: _percent(own, m, row.metric) for m in DETECTORS}
        missing = own[OURS].missing if OURS in own else None
        verdict = paper_verdicts.judge(values[OURS], row.published, row.rerun, missing=missing)
        reason = [verdict.reason, *([] if missing else _remarks(own, values, row.published))]
        reason += [f"published: {row.published.source}"] if row.published else []
        reason += [row.note] if row.note else []
        lines.append(Line(row.name, row.published, values, verdict, reason, own))
        groups.setdefault(row.group, []).append(values)
    for name, several in groups.items():
        if name and len(several) > 1:
            group = one.groups.get(name, Group())
            values = {m: _mean([values[m] for values in several]) for m in DETECTORS}
            missing = None if values[OURS] else "not every row could be measured"
            if len(several) < one.group_sizes[name]:
                missing = f"{len(several)} of its {one.group_sizes[name]} rows"
            figures = group.published, group.rerun
            verdict = paper_verdicts.judge(values[OURS], *figures, missing=missing)
            reason = [verdict.reason, *([group.note] if group.note else [])]
            title = f"mean of {len(several)}, {name}"
            lines.append(Line(title, group.published, values, verdict, reason, {}))
    return lines


def text(chosen: Sequence[Table], rows: Sequence[Row]) -> str:
    """The printed tables, with a reason for every verdict."""
    parts = [_header()]
    for one in chosen:
        lines, detectors = lines_of(one, rows), detectors_of(one)
        note = [_wrapped(one.note.strip())] if one.note else []
        parts.append("\n".join([f"== {one.title}", f"   {one.command}", *note]))
        metric = one.rows[0].metric
        body = [
            [line.name, _published(line.published), *(_SHOW(line.values[m]) for m in detectors)]
            + [_errors(line.verdict), line.verdict.word, _steps(line)]
            for line in lines
        ]
        header = [f"{METRICS[metric]} %", "published", *detectors, "s.e.", "verdict"]
        parts.append(tables.text([*header, "steps / paper's"], body, left=1, grouped=False))
        # What was not published stands beside it.
        for other in (name for name in METRICS if metric == "f1" and name != metric):
            body = [
                [line.name, *(_SHOW(_percent(line.measured, m, other)) for m in detectors)]
                for line in lines
                if line.measured
            ]
            header = [f"{METRICS[other]} %", *detectors]
            parts.append(tables.text(header, body, left=1, grouped=False))
        reasons = (f"{x.name}: {x.verdict.word}: {'; '.join(x.reason)}" for x in lines)
        parts.append("\n".join(map(_wrapped, reasons)))
    return "\n\n".join(parts)


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


def _percent(own: Mapping[str, Row], detector: str, metric: str) -> list[float]:
    return [100 * v for v in own[detector].metrics.get(metric, ())] if detector in own else []


def _mean(values: Sequence[Sequence[float]]) -> list[float]:
    """The mean over rows for each seed; empty if a row has no figure."""
    if not all(values):
        return []
    count = min(map(len, values))
    return [float(v) for v in np.mean([v[:count] for v in values], axis=0)]


def _step_counts(own: Mapping[str, Row]) -> tuple[float, float]:
    """Mean number of steps that were done, and that the paper's epochs take."""
    done, _ = mean_std(own[OURS].metrics.get("steps", ()))
    return done, own[OURS].details.get("papers_steps", math.nan)


def _remarks(
    own: Mapping[str, Row], values: Mapping[str, Sequence[float]], published: Published | None
) -> list[str]:
    """Remarks that follow from the measured numbers."""
    found = []
    done, papers = _step_counts(own)
    if done < papers:
        found.append(f"{done / papers:.0%} of the paper's steps")
    diverged = sum(math.isnan(v) for v in values[OURS])
    if diverged:
        found.append(f"{diverged} of {len(values[OURS])} seeds met no finite step and are left out")
    distinct, _ = mean_std(_percent(own, OURS, "distinct"))
    if distinct < _TIED:
        found.append(f"only {distinct:.0f}% of the test rows' scores differ")
    gain = [a - b for a, b in zip(values[OURS], values[UNTRAINED], strict=False)]
    mean, std = mean_std(gain)
    known = sum(not math.isnan(v) for v in gain)
    if known > 1 and mean < _BEHIND * std / math.sqrt(known):
        found.append(f"training adds {mean:+.1f} ± {std / math.sqrt(known):.1f} to the untrained")
    if published and known and paper_verdicts.passes(mean_std(values[UNTRAINED])[0], published):
        found.append("its untrained copy is within the tolerance")
    found += [f"{name} is missing: {row.missing}" for name, row in own.items() if row.missing]
    return found + [own[OURS].details[key] for key in ("achieved",) if key in own[OURS].details]


def _published(figure: Published | None) -> str:
    if figure is None:
        return "-"
    mark = CERTAINTIES[figure.certainty]
    if figure.std is None:
        return f"{figure.mean:.1f}{mark}"
    second = CERTAINTIES[figure.std_certainty or figure.certainty]
    return f"{figure.mean:.1f}{mark} ± {figure.std}{second}"


def _errors(verdict: Verdict) -> str:
    return "-" if math.isnan(verdict.errors) else f"{verdict.errors:+.1f}"


def _steps(line: Line) -> str:
    done, papers = _step_counts(line.measured) if line.measured else (math.nan, math.nan)
    if math.isnan(done):
        return "-"
    return f"{done:,.0f} / " + ("-" if math.isnan(papers) else f"{papers:,.0f}")
