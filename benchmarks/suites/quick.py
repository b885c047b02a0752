"""Two minutes on the sets that ship with scikit-learn: accurate, fast, better than untrained?"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from tqdm import tqdm

import jaxad
from benchmarks import controls, datasets, schema, table
from benchmarks.options import Options
from benchmarks.suites import pictures

DESCRIPTION = "accuracy and speed on scikit-learn's sets, beside untrained copies and controls"


def _estimator(kind: type, table: Mapping, image: Mapping, **fixed) -> Callable:
    """A detector's builder: tables get one network, images another."""

    def build(images: bool, **shared):
        options = (image if images else table) | fixed
        return kind(n_members=1, validation_fraction=HELD_OUT, **options, **shared)

    return build


def _for_tables(kind: type) -> Callable:
    """A builder of a detector that is not run on images here."""

    def build(images: bool, **shared):
        del images
        return kind(n_members=1, validation_fraction=HELD_OUT, **shared)

    return build


def _control(kind: type) -> Callable:
    def build(images: bool, *, epochs, contamination: float, random_state: int):
        del images, epochs
        return kind(contamination=contamination, random_state=random_state)

    return build


_MLP, _LENET = {"network": "mlp"}, {"network": "lenet"}
# Half the network's usual filters or fewer: the pictures have 8 x 8 pixels.
_CONV = {"network": "conv", "hidden": (8, 16)}
DETECTORS: dict[str, Callable] = {
    "deep_svdd": _estimator(jaxad.DeepSVDD, _MLP, _LENET),
    "deep_svdd_soft": _estimator(jaxad.DeepSVDD, _MLP, _LENET, objective="soft-boundary"),
    "deep_sad": _for_tables(jaxad.DeepSAD),
    "dagmm": _for_tables(jaxad.DAGMM),
    "goad": _for_tables(jaxad.GOAD),
    "autoencoder": _estimator(jaxad.AutoEncoder, _MLP, _CONV),
    "isolation_forest": _control(controls.IsolationForest),
    "nearest_neighbours": _control(controls.NearestNeighbours),
}
FOR_TABLES = ("deep_sad", "dagmm", "goad")
CONTROLS = ("isolation_forest", "nearest_neighbours")
LEARNED = tuple(name for name in DETECTORS if name not in CONTROLS)
HELD_OUT = 0.2  # of the training rows, for the threshold of the learned detectors
DEFAULTS: dict[str, Any] = {
    "seeds": 5,
    "datasets": datasets.NAMES,
    "detectors": tuple(DETECTORS),
    "epochs": "auto",
    "image_epochs": 300,
    "contamination": 0.05,
}
CHOICES = {"datasets": datasets.NAMES, "detectors": tuple(DETECTORS)}
COLUMNS = (
    table.Column("AUROC %", "auroc", table.spread(1, 100)),
    table.Column("AP %", "average_precision", table.spread(1, 100)),
    table.Column("F1 %", "f1", table.spread(1, 100)),
    table.Column("false alarms %", "false_alarms", table.spread(1, 100)),
    table.Column("compile s", "compile_seconds", table.first(2)),
    table.Column("fit s", "fit_seconds", table.middle(3)),
    table.Column("train rows/s", "train_rows_per_second", table.middle(0)),
    table.Column("score rows/s", "score_rows_per_second", table.middle(0)),
)


def header(settings: Mapping[str, Any]) -> str:
    """What the table's reader has to know."""
    share = settings["contamination"]
    sets = "\n".join(
        f"  {name}: {datasets.load(name).description}" for name in settings["datasets"]
    )
    return (
        f"One-class protocol: trained on a random half of the normal rows, tested on the other "
        f"half and all anomalies but {datasets.KNOWN}, which Deep SAD alone is given as known; "
        f"{settings['seeds']} seeds, mean ± standard deviation.\n"
        f"{sets}\n"
        f"The threshold for F1 is the {1 - share:.0%} quantile of the scores of {HELD_OUT:.0%} of "
        "the training rows, held out (controls: of all);\nnothing is chosen on test labels.\n"
        f"'false alarms' is the share of normal test rows above it: {share:.0%} where they score "
        "as training rows do.\n"
        f"Tables train for epochs={settings['epochs']!r}, images for {settings['image_epochs']} "
        "(a multilayer perceptron; LeNet for Deep SVDD, a small convolutional autoencoder).\n"
        "All are single models (n_members=1).\n"
        "'untrained' is the same detector with epochs=0. 'compile s' is the first fit's; 'fit s' "
        "is the median over seeds without it.\n"
        "'train rows/s' counts each row once an epoch."
    )


