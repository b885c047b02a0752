"""Detectors with the interface of PyOD, for its ensembles and for tools that build on it."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone

from jaxad.checks import labels_from_anomalies
from jaxad.estimators import Detector

try:
    from pyod.models.base import BaseDetector
except ImportError:  # `as_pyod` says what to install
    BaseDetector = None

_Base: Any = BaseDetector or BaseEstimator


class PyODDetector(_Base):
    """A detector with the interface of PyOD; made by `as_pyod`.

    ``decision_function`` is higher for anomalies, and ``predict`` returns 1 for them and 0 for
    other rows. ``predict_proba`` is PyOD's: scores mapped to [0, 1] by the range or the moments of
    the training scores. It is not a probability; `Detector.p_value` of ``detector_`` is.

    Attributes:
      detector_: the fitted detector.
      decision_scores_: ``[N]`` scores of the training rows.
      threshold_: the ``1 - contamination`` quantile of ``decision_scores_``, or the threshold of
        the PyThresh object.
      labels_: ``[N]`` 1 for training rows above it, 0 for the others.
    """

    def __init__(self, detector: Any, contamination: Any = 0.1):
        super().__init__(contamination=contamination)
        self.detector = detector

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a copy of ``detector`` on ``X`` ``[N, D]``.

        Args:
          X: rows.
          y: marks ``[N]`` for detectors with labels: 1 for known anomalies, 0 for unlabelled rows.
            Other detectors ignore it.
        """
        self._set_n_classes(None)
        labelled = type(self.detector)._labels is not Detector._labels
        labels = labels_from_anomalies(y) if labelled and y is not None else None
        copy: Any = clone(self.detector)
        self.detector_ = copy.fit(X, labels)
        self.decision_scores_ = self.detector_.anomaly_score(X)
        self._process_decision_scores()
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Anomaly scores ``[N]``, higher = more anomalous."""
        return self.detector_.anomaly_score(X)


def as_pyod(detector: Detector, contamination: Any = None) -> PyODDetector:
    """The detector with the interface of PyOD, unfitted.

    PyOD's ensembles (SUOD, LSCP, FeatureBagging) clone, train and combine it like their own
    detectors. Its ``fit`` trains a copy, and ``detector`` stays as it is.

    Args:
      detector: a detector for tables.
      contamination: in (0, 0.5], the share of training rows to flag, or a thresholder of PyThresh;
        None takes the detector's ``contamination``.

    Raises:
      ImportError: PyOD is not installed.
      TypeError: ``detector`` is not a detector of jaxad.
      ValueError: ``contamination`` is out of range.

    Example:
      >>> import jaxad, numpy as np
      >>> from jaxad.pyod import as_pyod
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> detector = as_pyod(jaxad.DeepSVDD(epochs=1, n_members=1, random_state=0))
      >>> int(detector.fit(x).labels_.sum())
      20
    """
    if BaseDetector is None:
        raise ImportError("as_pyod needs PyOD: pip install 'jaxad[pyod]'")
    if not isinstance(detector, Detector):
        raise TypeError(f"detector={detector!r} is not a detector of jaxad, such as DeepSVDD()")
    own = detector.contamination
    return PyODDetector(detector, own if contamination is None else contamination)
