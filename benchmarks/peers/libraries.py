"""PyOD's and DeepOD's detectors through their public API, each at the architecture asked for.

`benchmarks.speed.worker` calls these functions in the libraries' own environment; they import
nothing of `jaxad`. `make` makes one detector and reads its rows, `fit` and `score` run it.
"""

from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Any

import numpy as np

PACKAGES = ("pyod", "deepod", "torch", "numpy", "scikit-learn")


_QUIET = {"device": "cpu", "verbose": 0}


def _pyod_deep_svdd(inputs: int, widths: Sequence[int], **how: Any) -> dict[str, Any]:
    plain = {"dropout_rate": 0.0, "preprocessing": False, "verbose": 0, "random_state": 0}
    return {"n_features": inputs, "hidden_neurons": list(widths), **how, **plain}


def _pyod_autoencoder(inputs, widths, epochs, learning_rate, batch_size) -> dict[str, Any]:
    plain = {"batch_norm": False, "dropout_rate": 0.0, "preprocessing": False, **_QUIET}
    how = {"batch_size": batch_size, "epoch_num": epochs, "lr": learning_rate}
    return {"hidden_neuron_list": list(widths), **how, **plain}


def _deepod_hypersphere(inputs, widths, learning_rate, **how: Any) -> dict[str, Any]:
    sizes = {"hidden_dims": list(widths[:-1]), "rep_dim": widths[-1], "act": "LeakyReLU"}
    return {**sizes, "lr": learning_rate, **how, **_QUIET, "random_state": 0}


def _deepod_goad(inputs, widths, learning_rate, transforms, mapped, **how) -> dict[str, Any]:
    sizes = {"n_trans": transforms, "trans_dim": mapped}
    sizes |= {"hidden_dim": widths[0], "n_layers": len(widths) - 1}
    return {**sizes, "lr": learning_rate, **how, **_QUIET, "random_state": 0}


# Name -> module, class and what makes the class's arguments.
DETECTORS: dict[str, tuple[str, str, Callable[..., dict[str, Any]]]] = {
    "PyOD DeepSVDD": ("pyod.models.deep_svdd", "DeepSVDD", _pyod_deep_svdd),
    "PyOD AutoEncoder": ("pyod.models.auto_encoder", "AutoEncoder", _pyod_autoencoder),
    "DeepOD DeepSVDD": ("deepod.models.tabular", "DeepSVDD", _deepod_hypersphere),
    "DeepOD DeepSAD": ("deepod.models.tabular", "DeepSAD", _deepod_hypersphere),
    "DeepOD GOAD": ("deepod.models.tabular", "GOAD", _deepod_goad),
}

_made: dict[str, Any] = {}  # the detector and its rows


def make(detector: str, rows: str, new: str, label: str | None = None, **settings: Any) -> None:
    """Import and make a detector; its rows are ``.npy`` files, ``label`` 1 marks anomalies."""
    x = np.load(rows)
    y = None if label is None else np.load(label)
    module, name, arguments = DETECTORS[detector]
    kind = getattr(import_module(module), name)
    given = arguments(x.shape[1], **settings)
    _made.update(x=x, y=y, new=np.load(new), model=kind(**given), arguments=given)


def fit() -> None:
    """Fit; both libraries also score the training rows."""
    _made["model"].fit(_made["x"], _made["y"])


def score() -> None:
    """Score the new rows."""
    found = np.asarray(_made["model"].decision_function(_made["new"]))
    if found.shape != (len(_made["new"]),) or not np.isfinite(found).all():
        raise RuntimeError(f"scores of shape {found.shape}, or not finite")


def fit_groups(groups: int, jobs: int) -> None:
    """Fit one detector of the kind made on each of so many equal parts of the rows, in parallel."""
    from joblib import Parallel, delayed

    kind, arguments = type(_made["model"]), _made["arguments"]
    parts = np.split(_made["x"], groups)
    Parallel(n_jobs=jobs)(delayed(_fitted)(kind, arguments, part) for part in parts)


def _fitted(kind: Any, arguments: dict[str, Any], x: np.ndarray) -> Any:
    return kind(**arguments).fit(x)


def versions() -> dict[str, str]:
    """The versions of the packages in this environment."""
    return {name: metadata.version(name) for name in PACKAGES}