def run(options: Options) -> None:
    """Fit every detector on every set; print the table, write ``rows.json`` and pictures."""
    settings, begun = options.settings, schema.begin()
    plan = [
        (name, detector, epochs)
        for name in settings["datasets"]
        for detector in settings["detectors"]
        if not (datasets.load(name).images and detector in FOR_TABLES)
        for epochs in _epochs(name, detector, settings)
    ]
    rows, fits = [], {}
    with tqdm(total=len(plan) * settings["seeds"], unit="fit") as bar:
        for name, detector, epochs in plan:
            row, fit = _measure_seeds(name, detector, epochs, settings, bar)
            rows.append(row)
            if epochs != 0:
                fits[name, detector] = fit
    result = schema.record(
        options.suite,
        rows,
        seeds=list(range(settings["seeds"])),
        config=dict(settings),
        threads=options.threads,
        begun=begun,
    )
    schema.write(options.out / "rows.json", result)
    pictures.draw(fits, options.out)
    shown = table.text(*table.cells(rows, COLUMNS))
    (options.out / "table.txt").write_text(f"{header(settings)}\n\n{shown}\n")
    print(f"\n{header(settings)}\n\n{shown}\n")


def _epochs(name: str, detector: str, settings: Mapping[str, Any]) -> tuple:
    """The trained detector's epochs and its untrained copy's; nothing for a control."""
    if detector not in LEARNED:
        return (None,)
    key = "image_epochs" if datasets.load(name).images else "epochs"
    return tuple(dict.fromkeys((settings[key], 0)))


def _measure_seeds(
    name: str, detector: str, epochs: Any, settings: Mapping[str, Any], bar: tqdm
) -> tuple[schema.Row, pictures.Fitted]:
    """One row of the table, and the fit of seed 0."""
    dataset = datasets.load(name)
    label = f"{detector} untrained" if epochs == 0 else detector
    measured, fits = [], []
    for seed in range(settings["seeds"]):
        bar.set_description(f"{name}, {label}, seed {seed}")
        split = datasets.split(dataset, seed)
        model = DETECTORS[detector](
            dataset.images,
            epochs=epochs,
            contamination=settings["contamination"],
            random_state=seed,
        )
        measured.append(measure(model, split))
        fits.append(pictures.Fitted(dataset, split, model))
        bar.update()
    metrics = {key: [m[key] for m in measured] for key in measured[0]}
    sizes = {"train_rows": len(split.train), "test_rows": len(split.test)}
    return schema.Row(name, label, metrics, sizes), fits[0]


def measure(model: Any, split: datasets.Split) -> dict[str, float]:
    """Fit on the training rows, score the test rows: quality and speed."""
    start = time.perf_counter()
    if isinstance(model, jaxad.DeepSAD):
        labels = np.repeat([0, -1], [len(split.train), len(split.known)])
        model.fit(np.concatenate([split.train, split.known]), labels)
    else:
        model.fit(split.train)
    wall = time.perf_counter() - start
    compiling = getattr(model, "compile_seconds_", np.nan)
    steady = wall - np.nan_to_num(compiling)
    epochs = len(model.history_["loss"]) if hasattr(model, "history_") else 1
    model.anomaly_score(split.test)
    start = time.perf_counter()
    score = model.anomaly_score(split.test)
    scoring = time.perf_counter() - start
    flagged = score > model.threshold_
    return {
        "auroc": roc_auc_score(split.is_anomaly, score),
        "average_precision": average_precision_score(split.is_anomaly, score),
        "f1": f1_score(split.is_anomaly, flagged),
        "false_alarms": flagged[~split.is_anomaly].mean(),
        "compile_seconds": compiling,
        "fit_wall_seconds": wall,
        "fit_seconds": steady,
        "train_rows_per_second": epochs * len(split.train) / steady if epochs else np.nan,
        "score_rows_per_second": len(split.test) / scoring,
    }
