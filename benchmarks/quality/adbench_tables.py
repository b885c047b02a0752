"""The tables of the suite on ODDS and ADBench's sets."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.quality import reference_numbers
from benchmarks.quality.detectors import WITH_LABELS
from benchmarks.record import tables
from benchmarks.record.rows import Row, mean_std
from jaxad.data import CARDS
from jaxad.study.statistics import Ranking, average_ranks, friedman, holm, paired, ranking, show_p

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


def means(
    rows: Sequence[Row], setting: str, settings: Mapping[str, Any], metric: str
) -> pd.DataFrame:
    """Means over seeds in one setting, a row for each set; NaN where a seed failed."""
    cells = {
        (row.dataset, row.detector): math.nan if row.missing else mean_std(row.metrics[metric])[0]
        for row in rows
        if row.details["setting"] == setting
    }
    order = [*settings["detectors"], *map(untrained, settings["detectors"])]
    present = {detector for _, detector in cells}
    detectors = [name for name in order if name in present]
    values = [[cells[name, d] for d in detectors] for name in settings["datasets"]]
    return pd.DataFrame(values, list(settings["datasets"]), detectors, dtype=float)


def text(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """The printed tables of each setting, and what failed."""
    parts = [_header(settings)]
    for setting in settings["settings"]:
        parts.append(f"== {setting}: {_RULES[setting]}")
        quality = {t: means(rows, setting, settings, metric) for t, metric in QUALITY.items()}
        for copies in (False, True):
            chosen = [d for d in quality["AUROC"] if d.endswith(" untrained") == copies]
            parts += [_per_set(q[chosen], title) for title, q in quality.items() if chosen]
        parts += filter(None, [_comparisons(rows, setting, settings)])
        if setting == "file_order":
            parts.append(reference_numbers.beside(100 * quality["AUROC"]))
        parts.append(_times([r for r in rows if r.details["setting"] == setting], quality["AUROC"]))
    parts += _remarks(rows)
    minutes = sum(row.details.get("seconds", 0.0) for row in rows) / 60
    parts.append(f"Fitting and scoring took {minutes:.1f} minutes, compilation included.")
    return "\n\n".join(parts)


def rankings(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, Ranking]:
    """Title -> average ranks by AUROC on sets that share no rows, for the picture."""
    found = {}
    for setting in settings["settings"]:
        auroc = means(rows, setting, settings, "auroc")
        auroc = auroc.loc[distinct(auroc.index), _ranked(auroc)].dropna()
        if len(auroc.columns) > 2 and len(auroc):
            ranked = ranking(auroc)
            title = f"{setting}: average rank by AUROC, {len(auroc)} sets without overlaps"
            p = ranked.friedman
            title += "" if math.isnan(p) else f" (Friedman p {show_p(p)})"
            found[title] = ranked
    return found


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """Mean AUROC of every detector and its untrained copy, for each setting."""
    parts = []
    for setting in settings["settings"]:
        auroc = 100 * means(rows, setting, settings, "auroc")
        cells: dict[tuple[str, str], str] = {}
        for detector in (d for d in settings["detectors"] if d in auroc):
            pair = [d for d in (detector, untrained(detector)) if d in auroc]
            complete = auroc[pair].dropna()
            for line, name in zip(("trained", "untrained copy"), pair, strict=False):
                cells[line, _starred(detector)] = f"{complete[name].mean():.1f}"
            if len(pair) > 1:
                shown, _ = tables.difference_cells(paired(*complete.to_numpy().T))
                cells["difference ± standard error", _starred(detector)] = shown
        parts.append(tables.pivot(f"{setting}: mean AUROC %, {len(auroc)} sets", cells))
    known = settings["known_anomalies"]
    note = f"*{', '.join(WITH_LABELS)} alone is given {known} known anomalies."
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
    known, names = ", ".join(WITH_LABELS), settings["datasets"]
    return tables.wrapped(
        f"{len(names)} sets, {settings['seeds']} seeds, each with its own networks "
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
        + (", ".join(n for n in names if n not in distinct(names)) or "none")
        + ".",
    )


def _ranked(detectors: Sequence[str]) -> list[str]:
    """Trained detectors and references that are compared without labels."""
    return [d for d in detectors if d not in WITH_LABELS and not d.endswith(" untrained")]


def _starred(detector: str) -> str:
    name, *copy = detector.split()
    return " ".join([f"{name}*" if name in WITH_LABELS else name, *copy])


def _subsets(figures: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Complete rows: of all sets, and of those without overlaps if they differ."""
    everything = figures.dropna()
    without = figures.loc[distinct(figures.index)].dropna()
    return {"all": everything} | (
        {"no overlaps": without} if len(without) < len(everything) else {}
    )


