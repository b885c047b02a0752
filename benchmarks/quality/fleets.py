"""How well fleets do what one detector a group is for: alarms, a planted fall, groups of few rows.

Parts of the suite `fleet`. The groups are made, but for the services of KDD'99.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import jaxad
from benchmarks.quality.groups import GROUP, Groups, sizes, table
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from benchmarks.record.timing import Goal, not_measured, target
from jaxad import data

RATE = 0.01
FRESH = 2000  # rows of a group that measure its rate of false alarms
FEATURES = 10
WITHIN = Goal(95.0, "A group's rate is known from few held-out rows: its own, or its pool's.")
OTHER_DETECTORS = 0.1  # of the groups, for detectors other than Deep SVDD
# Of groups that start with few rows.
FEW, PLENTY, STARTED = 50, 2000, 20
TESTED = 500  # rows of each group and kind
ATTACKS = 20  # a service is tested if it has so many
_BOUND = "50 rows say less than 2,000 about what is a group's own, wherever training starts."
POINTS = 2.0
ALIKE = 0.9  # share of correlation that groups have in common
KDD = "kddcup99"


def parts(settings: Mapping[str, Any]) -> dict[str, dict[str, Part]]:
    """Part of the suite -> the parts it has here."""
    seeds = range(settings["seeds"])
    return {
        "alarms": {
            f"alarms: {name}": partial(alarms, name, settings) for name in settings["detectors"]
        },
        "planted": {"planted": partial(planted, seeds)},
        "start": {f"start: {what}": partial(started, what, settings) for what in _MAKERS},
    }


def alarms(name: str, settings: Mapping[str, Any]) -> list[Row]:
    """Rates of false alarms on fresh normal rows, at the defaults of `Fleet` and a detector."""
    count = settings["groups"] if name == "DeepSVDD" else OTHER_DETECTORS * settings["groups"]
    count = max(2, int(count))
    metrics: dict[str, list[float]] = {"within": [], "alarm_rate": [], "seconds": []}
    for seed in range(settings["alarm_seeds"]):
        random = np.random.default_rng(seed)
        made = Groups.draw(count, FEATURES, seed)
        rows = made.frame(sizes(count, 200, 2000, random), random)
        fleet = jaxad.Fleet(
            getattr(jaxad, name)(n_members=1), GROUP, false_alarm_rate=RATE, random_state=seed
        ).fit(rows)
        flagged = fleet.score(made.frame(np.full(count, FRESH), random))["is_anomaly"]
        rates = flagged.to_numpy().reshape(count, FRESH).mean(1)
        metrics["within"].append(float((rates <= 2 * RATE).mean()))
        metrics["alarm_rate"].append(float(rates.mean()))
        metrics["seconds"].append(fleet.fit_seconds_)
    within = 100 * float(np.mean(metrics["within"]))
    return [
        Row("alarms", f"{name}, {count:,} groups", metrics),
        target(
            f"{name}: groups within double their budget of {RATE:.0%}",
            f"{WITHIN} %",
            f"{within:.1f} %, of {count:,} groups",
            within >= 95.0,
            WITHIN.bound,
        ),
    ]


class Stores:
    """Stores whose levels spread over two decades, with a pattern over the week and 10 % noise.

    On the last day one store falls by 80 %, to levels that are ordinary for others.

    Attributes:
      rows: a table of all days but the last.
      last: a table of the last day.
      fallen: ``[N]``, which of its rows are of the fallen store.
    """

    STORES, DAYS, READINGS = 50, 60, 12
    COLUMNS = ("sales", "visits", "items", "receipts")

    def __init__(self, seed: int):
        random = np.random.default_rng(seed)
        shape = self.STORES, self.DAYS, self.READINGS, len(self.COLUMNS)
        level = 10 ** random.uniform(1, 3, (self.STORES, 1, 1, 1))
        level = level * np.exp(random.normal(0, 0.3, (self.STORES, 1, 1, shape[-1])))
        day = np.arange(self.DAYS) % 7 / 7 + random.random((self.STORES, 1))
        week = 1 + 0.3 * np.sin(2 * np.pi * day)[..., None, None]
        x = (level * week * (1 + 0.1 * random.standard_normal(shape))).astype(np.float32)
        fallen = int(np.argsort(level.mean((1, 2, 3)))[self.STORES // 2])
        x[fallen, -1] *= 0.2
        self.rows, self.last = (
            table(list(part.reshape(self.STORES, -1, shape[-1]))) for part in (x[:, :-1], x[:, -1:])
        )
        names = dict(zip(self.rows, self.COLUMNS, strict=False))
        self.rows, self.last = (part.rename(columns=names) for part in (self.rows, self.last))
        self.fallen = (self.last[GROUP] == fallen).to_numpy()


def planted(seeds: Sequence[int]) -> list[Row]:
    """The fallen store's p-values by its own model, and by one model of all stores' rows."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        stores = Stores(seed)
        features = list(Stores.COLUMNS)
        detector = jaxad.DeepSVDD(n_members=1, random_state=seed)
        fleet = jaxad.Fleet(detector, GROUP, random_state=seed).fit(stores.rows)
        held_out = np.random.default_rng(seed).random(len(stores.rows)) < 0.2
        pooled = detector.fit(stores.rows.loc[~held_out, features])
        normal = np.sort(pooled.anomaly_score(stores.rows.loc[held_out, features]))
        scores = pooled.anomaly_score(stores.last[features])
        at_least = len(normal) - np.searchsorted(normal, scores)
        for name, p_values in (
            ("own models", fleet.score(stores.last)["p_value"].to_numpy()),
            ("one pooled model", (1 + at_least) / (1 + len(normal))),
        ):
            values = found.setdefault(name, {"p_value": [], "recall": [], "alarm_rate": []})
            flagged = p_values <= RATE
            values["p_value"].append(float(np.median(p_values[stores.fallen])))
            values["recall"].append(float(flagged[stores.fallen].mean()))
            values["alarm_rate"].append(float(flagged[~stores.fallen].mean()))
    rows = [Row("planted", name, metrics) for name, metrics in found.items()]
    for name, goal, found_by in (("own models", "found", True), ("one pooled model", "", False)):
        p_values = found[name]["p_value"]
        times = sum(p <= RATE for p in p_values)
        rows.append(
            target(
                f"a store falls by 80 %, {name}",
                goal or "missed",
                f"found {times} of {len(p_values)} times",
                times == len(p_values) if found_by else times == 0,
            )
        )
    return rows


