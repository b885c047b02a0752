"""DAGMM and GOAD on thyroid and arrhythmia by their papers' protocols, beside controls.

Zong et al., ICLR 2018 (networks and settings: section 4.3, figures: Table 2); Bergman & Hoshen,
ICLR 2020. Nothing is chosen on test labels but the number of flagged rows, which both papers take
from them.
"""

import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score
from tqdm import tqdm

import jaxad
from benchmarks import controls, environment, schema, table
from benchmarks.options import Options
from jaxad import data
from jaxad.data import half_normals, half_split

DESCRIPTION = "DAGMM and GOAD on two ODDS sets by their papers' protocols, beside controls"


@dataclass(frozen=True)
class Protocol:
    """How a paper splits a set, how many test rows it flags, and the F1 it reports.

    Attributes:
      split: ``(is_anomaly, seed) -> (train, test)`` row numbers.
      flagged: ``(data set, test marks) -> rows to flag``.
      detectors: those measured by it.
      published: data set -> F1 in %, as text.
    """

    split: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
    flagged: Callable[[str, np.ndarray], int]
    detectors: tuple[str, ...]
    published: Mapping[str, str]


ANOMALY_RATIO = {"thyroid": 0.025, "arrhythmia": 0.15}
PAPER_EPOCHS = {"thyroid": 20_000, "arrhythmia": 10_000}
PROTOCOLS = {
    "DAGMM": Protocol(
        half_split,
        lambda dataset, marks: round(ANOMALY_RATIO[dataset] * len(marks)),
        ("dagmm_raw", "dagmm_scaled", "nearest_neighbours"),
        {"thyroid": "47.8", "arrhythmia": "49.8"},
    ),
    "GOAD": Protocol(
        half_normals,
        lambda dataset, marks: int(marks.sum()),
        ("goad_linear", "goad", "goad_offsets", "nearest_neighbours"),
        {"thyroid": "74.5 ± 1.1 *", "arrhythmia": "52.0 ± 2.3 *"},
    ),
}


def _dagmm(scaler: str) -> Callable:
    def build(dataset: str, epochs: int, seed: int):
        return jaxad.DAGMM.paper(dataset, epochs=epochs, scaler=scaler, random_state=seed)

    return build


def _goad(hidden: tuple[int, ...], map_offset: float) -> Callable:
    def build(dataset: str, epochs: int, seed: int):
        del dataset
        return jaxad.GOAD(
            n_transforms=256,
            transform_dim=32,
            latent_dim=8,
            hidden=hidden,
            map_offset=map_offset,
            epochs=epochs,
            batch_size=64,
            learning_rate=1e-3,
            n_members=1,
            random_state=seed,
        )

    return build


LEARNED: dict[str, Callable] = {
    "dagmm_raw": _dagmm("none"),
    "dagmm_scaled": _dagmm("standard"),
    "goad_linear": _goad((), 0.0),
    "goad": _goad((64,), 0.0),
    "goad_offsets": _goad((64,), 1.0),
}
DETECTORS = (*LEARNED, "nearest_neighbours")
DEFAULTS: dict[str, Any] = {
    "seeds": 20,
    "datasets": tuple(ANOMALY_RATIO),
    "detectors": DETECTORS,
    "thyroid_epochs": 5000,
    "arrhythmia_epochs": 10_000,
    "goad_epochs": 1,
}
CHOICES = {"datasets": tuple(ANOMALY_RATIO), "detectors": DETECTORS}
COLUMNS = (
    table.Column("F1 %", "f1", table.spread(1, 100)),
    table.Column("AUROC %", "auroc", table.spread(1, 100)),
    table.Column("AP %", "average_precision", table.spread(1, 100)),
    table.Column("distinct %", "distinct", table.spread(0, 100)),
    table.Column("steps", "steps", table.middle(0)),
    table.Column("diverged", "diverged", lambda values: f"{sum(values):.0f}"),
)

METRICS = tuple(column.metric for column in COLUMNS)


def header(settings: Mapping[str, Any]) -> str:
    """What the table's reader has to know."""
    epochs = ", ".join(
        f"{name} {settings[f'{name}_epochs']:,} epochs (paper: {PAPER_EPOCHS[name]:,})"
        for name in settings["datasets"]
    )
    paragraphs = (
        f"{settings['seeds']} seeds, each with its own split and networks; mean ± standard "
        "deviation. Test labels set nothing but how many rows F1 flags.",
        "DAGMM split: the normal rows of a random half train, the other half is the test. F1 flags "
        "the 2.5% (thyroid) and 15% (arrhythmia) of the test rows that score highest, the true "
        "ratios, as the paper does.",
        "GOAD split: half of the normal rows train, all other rows are the test. F1 flags as many "
        "rows as the test has anomalies. Both ratios are an oracle's: no user has them. Ties are "
        "broken at random.",
        f"dagmm: the paper's networks and settings; {epochs}; features as they come (raw) or "
        "standardised by the training rows (scaled).",
        f"goad: the paper's M=256, r=32, L=8, batches of 64, rate 1e-3, {settings['goad_epochs']} "
        "epoch(s), features standardised; with the paper's linear trunk, with the detector's own, "
        "one hidden layer of 64, and with that and maps that have offsets, the detector's default.",
        "untrained: the same with epochs=0. nearest_neighbours: mean distance to the 5 nearest "
        "training rows, standardised.",
        "distinct: the share of different scores among the test rows. diverged: seeds whose "
        "training met no finite step, left out of the means.",
        "Published F1: DAGMM's from its Table 2; * not verified against the paper's text.",
    )
    return "\n".join(textwrap.fill(text, 100, subsequent_indent="  ") for text in paragraphs)


