"""How well scores rank anomalies above normal rows: compiled, ties right, `jax.vmap` over members.

Scores are compared in the dtype they arrive in, float32 unless JAX is told otherwise. Rows of
weight 0 change nothing, whatever their score. A NaN score of any other row makes the result NaN,
and so does a set in which a class that the measure needs is missing.
"""

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxad.typing import Array


@jax.jit
def roc_auc(score: Array, is_anomaly: Array, weight: Array | None = None) -> Array:
    """Area under the ROC curve: how often an anomaly outscores a normal row, ties counting half.

    Args:
      score: ``[N]``, higher = more anomalous.
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      weight: ``[N]``, not negative; 1 where not given.

    Returns:
      A scalar; NaN unless both classes are present.

    Example:
      >>> import jax.numpy as jnp
      >>> float(roc_auc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([0, 0, 1, 1])))
      0.875
    """
    score, anomaly, normal = _sorted(score, *_weights(score, is_anomaly, weight))
    anomalies, normals = _total(anomaly), _total(normal)
    recall = _at_or_above(score, anomaly) / anomalies
    false_alarms = _at_or_above(score, normal) / normals
    # Each pair counts for one sum or the other, and a tied pair for both: it cancels to a half.
    won = _total(normal * recall) / normals
    lost = _total(anomaly * false_alarms) / anomalies
    return (1 + won - lost) / 2


@jax.jit
def average_precision(score: Array, is_anomaly: Array, weight: Array | None = None) -> Array:
    """Area under the precision-recall curve as a step function, tied rows entering together.

    Args:
      score: ``[N]``, higher = more anomalous.
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      weight: ``[N]``, not negative; 1 where not given.

    Returns:
      A scalar; NaN unless both classes are present.

    Example:
      >>> import jax.numpy as jnp
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
    """F1 of the anomaly class if rows scoring above ``threshold`` are flagged.

    Args:
      score: ``[N]``, higher = more anomalous.
      is_anomaly: ``[N]`` booleans, or 0 and 1.
      threshold: scalar; a row that scores exactly this is not flagged.
      weight: ``[N]``, not negative; 1 where not given.

    Returns:
      A scalar; NaN where there is no anomaly, 0 where none is flagged.

    Example:
      >>> import jax.numpy as jnp
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
    """The weight of each row as an anomaly and as a normal row, one of the two 0."""
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
    """Total weight of the rows that score at least as high as each, for ascending scores."""
    reached = lax.cumsum(weight, reverse=True)
    first_of_tied = jnp.concatenate([jnp.ones(1, bool), score[1:] != score[:-1]])
    return lax.cummin(jnp.where(first_of_tied, reached, jnp.inf))


def _total(x):
    # Added up as a tree, so that a million float32 terms keep six digits on every backend.
    return lax.cumsum(x)[-1]
