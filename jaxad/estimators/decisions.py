"""From scores to decisions: the methods of detectors for thresholds, p-values and selection."""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from jaxad import thresholds
from jaxad.estimators import calibration, thresholding


class Decisions:
    """Methods of a fitted `Detector`."""

    threshold_: float
    calibration_: calibration.Calibration

    def set_threshold(
        self,
        value: float | None = None,
        *,
        contamination: float | None = None,
        false_alarm_rate: float | None = None,
        beta: float | None = None,
        X: Any = None,
        y: Any = None,
    ) -> Self:
        """Set ``threshold_`` of the fitted detector, without training. ``fit`` sets it anew.

        Exactly one of the first four arguments chooses it.

        Args:
          value: the threshold, on the scale of ``anomaly_score``.
          contamination: in [0, 0.5], the share of rows that score above it: of X, or of the rows
            that ``fit`` set the threshold from.
          false_alarm_rate: in (0, 1), the probability that a new normal row scores above it at
            most, on average over calibration rows (`thresholds.target_false_positive_rate`). They
            are X or, without X, the rows of ``calibrate(method="split")`` or those that
            ``validation_fraction`` held out. They must be normal and not trained on.
          beta: positive; the threshold has the highest F-beta on validation rows X with marks y.
            1 weighs precision and recall equally, 2 prefers recall, 0.5 precision.
          X: rows, as for ``anomaly_score``.
          y: with ``beta``, marks ``[N]``: 1 for an anomaly, 0 for a normal row.

        Raises:
          ValueError: the arguments do not fit together, a value is out of range, or there are no
            or too few rows for the rate. The threshold is unchanged.

        Example:
          >>> import jaxad, numpy as np
          >>> x = np.random.default_rng(0).normal(size=(400, 3))
          >>> detector = jaxad.DeepSVDD(epochs=1, n_members=1, random_state=0).fit(x[:200])
          >>> detector = detector.set_threshold(false_alarm_rate=0.05, X=x[200:300])
          >>> bool((detector.predict(x[300:]) == -1).mean() < 0.15)
          True
        """
        check_is_fitted(self)
        self.threshold_ = thresholding.choose(
            self,
            value,
            contamination=contamination,
            false_alarm_rate=false_alarm_rate,
            beta=beta,
            X=X,
            y=y,
        )
        return self

    def score_percentile(self, X: Any) -> np.ndarray:
        """Percent ``[N]`` of the training rows that score lower, from 0 to 100.

        With a ``validation_fraction`` it counts the held-out rows instead. It ranks rows as
        ``anomaly_score`` does, up to ties, in a unit that is the same for all detectors. It is not
        the probability of an anomaly, which no unsupervised detector knows: a normal row is above
        the 99th percentile in one case of a hundred. For the evidence against a row see
        ``p_value``.

        Example:
          >>> import jaxad, numpy as np
          >>> x = np.random.default_rng(0).normal(size=(200, 3))
          >>> detector = jaxad.DeepSVDD(epochs=1, n_members=1, random_state=0).fit(x)
          >>> float(detector.score_percentile(x).max())
          99.5
        """
        check_is_fitted(self)
        return thresholding.percentile(self, X)

    def calibrate(
        self,
        X: Any = None,
        y: Any = None,
        *,
        method: str = "split",
        folds: int = 10,
        bootstraps: int = 30,
    ) -> Self:
        """Make ``p_value`` available.

        It sets ``calibration_``, which ``save`` keeps and ``fit`` and ``partial_fit`` drop.

        * ``"split"`` compares rows with normal rows that were not trained on. It trains nothing,
          and its p-values are valid: a normal row has one of at most ``a`` with a probability of at
          most ``a``. Source: Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World",
          2005; Bates et al., "Testing for Outliers with Conformal p-values", 2023.
        * ``"cross"`` trains a model without each fold of X. Source: Vovk, "Cross-conformal
          predictors", 2015.
        * ``"jackknife+"`` trains a model on each of several bootstrap samples of X, and scores a
          row of X by the average of those whose sample lacks it. Source: Kim, Xu & Barber,
          "Predictive Inference Is Free with the Jackknife+-after-Bootstrap", 2020; for anomaly
          detection Hennhöfer & Preisach, "Leave-One-Out-, Bootstrap- and Cross-Conformal Anomaly
          Detectors", 2024.

        The last two need no rows set aside. They train their models, with the detector's arguments
        but without sample weights and validation rows, as one population. The probability of a
        p-value of at most ``a`` may rise to about ``2 a`` in the worst case, but is close to ``a``
        in practice (Barber et al., "Predictive inference with the jackknife+", 2021).

        Anomalies in X make p-values larger: fewer false alarms, more misses. If the held-out rows
        also chose the epoch (``patience``) or the ensemble's combination (``"z"``, ``"rank"``),
        their p-values are valid only approximately; give other rows as X for the guarantee.

        Args:
          X: normal rows. ``"split"``: not trained on; None takes those that were held out from
            ``fit``, but for known anomalies. Otherwise: the training rows, in memory.
          y: with ``"cross"`` and ``"jackknife+"`` labels ``[N]``, as for ``fit``. Known anomalies
            train every model, and calibrate none.
          method: ``"split"``, ``"cross"`` or ``"jackknife+"``.
          folds: number of models of ``"cross"``.
          bootstraps: number of models of ``"jackknife+"``.

        Raises:
          ValueError: there are no rows to calibrate on, or an argument is invalid.
          jaxad.NonFiniteError: the training of a model met steps that are not finite.

        Example:
          >>> import jaxad, numpy as np
          >>> x = np.random.default_rng(0).normal(size=(300, 3))
          >>> detector = jaxad.DeepSVDD(epochs=1, n_members=1, random_state=0).fit(x[:200])
          >>> detector = detector.calibrate(x[200:])
          >>> detector.p_value([[0, 0, 0], [9, 9, 9]])[1:].round(2)
          array([0.01])
        """
        check_is_fitted(self)
        options: dict[str, Any] = {"method": method, "folds": folds, "bootstraps": bootstraps}
        self.calibration_ = calibration.calibrate(self, X, y, **options)
        return self

    def p_value(self, X: Any) -> np.ndarray:
        """Conformal p-values ``[N]`` of the hypothesis that a row is normal, in (0, 1].

        The share of calibration rows that score at least as high as the row, itself included. Flag
        rows with a p-value of at most ``a`` to have about a share ``a`` of false alarms among
        normal rows. The smallest possible one is ``calibration_.smallest_p_value``.

        Raises:
          ValueError: the detector is not calibrated; see ``calibrate``.
        """
        check_is_fitted(self)
        return calibration.of(self).p_value(self, X)

    def select(self, X: Any, false_discovery_rate: float = 0.1) -> np.ndarray:
        """The rows to flag so that most of them are anomalies, boolean ``[N]``.

        On average at most a share ``false_discovery_rate`` of the flagged rows is normal, by
        Benjamini & Hochberg's procedure on ``p_value(X)`` (`thresholds.benjamini_hochberg`). This
        is proven for ``calibrate(method="split")`` (Bates et al. 2023), not for the other methods.
        Whether a row is flagged depends on the other rows of X. To find k anomalies among N rows,
        calibrate on at least ``N / (k * false_discovery_rate)`` rows: with fewer the smallest
        possible p-value is too large, and no row is flagged.

        Raises:
          ValueError: the rate is outside (0, 1), or the detector is not calibrated, or on too few
            rows to flag any row at this rate.
        """
        check_is_fitted(self)
        rate = thresholding.RATE("false_discovery_rate", false_discovery_rate)
        smallest = calibration.of(self).smallest_p_value
        if smallest > rate:
            raise ValueError(
                f"false_discovery_rate={rate} can flag no row: the smallest possible p-value is "
                f"{smallest:.3g}; calibrate on more rows, or raise the rate"
            )
        return thresholds.benjamini_hochberg(self.p_value(X), rate)
