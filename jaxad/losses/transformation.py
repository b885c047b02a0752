"""Telling transformations apart: the losses and the score of GOAD.

Bergman and Hoshen, "Classification-Based Anomaly Detection for General Data", ICLR 2020. Every row
is seen through M transformations; transformation m of row b has the latent vector ``z[b, m]`` and
belongs to class m. A row whose transformations cannot be told apart is anomalous.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from jax import lax

from jaxad.typing import Array


def class_centres(z: Array, weight: Array) -> Array:
    """Weighted mean over the rows of every transformation's latent vectors, ``[M, L]``.

    Args:
      z: ``[B, M, L]``.
      weight: ``[B]``, not negative. A row of weight 0 changes nothing, gradients included.
    """
    chex.assert_rank([z, weight], [3, 1])
    chex.assert_equal_shape_prefix([z, weight], 1)
    total = jnp.maximum(jnp.sum(weight), 1e-12)
    return jnp.tensordot(weight / total, z, 1, precision="highest")


def squared_distances(z: Array, centres: Array) -> Array:
    """Squared distances of every latent vector to every centre, ``[B, M, K]``, never negative.

    They are expanded to ``|z|^2 - 2 z.c + |c|^2``: the differences ``z - c`` would take
    ``B M K L`` numbers. Distances do not depend on the origin, so it is moved to the middle of the
    centres, where the expansion cancels least; no gradient is lost by that.

    Args:
      z: ``[B, M, L]``.
      centres: ``[K, L]``.

    Example:
      >>> import jax.numpy as jnp
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
    """How much closer than ``margin`` the nearest other centre is than the own, ``[B]``.

    The mean over m of ``max(0, D[m, m] + margin - min_{k != m} D[m, k])``.

    Args:
      distances: ``[B, M, M]`` squared distances; class m at position m.
      margin: by how much the own centre should be nearer, in squared distance.

    Example:
      >>> import jax.numpy as jnp
      >>> triplet_centre(jnp.array([[[0.0, 0.5], [4.0, 2.0]]]), margin=1.0).tolist()
      [0.25]
    """
    own, others = _own_and_others(distances)
    return jnp.mean(jnp.maximum(own + margin - jnp.min(others, -1), 0), -1)


def cross_entropy(logits: Array) -> Array:
    """Cross-entropy of naming transformation m for position m, mean over m, ``[B]``.

    Args:
      logits: ``[B, M, M]``; ``logits[b, m, k]`` speaks for class k at position m.
    """
    _assert_square(logits)
    own = jnp.diagonal(logits, axis1=-2, axis2=-1)
    return jnp.mean(jax.nn.logsumexp(logits, -1) - own, -1)


def score(distances: Array, *, epsilon: Array | float) -> Array:
    """Anomaly score ``[B]``: sum over m of ``-log softmax_k(-max(D, epsilon))[m]``.

    It equals ``softplus(logsumexp_{k != m}(D[m, m] - D[m, k]))``, which, unlike a difference of
    large logarithms, still ranks rows whose probabilities all round to 1.

    Args:
      distances: ``[B, M, M]`` squared distances to the class centres.
      epsilon: keeps a vector that lies on a centre from being certain.
    """
    distances = jnp.clip(distances, epsilon, jnp.finfo(distances.dtype).max)
    own, others = _own_and_others(distances)
    return jnp.sum(jax.nn.softplus(jax.nn.logsumexp(own[..., None] - others, -1)), -1)


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
    """``triplet_weight * triplet_centre + cross_entropy`` of a linear head, in the cache, ``[B]``.

    Equals the composition of the functions above, but never holds ``[B, M, M]``: the forward pass
    goes over a few rows at a time and takes each row's gradient while its distances and logits are
    in the cache. Only the gradients stay, three times the size of ``z``, and any cotangent scales
    them. Four times faster than the composition on a CPU at M = 256. Reverse mode only.

    Args:
      z: ``[B, M, L]``.
      centres: ``[M, L]``; pass `class_centres` of the batch and gradients flow through them.
      head_kernel: ``[L, M]``.
      head_bias: ``[M]`` or None.
      margin: see `triplet_centre`.
      triplet_weight: weight of the triplet-centre term.
      chunk: rows at a time; None fits the cache of a CPU and uses most of the width of a GPU.
    """
    chex.assert_rank(z, 3)
    classes = z.shape[1]
    chex.assert_shape([centres, head_kernel.T], (classes, z.shape[2]))
    if head_bias is not None:
        chex.assert_shape(head_bias, (classes,))
    if chunk is None:
        chunk = max(1, (2**16 if jax.default_backend() == "cpu" else 2**26) // classes**2)
    numbers = jnp.asarray(margin, z.dtype), jnp.asarray(triplet_weight, z.dtype)
    return _fused(min(chunk, len(z)), z, (centres, head_kernel, head_bias, *numbers))


def _row_loss(z: Array, shared: tuple) -> Array:
    centres, kernel, bias, margin, triplet_weight = shared
    # The class's own logit from a second, tiny product: the gradient of a diagonal is slow. The two
    # must round alike, so the large product may not take an accelerator's shortcuts.
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
    of_z, of_shared = gradients
    of_shared = jax.tree.map(lambda g: jnp.tensordot(cotangent, g, 1), of_shared)
    return of_z * cotangent[:, None, None], of_shared


_fused.defvjp(_fused_forward, _fused_backward)


def _map(function, rows, chunk):
    # A batch of one is slower than no batch.
    return lax.map(function, rows, batch_size=chunk if chunk > 1 else None)


def _own_and_others(distances: Array) -> tuple[Array, Array]:
    """The diagonal ``[B, M]``, and the matrices ``[B, M, M]`` with infinity in its place."""
    _assert_square(distances)
    own = jnp.diagonal(distances, axis1=-2, axis2=-1)
    diagonal = jnp.eye(distances.shape[-1], dtype=bool)[None]
    return own, jnp.where(diagonal, jnp.inf, distances)


def _assert_square(matrices: Array) -> None:
    chex.assert_rank(matrices, 3)
    chex.assert_axis_dimension(matrices, 1, matrices.shape[2])
