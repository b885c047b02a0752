"""The tables of the suite on ODDS and ADBench's sets."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.quality import reference_numbers
from benchmarks.quality.detectors import WITH_LABELS
from benchmarks.quality.statistics import (
    average_ranks,
    difference_cells,
    friedman,
    holm_by_family,
    paired,
    show_p,
)
from benchmarks.record import tables
from benchmarks.record.rows import Row, mean_std
from jaxad.data import CARDS

AGAINST = ("knn_5th", "knn_mean")
QUALITY = {"AUROC": "auroc", "AP": "average_precision"}


def untrained(detector: str) -> str:
    """The name of a detector's untrained copy."""
    return f"{detector} untrained"


def distinct(names: Sequence[str]) -> list[str]:
    """The names without those that share rows with an earlier one."""
    found = []
    for name in names:
        shared = {other for overlap in CARDS[name].overlaps for other in overlap.sets}
        if not shared & set(found):
            found.append(name)
    return found


class Figures:
    """The rows of one setting, by set and detector."""

    def __init__(self, rows: Sequence[Row], setting: str, settings: Mapping[str, Any]):
        self._rows = {
            (row.dataset, row.detector): row for row in rows if row.details["setting"] == setting
        }
        present = {detector for _, detector in self._rows}
        self.sets = list(settings["datasets"])
        self.trained = [d for d in settings["detectors"] if d in present]
        self.untrained = [untrained(d) for d in settings["detectors"] if untrained(d) in present]

    def grid(self, detectors: Sequence[str], metric: str, sets: Sequence[str]) -> np.ndarray:
        """``[sets, detectors]`` means over seeds; NaN where a seed failed."""
        return np.array([[self._mean((s, d), metric) for d in detectors] for s in sets])

    def complete(self, detectors: Sequence[str], sets: Sequence[str]) -> list[str]:
        """The sets on which all these detectors have a figure."""
        known = ~np.isnan(self.grid(detectors, "auroc", sets)).any(axis=1)
        return [name for name, there in zip(sets, known, strict=True) if there]

    def values(self, detector: str, metric: str) -> list[float]:
        """The median over seeds on each set."""
        rows = [self._rows[name, detector] for name in self.sets]
        return [float(np.nanmedian(r.metrics[metric])) for r in rows if r.missing is None]

    def seconds(self, detector: str) -> float:
        """The total time of a detector."""
        rows = (self._rows[name, detector] for name in self.sets)
        return sum(row.details.get("seconds", 0.0) for row in rows)

    def _mean(self, key: tuple[str, str], metric: str) -> float:
        row = self._rows[key]
        return math.nan if row.missing else mean_std(row.metrics[metric])[0]


