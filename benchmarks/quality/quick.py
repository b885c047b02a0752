"""Two minutes on the sets that ship with scikit-learn: accurate, fast, better than untrained?"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from benchmarks.quality import references
from benchmarks.quality.detectors import DETECTORS as ESTIMATORS
from benchmarks.quality.detectors import WITH_LABELS
from benchmarks.record import tables
from benchmarks.record.rows import Row, part_name
from benchmarks.record.store import Part
from jaxad import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DESCRIPTION = "accuracy and speed on scikit-learn's sets, beside untrained copies and references"
NORMAL_DIGIT = 8
KNOWN = 10  # anomalies that detectors with labels may learn from
SETS = ("breast_cancer", "digits", "digits_images")
# Detector -> the detector it is a variant of, and its options.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "deep_svdd_soft": ("deep_svdd", {"objective": "soft-boundary"}),
}
# Detector -> options for images; those without are measured on tables alone.
IMAGE_OPTIONS: dict[str, dict[str, Any]] = {
    "deep_svdd": {"network": "lenet"},
    # Half the network's usual filters or fewer: the pictures have 8 x 8 pixels.
    "autoencoder": {"network": "conv", "hidden": (8, 16)},
}
REFERENCES = {
    "isolation_forest": references.IsolationForest,
    "nearest_neighbours": references.NearestNeighbours,
}
LEARNED = tuple(
    name
    for base in ESTIMATORS
    for name in (base, *(variant for variant, (of, _) in VARIANTS.items() if of == base))
)
DETECTORS = (*LEARNED, *REFERENCES)
HELD_OUT = 0.2  # of the training rows, for the threshold of the learned detectors
DEFAULTS: dict[str, Any] = {
    "seeds": 5,
    "datasets": SETS,
    "detectors": DETECTORS,
    "epochs": "auto",
    "image_epochs": 300,
    "contamination": 0.05,
}
CHOICES = {"datasets": SETS, "detectors": DETECTORS}
_PER_CENT = tables.spread(1, 100)
COLUMNS = (
    tables.Column("AUROC %", "auroc", _PER_CENT),
    tables.Column("AP %", "average_precision", _PER_CENT),
    tables.Column("F1 %", "f1", _PER_CENT),
    tables.Column("false alarms %", "false_alarms", _PER_CENT),
    tables.Column("compile s", "compile_seconds", tables.first(2)),
    tables.Column("fit s", "fit_seconds", tables.middle(3)),
    tables.Column("train rows/s", "train_rows_per_second", tables.middle(0)),
    tables.Column("score rows/s", "score_rows_per_second", tables.middle(0)),
)


class Bundled(NamedTuple):
    """Rows ``[N, D]`` float32, or images ``[N, H, W, C]``, and which of them are anomalous."""

    name: str
    x: np.ndarray
    is_anomaly: np.ndarray
    images: bool
    description: str


class Split(NamedTuple):
    """Training rows, all normal, some known anomalies, and test rows with what they are."""

    train: np.ndarray
    known: np.ndarray
    test: np.ndarray
    is_anomaly: np.ndarray


class Fitted(NamedTuple):
    """A fitted detector and what it was fitted on."""

    dataset: Bundled
    split: Split
    model: Any


_FITS: dict[tuple[str, str], Fitted] = {}  # (set, detector) -> the fit of seed 0


def load(name: str) -> Bundled:
    """Load a set by name; the error names the valid ones."""
    if name not in SETS:
        raise ValueError(f"unknown dataset {name!r}; valid: {', '.join(SETS)}")
    if name == "breast_cancer":
        x, benign = datasets.load_breast_cancer(return_X_y=True)
        text = "30 features of cell nuclei; benign is normal, malignant anomalous"
        return Bundled(name, x.astype(np.float32), benign == 0, False, text)
    x, digit = datasets.load_digits(return_X_y=True)
    x, images = x.astype(np.float32), name == "digits_images"
    text = f"8x8 digits as 64 features; {NORMAL_DIGIT} is normal, the others anomalous"
    if images:
        x = x.reshape(-1, 8, 8, 1)
        text = f"the same digits as 8x8x1 images; {NORMAL_DIGIT} is normal"
    return Bundled(name, x, digit != NORMAL_DIGIT, images, text)


def split(dataset: Bundled, seed: int) -> Split:
    """Train on a random half of the normal rows; test on the other half and the anomalies.

    `KNOWN` anomalies are taken out of the test rows, for the detectors that learn from labels.
    """
    rng = np.random.default_rng(seed)
    normal = rng.permutation(np.flatnonzero(~dataset.is_anomaly))
    anomalous = rng.permutation(np.flatnonzero(dataset.is_anomaly))
    half = len(normal) // 2
    test = np.concatenate([normal[half:], anomalous[KNOWN:]])
    return Split(
        train=dataset.x[normal[:half]],
        known=dataset.x[anomalous[:KNOWN]],
        test=dataset.x[test],
        is_anomaly=dataset.is_anomaly[test],
    )


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """A part for each set and detector; an untrained copy is one of its own."""
    _FITS.clear()
    found: dict[str, Part] = {}
    for name in settings["datasets"]:
        for detector in settings["detectors"]:
            for epochs in _epochs(load(name), detector, settings):
                label = f"{detector} untrained" if epochs == 0 else detector
                found[part_name(name, label)] = partial(
                    _measure_seeds, name, label, epochs, settings
                )
    return found


def build(detector: str, images: bool, *, epochs: Any, **shared: Any) -> Any:
    """A detector by its name; ``shared`` are ``contamination`` and ``random_state``."""
    if detector in REFERENCES:
        return REFERENCES[detector](**shared)
    base, options = VARIANTS.get(detector, (detector, {}))
    options = (IMAGE_OPTIONS[base] if images else {}) | options
    single = {"n_members": 1, "validation_fraction": HELD_OUT}
    return ESTIMATORS[base](epochs=epochs, **single, **options, **shared)


def _epochs(dataset: Bundled, detector: str, settings: Mapping[str, Any]) -> tuple:
    """The trained detector's epochs and its untrained copy's; None for a reference."""
    if detector in REFERENCES:
        return (None,)
    if dataset.images and VARIANTS.get(detector, (detector,))[0] not in IMAGE_OPTIONS:
        return ()
    key = "image_epochs" if dataset.images else "epochs"
    return tuple(dict.fromkeys((settings[key], 0)))


def _measure_seeds(name: str, label: str, epochs: Any, settings: Mapping[str, Any]) -> list[Row]:
    """One row of the table; the trained detector of seed 0 is kept for pictures."""
    dataset, measured = load(name), []
    detector = label.removesuffix(" untrained")
    for seed in range(settings["seeds"]):
        parted = split(dataset, seed)
        shared = {"contamination": settings["contamination"], "random_state": seed}
        model = build(detector, dataset.images, epochs=epochs, **shared)
        measured.append(measure(detector, model, parted))
        if seed == 0 and epochs != 0:
            _FITS[name, detector] = Fitted(dataset, parted, model)
    metrics = {key: [m[key] for m in measured] for key in measured[0]}
    sizes = {"train_rows": len(parted.train), "test_rows": len(parted.test)}
    return [Row(name, label, metrics, sizes)]


def measure(detector: str, model: Any, split: Split) -> dict[str, float]:
    """Fit on the training rows, score the test rows: quality and speed."""
    start = time.perf_counter()
    if detector in WITH_LABELS:
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


def _note(settings: Mapping[str, Any]) -> str:
    share = settings["contamination"]
    sets = "\n".join(f"  {name}: {load(name).description}" for name in settings["datasets"])
    return (
        f"One-class protocol: trained on a random half of the normal rows, tested on the other "
        f"half and all anomalies but {KNOWN}, which Deep SAD alone is given as known; "
        f"{settings['seeds']} seeds, mean ± standard deviation.\n"
        f"{sets}\n"
        f"The threshold for F1 is the {1 - share:.0%} quantile of the scores of {HELD_OUT:.0%} of "
        "the training rows, held out (references: of all);\nnothing is chosen on test labels.\n"
        f"'false alarms' is the share of normal test rows above it: {share:.0%} where they score "
        "as training rows do.\n"
        f"Tables train for epochs={settings['epochs']!r}, images for {settings['image_epochs']} "
        "(a multilayer perceptron; LeNet for Deep SVDD, a small convolutional autoencoder).\n"
        "All are single models (n_members=1).\n"
        "'untrained' is the same detector with epochs=0. 'compile s' is the first fit's; 'fit s' "
        "is the median over seeds without it.\n"
        "'train rows/s' counts each row once an epoch."
    )


NOTE = _note


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """AUROC of every detector and of its untrained copy on every set, and what to conclude."""
    measured = (row for row in rows if "auroc" in row.metrics)
    cells = {(row.detector, row.dataset): _PER_CENT(row.metrics["auroc"]) for row in measured}
    return "\n\n".join([tables.pivot("AUROC %", cells), conclusion(rows)])


def conclusion(rows: Sequence[Row]) -> str:
    """Two sentences: where training paid, and where it beat the references without labels.

    Differences of AUROC are paired by seed. They count if they exceed two standard errors.
    """
    auroc = {
        (row.dataset, row.detector): np.asarray(row.metrics["auroc"])
        for row in rows
        if "auroc" in row.metrics
    }
    if not auroc:
        return ""
    if min(map(len, auroc.values())) < 2:
        return (
            "One seed does not tell an effect from chance, so nothing is concluded about training. "
            "Run at least two seeds, such as --seeds 5, to compare with the references."
        )
    return f"{_on_training(auroc)} {_on_references(auroc)}"


_Aurocs = Mapping[tuple[str, str], np.ndarray]  # (set, detector) -> a value for each seed


def _exceeds(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether ``one`` is higher than ``other`` by more than two standard errors over seeds."""
    difference = one - other
    return bool(difference.mean() > 2 * difference.std(ddof=1) / np.sqrt(len(difference)))


