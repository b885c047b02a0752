"""The losses and the anomaly score of GOAD.

Bergman and Hoshen, "Classification-Based Anomaly Detection for General Data", ICLR 2020. M
transformations are applied to every row, and a network learns to tell them apart. ``z[b, m]`` is
the latent vector of row b under transformation m, which is its class. A row is anomalous if the
network cannot tell its transformations apart.
"""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxad.typing import Array


def class_centres(z: Array, weight: Array) -> Array:
    """The weighted mean latent vector of every transformation, ``[M, L]``.

    Args:
      z: ``[B, M, L]``.
      weight: ``[B]``, not negative. A row of weight 0 changes nothing, gradients included.

    Example:
      >>> z = jnp.array([[[0.0], [1.0]], [[2.0], [3.0]]])
      >>> class_centres(z, jnp.ones(2)).tolist()
      [[1.0], [2.0]]
    """
    chex.assert_rank([z, weight], [3, 1])
    chex.assert_equal_shape_prefix([z, weight], 1)
    total = jnp.maximum(jnp.sum(weight), 1e-12)
    return jnp.tensordot(weight / total, z, 1, precision="highest")


def squared_distances(z: Array, centres: Array) -> Array:
    """Squared distances from every latent vector to every centre, ``[B, M, K]``, never negative.

    They are computed as ``|z|^2 - 2 z.c + |c|^2``, because the differences ``z - c`` would need
    ``B M K L`` numbers. The origin is first moved to the mean of the centres, which reduces
    cancellation and leaves distances and gradients unchanged.

    Args:
      z: ``[B, M, L]``.
      centres: ``[K, L]``.

    Example:
      >>> z = jnp.array([[[0.0, 3.0], [4.0, 0.0]]])
      >>> squared_distances(z, jnp.array([[0.0, 0.0], [4.0, 0.0]])).tolist()
      [[[9.0, 25.0], [16.0, 0.0]]]
    """
    chex.assert_rank([z, centres], [3, 2])
    chex.assert_axis_dimension(z, 2, centres.shape[1])
    origin = lax.stop_gradient(jnp.mean(centres, 0))
    z = z - origin[None, None]
    centres = centres - origin[None]
    product = jnp.matmul(z, centres.T, precision="highest")
    length = jnp.sum(jnp.square(z), -1, keepdims=True)
    return jnp.maximum(length - 2 * product + jnp.sum(jnp.square(centres), -1)[None, None], 0)


def triplet_centre(distances: Array, *, margin: Array | float) -> Array:
    """The triplet-centre loss: ``[B, M, M] -> [B]``.

    It is the mean over m of ``max(0, D[m, m] + margin - min_{k != m} D[m, k])``.

    Args:
      distances: ``[B, M, M]`` squared distances ``D``; entry ``[b, m, k]`` is from transformation m
        of row b to the centre of class k.
      margin: how much closer the own centre should be than any other, in squared distance.

    Example:
      >>> triplet_centre(jnp.array([[[0.0, 0.5], [4.0, 2.0]]]), margin=1.0).tolist()
      [0.25]
    """
    own, others = _own_and_others(distances, jnp.inf)
    return jnp.mean(jnp.maximum(own + margin - jnp.min(others, -1), 0), -1)


def cross_entropy(logits: Array) -> Array:
    """Cross-entropy of classifying the transformations, mean over m: ``[B, M, M] -> [B]``.

    Args:
      logits: ``[B, M, M]``; entry ``[b, m, k]`` is the logit of class k for transformation m of row
        b, whose true class is m.

    Example:
      >>> cross_entropy(jnp.zeros((1, 2, 2))).round(3).tolist()
      [0.6930000185966492]
    """
    return jnp.mean(surprise(*_own_and_others(logits, -jnp.inf)), -1)


def surprise(own: Array, others: Array) -> Array:
    """``-log`` of the softmax probability of the own class: ``[...], [..., K] -> [...]``.

    It is computed as ``softplus(logsumexp_k(others_k - own))``. A difference of two logarithms
    would lose the digits of what is nearly certain: 0 below 1e-7.

    Args:
      own: logit of the own class.
      others: logits of all other classes; minus infinity for none.

    Example:
      >>> found = surprise(jnp.array([0.0, 30.0]), jnp.zeros((2, 1)))
      >>> [f"{value:.2g}" for value in found.tolist()]
      ['0.69', '9.4e-14']
    """
    apart = others - own[..., None]
    # Minus infinity alone, of no other class, would have a gradient of NaN.
    apart = jnp.maximum(apart, jnp.finfo(apart.dtype).min)
    return jax.nn.softplus(jax.nn.logsumexp(apart, -1))