def text(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """The printed tables of each setting, and what failed."""
    parts = [_header(settings)]
    for setting in settings["settings"]:
        figures = Figures(rows, setting, settings)
        parts.append(f"== {setting}: {_RULES[setting]}")
        for detectors in filter(None, (figures.trained, figures.untrained)):
            for title, metric in QUALITY.items():
                parts.append(_per_set(figures, detectors, title, metric))
        comparisons = _comparisons(figures)
        if comparisons:
            parts.append(comparisons)
        if setting == "file_order":
            parts.append(reference_numbers.beside(figures))
        parts.append(_times(figures))
    parts += _remarks(rows)
    minutes = sum(row.details.get("seconds", 0.0) for row in rows) / 60
    parts.append(f"Fitting and scoring took {minutes:.1f} minutes, compilation included.")
    return "\n\n".join(parts)


def rankings(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, tuple]:
    """Title -> detectors and their AUROC on sets that share no rows, for the picture."""
    found = {}
    for setting in settings["settings"]:
        figures = Figures(rows, setting, settings)
        detectors = _ranked(figures.trained)
        sets = figures.complete(detectors, distinct(figures.sets))
        if len(detectors) > 2 and sets:
            grid = figures.grid(detectors, "auroc", sets)
            p = friedman(grid)
            title = f"{setting}: average rank by AUROC, {len(sets)} sets without overlaps"
            title += "" if math.isnan(p) else f" (Friedman p {show_p(p)})"
            found[title] = detectors, grid
    return found


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """Mean AUROC of every detector and its untrained copy, for each setting."""
    parts = []
    for setting in settings["settings"]:
        figures = Figures(rows, setting, settings)
        cells: dict[tuple[str, str], str] = {}
        for detector in figures.trained:
            pair = [detector, untrained(detector)]
            pair = pair if pair[1] in figures.untrained else pair[:1]
            sets = figures.complete(pair, figures.sets)
            columns = 100 * figures.grid(pair, "auroc", sets).T
            for line, column in zip(("trained", "untrained copy"), columns, strict=False):
                cells[line, _starred(detector)] = f"{column.mean():.1f}"
            if len(pair) > 1:
                shown, _ = difference_cells(paired(*columns))
                cells["difference ± standard error", _starred(detector)] = shown
        parts.append(tables.pivot(f"{setting}: mean AUROC %, {len(figures.sets)} sets", cells))
    note = (
        f"*{', '.join(WITH_LABELS)} alone is given {settings['known_anomalies']} known anomalies."
    )
    return "\n\n".join([*parts, note])


_RULES = {
    "half": "a random half of the normal rows trains; the other half and all anomalies are the "
    "test",
    "file_order": "the first half of the normal rows in file order trains; sets of fewer than "
    "1,000 rows are first drawn to 1,000 with replacement, of more than 50,000 down to as many; "
    "not comparable with half",
    "unsupervised": "70% of all rows train, anomalies among them; the others are the test",
}


def _header(settings: Mapping[str, Any]) -> str:
    known = ", ".join(WITH_LABELS)
    paragraphs = (
        f"{len(settings['datasets'])} sets, {settings['seeds']} seeds, each with its own networks "
        "and, but where rows are taken in file order, its own split. Defaults everywhere: nothing "
        "is tuned for a set, no test label chooses anything. "
        f"epochs={settings['epochs']!r}. Sets of more than {settings['max_rows']:,} rows "
        "are drawn down to as many, but where rows are taken in file order.",
        f"{known} (*) USES LABELS: it is given {settings['known_anomalies']} known anomalies, at "
        "most half of those there are. They are training rows where those hold anomalies; else "
        "they come from the test, and its figures are on the test without them. It is compared "
        "with others on that same test, and not ranked among them.",
        "untrained: the same detector with epochs=0. knn_5th, knn_mean: distance to the 5th of the "
        "5 nearest training rows, and their mean; standardised.",
        "no overlaps: of sets that share rows only the first counts. Left out: "
        + (", ".join(_overlapping(settings["datasets"])) or "none")
        + ".",
    )
    return "\n".join(textwrap.fill(p, 100, subsequent_indent="  ") for p in paragraphs)


def _overlapping(names: Sequence[str]) -> list[str]:
    kept = distinct(names)
    return [name for name in names if name not in kept]


def _ranked(detectors: Sequence[str]) -> list[str]:
    return [d for d in detectors if d not in WITH_LABELS]


def _starred(detector: str) -> str:
    name, *copy = detector.split()
    return " ".join([f"{name}*" if name in WITH_LABELS else name, *copy])


def _subsets(figures: Figures, detectors: Sequence[str]) -> dict[str, list[str]]:
    """Sets that have every detector's figure: all, and those without overlaps if they differ."""
    everything = figures.complete(detectors, figures.sets)
    without = figures.complete(detectors, distinct(figures.sets))
    return {"all": everything} | ({"no overlaps": without} if without != everything else {})


def _per_set(figures: Figures, detectors: Sequence[str], title: str, metric: str) -> str:
    """Means over seeds in %, means over sets, and average ranks."""

    def line(name: str, values: Sequence[float], digits: int = 1) -> list[str]:
        return [name, *("-" if math.isnan(v) else f"{v:.{digits}f}" for v in values)]

    figure = 100 * figures.grid(detectors, metric, figures.sets)
    body = [line(*pair) for pair in zip(figures.sets, figure, strict=True)]
    subsets = {name: sets for name, sets in _subsets(figures, detectors).items() if sets}
    for name, sets in subsets.items():
        mean = 100 * figures.grid(detectors, metric, sets).mean(axis=0)
        body.append(line(f"mean, {len(sets)} sets, {name}", mean))
    tail = ""
    ranked = _ranked(detectors)
    if detectors == figures.trained and len(ranked) > 1:
        complete = {name: sets for name, sets in _subsets(figures, ranked).items() if sets}
        for name, sets in complete.items():
            ranks = average_ranks(figures.grid(ranked, metric, sets))
            by_name = dict(zip(ranked, ranks, strict=True))
            values = [by_name.get(d, math.nan) for d in detectors]
            body.append(line(f"rank, {len(sets)} sets, {name}", values, 2))
        note = "; ".join(
            f"{show_p(friedman(figures.grid(ranked, metric, sets)))} ({len(sets)} sets, {name})"
            for name, sets in complete.items()
        )
        tail = f"\nFriedman's test that all rank alike: p {note}." if len(ranked) > 2 else ""
    header = [f"{title} %", *(_starred(d.split()[0]) for d in detectors)]
    caption = "" if detectors == figures.trained else "Untrained copies\n"
    return caption + tables.text(header, body, left=1, grouped=False) + tail


def _comparisons(figures: Figures) -> str:
    """Each detector against its untrained copy and against nearest neighbours."""
    compared = []
    for detector in (d for d in figures.trained if untrained(d) in figures.untrained):
        others = untrained(detector), *(d for d in AGAINST if d in figures.trained)
        suffix = "_unknown" if detector in WITH_LABELS else ""
        for other in others:
            against = "untrained" if other == untrained(detector) else other
            for name, sets in _subsets(figures, [detector, other]).items():
                pairs = [
                    100 * figures.grid([detector, other], metric + suffix, sets).reshape(-1, 2).T
                    for metric in QUALITY.values()
                ]
                label = [_starred(detector), against, f"{len(sets)}, {name}"]
                compared.append((label, [paired(*pair) for pair in pairs]))
    if not compared:
        return ""
    body = [[*label] for label, _ in compared]
    choices = [label[-1].split(", ")[1] for label, _ in compared]
    for i in range(len(QUALITY)):
        tests = [found[i] for _, found in compared]
        # The same questions on fewer sets are no more questions: each choice of sets has its own.
        corrected = holm_by_family(choices, [one.p for one in tests])
        for line, one, p in zip(body, tests, corrected, strict=True):
            line += [*difference_cells(one), show_p(one.p), show_p(p)]
    header = ["detector", "against", "sets"]
    for title in QUALITY:
        header += [f"{title} points", "won/tied/lost", "p", "Holm p"]
    note = (
        "Paired differences of means over seeds: mean over sets ± standard error; p of the paired "
        "t-test, and\ncorrected by Holm's method for all tests of its column on the same choice of "
        "sets."
    )
    return f"{note}\n{tables.text(header, body, left=3)}"


def _times(figures: Figures) -> str:
    body = []
    for detector in (*figures.trained, *figures.untrained):
        fit, score = (
            tables.middle(3)(figures.values(detector, f"{what}_seconds"))
            for what in ("fit", "score")
        )
        body.append([_starred(detector), fit, score, f"{figures.seconds(detector):,.1f}"])
    header = ["detector", "fit s", "score s", "all s"]
    note = (
        "Medians over seeds and sets, compilation before a fit left out. A fit scores its training "
        "rows too,\nfor the threshold. 'all s' is everything spent, compilation included."
    )
    return f"{note}\n{tables.text(header, body, left=1, grouped=False)}"


def _remarks(rows: Sequence[Row]) -> list[str]:
    """Failures and warnings."""
    failed, warned = [], {}
    for row in rows:
        where = f"{row.dataset} ({row.details['setting']})"
        if row.missing:
            failed.append(f"missing: {row.detector} on {where}: {row.missing}")
        for kind in {message.split(":")[0] for message in row.details.get("warnings", ())}:
            warned.setdefault(f"{kind} from {row.detector}", []).append(where)
    told = [f"{what} on {', '.join(places)}" for what, places in sorted(warned.items())]
    return ["\n".join(failed + told)] if failed or told else []
