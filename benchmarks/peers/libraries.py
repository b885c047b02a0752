"""PyOD's and DeepOD's detectors through their public API, each at the architecture asked for.

`benchmarks.speed.worker` calls these functions in the libraries' own environment; they import
nothing of `jaxad`. `make` makes one detector and reads its rows, `fit` and `score` run it.
"""

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


_made: dict[str, Any] = {}  # the detector and its rows


def make(detector: str, rows: str, new: str, label: str | None = None, **settings: Any) -> None:
    """Import and make a detector; its rows are ``.npy`` files, ``label`` 1 marks anomalies."""
    x = np.load(rows)
    y = None if label is None else np.load(label)
    model = DETECTORS[detector](x.shape[1], **settings)
    _made.update(x=x, y=y, new=np.load(new), model=model)


def fit() -> None:
    """Fit; both libraries also score the training rows."""
    _made["model"].fit(_made["x"], _made["y"])


def score() -> None:
    """Score the new rows."""
    found = np.asarray(_made["model"].decision_function(_made["new"]))
    if found.shape != (len(_made["new"]),) or not np.isfinite(found).all():
        raise RuntimeError(f"scores of shape {found.shape}, or not finite")


def versions() -> dict[str, str]:
    """The versions of the packages in this environment."""
    return {name: metadata.version(name) for name in PACKAGES}
