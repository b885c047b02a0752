"""The loss of Deep SAD (Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020)."""

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
    """``d`` for unlabelled rows and ``eta (d + epsilon)^label`` for labelled rows: ``[B] -> [B]``.

    It pulls known normal rows towards the centre, and pushes known anomalies away by ``1 / d``.

    Args:
      distance: ``[B]`` squared distances ``d`` to the centre.
      label: ``[B]`` +1 known normal, -1 known anomaly, 0 unlabelled.
      eta: weight of the labelled rows.
      epsilon: keeps the anomaly term finite at the centre, where its value is ``eta / epsilon`` and
        its slope ``-eta / epsilon^2``.
      exponent: exponent of the anomaly term ``eta (d + epsilon)^-exponent``, 1 in the paper. With
        the default epsilon the slope at the centre overflows float32 above an exponent of 5.

    Source: the objective of Ruff et al. 2020; epsilon comes from their code.

    Example:
      >>> distance, label = jnp.array([4.0, 4.0, 4.0]), jnp.array([0, 1, -1])
      >>> labelled_exponent(distance, label, eta=2.0, epsilon=0.0).tolist()
      [4.0, 8.0, 0.5]
    """
    chex.assert_rank([distance, label, eta, epsilon, exponent], [1, 1, 0, 0, 0])
    chex.assert_equal_shape([distance, label])
    # Other rows divide by 1, because `where` needs finite gradients in both branches.
    shifted = distance + epsilon
    repelled = (1 / jnp.where(label < 0, shifted, 1)) ** exponent
    labelled = eta * jnp.where(label < 0, repelled, shifted)
    return jnp.where(label == 0, distance, labelled)