def run(options: Options) -> None:
    """Fit every detector on every set by its paper's protocol; print the table, write results."""
    settings, begun = options.settings, schema.begin()
    environment.cores_as_devices()
    plan = [
        (dataset, protocol, detector, trained)
        for dataset in settings["datasets"]
        for protocol in PROTOCOLS
        for detector in PROTOCOLS[protocol].detectors
        if detector in settings["detectors"]
        for trained in ((True, False) if detector in LEARNED else (True,))
    ]
    rows = []
    with tqdm(total=len(plan) * settings["seeds"], unit="fit") as bar:
        for choice in plan:
            rows.append(_measure_seeds(*choice, settings, bar))
    result = schema.record(
        options.suite,
        rows,
        seeds=list(range(settings["seeds"])),
        config=dict(settings),
        threads=options.threads,
        begun=begun,
    )
    schema.write(options.out / "rows.json", result)
    shown = f"{header(settings)}\n\n{show(rows)}\n"
    (options.out / "table.txt").write_text(shown)
    print(f"\n{shown}")


def show(rows: Sequence[schema.Row]) -> str:
    """The table, what the papers report in its last column."""
    titles, body = table.cells(rows, COLUMNS)
    body = [[*line, row.details["published_f1"]] for line, row in zip(body, rows, strict=True)]
    return table.text([*titles, "published F1 %"], body)


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[N, D]`` of a named set and which of them are anomalous.

    Raises:
      OSError: the file is not there and cannot be downloaded.
    """
    dataset = data.load(name)
    return dataset.x, dataset.is_anomaly


def _measure_seeds(
    dataset: str,
    protocol: str,
    detector: str,
    trained: bool,
    settings: Mapping[str, Any],
    bar: tqdm,
) -> schema.Row:
    """One row of the table."""
    group = f"{dataset}, {protocol} split"
    label = detector if trained else f"{detector} untrained"
    how = PROTOCOLS[protocol]
    learns = trained and detector in LEARNED
    details = {"published_f1": how.published[dataset] if learns else ""}
    try:
        x, is_anomaly = load(dataset)
    except (OSError, ValueError) as error:  # not there, or damaged
        bar.update(settings["seeds"])
        return schema.Row(group, label, details=details, missing=str(error))
    bar.set_description(f"{group}, {label}")
    seeds = range(settings["seeds"])
    splits = [how.split(is_anomaly, seed) for seed in seeds]
    if detector in LEARNED:
        epochs = settings["goad_epochs" if protocol == "GOAD" else f"{dataset}_epochs"]
        models = [LEARNED[detector](dataset, epochs if trained else 0, seed) for seed in seeds]
        with warnings.catch_warnings():
            # That scores collapse or training diverges is a result here: columns show it.
            warnings.simplefilter("ignore", jaxad.CollapseWarning)
            warnings.filterwarnings("ignore", "(?s).* is left unfitted", RuntimeWarning)
            jaxad.fit_many(models, x, subsets=[train for train, _ in splits])
    else:
        models = [controls.NearestNeighbours(random_state=seed) for seed in seeds]
        for model, (train, _) in zip(models, splits, strict=True):
            model.fit(x[train])
    details |= {
        "train_rows": [len(train) for train, _ in splits],
        "test_rows": [len(test) for _, test in splits],
    }
    measured = []
    for seed, model, (_, test) in zip(seeds, models, splits, strict=True):
        count = how.flagged(dataset, is_anomaly[test])
        if detector in LEARNED and not hasattr(model, "params_"):
            measured.append(dict.fromkeys(METRICS, np.nan) | {"diverged": 1})
        else:
            measured.append(_measure(model, x[test], is_anomaly[test], count, seed))
        bar.update()
    return schema.Row(group, label, {key: [m[key] for m in measured] for key in METRICS}, details)


def _measure(
    model: Any, test: np.ndarray, is_anomaly: np.ndarray, count: int, seed: int
) -> dict[str, float]:
    score = model.anomaly_score(test)
    return {
        "f1": f1_of_highest(score, is_anomaly, count, seed),
        "auroc": roc_auc_score(is_anomaly, score),
        "average_precision": average_precision_score(is_anomaly, score),
        "distinct": len(np.unique(score)) / len(score),
        "steps": getattr(model, "n_steps_", np.nan),
        "diverged": 0,
    }


def f1_of_highest(score: np.ndarray, is_anomaly: np.ndarray, count: int, seed: int) -> float:
    """F1 of flagging the ``count`` highest scores, ties broken at random.

    Example:
      >>> f1_of_highest(np.array([3.0, 1.0, 2.0]), np.array([True, True, False]), 2, seed=0)
      0.5
    """
    ties = np.random.default_rng(seed).permutation(len(score))
    flagged = np.lexsort((ties, -score))[:count]
    return 2 * int(is_anomaly[flagged].sum()) / (count + int(is_anomaly.sum()))