def _on_training(auroc: _Aurocs) -> str:
    pairs = {
        (name, detector): (values, auroc[name, f"{detector} untrained"])
        for (name, detector), values in auroc.items()
        if (name, f"{detector} untrained") in auroc
    }
    if not pairs:
        return "No detector was measured beside its untrained copy, so training is not judged."
    raised = [case for case, (trained, untrained) in pairs.items() if _exceeds(trained, untrained)]
    lowered = [case for case, (trained, untrained) in pairs.items() if _exceeds(untrained, trained)]
    return (
        "Training raised the AUROC above the untrained copy's by more than two standard errors in "
        f"{len(raised)} of {len(pairs)} cases{_listed(_by_set(raised))} and lowered it in "
        f"{len(lowered)}{_listed(_by_set(lowered))}."
    )


def _on_references(auroc: _Aurocs) -> str:
    sets = list(dict.fromkeys(name for name, _ in auroc))
    beside = [name for name in REFERENCES if any((one, name) in auroc for one in sets)]
    if not beside:
        return "No reference was measured, so a simpler method may do as well."
    better, level = [], []
    for name in sets:
        rivals = [auroc[name, other] for other in beside if (name, other) in auroc]
        trained = {
            detector: values
            for (one, detector), values in auroc.items()
            if one == name and detector in LEARNED and detector not in WITH_LABELS
        }
        if not rivals or not trained:
            continue
        best, rival = max(trained, key=lambda d: trained[d].mean()), max(rivals, key=np.mean)
        if _exceeds(trained[best], rival):
            figures = f"{100 * trained[best].mean():.1f} against {100 * rival.mean():.1f}"
            better.append(f"{name}: {best}, {figures}")
        else:
            level.append(name)
    others = f"; on {', '.join(level)} take a reference, which needs no training" if level else ""
    return (
        f"Without labels, the best trained detector ranked better than {' and '.join(beside)} by "
        f"more than two standard errors on {len(better)} of {len(better) + len(level)} sets"
        f"{_listed(better)}{others}."
    )


