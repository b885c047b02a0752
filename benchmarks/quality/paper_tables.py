"""The papers' tables as text: published beside ours, the untrained copy and the references."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks.quality.paper_fitting import MOST_NEIGHBOURS
from benchmarks.quality.paper_rows import CERTAINTIES, METRICS, REFERENCES, Group, Published, Table
from benchmarks.record import tables
from benchmarks.record.rows import Row, mean_std

OURS, UNTRAINED = "ours", "untrained"
DETECTORS = (OURS, UNTRAINED, *REFERENCES)
VERDICTS = ("reproduced", "above", "below", "not testable")
LEAST_TOLERANCE = 1.0  # points
CONFIDENCE = 0.95
_BEHIND = 2.0  # standard errors that training must be worth not to be remarked on
_TIED = 50.0  # per cent of distinct scores
_SHOW = tables.spread(1)


class Verdict(NamedTuple):
    """One of `VERDICTS`, why, and ours less published in standard errors of ours (NaN: none)."""

    word: str
    reason: str
    errors: float = math.nan


def judge(
    values: Sequence[float],
    published: Published | None,
    rerun: Published | None = None,
    *,
    missing: str | None = None,
) -> Verdict:
    """Compare our figures, in % and one per seed, with a published mean.

    "reproduced": as near as one published standard deviation over runs, and in any case one point,
    with a standard error that is no larger. Where that fails, another published run of the same
    method counts too, and the reason says so. "above" and "below": further off, and the 95 %
    confidence interval of ours leaves the published mean out (Student's t). What is neither is
    "not testable".

    Example:
      >>> judge([93.5, 94.0, 94.5], Published(94.9, "confirmed", "table 1", std=0.8)).word
      'reproduced'
      >>> judge([93.0, 94.0, 95.0], None).reason
      'no published figure'
    """
    known = [v for v in values if not math.isnan(v)]
    if missing or not known:
        return Verdict("not testable", missing or "no seed could be measured")
    if published is None:
        return Verdict("not testable", "no published figure")
    mean, std = mean_std(known)
    difference = mean - published.mean
    apart = f"{difference:+.1f}"
    if len(known) < 2:
        return Verdict("not testable", f"{apart}, but one seed says little")
    error = std / math.sqrt(len(known))
    errors = difference / error if error > 0 else math.nan
    margin = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1))
    uncertain = False
    for figure in filter(None, (published, rerun)):
        off, tolerance = mean - figure.mean, max(LEAST_TOLERANCE, _deviation(figure))
        if abs(off) <= tolerance and error <= tolerance:
            told = f"within {_told(figure)}"
            if figure is rerun:
                told = f"but {told} of {rerun.mean:.1f}: {rerun.source}"
            return Verdict("reproduced", f"{difference:+.1f}, {told}", errors)
        uncertain |= abs(off) <= max(tolerance, margin)
        apart += f" ({off:+.1f} from {rerun.source})" if figure is rerun else ""
    if uncertain:
        reason = f"{apart}, but {len(known)} seeds deviate by {std:.1f}"
        return Verdict("not testable", reason, errors)
    reason = f"{apart}, more than {_told(published)}"
    return Verdict("above" if difference > 0 else "below", reason, errors)


def _deviation(published: Published) -> float:
    """The published deviation over runs, or 0. One over classes says nothing about the mean."""
    return published.std or 0.0 if published.std_over == "runs" else 0.0


def _told(published: Published) -> str:
    if _deviation(published) > LEAST_TOLERANCE:
        return f"a published standard deviation of {published.std}"
    return "one point"


class Line(NamedTuple):
    """A row of a table, or the mean of a group of its rows.

    ``values`` are figures in %, one per seed, by detector; ``measured`` the rows of the result, by
    detector, and empty for a group.
    """

    name: str
    published: Published | None
    values: Mapping[str, Sequence[float]]
    verdict: Verdict
    remarks: Sequence[str]
    measured: Mapping[str, Row]


def lines_of(one: Table, rows: Sequence[Row]) -> list[Line]:
    """The rows of a table, then the means of its groups that have several rows."""
    results = {(r.dataset, r.detector): r for r in rows if r.details["setting"] == one.name}
    lines, groups = [], {}
    for row in one.rows:
        own = {m: results[row.name, m] for m in DETECTORS if (row.name, m) in results}
        values = {m: _percent(own, m, row.metric) for m in DETECTORS}
        missing = own[OURS].missing if OURS in own else None
        verdict = judge(values[OURS], row.published, row.rerun, missing=missing)
        remarks = [] if missing else _remarks(own, values, row.published)
        remarks += [f"published: {row.published.source}"] if row.published else []
        remarks += [row.note] if row.note else []
        lines.append(Line(row.name, row.published, values, verdict, remarks, own))
        groups.setdefault(row.group, []).append(values)
    for name, several in groups.items():
        if name and len(several) > 1:
            group = one.groups.get(name, Group())
            values = {m: _mean([values[m] for values in several]) for m in DETECTORS}
            missing = None if values[OURS] else "not every row could be measured"
            if len(several) < one.group_sizes[name]:
                missing = f"{len(several)} of its {one.group_sizes[name]} rows"
            verdict = judge(values[OURS], group.published, group.rerun, missing=missing)
            title, remarks = f"mean of {len(several)}, {name}", [group.note] if group.note else []
            lines.append(Line(title, group.published, values, verdict, remarks, {}))
    return lines


def text(chosen: Sequence[Table], rows: Sequence[Row]) -> str:
    """The printed tables, with a reason for every verdict."""
    parts = [_header()]
    for one in chosen:
        lines, metric = lines_of(one, rows), one.rows[0].metric
        named = {OURS, UNTRAINED}.union(*(row.references for row in one.rows))
        detectors = [detector for detector in DETECTORS if detector in named]
        note = [tables.wrapped(one.note)] if one.note else []
        parts.append("\n".join([f"== {one.title}", f"   {one.command}", *note]))
        body = [
            [line.name, _published(line.published), *(_SHOW(line.values[m]) for m in detectors)]
            + [tables.number(line.verdict.errors, "+.1f"), line.verdict.word]
            + [_steps(line.measured)]
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
        reasons = ("; ".join([x.verdict.reason, *x.remarks]) for x in lines)
        told = zip(lines, reasons, strict=True)
        parts.append(tables.wrapped(*(f"{x.name}: {x.verdict.word}: {why}" for x, why in told)))
    return "\n\n".join(parts)


def _header() -> str:
    marks = ", ".join(f"{mark} {word}" for word, mark in CERTAINTIES.items() if mark)
    return tables.wrapped(
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
    if published and known:
        off = abs(mean_std(values[UNTRAINED])[0] - published.mean)
        if off <= max(LEAST_TOLERANCE, _deviation(published)):
            found.append("its untrained copy is within the tolerance")
    found += [f"{name} is missing: {row.missing}" for name, row in own.items() if row.missing]
    return found + [own[OURS].details[key] for key in ("achieved",) if key in own[OURS].details]


def _published(figure: Published | None) -> str:
    if figure is None:
        return "-"
    shown = f"{figure.mean:.1f}{CERTAINTIES[figure.certainty]}"
    if figure.std is None:
        return shown
    return f"{shown} ± {figure.std}{CERTAINTIES[figure.std_certainty or figure.certainty]}"


def _steps(own: Mapping[str, Row]) -> str:
    done, papers = _step_counts(own) if own else (math.nan, math.nan)
    return "-" if math.isnan(done) else f"{done:,.0f} / {tables.number(papers, ',.0f')}"
