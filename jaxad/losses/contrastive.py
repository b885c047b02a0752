"""Contrastive losses within a row: those of ICL and of NeuTraL AD, which are also their scores.

Shenkar & Wolf, "Anomaly Detection for Tabular Data with Internal Contrastive Learning", ICLR 2022,
and Qiu et al., "Neural Transformation Learning for Deep Anomaly Detection Beyond Images", ICML
2021. The similarity ``sim`` of two vectors is their cosine, 0 if one of them is 0.
"""

import chex
import jax.numpy as jnp
import numpy as np

from jaxad.losses import transformation
from jaxad.losses.hypersphere import safe_sqrt
from jaxad.typing import Array


def windows(x: Array, *, size: int) -> tuple[Array, Array]:
    """All windows of neighbouring columns, and the rows without them.

    Args:
      x: ``[B, D]`` rows.
      size: k, the columns of a window, below D.

    Returns:
      The rests ``[B, M, D - k]`` and the windows ``[B, M, k]``, with M = D - k + 1.

    Example:
      >>> rest, window = windows(jnp.array([[1, 2, 3]]), size=1)
      >>> rest.tolist(), window.tolist()
      ([[[2, 3], [1, 3], [1, 2]]], [[[1], [2], [3]]])
    """
    chex.assert_rank(x, 2)
    start, place = np.arange(x.shape[1] - size + 1)[:, None], np.arange(x.shape[1] - size)[None]
    rest = jnp.where((place < start)[None], x[:, None, :-size], x[:, None, size:])
    return rest, x[:, start + np.arange(size)[None]]


def internal(
    complement: Array, window: Array, *, temperature: Array | float, shown: Array | None = None
) -> Array:
    """Find the window that a complement belongs to: ``[B, M, L], [B, M, L] -> [B]``.

    It is the mean over m of ``-log(exp(sim(f_m, g_m) / t) / sum_k exp(sim(f_m, g_k) / t))``.

    Args:
      complement: ``f``, latent vectors of the rows without their windows.
      window: ``g``, latent vectors of the M windows of every row.
      temperature: ``t``, above 0; 0.1 in the paper.
      shown: ``[M]`` 1 for windows that count, 0 for others; None: all do.

    Source: the loss of Shenkar & Wolf 2022.

    Example:
      >>> z = jnp.eye(2)[None]
      >>> internal(z, z[:, ::-1], temperature=0.1).round(1).tolist()
      [10.0]
    """
    chex.assert_rank([complement, window], 3)
    chex.assert_equal_shape([complement, window])
    similarity = jnp.einsum("bml,bkl->bmk", _unit(complement), _unit(window), precision="highest")
    logits = similarity / temperature
    if shown is None:
        return transformation.cross_entropy(logits)
    own = jnp.diagonal(logits, axis1=1, axis2=2)
    count = (shown > 0)[None] & ~jnp.eye(len(shown), dtype=bool)
    others = jnp.where(count[None], logits, -jnp.inf)
    return jnp.sum(shown[None] * transformation.surprise(own, others), 1) / jnp.sum(shown)


def deterministic(views: Array, original: Array, *, temperature: Array | float) -> Array:
    """The deterministic contrastive loss: ``[B, K, L], [B, L] -> [B]``.

    It is the sum over k of ``-log(h(z_k, z) / (h(z_k, z) + sum_{l != k} h(z_k, z_l)))`` with ``h =
    exp(sim / t)``: a view should be like the row, and unlike other views.

    Args:
      views: ``z_k``, latent vectors of the K views of every row.
      original: ``z``, latent vectors of the rows.
      temperature: ``t``, above 0; 0.1 in the paper.

    Source: equation 2 of Qiu et al. 2021.

    Example:
      >>> views = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
      >>> deterministic(views, jnp.array([[1.0, 1.0]]), temperature=1.0).round(3).tolist()
      [0.8020000457763672]
    """
    chex.assert_rank([views, original], [3, 2])
    chex.assert_equal_shape([views[:, 0], original])
    views, original = _unit(views), _unit(original)
    to_original = jnp.einsum("bkl,bl->bk", views, original, precision="highest") / temperature
    others = jnp.einsum("bkl,bml->bkm", views, views, precision="highest") / temperature
    own = jnp.eye(views.shape[1], dtype=bool)[None]
    others = jnp.where(own, -jnp.inf, others)
    return jnp.sum(transformation.surprise(to_original, others), -1)


def _unit(z: Array) -> Array:
    """The vectors ``[..., L]`` with length 1; those of length 0 stay 0."""
    length = safe_sqrt(jnp.sum(jnp.square(z), -1, keepdims=True))
    return z / jnp.where(length > 0, length, 1)