def _by_set(cases: Sequence[tuple[str, str]]) -> list[str]:
    """``"set: detector, detector"`` for each set."""
    names = dict.fromkeys(name for name, _ in cases)
    return [f"{one}: {', '.join(d for name, d in cases if name == one)}" for one in names]


def _listed(cases: Sequence[str]) -> str:
    return f" ({'; '.join(cases)})" if cases else ""


def pictures(rows: Sequence[Row], settings: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Pictures of the fits of this process; those whose detector or set is absent are left out."""
    figures = {}
    learned = {key: fit for key, fit in _FITS.items() if hasattr(fit.model, "history_")}
    if learned:
        first = next(iter(learned))[0]
        curves = {d: fit.model.history_ for (name, d), fit in learned.items() if name == first}
        figures["loss_curves"] = plotting.loss_curves(curves, title=f"{first}: training loss")
    svdd = next((fit for (_, d), fit in _FITS.items() if d == "deep_svdd"), None)
    if svdd:
        dataset, split, model = svdd
        figures["score_histogram"] = plotting.score_histogram(
            *(model.anomaly_score(split.test), split.is_anomaly, model.threshold_),
            title=f"Deep SVDD on {dataset.name}: test scores",
        )
        figures["latent_scatter"] = plotting.latent_scatter(
            *(model.transform(split.test), split.is_anomaly),
            *(model.stats_["centre"], np.sqrt(model.threshold_)),
            title=f"Deep SVDD on {dataset.name}: latent space",
        )
    images = [f for (_, d), f in _FITS.items() if d == "autoencoder" and f.dataset.images]
    if images:
        figures["reconstructions"] = _reconstructions(images[0])
    return {name: (name, figure) for name, figure in figures.items()}


def _reconstructions(fit: Fitted, count: int = 8) -> "Figure":
    """The first normal test images above the first anomalous ones."""
    _, split, model = fit
    chosen = [np.flatnonzero(split.is_anomaly == a)[:count] for a in (False, True)]
    x = split.test[np.concatenate(chosen)]
    flagged = model.anomaly_score(x) > model.threshold_
    title = f"{fit.dataset.name}: {count} normal digits, then {count} anomalous ones"
    return plotting.reconstructions(x, model.reconstruct(x), flagged, title=title)
