"""The detectors with their defaults on 300 real tables of OddBench, beside kNN and variants.

OddBench (macrOData, arXiv 2602.09329): one-class tables with a fixed split. Settings of detectors
were chosen on even-numbered sets of the alphabetical list, counted from 1; the odd-numbered ones
confirm them.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from benchmarks.internals import data_folder
from benchmarks.quality import studies
from benchmarks.quality.adbench_tables import untrained
from benchmarks.quality.detectors import DETECTORS
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from benchmarks.settings import OptionError
from jaxad import plotting, study

DESCRIPTION = "the detectors and variants on 300 tables of OddBench, beside kNN and forest"
FOLDER = "oddbench"
BASELINE = "knn_mean"
_ALSO_BASELINES = ("deep_svdd", "knn_ranks")  # what ranks are worth, and a reference with them


def with_ranks() -> Any:
    """Columns as they are, standardised, and beside them their normal scores.

    The normal score of a value is the quantile of the normal distribution at its rank among the
    training rows: what is far from others in a crowded or heavy-tailed column shows in one of both.
    """
    ranks = QuantileTransformer(n_quantiles=250, output_distribution="normal", random_state=0)
    return make_union(StandardScaler(), make_pipeline(ranks, StandardScaler()))


# Variants beside the defaults; chosen on even-numbered sets.
VARIANTS: dict[str, Any] = {
    "deep_svdd_ranks": make_pipeline(with_ranks(), DETECTORS["deep_svdd"](scaler="none")),
    # The same columns for the reference, as a fair comparison needs.
    "knn_ranks": make_pipeline(
        with_ranks(), studies.references.NearestNeighbours(standardise=False)
    ),
}
HALVES = {"all": slice(None), "even": slice(1, None, 2), "odd": slice(0, None, 2)}
_CONTENDERS = (*DETECTORS, *VARIANTS, *studies.REFERENCES)
DEFAULTS: dict[str, Any] = {
    "seeds": 3,
    "detectors": _CONTENDERS,
    "half": ("all",),
    "max_sets": 300,
    "known_anomalies": 10,
}
CHOICES = {"detectors": _CONTENDERS, "half": tuple(HALVES)}


def circumstances(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What runs into one folder must share; further detectors may be added to it."""
    config = {name: settings[name] for name in ("seeds", "half", "max_sets", "known_anomalies")}
    return {"seeds": settings["seeds"], "config": config}


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """A part for each detector, its untrained copy, each variant and each reference."""
    variants: dict[str, Any] = {}
    for name in settings["detectors"]:
        if name in DETECTORS:
            variants[name] = DETECTORS[name]()
            variants[untrained(name)] = DETECTORS[name](epochs=0)
        else:
            variants[name] = (VARIANTS | studies.REFERENCES)[name]
    options = {"known_anomalies": settings["known_anomalies"]}
    return studies.parts(variants, load(settings), settings["seeds"], **options)


def load(settings: Mapping[str, Any]) -> dict[str, study.Set]:
    """The sets by name, in alphabetical order."""
    folder = Path(data_folder()) / FOLDER
    files = sorted(folder.glob("*.npz"), key=lambda path: path.stem)
    if not files:
        raise OptionError(
            f"no set is in {folder}: set JAXAD_DATA to a folder with {FOLDER}/*.npz, each with "
            "train, test and test_labels, from OddBench's authors (arXiv 2602.09329)"
        )
    chosen = files[HALVES[settings["half"][0]]][: settings["max_sets"]]
    sets = {}
    for path in chosen:
        with np.load(path) as file:
            marks = file["test_labels"].astype(bool)
            sets[path.stem] = study.Set(file["train"], file["test"], marks)
    return sets


def text(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """What the figures allow to conclude, on all sets and on each half."""
    table = studies.table_of(rows)
    names = list(dict.fromkeys(table["set"]))
    found = [f"{len(names)} sets of OddBench, {settings['seeds']} seeds. {studies.effort(rows)}"]
    halves = HALVES if settings["half"][0] == "all" and len(names) > 20 else {"all": slice(None)}
    for half, place in halves.items():
        part = table[table["set"].isin(names[place])]
        title = f"== {half} sets" if half == "all" else f"== {half}-numbered sets"
        if BASELINE in set(part["variant"]):
            found += [title, str(study.report(part, baseline=BASELINE))]
    for name in _ALSO_BASELINES:
        if name in set(table["variant"]):
            found += [f"== all sets, against {name}", str(study.report(table, baseline=name))]
    found += [differences(table, "Trained against untrained:", untrained)]
    return "\n\n".join(filter(None, found))


def differences(table: Any, title: str, copy: Callable[[str], str]) -> str:
    """Points of AUROC by which contenders lie above copies of them, whose names ``copy`` makes."""
    lines, present = [], list(dict.fromkeys(table["variant"]))
    by_set = table.groupby(["variant", "set"], sort=False)["auroc"].mean()
    for name in present:
        if copy(name) in present:
            both = by_set[name], by_set[copy(name)]
            found = study.statistics.paired(*(100 * one.sort_index() for one in both))
            lines.append(
                f"  {name}: {found.mean:+.1f} ± {found.error:.1f} points of AUROC, "
                f"{found.wins}/{found.ties}/{found.losses} sets won/tied/lost"
            )
    return "\n".join([title, *lines]) if lines else ""


def pictures(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Average ranks, and differences to kNN by number of features and rows."""
    del settings
    table = studies.table_of(rows)
    if BASELINE not in set(table["variant"]):
        return {}
    found = study.report(table, baseline=BASELINE)
    drawn: dict[str, tuple[str, Any]] = {}
    if found.ranking is not None and len(found.ranking.ranks) > 1:
        drawn["oddbench_ranks"] = (
            "Average ranks",
            plotting.average_ranks({"AUROC": found.ranking}),
        )
    for name in ("deep_svdd", *VARIANTS):
        if name in set(table["variant"]):
            figure = plotting.differences_by_size(found.by_set(name))
            drawn[f"oddbench_{name}"] = (f"{name} against kNN by size", figure)
    return drawn


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """Markdown for the report of results."""
    del settings
    table = studies.table_of(rows)
    if BASELINE not in set(table["variant"]):
        return ""
    return study.report(table, baseline=BASELINE).markdown()
