"""Parts of `throughput`: PyOD, DeepOD and scikit-learn, through their own fit and scores."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import jaxad
from benchmarks.peers.environment import Library
from benchmarks.quality import references
from benchmarks.record.rows import Row
from benchmarks.record.timing import NO_GOAL, Goal, against, not_measured, timed_rows
from benchmarks.speed.worker import WorkerError

REPEATS = 3


class LibraryDetector(NamedTuple):
    """A detector of PyOD or DeepOD and ours of the same architecture.

    Attributes:
      name: in `benchmarks.peers.libraries`.
      method: in `methods.METHODS`.
      ours, options: a class of `jaxad` and its arguments.
      settings: of theirs.
      goal, score_goal: how many times our time its fit and its scores take at least.
      features: columns of the rows.
      share: part of the setting ``published_rows`` that is fitted.
      scored: rows to score; None: as many as are fitted.
    """

    name: str
    method: str
    ours: Callable[..., Any]
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    goal: Goal = NO_GOAL
    score_goal: Goal = NO_GOAL
    features: int = 30
    share: float = 1.0
    scored: int | None = None


_USUAL: dict[str, Any] = {"epochs": 5, "batch_size": 128, "learning_rate": 1e-4}
_THEIRS = _USUAL | {"widths": (128, 64, 32)}
_SIZES: dict[str, Any] = _USUAL | {"hidden": (128, 64), "latent_dim": 32}
_SVDD = _SIZES | {"batch_norm": False}
_GOAD: dict[str, Any] = {"epochs": 1, "batch_size": 64, "learning_rate": 1e-3}
_RESCORED = Goal(500.0, "It encodes its training rows again in every call; here they are few.")
_GOAD_OURS = {"n_transforms": 256, "transform_dim": 32, "map_offset": 0.0, "hidden": (8,) * 5}
_LOOP = Goal(10.0, "The ratio is what PyOD's loop costs beside PyTorch's own.")
DETECTORS = (
    LibraryDetector("PyOD DeepSVDD", "deep_svdd", jaxad.DeepSVDD, _SVDD, _THEIRS, _LOOP),
    LibraryDetector("DeepOD DeepSVDD", "deep_svdd", jaxad.DeepSVDD, _SVDD, _THEIRS, Goal(5.0)),
    LibraryDetector("DeepOD DeepSAD", "deep_sad", jaxad.DeepSAD, _SVDD, _THEIRS),
    LibraryDetector(
        *("PyOD AutoEncoder", "autoencoder", jaxad.AutoEncoder, _SIZES | {"noise": 0.0}, _THEIRS)
    ),
    LibraryDetector(
        *("DeepOD GOAD", "goad", jaxad.GOAD),
        options=_GOAD | _GOAD_OURS | {"latent_dim": 8},
        settings=_GOAD | {"widths": (8,) * 6, "transforms": 256, "mapped": 32},
        goal=_RESCORED,
        score_goal=_RESCORED,
        features=6,
        share=1 / 32,
        scored=64,
    ),
)


def _ours(kind: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    return kind(scaler="none", n_members=1, random_state=0, **options)


def against_library(detector: LibraryDetector, published_rows: int) -> list[Row]:
    """Time fits, and then scores of new rows."""
    name = detector.name
    count = max(64, int(published_rows * detector.share))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, detector.features)).astype(np.float32)
    new = rng.normal(size=(detector.scored or count, detector.features)).astype(np.float32)
    model = _ours(detector.ours, detector.options)
    anomaly = np.zeros(count, np.int64)
    anomaly[::100] = 1
    label = anomaly if detector.method == "deep_sad" else None
    fit = partial(model.fit, x, None if label is None else -label)
    goals = {"fit": detector.goal, "score": detector.score_goal}
    rows = []
    try:
        with Library() as library:
            library.make(name, x, new, label=label, **detector.settings)
            versions = library.call("versions").result
            runs = {
                "fit": (fit, count * detector.options["epochs"]),
                "score": (partial(model.anomaly_score, new), len(new)),
            }
            for what, (mine, units) in runs.items():
                part = f"{name}, {what}"
                variants = {"jaxad": mine, name: partial(library.call, what)}
                failures: dict[str, str] = {}
                how = {"reference": "jaxad", "units": units, "failures": failures}
                made, later = timed_rows(part, variants, REPEATS, give_up=math.inf, **how)
                *ours, theirs = made
                details = {**theirs.details, "versions": versions}
                rows += [*ours, dataclasses.replace(theirs, details=details)]
                rows.append(against(part, name, "jaxad", later, goals[what], failures))
    except WorkerError as error:
        rows.append(Row(f"{name}, fit", name, missing=str(error)))
        rows += [not_measured(f"{name}, {w}", goal, str(error)) for w, goal in goals.items()]
    return rows


def against_references(count: int) -> list[Row]:
    """Isolation forest and kNN on the rows of the libraries' detectors, for orientation.

    A reference's fit includes scaling and the scores of its rows, as ours does.
    """
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(2, count, 30)).astype(np.float32)
    detectors = {
        "jaxad, Deep SVDD": _ours(jaxad.DeepSVDD, _SVDD),
        "isolation forest": references.IsolationForest(),
        "5 nearest neighbours": references.NearestNeighbours(),
    }
    rows = []
    for what in ("fit", "score"):
        runs = {
            name: partial(d.fit, x) if what == "fit" else partial(d.anomaly_score, new)
            for name, d in detectors.items()
        }
        part = f"scikit-learn, {what}"
        how = {"reference": "jaxad, Deep SVDD", "units": count}
        rows += timed_rows(part, runs, REPEATS, give_up=math.inf, **how)[0]
    return rows
