"""Reference detectors every table carries: simple, well known, and not ours.

They have the face of our estimators: ``fit``, ``anomaly_score`` and ``threshold_``.
"""

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.ensemble import IsolationForest as _IsolationForest
from sklearn.neighbors import NearestNeighbors as _NearestNeighbors
from sklearn.preprocessing import StandardScaler


class _Reference(OutlierMixin, BaseEstimator):
    """Scale rows to mean 0 and variance 1 (``standardise``), images flattened; then fit and score.

    The threshold flags the share ``contamination`` of the training rows.
    """

    def __init__(
        self, *, contamination: float = 0.1, random_state: int = 0, standardise: bool = True
    ):
        self.contamination = contamination
        self.random_state = random_state
        self.standardise = standardise

    def fit(self, x: np.ndarray, y: None = None) -> Self:
        """Fit to rows ``[N, ...]`` and set ``threshold_`` from their own scores."""
        del y  # labels are not used
        rows = flat(x)
        self._scaler = StandardScaler(with_mean=self.standardise, with_std=self.standardise)
        self._scaler.fit(rows)
        training_score = self._fit(self._scaler.transform(rows))
        self.threshold_ = float(np.quantile(training_score, 1 - self.contamination))
        return self

    def anomaly_score(self, x: np.ndarray) -> np.ndarray:
        """``[N]``, higher = more anomalous."""
        return self._score(self._scaler.transform(flat(x)))

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        """Its negative, as scikit-learn's ``Pipeline`` asks for it."""
        return -self.anomaly_score(x)


class IsolationForest(_Reference):
    """Isolation forest (Liu et al. 2008), scikit-learn's defaults."""

    def _fit(self, x: np.ndarray) -> np.ndarray:
        self._forest = _IsolationForest(random_state=self.random_state).fit(x)
        return self._score(x)

    def _score(self, x: np.ndarray) -> np.ndarray:
        return -self._forest.score_samples(x)


class NearestNeighbours(_Reference):
    """Mean distance to the five nearest training rows; a training row is not its own neighbour."""

    def _fit(self, x: np.ndarray) -> np.ndarray:
        self._neighbours = _NearestNeighbors(n_neighbors=min(5, len(x) - 1)).fit(x)
        return self._summary(self._neighbours.kneighbors()[0])

    def _score(self, x: np.ndarray) -> np.ndarray:
        return self._summary(self._neighbours.kneighbors(x)[0])

    def _summary(self, distance: np.ndarray) -> np.ndarray:
        """``[N]`` scores of the distances ``[N, 5]``, which ascend."""
        return distance.mean(axis=1)


class FifthNeighbour(NearestNeighbours):
    """Distance to the fifth nearest training row (Ramaswamy et al. 2000)."""

    def _summary(self, distance: np.ndarray) -> np.ndarray:
        return distance[:, -1]


KINDS = {
    "knn_5th": FifthNeighbour,
    "knn_mean": NearestNeighbours,
    "isolation_forest": IsolationForest,
}


def flat(x: np.ndarray) -> np.ndarray:
    """Rows ``[N, ...]`` as ``[N, D]``."""
    return np.asarray(x, np.float64).reshape(len(x), -1)
