"""Judge a table of runs: what it says of its contenders, and what it cannot say."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jaxad.checks import POSITIVE, check_choice, check_interval
from jaxad.study import runs, sentences
from jaxad.study.document import Report
from jaxad.study.statistics import (
    Ranking,
    bootstrap_interval,
    differences,
    fewest_sets,
    holm,
    mean_interval,
    paired,
    ranking,
    sets_to_show,
    signed_rank_posterior,
    wilcoxon,
)


def report(
    table: pd.DataFrame,
    baseline: str,
    metric: str = "auroc",
    *,
    rope: float = 0.01,
    level: float = 0.05,
) -> Report:
    """Judge a table of runs: how sure it is that contenders differ from the baseline.

    Seeds are averaged within a set, so a set counts once. Two contenders are compared on the sets
    and seeds that both have. A contender is

    * "equal" if the Bayesian signed-rank test gives a difference within ``rope`` a probability of
      ``1 - level``, and the interval of the mean difference lies within ``rope``, too;
    * "better" or "worse" if Wilcoxon's test is significant after Holm's correction over all
      contenders compared, and mean and median agree;
    * "open" otherwise, and with fewer sets than Wilcoxon's test needs for ``level``.

    Contenders whose scores depend on test labels or on other rows are excluded from ranks, tests
    and the best.

    Args:
      table: one row for each set, variant, numbers and seed; `jaxad.study.runs.COLUMNS` lists the
        columns. Metrics are shares of 1, NaN where nothing could be scored. ``numbers`` is JSON
        text, ``"{}"`` if there are none. ``note`` is empty, or codes joined by ";".
      baseline: the contender to compare with: a variant, with its numbers if it has any, such as
        ``"trimmed (share=0.1)"``.
      metric: column of the metric that decides, such as ``"average_precision"``.
      rope: the largest difference of no practical importance, as a share of 1: 0.01 is one point.
      level: the level of significance.

    Raises:
      TypeError: ``table`` is no DataFrame.
      ValueError: the table lacks columns, has duplicate rows or percentages; the baseline is
        unknown or excluded; or another argument is out of its range.
      ImportError: baycomp is not installed.

    Example:
      >>> import numpy as np
      >>> from jaxad.study.runs import METRICS
      >>> rng = np.random.default_rng(0)
      >>> rows = [
      ...     {"set": f"set{s}", "variant": variant, "numbers": "{}", "seed": seed, "note": ""}
      ...     | dict.fromkeys(METRICS, 0.8 + gain + 0.01 * rng.normal())
      ...     | {"train_rows": 500, "features": 9, "split": f"{s}-{seed}", "fit_seconds": 0.1}
      ...     for s in range(20) for variant, gain in (("plain", 0.0), ("mine", 0.03))
      ...     for seed in range(3)
      ... ]
      >>> found = report(pd.DataFrame(rows), "plain")
      >>> found.differences.loc["mine", "conclusion"]
      'better'
      >>> print(found.sentences[0])
      `mine` has the best average rank by AUROC: 1.00, of 2 contenders on 20 sets.
    """
    table = runs.check_runs(table)
    check_choice("metric", metric, tuple(runs.METRICS))
    POSITIVE("rope", rope)
    check_interval("level", level, 0, 1, closed="neither")
    names = sorted(table["contender"].unique())
    check_choice("baseline", baseline, names)
    excluded = sentences.exclusions(table)
    if baseline in excluded:
        raise ValueError(
            f"baseline={baseline!r} {excluded[baseline]}: its figures are not results, so choose "
            "another baseline"
        )
    figures = runs.figures_of(table, metric)
    admitted = [name for name in names if name not in excluded]
    ranked = _ranking(figures[[n for n in admitted if figures[n].notna().any()]], level)
    contenders = _contenders(table, ranked, excluded, level)
    tested = [name for name in contenders.index if name in admitted and name != baseline]
    compared = _differences(figures, tested, baseline, rope, level)
    found = Report(contenders, compared, [], ranked, baseline, metric, rope, level, table)
    return dataclasses.replace(found, sentences=sentences.of_report(found))


def _ranking(figures: Any, level: float) -> Ranking | None:
    shared = runs.by_set(figures, list(figures))
    return ranking(shared, level) if shared.size else None


def _contenders(
    table: Any, ranked: Ranking | None, excluded: dict[str, str], level: float
) -> pd.DataFrame:
    found = {}
    for name, rows in table.groupby("contender"):
        line: dict[str, Any] = {}
        for metric in runs.METRICS:
            interval = mean_interval(rows.groupby("set")[metric].mean().to_numpy(float), level)
            line |= {metric: interval.mean, f"{metric}_low": interval.low}
            line[f"{metric}_high"] = interval.high
        scored = rows[rows[list(runs.METRICS)].notna().any(axis=1)]
        line["rank"] = math.nan if ranked is None else ranked.ranks.get(name, math.nan)
        line |= {"sets": scored["set"].nunique(), "seeds": scored["seed"].nunique()}
        line |= {"seconds": rows["fit_seconds"].median(), "excluded": excluded.get(str(name), "")}
        found[name] = line
    frame = pd.DataFrame.from_dict(found, orient="index").rename_axis("contender")
    return frame.sort_values("rank", kind="stable", na_position="last")


def _differences(
    figures: Any, tested: Sequence[str], baseline: str, rope: float, level: float
) -> pd.DataFrame:
    lines: list[dict[str, Any]] = []
    for name in tested:
        pair = runs.by_set(figures, [name, baseline])
        two = pair[name].to_numpy(float), pair[baseline].to_numpy(float)
        one, difference = paired(*two), differences(*two)
        line = one._asdict() | bootstrap_interval(difference, level)._asdict()
        line |= {"spread": one.error * math.sqrt(one.sets), "t_p": one.p}
        line |= {"wilcoxon_p": wilcoxon(difference)}
        lines.append(line | signed_rank_posterior(difference, rope)._asdict())
    tests = sum(line["sets"] > 0 for line in lines)
    for line, p in zip(lines, holm([line["wilcoxon_p"] for line in lines]), strict=True):
        line["p"] = p
        line["conclusion"] = _conclusion(line, rope, level)
        line["sets_needed"] = _sets_needed(line, rope, level, tests)
    columns = [
        *("sets", "mean", "low", "high", "median", "spread", "wins", "ties", "losses"),
        *("t_p", "wilcoxon_p", "p", "better", "equal", "worse", "conclusion", "sets_needed"),
    ]
    return pd.DataFrame(lines, index=pd.Index(tested, name="contender"), columns=columns)


def _conclusion(line: Mapping[str, Any], rope: float, level: float) -> str:
    if line["sets"] < fewest_sets(level):
        return "open"
    if line["equal"] >= 1 - level and -rope <= line["low"] and line["high"] <= rope:
        return "equal"
    agree = line["mean"] * line["median"] > 0
    if line["p"] <= level and agree:
        return "better" if line["mean"] > 0 else "worse"
    return "open"


def _sets_needed(line: Mapping[str, Any], rope: float, level: float, tests: int) -> float:
    """Sets to show the observed difference, at least ``rope``; NaN unless there are too few."""
    if line["conclusion"] != "open" or math.isnan(line["spread"]):
        return math.nan
    for effect in (max(abs(line["mean"]), rope), rope):
        needed = sets_to_show(effect, line["spread"], level / tests)
        if needed > line["sets"]:
            return needed
    return math.nan
