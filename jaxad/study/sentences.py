"""What a table of runs says, in plain sentences: conclusions, warnings, and notes of runs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from jaxad.study import runs
from jaxad.study.document import Report
from jaxad.study.statistics import fewest_sets, show_p

# Why a contender's figures are no results, as the end of a sentence about it.
EXCLUDING = {
    runs.SEES_LABELS: "depends on test labels",
    runs.SEES_ROWS: "depends on other rows",
    runs.NOT_REPEATABLE: "not repeatable",
}
_OF_NOTES = {
    runs.NO_GRADIENT: "`{name}` learns nothing{where}: its loss has no gradient with respect to "
    "the parameters.",
    runs.COLLAPSED: "`{name}` collapsed{where}: its network maps all rows to nearly the same "
    "point, so its scores say little.",
    runs.NOT_FINITE: "Training of `{name}` met steps that are not finite{where}{detail}.",
    runs.SEES_LABELS: "Scores of `{name}` change when the test labels do{where}: it has seen them; "
    "its figures are not results. It is excluded from ranks, tests and the best.",
    runs.SEES_ROWS: "The score of a row by `{name}` changes with the rows scored beside it{where}: "
    "its figures are not results. It is excluded from ranks, tests and the best.",
    runs.NOT_REPEATABLE: "`{name}` gives other scores when it is fitted again with the same seed"
    "{where}, so it is not known whether it sees the test labels: take its random numbers from the "
    "seed. It is excluded from ranks, tests and the best.",
    runs.FAILED: "`{name}` failed{where}{detail}.",
}


def exclusions(table: pd.DataFrame) -> dict[str, str]:
    """Contenders whose figures are no results, and why."""
    found: dict[str, str] = {}
    for name, note in zip(table["contender"], table["note"], strict=True):
        for code, _ in runs.notes_of(note):
            if code in EXCLUDING:
                found.setdefault(name, EXCLUDING[code])
    return found


def of_report(report: Report) -> list[str]:
    """The sentences of a report: conclusions, then warnings, then notes of runs."""
    differences = runs.lines(report.differences)
    return [
        *_best(report),
        *(conclusion(name, line, report) for name, line in differences.items()),
        *_about_sets(report),
        *_about_seeds(report),
        *_about_tails(report),
        *of_notes(report.runs),
    ]


def conclusion(name: str, line: Mapping[str, Any], report: Report) -> str:
    """What to conclude about a contender, from its line of a report's ``differences``."""
    baseline, rope, level = report.baseline, report.rope, report.level
    if not line["sets"]:
        return f"Nothing can be said of `{name}`: it shares no scored set with `{baseline}`."
    interval = (
        ""
        if math.isnan(line["low"])
        else f", {100 * (1 - level):g} % interval {_points(line['low'])} to {_points(line['high'])}"
    )
    facts = (
        f"{_points(line['mean'])} points of {runs.METRICS[report.metric]} on average over "
        f"{_count(line['sets'], 'set')}{interval}; {_count(line['wins'], 'win')}, "
        f"{_count(line['ties'], 'tie')}, {_count(line['losses'], 'loss')}; Wilcoxon's p "
        f"{show_p(line['p'])} after Holm's correction"
    )
    width, found = _count(f"{100 * rope:g}", "point"), line["conclusion"]
    if found == "equal":
        return (
            f"`{name}` equals `{baseline}` within {width}, with probability {line['equal']:.2f}: "
            f"{facts}."
        )
    if found in ("better", "worse"):
        return (
            f"`{name}` is {found} than `{baseline}`: {facts}. That it is typically {found} by more "
            f"than {width} has probability {line[found]:.2f}."
        )
    significant = line["p"] <= level  # and yet no claim
    return f"The data do not carry a claim about `{name}` against `{baseline}`: {facts}. " + (
        "Most sets say otherwise than the mean." if significant else _power(line, rope, level)
    )


def _power(line: Mapping[str, Any], rope: float, level: float) -> str:
    """How many sets would carry a claim, in a rough calculation."""
    if math.isnan(line["spread"]):
        return f"One set shows no spread: {fewest_sets(level)} sets are the least that can."
    spread = f"the observed spread (standard deviation {100 * line['spread']:.1f} points)"
    if math.isnan(line["sets_needed"]):
        return (
            f"At {spread} there are sets enough to show a difference of {100 * rope:g} points, so "
            "the difference is probably small."
        )
    needed = int(line["sets_needed"])
    effect = max(abs(line["mean"]), rope)
    return (
        f"By a rough calculation at {spread}, it takes about {needed} sets, "
        f"{needed - int(line['sets'])} more, to show a difference of {100 * effect:.1f} points "
        "four times in five."
    )