def score(distances: Array, *, epsilon: Array | float) -> Array:
    """The anomaly score, sum over m of ``-log softmax_k(-max(D, epsilon))[m]``: ``[B]``.

    Each term is a `surprise`, which still ranks rows whose probabilities all round to 1.

    Args:
      distances: ``[B, M, M]`` squared distances ``D`` to the class centres.
      epsilon: smallest distance, which keeps a vector on a centre from a probability of 1.

    Example:
      >>> easy, hard = jnp.array([[0.0, 9.0], [9.0, 0.0]]), jnp.array([[0.0, 1.0], [1.0, 0.0]])
      >>> score(jnp.stack([easy, hard]), epsilon=0.0).round(2).tolist()
      [0.0, 0.6299999952316284]
    """
    distances = jnp.clip(distances, epsilon, jnp.finfo(distances.dtype).max)
    own, others = _own_and_others(distances, jnp.inf)
    return jnp.sum(surprise(-own, -others), -1)


def fused_loss(
    z: Array,
    centres: Array,
    head_kernel: Array,
    head_bias: Array | None = None,
    *,
    margin: Array | float,
    triplet_weight: Array | float,
    chunk: int | None = None,
) -> Array:
    """``triplet_weight * triplet_centre + cross_entropy`` of a linear head, fused: ``[B]``.

    It equals the composition of the functions above but never makes ``[B, M, M]`` arrays. The
    forward pass takes a few rows at a time, and computes the gradients of each row while its
    distances and logits are in the cache. It keeps the gradients, three times the size of ``z``,
    and the backward pass scales them. This is four times faster than the composition on a CPU at M
    = 256. Reverse-mode differentiation only.

    Args:
      z: ``[B, M, L]``.
      centres: ``[M, L]``. Gradients flow through them, for example into `class_centres`.
      head_kernel: ``[L, M]``.
      head_bias: ``[M]`` or None.
      margin: see `triplet_centre`.
      triplet_weight: weight of the triplet-centre term.
      chunk: rows at a time; None chooses as many as suit a CPU's cache or a GPU's width.

    Example:
      >>> z, head = jnp.ones((5, 3, 2)), jnp.ones((2, 3))
      >>> fused_loss(z, class_centres(z, jnp.ones(5)), head, margin=1.0, triplet_weight=0.1).shape
      (5,)
    """
    chex.assert_rank(z, 3)
    classes = z.shape[1]
    chex.assert_shape([centres, head_kernel.T], (classes, z.shape[2]))
    if head_bias is not None:
        chex.assert_shape(head_bias, (classes,))
    if chunk is None:
        chunk = max(1, (2**16 if _platform() == "cpu" else 2**26) // classes**2)
    dtype = jnp.result_type(z, centres, head_kernel)  # gradients have the types of the inputs
    shared = centres, head_kernel, head_bias, margin, triplet_weight
    shared = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), shared)
    return _fused(min(chunk, len(z)), jnp.asarray(z, dtype), shared)


def _platform() -> str:
    chosen: Any = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return jax.default_backend() if chosen is None else getattr(chosen, "platform", chosen)


def _row_loss(z: Array, shared: tuple) -> Array:
    centres, kernel, bias, margin, triplet_weight = shared
    # The logits of the true classes come from a second, small product, because the gradient of a
    # diagonal is slow. Both products must round alike, hence the highest precision.
    logits = jnp.matmul(z, kernel, precision="highest")
    own = jnp.sum(z * kernel.T, -1)
    if bias is not None:
        logits, own = logits + bias[None], own + bias
    entropy = jnp.mean(jax.nn.logsumexp(logits, -1) - own)
    triplet = triplet_centre(squared_distances(z[None], centres), margin=margin)[0]
    return triplet_weight * triplet + entropy


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused(chunk: int, z: Array, shared: tuple) -> Array:
    return _map(lambda row: _row_loss(row, shared), z, chunk)


def _fused_forward(chunk: int, z: Array, shared: tuple) -> tuple[Array, tuple]:
    gradient = jax.value_and_grad(_row_loss, argnums=(0, 1))
    return _map(lambda row: gradient(row, shared), z, chunk)


def _fused_backward(chunk: int, gradients: tuple, cotangent: Array) -> tuple:
    del chunk
    z_gradient, shared_gradient = gradients
    shared_gradient = jax.tree.map(lambda g: jnp.tensordot(cotangent, g, 1), shared_gradient)
    return z_gradient * cotangent[:, None, None], shared_gradient


_fused.defvjp(_fused_forward, _fused_backward)


def _map(function, rows, chunk):
    # `lax.map` with a batch size of 1 is slower than without one.
    return lax.map(function, rows, batch_size=chunk if chunk > 1 else None)


def _own_and_others(matrices: Array, fill: float) -> tuple[Array, Array]:
    """The diagonals ``[B, M]``, and the matrices ``[B, M, M]`` with ``fill`` in their place."""
    chex.assert_rank(matrices, 3)
    chex.assert_axis_dimension(matrices, 1, matrices.shape[2])
    own = jnp.diagonal(matrices, axis1=-2, axis2=-1)
    diagonal = jnp.eye(matrices.shape[-1], dtype=bool)[None]
    return own, jnp.where(diagonal, fill, matrices)
