"""Mutants of thresholds, p-values and calibration, of single detectors, and of metrics."""

from tests.mutants.mutant import of

_THRESHOLDS = ("tests/test_thresholds.py", "tests/estimators/test_decisions.py")
_DECISIONS = ("tests/estimators/test_decisions.py", "tests/test_thresholds.py")
_METRICS = ("tests/test_metrics.py",)

MUTANTS = [
    *of(
        "jaxad/thresholds.py",
        _THRESHOLDS,
        (
            "return float(scores[len(scores) - allowed])",
            "return float(scores[len(scores) - allowed - 1])",
            "one normal row too many is flagged",
        ),
        (
            "np.floor(rate * (np.asarray(count) + 1) + 1e-9)",
            "np.floor(rate * np.asarray(count) + 1e-9)",
            "the new row is not counted among the calibration rows",
        ),
        (
            "np.floor(rate * (np.asarray(count) + 1) + 1e-9)",
            "np.floor(rate * (np.asarray(count) + 1))",
            "rounding takes an alarm that is allowed",
        ),
        (
            "return (1 + len(ascending) - below) / (len(ascending) + 1)",
            "return (len(ascending) - below) / (len(ascending) + 1)",
            "a p-value may be 0",
        ),
        (
            'below = np.searchsorted(ascending, scores, side="left")',
            'below = np.searchsorted(ascending, scores, side="right")',
            "ties do not count for normal",
        ),
        (
            "f_beta = (1 + beta**2) * hits / (flagged + beta**2 * anomalies)",
            "f_beta = (1 + beta**2) * hits / (beta**2 * flagged + anomalies)",
            "beta weighs precision, not recall",
        ),
        (
            "best = len(f_beta) - 1 - int(np.argmax(f_beta[::-1]))",
            "best = int(np.argmax(f_beta))",
            "of equally good thresholds the one that flags most is chosen",
        ),
        (
            "return float(middle if below <= middle < above else below)",
            "return float(above)",
            "the threshold is a score, and the row that has it is not flagged",
        ),
        (
            "return float(np.nextafter(above, -np.inf))",
            "return float(above)",
            "where all rows ought to be flagged the lowest one is not",
        ),
        (
            'adjusted = false_discovery_control(p_values, method="bh")',
            'adjusted = false_discovery_control(p_values, method="by")',
            "another procedure controls the discoveries",
        ),
    ),
    *of(
        "jaxad/estimators/thresholding.py",
        _DECISIONS,
        (
            "detector.held_out_scores_ = np.sort(scores[np.asarray(label) >= 0])",
            "detector.held_out_scores_ = np.sort(scores)",
            "known anomalies calibrate",
        ),
        (
            "detector.threshold_ = float(np.quantile(scores, 1 - detector.contamination))",
            "detector.threshold_ = float(np.quantile(scores, detector.contamination))",
            "the threshold leaves the wrong share above it",
        ),
        (
            "if len(reference) == QUANTILES and 0 < share < 1 / QUANTILES:",
            "if False:",
            "a contamination finer than what is kept is not refused",
        ),
        (
            'if calibration.method != "split":',
            "if False:",
            "a calibration of several models gives a threshold",
        ),
    ),
    *of(
        "jaxad/estimators/calibration.py",
        _DECISIONS,
        (
            "models = _trained(detector, rows, [np.setdiff1d(every, fold) for fold in folds])",
            "models = _trained(detector, rows, [every for fold in folds])",
            "the rows that calibrate a model train it, too",
        ),
        (
            "out_of_bag = np.stack([~np.isin(normal, bag) for bag in bags])",
            "out_of_bag = np.stack([np.isin(normal, bag) for bag in bags])",
            "rows are scored by the models that were trained on them",
        ),
        (
            "return reduce(np.add, values) / out_of_bag.sum(axis=0)",
            "return reduce(np.add, values) / len(out_of_bag)",
            "scores of rows are means over all models",
        ),
        (
            "return (1 + np.sum(higher, axis=0)) / (self.n_rows + 1)",
            "return (1 + np.max(higher, axis=0)) / (self.n_rows + 1)",
            "one fold alone makes the p-value",
        ),
        (
            "scores = fitting.score(*model, rows.map(self.scaler), size, threads=detector.threads)",
            "scores = fitting.score(\n                *model, rows.map(detector.scaler_), size, "
            "threads=detector.threads\n            )",
            "rows are scaled by the detector's scaler, not by the model's",
        ),
        (
            "rng = np.random.default_rng(seed_from(detector.random_state))",
            "rng = np.random.default_rng()",
            "calibration is not repeatable",
        ),
        (
            "return SplitCalibration(scores.copy())",
            "return SplitCalibration(scores[::-1].copy())",
            "calibration scores are in the wrong order",
        ),
    ),
    *of(
        "jaxad/metrics.py",
        _METRICS,
        (
            "return (1 + won - lost) / 2",
            "return (1 + lost - won) / 2",
            "the area is that of the opposite ranking",
        ),
        (
            "lax.cummin(jnp.where(first_of_tied, reached, jnp.inf))",
            "reached",
            "tied rows are ranked",
        ),
        (
            "jnp.where(jnp.any(jnp.isnan(score) & (weight > 0)), jnp.nan, weight)",
            "jnp.where(jnp.any(jnp.isnan(score)), jnp.nan, weight)",
            "a NaN in a row of weight 0 makes the metric NaN",
        ),
        (
            "flagged = score > threshold",
            "flagged = score >= threshold",
            "a row with the score of the threshold is flagged",
        ),
    ),
    *of(
        "jaxad/estimators/thresholding.py",
        (
            "tests/estimators/test_decisions.py::test_a_percentile_counts_the_training_rows_below",
            "tests/estimators/test_decisions.py",
        ),
        (
            'below = np.searchsorted(reference, detector.anomaly_score(X), side="left")',
            'below = np.searchsorted(reference, detector.anomaly_score(X), side="right")',
            "the percentile counts rows with an equal score",
        ),
    ),
    *of(
        "jaxad/estimators/calibration.py",
        (
            "tests/estimators/test_decisions.py::test_known_anomalies_train_and_do_not_calibrate",
            "tests/estimators/test_decisions.py",
        ),
        (
            "every = np.concatenate([*folds, anomalies])",
            "every = np.concatenate([*folds])",
            "known anomalies do not train the models",
        ),
    ),
    *of(
        "jaxad/thresholds.py",
        ("tests/test_thresholds.py",),
        (
            "if not np.isfinite(array).all():",
            "if np.isnan(array).any():",
            "infinite scores are accepted",
        ),
    ),
    *of(
        "jaxad/thresholds.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "return adjusted <= rate * (1 + 1e-9)",
            "return adjusted < rate",
            "a row at the rate is not selected",
        ),
    ),
    *of(
        "jaxad/estimators/thresholding.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "scores = in_proportion(scores, weight)",
            "scores.sort()",
            "weights do not count in the threshold",
        ),
    ),
]
