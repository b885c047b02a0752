"""What each entry of a row adds to its score."""

from typing import Any

import numpy as np

from jaxad import training
from jaxad.estimators import ensemble, members
from jaxad.estimators.checks import check_choice
from jaxad.stream import Stream


def explain(detector: Any, X: Any, method: str) -> np.ndarray:
    """See `jaxad.estimators.Detector.explain`."""
    if isinstance(X, Stream):
        raise ValueError("explain takes rows in memory: give it those in question")
    x, objective = detector._scaled(X), detector.objective_
    reconstructs = hasattr(objective, "reconstruct")
    if method == "auto":
        method = "reconstruction" if reconstructs else "gradient"
    choices = ("gradient", "reconstruction") if reconstructs else ("gradient",)
    check_choice("method", method, choices)
    explained = [
        np.square(training.apply_rows("reconstruct", objective, *model, x) - x)
        if method == "reconstruction"
        else training.explain(objective, *model, x)
        for model in members.split(detector.params_, detector.stats_, detector.n_members_)
    ]
    scales = detector.combination_["scale"].tolist()
    return ensemble.average([e / scale for e, scale in zip(explained, scales, strict=True)])
