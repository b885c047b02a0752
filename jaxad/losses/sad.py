"""Deep SAD (Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020)."""

import chex
import jax.numpy as jnp

from jaxad.typing import Array


def labelled_exponent(
    distance: Array,
    label: Array,
    *,
    eta: Array | float = 1.0,
    epsilon: Array | float = 1e-6,
    exponent: Array | float = 1,
) -> Array:
    """Distances of unlabelled rows, and of labelled ones ``eta (d + epsilon)^label``.

    Known normal rows are drawn to the centre, known anomalies pushed away by ``1 / d``.

    Args:
      distance: ``[B]`` squared distances ``d`` to the centre.
      label: ``[B]`` +1 known normal, -1 known anomaly, 0 unlabelled.
      eta: weight of the labelled rows.
      epsilon: keeps the anomaly term finite at the centre, where value and slope are
        ``eta / epsilon`` and ``-eta / epsilon^2``.
      exponent: of the anomaly term ``eta (d + epsilon)^-exponent``. The paper's is 1. With the
        default epsilon float32 holds the slope at the centre up to 5.

    Source: the objective of Ruff et al. 2020; epsilon is their code's.

    Example:
      >>> import jax.numpy as jnp
      >>> distance, label = jnp.array([4.0, 4.0, 4.0]), jnp.array([0, 1, -1])
      >>> labelled_exponent(distance, label, eta=2.0, epsilon=0.0).tolist()
      [4.0, 8.0, 0.5]
    """
    chex.assert_rank([distance, label, eta, epsilon, exponent], [1, 1, 0, 0, 0])
    chex.assert_equal_shape([distance, label])
    # Rows that are no anomalies divide by 1: a branch not taken must still have a finite gradient.
    shifted = distance + epsilon
    repelled = (1 / jnp.where(label < 0, shifted, 1)) ** exponent
    labelled = eta * jnp.where(label < 0, repelled, shifted)
    return jnp.where(label == 0, distance, labelled)
