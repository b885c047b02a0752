"""The loss and the anomaly score of DTE-C, which classifies how much noise a row has.

Livernoche, Jain, Hezaveh & Ravanbakhsh, "On Diffusion Modeling for Anomaly Detection", ICLR 2024.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxad.losses import transformation
from jaxad.typing import Array


def noise_levels(levels: int, *, first: Array | float, last: Array | float) -> Array:
    """Standard deviations of the noise of all levels, ``[T]``: ``sqrt(1 - prod_{s<=t} (1 - b_s))``.

    The ``b`` rise linearly from ``first`` to ``last``, as in Ho et al. 2020.

    Args:
      levels: T.
      first: ``b`` of the first level, in (0, 1).
      last: ``b`` of the last level, in (0, 1).

    Example:
      >>> noise_levels(2, first=0.19, last=0.5).round(3).tolist()
      [0.4360000193119049, 0.7710000276565552]
    """
    betas = jnp.linspace(first, last, levels, dtype=jnp.float32)
    # The exact form of 1 - prod(1 - b), which would lose the digits of small levels.
    return jnp.sqrt(-jnp.expm1(jnp.cumsum(jnp.log1p(-betas))))


def cross_entropy(logits: Array, bin: Array, *, softmax_twice: bool = False) -> Array:
    """Cross-entropy of the noise's bin: ``[B, K], [B] -> [B]``.

    Args:
      logits: ``[B, K]`` of the bins.
      bin: ``[B]`` whole numbers, the true bins.
      softmax_twice: whether to take the softmax of the logits for logits, as the paper's code does.
        The loss then cannot fall below ``log(1 + (K - 1) / e)``, and its gradients are small.

    Source: DTE-categorical of Livernoche et al. 2024.

    Example:
      >>> logits = jnp.array([[0.0, 0.0]])
      >>> cross_entropy(logits, jnp.array([1])).round(3).tolist()
      [0.6930000185966492]
    """
    chex.assert_rank([logits, bin], [2, 1])
    chex.assert_equal_shape_prefix([logits, bin], 1)
    if softmax_twice:
        logits = jax.nn.softmax(logits)
    true = bin[:, None] == jnp.arange(logits.shape[1])[None]
    own = jnp.sum(jnp.where(true, logits, 0), -1)
    return transformation.surprise(own, jnp.where(true, -jnp.inf, logits))


def score(logits: Array) -> Array:
    """``log(E / (K - 1 - E))`` of the expected bin ``E``: ``[B, K] -> [B]``.

    It ranks rows as the paper's score ``E`` does, but rows far away do not all get ``K - 1``, to
    which their ``E`` would be rounded. ``E`` is ``(K - 1) * sigmoid(score)``.

    Args:
      logits: ``[B, K]`` of the bins, K at least 2.

    Example:
      >>> score(jnp.array([[0.0, 0.0, 0.0], [0.0, 0.0, 200.0]])).round(1).tolist()
      [0.0, 199.60000610351562]
    """
    chex.assert_rank(logits, 2)
    # The score does not change, and the logarithms of the bins are not lost beside large logits.
    logits = logits - jnp.max(logits, -1, keepdims=True)
    place = np.arange(logits.shape[1])

    def log_mean(weight: np.ndarray) -> Array:
        used = np.flatnonzero(weight)
        log_weight = jnp.asarray(np.log(weight[used]), logits.dtype)
        return jax.nn.logsumexp(logits[:, used] + log_weight[None], -1)

    return log_mean(place) - log_mean(place[::-1])
