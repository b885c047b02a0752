"""A fitted detector as one pure function of a row: scaler, networks, ensemble, threshold, p-value.

Everything is float32. Numbers that the detector holds in float64 are split or rounded so that the
result for float32 rows agrees with the detector's to float32 rounding.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.typing import Array

Outputs = dict[str, Array]


def row_program(detector: Any) -> Callable[[Array], Outputs]:
    """A function from one row ``[...]`` in the units of ``X`` to ``score`` and ``is_anomaly``.

    If the detector is calibrated, the outputs have a ``p_value`` too. ``jax.vmap`` applies the
    function to a batch of any size. Its shapes never depend on that size, so the batch may be
    symbolic.

    Args:
      detector: a fitted detector.

    Raises:
      ValueError: the detector is calibrated by another method than ``"split"``.
    """
    objective, several = detector.objective_, detector.n_members_ > 1
    params, stats = jax.device_get((detector.params_, detector.stats_))
    scaler, combination = detector.scaler_, detector.combination_
    threshold = _rounded_down(np.float64(detector.threshold_))
    calibration = _calibration_scores(detector)

    def score_of_member(params: Any, stats: Any, x: Array) -> Array:
        return objective.score(params, stats, x[None])[0]

    def program(row: Array) -> Outputs:
        with jax.default_matmul_precision("float32"):
            x = _standardise(row, scaler.shift, scaler.scale)
            if several:
                scores = jax.vmap(score_of_member, in_axes=(0, 0, None))(params, stats, x)
            else:
                scores = score_of_member(params, stats, x)[None]
            score = _combine(combination, scores)
        outputs = {"score": score, "is_anomaly": score > threshold}
        if calibration is not None:
            below = _count_below(calibration[None], score[None])[0]
            count = np.float32(len(calibration) + 1)
            outputs["p_value"] = (count - below.astype(jnp.float32)) / count
        return outputs

    return program


def _calibration_scores(detector: Any) -> np.ndarray | None:
    """Scores of the calibration rows ``[C]``, ascending; None without a calibration."""
    calibration = getattr(detector, "calibration_", None)
    if calibration is None:
        return None
    if calibration.method != "split":
        raise ValueError(
            f"the detector is calibrated by method={calibration.method!r}, whose p-values need "
            "more than one model: calibrate it by method='split' to export it with a p-value"
        )
    return _rounded_down(np.sort(np.asarray(calibration.scores, np.float64)))


def _standardise(x: Array, shift: np.ndarray, scale: np.ndarray) -> Array:
    """``(x - shift) * scale`` for float64 ``shift`` and ``scale``.

    The shift is subtracted in two parts, before and after the product so that no compiler adds them
    up. Its rounding error would otherwise be as large as a feature's spread when the mean is
    millions of times larger.
    """
    first = shift.astype(np.float32)
    rest = ((shift - first) * scale).astype(np.float32)
    return (x - first) * scale.astype(np.float32) - rest


def _combine(combination: dict[str, np.ndarray], scores: Array) -> Array:
    """The score of an ensemble from its members' scores ``[P]``, as `jaxad.estimators.ensemble`."""
    scale = 1 / combination["scale"]
    if "knots" not in combination:
        return jnp.mean(_standardise(scores, combination["shift"], scale))
    return jnp.mean(_ranks(combination["knots"], combination["levels"], scale, scores))


def _ranks(knots: np.ndarray, levels: np.ndarray, scale: np.ndarray, scores: Array) -> Array:
    """Ranks ``[P]``, interpolated between the knots ``[P, K]`` and extrapolated beyond them."""
    knots = knots.astype(np.float32)
    first, last = knots[:, 0], knots[:, -1]
    rise = np.diff(levels, append=levels[:, -1:])
    width = np.diff(knots, append=np.full_like(knots[:, :1], np.inf))
    slopes = np.divide(rise, width, out=np.zeros_like(rise), where=width > 0)
    inside = jnp.clip(scores, first, last)
    at = _count_below(knots, inside, or_equal=True) - 1
    knot, level, slope = (_entries(table, at) for table in (knots, levels, slopes))
    above = jnp.maximum(scores - last, 0) * scale.astype(np.float32)
    below = jnp.maximum(first - scores, 0) * scale.astype(np.float32)
    return level + slope * (inside - knot) + jnp.log1p(above) - jnp.log1p(below)


def _count_below(ascending: np.ndarray, values: Array, *, or_equal: bool = False) -> Array:
    """The entries of each row ``[P, C]`` below a value ``[P]``: a binary search without a loop."""
    steps = ascending.shape[1].bit_length()
    missing = 2**steps - 1 - ascending.shape[1]
    tables = np.pad(ascending, ((0, 0), (0, missing)), constant_values=np.inf)
    found: Any = jnp.zeros(len(ascending), jnp.int32)
    for step in reversed(range(steps)):
        probes = _entries(tables, found + np.int32(2**step - 1))
        found = found + np.int32(2**step) * ((probes <= values) if or_equal else (probes < values))
    return found


def _entries(tables: np.ndarray, places: Array) -> Array:
    """The entry of each row of ``[P, C]`` at its place ``[P]``."""
    starts = np.arange(len(tables), dtype=np.int32) * tables.shape[1]
    flat = jnp.asarray(tables.ravel(), jnp.float32)
    return flat.at[starts + places].get(mode="promise_in_bounds")


def _rounded_down(value: Any) -> Any:
    """The largest float32 at most ``value``: comparisons with a float32 score stay the same."""
    nearest = value.astype(np.float32)
    lower = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest > value, lower, nearest)
