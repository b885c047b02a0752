"""Metrics of how well scores rank anomalies above normal rows.

The functions are compiled, treat ties exactly, and work under `jax.vmap`, for example over members.
Scores keep their dtype, float32 unless JAX is configured otherwise. Rows of weight 0 change
nothing, whatever their score. The result is NaN if another row scores NaN, or if the rows lack a
class that the metric needs.
"""

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxad.typing import Array


@jax.jit
def roc_auc(score: Array, is_anomaly: Array, weight: Array | None = None) -> Array:
    """Area under the ROC curve: the share of pairs in which the anomaly outscores the normal row.

    A tied pair counts half.

    Args:
      score: ``[N]``, higher = more anomalous.
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      weight: ``[N]``, not negative. None for 1.

    Returns:
      A scalar; NaN unless both classes are present.

    Example:
      >>> float(roc_auc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([0, 0, 1, 1])))
      0.875
    """
    score, anomaly, normal = _sorted(score, *_weights(score, is_anomaly, weight))
    anomalies, normals = _total(anomaly), _total(normal)
    recall = _at_or_above(score, anomaly) / anomalies
    false_alarms = _at_or_above(score, normal) / normals
    # A pair counts in one of the two sums, a tied pair in both, so that its net count is a half.
    won = _total(normal * recall) / normals
    lost = _total(anomaly * false_alarms) / anomalies
    return (1 + won - lost) / 2


@jax.jit
def average_precision(score: Array, is_anomaly: Array, weight: Array | None = None) -> Array:
    """Area under the precision-recall curve as a step function; tied rows form one step.

    Args:
      score: ``[N]``, higher = more anomalous.
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      weight: ``[N]``, not negative. None for 1.

    Returns:
      A scalar; NaN unless both classes are present.

    Example:
      >>> float(average_precision(jnp.array([0.1, 0.2, 0.4, 0.8]), jnp.array([0, 1, 0, 1])))
      0.8333333730697632
    """
    score, anomaly, normal = _sorted(score, *_weights(score, is_anomaly, weight))
    hits, false_alarms = _at_or_above(score, anomaly), _at_or_above(score, normal)
    flagged = hits + false_alarms
    precision = hits / jnp.where(flagged > 0, flagged, 1)
    anomalies, normals = _total(anomaly), _total(normal)
    return jnp.where(normals > 0, _total(anomaly * precision) / anomalies, jnp.nan)


@jax.jit
def f1_at_threshold(
    score: Array, is_anomaly: Array, threshold: Array | float, weight: Array | None = None
) -> Array:
    """F1 of the anomaly class if rows that score above ``threshold`` are flagged.

    Args:
      score: ``[N]``, higher = more anomalous.
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      threshold: scalar. A row with exactly this score is not flagged.
      weight: ``[N]``, not negative. None for 1.

    Returns:
      A scalar; NaN if there is no anomaly, 0 if no anomaly is flagged.

    Example:
      >>> float(f1_at_threshold(jnp.array([0.1, 0.2, 0.4, 0.8]), jnp.array([0, 1, 0, 1]), 0.2))
      0.5
    """
    chex.assert_rank(threshold, 0)
    anomaly, normal = _weights(score, is_anomaly, weight)
    flagged = score > threshold
    anomalies = _total(anomaly)
    hits = _total(jnp.where(flagged, anomaly, 0))
    false_alarms = _total(jnp.where(flagged, normal, 0))
    f1 = 2 * hits / (hits + false_alarms + anomalies)
    return jnp.where(anomalies > 0, f1, jnp.nan)


def _weights(score, is_anomaly, weight) -> tuple[Array, Array]:
    """The weight of each row as an anomaly and as a normal row; one of the two is 0."""
    chex.assert_rank(score, 1)
    chex.assert_equal_shape([score, is_anomaly] + ([] if weight is None else [weight]))
    dtype = jnp.result_type(float)
    weight = jnp.ones(score.shape, dtype) if weight is None else weight.astype(dtype)
    weight = jnp.where(jnp.any(jnp.isnan(score) & (weight > 0)), jnp.nan, weight)
    is_anomaly = is_anomaly.astype(bool)
    return jnp.where(is_anomaly, weight, 0), jnp.where(is_anomaly, 0, weight)


def _sorted(score, *weights):
    return lax.sort((score, *weights), num_keys=1, is_stable=False)


def _at_or_above(score, weight):
    """For each of the ascending scores, the total weight of rows that score at least as high."""
    reached = lax.cumsum(weight, reverse=True)
    first_of_tied = jnp.concatenate([jnp.ones(1, bool), score[1:] != score[:-1]])
    return lax.cummin(jnp.where(first_of_tied, reached, jnp.inf))


def _total(x):
    # A cumulative sum adds as a tree: a million float32 terms keep six digits on every backend.
    return lax.cumsum(x)[-1]
