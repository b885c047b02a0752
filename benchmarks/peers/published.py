"""PyOD's and DeepOD's detectors through their public API, each at the architecture asked for.

``python -m benchmarks.peers.published`` runs in the peers' own environment and imports nothing of
`jaxad`. It reads one JSON object a line and answers each with one: ``{"do": "make", ...}`` makes a
detector and reads its rows, ``{"do": "fit"}`` and ``{"do": "score"}`` run it, and all answers have
``seconds``, or ``error``.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

PACKAGES = ("pyod", "deepod", "torch", "numpy", "scikit-learn")


def _pyod_deep_svdd(inputs, widths, batch_size, epochs, learning_rate):
    from pyod.models.deep_svdd import DeepSVDD

    return DeepSVDD(
        inputs,
        hidden_neurons=list(widths),
        batch_size=batch_size,
        epochs=epochs,
        learning_rate=learning_rate,
        dropout_rate=0.0,
        preprocessing=False,
        verbose=0,
        random_state=0,
    )


def _pyod_autoencoder(inputs, widths, batch_size, epochs, learning_rate):
    from pyod.models.auto_encoder import AutoEncoder

    return AutoEncoder(
        hidden_neuron_list=list(widths),
        batch_size=batch_size,
        epoch_num=epochs,
        lr=learning_rate,
        batch_norm=False,
        dropout_rate=0.0,
        preprocessing=False,
        device="cpu",
        verbose=0,
    )


def _deepod_hypersphere(name: str) -> Callable:
    def make(inputs, widths, batch_size, epochs, learning_rate):
        from deepod.models import tabular

        return getattr(tabular, name)(
            hidden_dims=list(widths[:-1]),
            rep_dim=widths[-1],
            act="LeakyReLU",
            batch_size=batch_size,
            epochs=epochs,
            lr=learning_rate,
            device="cpu",
            verbose=0,
            random_state=0,
        )

    return make


def _deepod_goad(inputs, widths, batch_size, epochs, learning_rate, transforms, mapped):
    from deepod.models.tabular import GOAD

    return GOAD(
        n_trans=transforms,
        trans_dim=mapped,
        hidden_dim=widths[0],
        n_layers=len(widths) - 1,
        batch_size=batch_size,
        epochs=epochs,
        lr=learning_rate,
        device="cpu",
        verbose=0,
        random_state=0,
    )


DETECTORS: dict[str, Callable] = {
    "PyOD DeepSVDD": _pyod_deep_svdd,
    "PyOD AutoEncoder": _pyod_autoencoder,
    "DeepOD DeepSVDD": _deepod_hypersphere("DeepSVDD"),
    "DeepOD DeepSAD": _deepod_hypersphere("DeepSAD"),
    "DeepOD GOAD": _deepod_goad,
}


class Session:
    """One detector and its rows; a method for each command."""

    def make(self, detector: str, rows: str, new: str, label: str | None = None, **settings):
        """Import and make a detector; its rows are ``.npy`` files, ``label`` 1 marks anomalies."""
        self.x, self.new = np.load(rows), np.load(new)
        self.y = None if label is None else np.load(label)
        self.detector = DETECTORS[detector](self.x.shape[1], **settings)

    def fit(self):
        """Fit; both libraries also score the training rows."""
        self.detector.fit(self.x, self.y)

    def score(self):
        """Score the new rows."""
        score = np.asarray(self.detector.decision_function(self.new))
        if score.shape != (len(self.new),) or not np.isfinite(score).all():
            raise RuntimeError(f"scores of shape {score.shape}, or not finite")

    def versions(self) -> dict[str, str]:
        """Of the packages in this environment."""
        return {name: metadata.version(name) for name in PACKAGES}


def main() -> None:
    """Answer commands until the input ends."""
    # The libraries print; their output must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    session = Session()
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        start = time.perf_counter()
        try:
            result = getattr(session, command.pop("do"))(**command)
            answer = {"seconds": time.perf_counter() - start, "result": result}
        except Exception as error:  # whatever a library raises is this peer's result
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