def started(what: str, settings: Mapping[str, Any]) -> list[Row]:
    """AUROC of groups of few rows by where training starts, beside the same groups of many rows."""
    title, goal = f"start: {what}", f"within {POINTS:g} points"
    name = f"{what}: {FEW} rows from the global model, against {PLENTY:,} rows"
    scores: dict[str, list[float]] = {}
    for seed in range(settings["seeds"]):
        try:
            few, many, test, is_anomaly = _MAKERS[what](seed, settings)
        except FileNotFoundError as error:
            reason = f"set JAXAD_DATA: {error}"
            return [
                Row(title, "few rows", missing=reason),
                not_measured(name, Goal(), reason),
            ]
        for case, rows, start, least in (
            (f"{PLENTY:,} rows, from random weights", many, "random", FEW),
            (f"{FEW} rows, from the global model", few, "global", FEW),
            (f"{FEW} rows, from random weights", few, "random", FEW),
            (f"{FEW} rows, the global model itself", few, "global", FEW + 1),
        ):
            detector = jaxad.DeepSVDD(n_members=1)
            how: dict[str, Any] = {"start": start, "min_rows": least, "random_state": seed}
            with warnings.catch_warnings():  # that few rows cannot promise a rate of alarms
                warnings.simplefilter("ignore", RuntimeWarning)
                score = jaxad.Fleet(detector, GROUP, **how).fit(rows).score(test)["score"]
            scores.setdefault(case, []).append(mean_auroc(test[GROUP], score, is_anomaly))
    rows = [Row(title, case, {"auroc": values}) for case, values in scores.items()]
    many, few, *_ = (np.array(values) for values in scores.values())
    behind = 100 * (many - few)
    shown = f"{behind.mean():.1f} points behind, {100 * many.mean():.1f} by {PLENTY:,} rows"
    return [*rows, target(name, goal, shown, bool(behind.mean() <= POINTS), _BOUND)]


def mean_auroc(groups: pd.Series, scores: pd.Series, is_anomaly: np.ndarray) -> float:
    """The mean AUROC over groups; each must have rows of both kinds."""
    values = [
        roc_auc_score(is_anomaly[place], scores.to_numpy()[place])
        for place in groups.groupby(groups).indices.values()
    ]
    return float(np.mean(values))


_Case = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, np.ndarray]


def _made(anomalies: str, seed: int, settings: Mapping[str, Any]) -> _Case:
    """Machines of one make: most of the correlation of their columns is common to all."""
    count = max(STARTED + 2, settings["started_groups"])
    random = np.random.default_rng(seed)
    made = Groups.draw(count, FEATURES, seed, alike=ALIKE)
    many = made.frame(np.full(count, PLENTY), random)
    few = many[many.groupby(GROUP).cumcount().lt(FEW) | many[GROUP].ge(STARTED)]
    kinds = made.rows, getattr(made, anomalies)
    both = [np.concatenate([draw(g, TESTED, random) for draw in kinds]) for g in range(STARTED)]
    return few, many, table(both), np.tile(np.arange(2 * TESTED) >= TESTED, STARTED)


def _kdd(seed: int, settings: Mapping[str, Any]) -> _Case:
    """Services of KDD'99: normal connections, and the attacks on the same service.

    Services with enough of both are tested; the others have all their rows in both tables.
    """
    del settings
    frame = services().sample(frac=1, random_state=seed)
    is_normal = frame.pop("is_normal")
    normal, attacks = frame[is_normal], frame[~is_normal]
    enough = {"normal": PLENTY + TESTED, "attack": ATTACKS}
    counts = pd.crosstab(frame[GROUP], np.where(is_normal, "normal", "attack"))
    names = counts.index[counts.ge(pd.Series(enough)).all(axis=1)]
    place, tested = normal.groupby(GROUP).cumcount(), normal[GROUP].isin(names)
    many = normal[place.lt(PLENTY)]
    few = normal[place.lt(FEW) | ~tested & place.lt(PLENTY)]
    fresh = normal[tested & place.ge(PLENTY) & place.lt(PLENTY + TESTED)]
    attacks = attacks[attacks[GROUP].isin(names)].groupby(GROUP).head(TESTED)
    test = pd.concat([fresh, attacks])
    return few, many, test, np.arange(len(test)) >= len(fresh)


def services() -> pd.DataFrame:
    """KDD'99 by service: its columns but the services', and ``is_normal``."""
    kdd = data.load(KDD, download=False)
    frame = pd.DataFrame(kdd.x.astype(np.float32), columns=kdd.features)
    names = [name for name in frame if name.startswith("service=")]
    group = np.array(names)[frame[names].to_numpy().argmax(1)]
    frame = frame.drop(columns=names)
    frame[GROUP] = [name.removeprefix("service=") for name in group]
    frame["is_normal"] = kdd.label == "normal."  # a minority, which `is_anomaly` marks
    return frame


_MAKERS = {
    "correlation broken": partial(_made, "shuffled"),
    "two columns off": partial(_made, "shifted"),
    "KDD'99": _kdd,
}
