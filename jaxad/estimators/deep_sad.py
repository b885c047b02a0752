"""Deep SAD as a scikit-learn estimator."""

import inspect
import warnings
from typing import Any

import numpy as np

from jaxad import objectives
from jaxad.checks import POSITIVE, Choice, Flag, check_labels, check_signs
from jaxad.estimators.base import LabelWarning, argument
from jaxad.estimators.centre import CentreDetector
from jaxad.estimators.fitting import Run
from jaxad.rows import Rows


class DeepSAD(CentreDetector):
    """Deep Semi-supervised Anomaly Detection (Ruff et al., ICLR 2020).

    Deep SVDD with labels: known normals and unlabelled rows are pulled to the centre, known
    anomalies are pushed away. ``fit(X, y)`` takes ``y`` ``[N]``: +1 known normal, -1 known anomaly,
    0 unlabelled; `jaxad.labels_from_anomalies` makes it from a 0/1 column. Without known anomalies
    this is Deep SVDD, and ``fit`` warns; 0 and +1 without a -1 are an error, because in most tables
    1 marks the anomalies.

    Args:
      eta: weight of labelled rows, > 0.
      epsilon: added to the distance of labelled rows, > 0.
      anomalies_in_centre: whether known anomalies count for the centre, as in the paper's code.
      pretrain_on: ``"unlabelled"`` or ``"all"`` rows.
      epochs: a number, or ``"auto"``: about 3,000 steps, from 1 to 1,500 epochs. 0 leaves the
        network untrained (a control).
      **others: see `DeepSVDD`, also for fitted attributes.

    Example:
      >>> import numpy as np
      >>> from jaxad import DeepSAD
      >>> rng = np.random.default_rng(0)
      >>> X = np.concatenate([rng.normal(size=(190, 4)), rng.normal(size=(10, 4)) + 4])
      >>> y = np.zeros(200, int)
      >>> y[195:] = -1
      >>> detector = DeepSAD(epochs=20, random_state=0).fit(X, y)
      >>> detector.anomaly_score(X).shape
      (200,)
    """

    eta: float = argument(1.0, POSITIVE)
    epsilon: float = argument(1e-6, POSITIVE)
    anomalies_in_centre: bool = argument(False, Flag())
    pretrain_on: str = argument("unlabelled", Choice(("unlabelled", "all")))

    _max_epochs = 1500  # labels prevent overfitting of small sets

    def _objective(self, shape: tuple[int, ...], count: int):
        numbers = {"eta": float(self.eta), "epsilon": float(self.epsilon)}
        if self.loss is not None:
            taken = inspect.signature(self.loss).parameters
            numbers = {name: value for name, value in numbers.items() if name in taken}
        return objectives.deep_sad(
            self._encoder(),
            anomalies_in_centre=bool(self.anomalies_in_centre),
            **numbers,
            **self._loss(None),
        )

    def _steps(self, rows: int) -> int:
        return 3000  # known anomalies still move when the other rows have settled

    def _labels(self, y: Any, count: int) -> np.ndarray:
        return np.zeros(count, np.int32) if y is None else check_labels(y, count)

    def _check_labels(self, labels: set[int]) -> None:
        if labels == {-1}:
            raise ValueError(
                "y marks every row as a known anomaly (-1): at least one row must be unlabelled "
                "(0) or known normal (+1)"
            )

    def _check_marks(self, labels: set[int]) -> None:
        check_signs(labels)
        if -1 not in labels:
            known = "every row is known normal (+1)" if 1 in labels else "no row has a label"
            warnings.warn(
                f"{type(self).__name__}: {known}, so there is no known anomaly to learn from: mark "
                "some rows with -1 in y (jaxad.labels_from_anomalies makes it from a 0/1 column), "
                "or use DeepSVDD",
                LabelWarning,
                stacklevel=5,
            )

    def _pretraining(self, objective: Any, rows: Rows, seed: int) -> Run | None:
        if self.pretrain_epochs and self.pretrain_on == "unlabelled":
            rows = rows.keep(lambda label: label == 0, otherwise=lambda label: label >= 0)
        return self._autoencoder(objective, rows, seed, objectives.mean_squared_error)