def _best(report: Report) -> Iterator[str]:
    ranking = report.ranking
    if ranking is None:
        yield "No set has a figure of every contender, so there are no ranks."
        return
    if len(ranking.ranks) < 2:
        return
    names, ranks = [str(name) for name in ranking.ranks.index], ranking.ranks.to_numpy()
    first = [name for name, rank in zip(names, ranks, strict=True) if rank <= ranks[0] + 1e-9]
    alike = {name for clique in ranking.cliques if names[0] in clique for name in clique}
    rest = [name for name in names if name in alike and name not in first]
    them = "it" if len(first) == 1 else "them"
    tail = f"; Wilcoxon's tests do not tell {them} from {_names(rest)}" if rest else ""
    yield (
        f"{_names(first)} {'has' if len(first) == 1 else 'share'} the best average rank by "
        f"{runs.METRICS[report.metric]}: {ranks[0]:.2f}, of {len(names)} contenders on "
        f"{_count(ranking.sets, 'set')}{tail}."
    )


def _about_sets(report: Report) -> Iterator[str]:
    sets = {
        name: line["sets"] for name, line in runs.lines(report.differences).items() if line["sets"]
    }
    least, level = fewest_sets(report.level), report.level
    few = [name for name, count in sets.items() if count < least]
    if few:
        yield (
            f"Warning: fewer than {least} sets cannot reach p<{level:g} by Wilcoxon's test; fewer "
            f"are shared with `{report.baseline}` by {_names(few)}."
        )
    elif sets and max(sets.values()) < (needed := fewest_sets(level, len(sets))):
        yield (
            f"Warning: as {len(sets)} contenders are tested together, fewer than {needed} sets "
            f"cannot reach p<{level:g} by Wilcoxon's test after Holm's correction; there are "
            f"{max(sets.values())}."
        )
    figures = report.figures
    everything = list(report.runs["set"].unique())
    for name in [report.baseline, *report.differences.index]:
        known = set(figures[name].dropna().index.get_level_values("set"))
        lacking = [one for one in everything if one not in known]
        if lacking and known:
            yield (
                f"Warning: `{name}` lacks {len(lacking)} of {len(everything)} sets "
                f"({_listed(lacking)}); it is compared on the sets that both have."
            )
        elif lacking:
            yield f"Warning: `{name}` has no figure on any set."
    ranking = report.ranking
    if ranking is not None and ranking.sets < len(everything):
        yield (
            f"Warning: ranks are of the {_count(ranking.sets, 'set')} of {len(everything)} that "
            f"all {len(ranking.ranks)} ranked contenders have."
        )


def _about_seeds(report: Report) -> Iterator[str]:
    table: Any = report.runs
    if table.groupby("set")["seed"].nunique().max() == 1:
        yield (
            "Warning: every set has one seed, so chance in training and splits counts as a "
            "difference; run several seeds."
        )
    for name in report.differences.index:
        pair = report.figures[[name, report.baseline]]
        sets = pair.index.get_level_values("set")
        shared = pair[sets.isin(sets[pair.notna().all(axis=1)])]
        lacking = int(shared.isna().any(axis=1).sum())
        if lacking:
            yield (
                f"Warning: {_count(lacking, 'run')} of `{name}` or `{report.baseline}` on shared "
                "sets have no figure; these seeds are left out of both, which flatters a contender "
                "that fails where it is poor."
            )
    splits = table.groupby(["set", "seed"])["split"].nunique()
    if (splits > 1).any():
        names = list(splits.index[splits > 1].get_level_values("set").unique())
        yield (
            f"Warning: contenders have different splits for the same seed on {_listed(names)}, so "
            "differences are partly of the splits."
        )


def _about_tails(report: Report) -> Iterator[str]:
    for name, line in runs.lines(report.differences).items():
        if line["mean"] * line["median"] < 0 and line["conclusion"] != "equal":
            difference = report.by_set(name)["difference"]
            largest = difference.abs().idxmax()
            yield (
                f"Warning: a few sets decide the sign of the mean difference of `{name}`, "
                f"{_points(line['mean'])} points (heavy tails): the median is "
                f"{_points(line['median'])}, the largest difference "
                f"{_points(float(difference.loc[largest]))} on `{largest}`."
            )


def of_notes(table: pd.DataFrame) -> list[str]:
    """A sentence for each contender and each code of its notes."""
    found = []
    for name, rows in table.groupby("contender"):
        sets: dict[str, set[str]] = {}
        first: dict[str, str] = {}
        for run in rows.to_dict("records"):
            for code, detail in runs.notes_of(run["note"]):
                sets.setdefault(code, set()).add(run["set"])
                if detail and code not in first:
                    first[code] = f"{detail} (`{run['set']}`, seed {run['seed']})"
        total = rows["set"].nunique()
        for code, where in sets.items():
            share = "" if len(where) == total else f" on {len(where)} of {total} sets"
            detail = f"; first: {first[code]}" if code in first else ""
            form = _OF_NOTES.get(code, "`{name}` has the note {code!r}{where}.")
            found.append(form.format(name=name, where=share, detail=detail, code=code))
    return found


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _count(number: Any, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ss") else f"{noun}s"
    return f"{number} {noun if str(number) == '1' else plural}"


def _names(names: Sequence[Any]) -> str:
    shown = [f"`{name}`" for name in names]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _listed(names: Sequence[Any], most: int = 5) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