def _per_set(figures: pd.DataFrame, title: str) -> str:
    """Means over seeds in %, means over sets, and average ranks of trained detectors."""

    def line(name: str, values: Sequence[float], digits: int = 1) -> list[str]:
        return [name, *(tables.number(v, f".{digits}f") for v in values)]

    body = [line(name, values) for name, values in (100 * figures).iterrows()]
    for name, part in _subsets(figures).items():
        if len(part):
            body.append(line(f"mean, {len(part)} sets, {name}", 100 * part.mean()))
    ranked, notes = figures[_ranked(figures)], []
    for name, part in _subsets(ranked).items() if len(ranked.columns) > 1 else ():
        if len(part):
            ranks = pd.Series(average_ranks(part.to_numpy()), part.columns)
            body.append(line(f"rank, {len(part)} sets, {name}", ranks.reindex(figures.columns), 2))
            notes.append(f"{show_p(friedman(part.to_numpy()))} ({len(part)} sets, {name})")
    header = [f"{title} %", *(_starred(d.split()[0]) for d in figures)]
    copies = all(name.endswith(" untrained") for name in figures)
    caption = "Untrained copies\n" if copies else ""
    test = f"\nFriedman's test that all rank alike: p {'; '.join(notes)}."
    tail = test if len(ranked.columns) > 2 else ""
    return caption + tables.text(header, body, left=1, grouped=False) + tail


def _comparisons(rows: Sequence[Row], setting: str, settings: Mapping[str, Any]) -> str:
    """Each detector against its untrained copy and against nearest neighbours."""
    suffixes = "", "_unknown"  # for detectors with labels: rows that are no known anomalies
    figures = {
        metric + suffix: 100 * means(rows, setting, settings, metric + suffix)
        for metric in QUALITY.values()
        for suffix in suffixes
    }
    present = figures["auroc"].columns
    labels, choices, tests = [], [], []
    for detector in (d for d in settings["detectors"] if untrained(d) in present and d in present):
        suffix = suffixes[detector in WITH_LABELS]
        for other in (untrained(detector), *(d for d in AGAINST if d in present)):
            pairs = [_subsets(figures[m + suffix][[detector, other]]) for m in QUALITY.values()]
            for choice, part in pairs[0].items():
                against = "untrained" if other == untrained(detector) else other
                labels.append([_starred(detector), against, f"{len(part)}, {choice}"])
                choices.append(choice)
                tests.append([paired(*pair[choice].to_numpy().T) for pair in pairs])
    if not labels:
        return ""
    header = ["detector", "against", "sets"]
    for title, column in zip(QUALITY, zip(*tests, strict=True), strict=True):
        header += [f"{title} points", "won/tied/lost", "p", "Holm p"]
        # The same questions on fewer sets are no more questions: each choice of sets has its own.
        corrected = pd.Series([one.p for one in column]).groupby(choices).transform(holm)
        for label, one, p in zip(labels, column, corrected, strict=True):
            label += [*tables.difference_cells(one), show_p(one.p), show_p(p)]
    note = (
        "Paired differences of means over seeds: mean over sets ± standard error; p of the paired "
        "t-test, and\ncorrected by Holm's method for all tests of its column on the same choice of "
        "sets."
    )
    return f"{note}\n{tables.text(header, labels, left=3)}"


def _times(rows: Sequence[Row], detectors: Sequence[str]) -> str:
    def median(row: Row, metric: str) -> float:
        return math.nan if row.missing else float(np.nanmedian(row.metrics[metric]))

    times = pd.DataFrame(
        [median(r, "fit_seconds"), median(r, "score_seconds"), r.details.get("seconds", 0.0)]
        for r in rows
    ).groupby([row.detector for row in rows])
    times = times.agg({0: "median", 1: "median", 2: "sum"}).loc[list(detectors)]
    body = [
        [_starred(name), *(tables.number(v, ",.3f") for v in (fit, score)), f"{everything:,.1f}"]
        for name, fit, score, everything in times.itertuples()
    ]
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
