"""Parts of `throughput`: PyOD and DeepOD through their own API, and scikit-learn's detectors."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import jaxad
from benchmarks import controls, schema
from benchmarks.comparison import Target, at_least, not_measured, timed
from benchmarks.peers import PeerError
from benchmarks.peers.remote import Remote
from benchmarks.rates import timed_rows

REPEATS = 3
WIDTHS = (128, 64, 32)
HOW: dict[str, Any] = {"epochs": 5, "batch_size": 128, "learning_rate": 1e-4}
PLAIN: dict[str, Any] = {"scaler": "none", "n_members": 1, "random_state": 0}


@dataclass(frozen=True)
class Peer:
    """A published detector beside ours, both through ``fit`` and scores.

    Attributes:
      name: in `benchmarks.peers.published`.
      method: in `cases.METHODS`.
      make: ours, of the same architecture.
      goal: how many times our time its fit takes at least.
      score_goal: the same of its scores.
      features: columns of the rows.
      share: part of the setting ``published_rows`` that is fitted.
      scored: rows to score; None: as many as are fitted.
      widths: of its layers.
      how: epochs, batch size and learning rate.
      options: its further settings.
    """

    name: str
    method: str
    make: Callable[..., Any]
    goal: float | None = None
    score_goal: float | None = None
    features: int = 30
    share: float = 1.0
    scored: int | None = None
    widths: tuple[int, ...] = WIDTHS
    how: Mapping[str, Any] = field(default_factory=lambda: HOW)
    options: Mapping[str, Any] = field(default_factory=dict)

    def measure(self, settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
        """Fits, and then scores of other rows."""
        count = max(64, int(settings["published_rows"] * self.share))
        rng = np.random.default_rng(0)
        x = rng.normal(size=(count, self.features)).astype(np.float32)
        new = rng.normal(size=(self.scored or count, self.features)).astype(np.float32)
        ours = self.make(**self.how)
        anomaly = np.zeros(count, np.int64)
        anomaly[::100] = 1
        labelled = self.method == "deep_sad"
        fit = (lambda: ours.fit(x, -anomaly)) if labelled else (lambda: ours.fit(x))
        rows, targets = [], []
        try:
            with Remote() as peer:
                peer.make(
                    self.name,
                    x,
                    new,
                    label=anomaly if labelled else None,
                    widths=self.widths,
                    **self.how,
                    **self.options,
                )
                versions = peer.versions()
                score = lambda: ours.anomaly_score(new)  # noqa: E731
                for what, mine, theirs, units, goal in (
                    ("fit", fit, peer.fit, count * self.how["epochs"], self.goal),
                    ("score", score, peer.score, len(new), self.score_goal),
                ):
                    part = f"{self.name}, {what}"
                    variants = {"jaxad": mine, self.name: theirs}
                    failures: dict[str, str] = {}
                    first, later = timed(part, variants, REPEATS, math.inf, failures)
                    made = timed_rows(part, first, later, failures, reference="jaxad", rows=units)
                    details = {**made[-1].details, "versions": versions}
                    rows += [*made[:-1], dataclasses.replace(made[-1], details=details)]
                    if self.name in later:
                        pair = later[self.name], later["jaxad"]
                        targets.append(at_least(f"{part}: {self.name} / jaxad", *pair, goal))
                    else:
                        targets.append(not_measured(part, goal, failures[self.name]))
        except PeerError as error:
            rows.append(schema.Row(f"{self.name}, fit", self.name, missing=str(error)))
            for what, goal in (("fit", self.goal), ("score", self.score_goal)):
                targets.append(not_measured(f"{self.name}, {what}", goal, str(error)))
        return rows, targets


def _hypersphere(estimator: Any) -> Callable[..., Any]:
    def make(**how: Any) -> Any:
        sizes = {"hidden": WIDTHS[:-1], "latent_dim": WIDTHS[-1], "batch_norm": False}
        return estimator(**sizes, **how, **PLAIN)

    return make


def _autoencoder(**how: Any) -> jaxad.AutoEncoder:
    return jaxad.AutoEncoder(hidden=WIDTHS[:-1], latent_dim=WIDTHS[-1], noise=0.0, **how, **PLAIN)


def _goad(**how: Any) -> jaxad.GOAD:
    return jaxad.GOAD(
        n_transforms=256,
        transform_dim=32,
        hidden=(8,) * 5,
        latent_dim=8,
        map_offset=0.0,
        **how,
        **PLAIN,
    )


PEERS = (
    Peer("PyOD DeepSVDD", "deep_svdd", _hypersphere(jaxad.DeepSVDD), goal=10.0),
    Peer("DeepOD DeepSVDD", "deep_svdd", _hypersphere(jaxad.DeepSVDD), goal=5.0),
    Peer("DeepOD DeepSAD", "deep_sad", _hypersphere(jaxad.DeepSAD)),
    Peer("PyOD AutoEncoder", "autoencoder", _autoencoder),
    Peer(
        "DeepOD GOAD",
        "goad",
        _goad,
        goal=500.0,
        score_goal=500.0,
        features=6,
        share=1 / 32,
        scored=64,
        widths=(8,) * 6,
        how={"epochs": 1, "batch_size": 64, "learning_rate": 1e-3},
        options={"transforms": 256, "mapped": 32},
    ),
)


def against_controls(settings: Mapping[str, Any]) -> tuple[list[schema.Row], list[Target]]:
    """Isolation forest and kNN on the rows of the published peers, for orientation.

    A control's fit includes scaling and the scores of its rows, as ours does.
    """
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(2, settings["published_rows"], 30)).astype(np.float32)
    detectors = {
        "jaxad, Deep SVDD": _hypersphere(jaxad.DeepSVDD)(**HOW),
        "isolation forest": controls.IsolationForest(),
        "5 nearest neighbours": controls.NearestNeighbours(),
    }
    rows = []
    for what, units in (("fit", len(x)), ("score", len(new))):
        runs = {
            name: (lambda d=d: d.fit(x)) if what == "fit" else (lambda d=d: d.anomaly_score(new))
            for name, d in detectors.items()
        }
        part = f"scikit-learn, {what}"
        first, later = timed(part, runs, REPEATS, math.inf)
        rows += timed_rows(part, first, later, {}, reference="jaxad, Deep SVDD", rows=units)
    return rows, []
