"""Losses of Deep SVDD (Ruff et al., "Deep One-Class Classification", ICML 2018) and its variants.

They are functions of the distance from a latent vector to a centre.
"""

import math

import chex
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxad.typing import Array


def squared_distance(z: Array, centre: Array) -> Array:
    """Squared Euclidean distance of each row to the centre: ``[B, L], [L] -> [B]``.

    Example:
      >>> squared_distance(jnp.array([[3.0, 4.0], [1.0, 0.0]]), jnp.array([0.0, 0.0])).tolist()
      [25.0, 1.0]
    """
    chex.assert_rank([z, centre], [2, 1])
    chex.assert_equal_shape_suffix([z, centre], 1)
    return jnp.sum(jnp.square(z - centre[None, :]), axis=-1)


def one_class(distance: Array) -> Array:
    """The one-class objective, which is the squared distance ``d`` itself: ``[B] -> [B]``.

    Args:
      distance: ``[B]`` squared distances ``d``.

    Source: Ruff et al. 2018, equation 4, without the weight decay, which the optimiser applies.

    Example:
      >>> one_class(jnp.array([0.5, 3.0])).tolist()
      [0.5, 3.0]
    """
    chex.assert_rank(distance, 1)
    return distance


def soft_boundary(distance: Array, radius: Array | float, *, nu: Array | float) -> Array:
    """The soft-boundary objective ``R^2 + max(0, d - R^2) / nu``: ``[B] -> [B]``.

    Args:
      distance: ``[B]`` squared distances ``d``.
      radius: scalar ``R``, not squared.
      nu: in (0, 1], the share of rows that may lie outside the ball.

    Source: Ruff et al. 2018, equation 3, without the weight decay, which the optimiser applies.

    Example:
      >>> soft_boundary(jnp.array([0.5, 3.0]), 1.0, nu=0.5).tolist()
      [1.0, 5.0]
    """
    chex.assert_rank([distance, radius, nu], [1, 0, 0])
    squared_radius = jnp.square(radius)
    return squared_radius + jax.nn.relu(distance - squared_radius) / nu


def power(distance: Array, *, exponent: Array | float) -> Array:
    """The squared distance ``d`` to a power, ``d^exponent``: ``[B] -> [B]``.

    Args:
      distance: ``[B]`` squared distances ``d``.
      exponent: above 0. 1 is `one_class` and 0.5 the distance itself, which far rows pull less.

    The gradient at ``d = 0`` is 0, not infinity, for every exponent. Subnormal numbers count as 0.

    Source: Ruff et al. 2018, equation 4, with another exponent.

    Example:
      >>> power(jnp.array([0.0, 4.0]), exponent=1.5).tolist()
      [0.0, 8.0]
    """
    chex.assert_rank([distance, exponent], [1, 0])
    negligible = distance < float(jnp.finfo(distance.dtype).tiny)
    return jnp.where(negligible, 0, jnp.where(negligible, 1, distance) ** exponent)


def pseudo_huber(distance: Array, *, delta: Array | float) -> Array:
    """``delta^2 (sqrt(1 + d / delta^2) - 1)``: half of ``d`` near 0, linear far away.

    A row far from the centre has a gradient of at most ``delta``, so few rows cannot dominate.

    Args:
      distance: ``[B]`` squared distances ``d``.
      delta: above 0, the distance (not squared) from which on the loss is about linear.

    Returns:
      ``[B]``.

    Source: Ruff et al., "Rethinking Assumptions in Deep Anomaly Detection", 2021 (arXiv
    2006.00339), with ``delta = 1``.

    Example:
      >>> pseudo_huber(jnp.array([0.0, 3.0, 8.0]), delta=1.0).tolist()
      [0.0, 1.0, 2.0]
    """
    chex.assert_rank([distance, delta], [1, 0])
    # The definition multiplied by sqrt(...) + 1, because the difference loses all digits near 0.
    return distance / (jnp.sqrt(1 + distance / jnp.square(delta)) + 1)


def classifier(
    distance: Array,
    label: Array,
    *,
    delta: Array | float = 1.0,
    epsilon: Array | float = 1e-6,
) -> Array:
    """The hypersphere classifier (HSC): the cross-entropy of ``p(normal) = exp(-h(d))``.

    Unlabelled rows and known normals have the loss ``h(d)``, known anomalies
    ``-log(1 - exp(-h(d + epsilon)))``, where ``h`` is `pseudo_huber`. The anomalies' loss falls to
    0 with the distance, so far anomalies are left alone.

    Args:
      distance: ``[B]`` squared distances ``d``.
      label: ``[B]`` +1 known normal, -1 known anomaly, 0 unlabelled.
      delta: above 0, see `pseudo_huber`; 1 in the paper.
      epsilon: above 0, keeps the loss of a known anomaly at the centre finite.

    Returns:
      ``[B]``.

    Source: Ruff et al., "Rethinking Assumptions in Deep Anomaly Detection", 2021 (arXiv
    2006.00339). Their centre is 0.

    Example:
      >>> values = classifier(jnp.array([3.0, 3.0]), jnp.array([0, -1]))
      >>> [round(value, 4) for value in values.tolist()]
      [1.0, 0.4587]
      >>> from jaxad import networks, objectives
      >>> objectives.deep_sad(networks.MLP((16, 8)), loss=classifier, delta=2.0).numbers
      {'delta': 2.0}
    """
    chex.assert_rank([distance, label, delta, epsilon], [1, 1, 0, 0])
    chex.assert_equal_shape([distance, label])
    # Other rows have the distance 1, because `where` needs finite gradients in both branches.
    h = pseudo_huber(jnp.where(label < 0, distance + epsilon, 1), delta=delta)
    anomalous = -_log_one_minus_exp(h)
    return jnp.where(label < 0, anomalous, pseudo_huber(distance, delta=delta))


def centre(z: Array, weight: Array) -> Array:
    """Weighted mean of the rows: ``[B, L], [B] -> [L]``. It is 0 if all rows weigh 0.

    Example:
      >>> centre(jnp.array([[1.0], [3.0], [jnp.nan]]), jnp.array([1.0, 1.0, 0.0])).tolist()
      [2.0]
    """
    chex.assert_rank([z, weight], [2, 1])
    chex.assert_equal_shape_prefix([z, weight], 1)
    weight = weight[:, None]
    total = jnp.sum(weight)
    # Not a matrix product, because accelerators may round its inputs to fewer digits.
    return jnp.sum(weight * jnp.where(weight > 0, z, 0), axis=0) / jnp.where(total > 0, total, 1)


def away_from_zero(centre: Array, *, minimum: Array | float = 0.1) -> Array:
    """Move coordinates of the centre that are closer to 0 than ``minimum`` to ``±minimum``.

    A network with zero weights maps every row to 0, so a centre at 0 invites collapse. Exact zeros
    become ``+minimum``; the authors' code leaves them at 0.

    Args:
      centre: ``[L]``.
      minimum: the smallest magnitude allowed.

    Example:
      >>> away_from_zero(jnp.array([0.0, -0.25, 1.0]), minimum=0.5).tolist()
      [0.5, -0.5, 1.0]
    """
    chex.assert_rank([centre, minimum], [1, 0])
    return jnp.where(jnp.abs(centre) < minimum, jnp.where(centre < 0, -minimum, minimum), centre)


def weighted_quantile(values: Array, weight: Array, q: Array | float) -> Array:
    """The exact quantile of weighted values, linearly interpolated. It has no gradient.

    With integer weights this is ``numpy.quantile`` of the values, each repeated ``weight`` times.
    In general let the sorted values occupy intervals as long as their weights, with total ``W``.
    The quantile is the mean value over the unit interval that starts at ``max(q (W - 1), 0)``; only
    the value there and the next one count.

    Args:
      values: ``[B]``. Values of weight 0 are ignored, even NaN.
      weight: ``[B]``, not negative. Float32 counts integer weights exactly up to a total of 2^24.
      q: in [0, 1].

    Returns:
      A scalar, 0 if all rows weigh 0.

    Example:
      >>> values, weight = jnp.array([4.0, 1.0, jnp.inf]), jnp.array([1.0, 1.0, 0.0])
      >>> float(weighted_quantile(values, weight, 0.5))
      2.5
    """
    chex.assert_rank([values, weight, q], [1, 1, 0])
    chex.assert_equal_shape([values, weight])
    values, weight, q = lax.stop_gradient((values, weight, q))
    live = weight > 0
    weight = jnp.where(live, weight, 0)
    keys = _key(jnp.where(live, values, jnp.inf))
    last = jnp.max(jnp.where(live, keys, 0))
    total = jnp.sum(weight)
    position = jnp.maximum(q * (total - 1), 0)

    def weight_below(key):
        return jnp.sum(jnp.where(keys < key, weight, 0))

    # Find, bit by bit, the largest key whose weight below does not exceed the position. On a CPU
    # these 32 passes take a fifth of the time of a sort at 128 rows, a twentieth from 1024 rows on.
    def set_bit(i, found):
        trial = found | (_top_bit(keys) >> i.astype(keys.dtype))
        return jnp.where(weight_below(trial) <= position, trial, found)

    bits = 8 * keys.dtype.itemsize
    found = jnp.minimum(lax.fori_loop(0, bits, set_bit, jnp.zeros_like(last)), last)
    following = jnp.min(jnp.where(keys > found, keys, last))
    low, high = _value(found, values.dtype), _value(following, values.dtype)
    share = 1 - jnp.clip(weight_below(following) - position, 0, 1)
    interpolated = low + jnp.where((share > 0) & (high > low), share * (high - low), 0)
    return jnp.where(total > 0, interpolated, 0)


@jax.jit
def radius(distance: Array, weight: Array, *, nu: Array | float) -> Array:
    """The radius with a share ``nu`` of the rows outside: the ``1 - nu`` quantile of ``sqrt(d)``.

    Apart from the interpolation between two rows it minimises the mean of `soft_boundary`. It has
    no gradient. The function is compiled, so eager calls are fast.

    Args:
      distance: ``[B]`` squared distances ``d``.
      weight: ``[B]``; rows of weight 0 change nothing.
      nu: in (0, 1].

    Returns:
      A scalar ``R``, not squared.

    Source: Ruff et al. 2018; their PyTorch code computes it on every batch.

    Example:
      >>> float(radius(jnp.array([1.0, 4.0, 9.0]), jnp.ones(3), nu=0.5))
      2.0
    """
    return weighted_quantile(safe_sqrt(lax.stop_gradient(distance)), weight, 1 - nu)


def safe_sqrt(x: Array) -> Array:
    """Square root with the gradient 0, not infinity, at 0. Subnormal numbers count as 0.

    Example:
      >>> jax.grad(safe_sqrt)(0.0).item(), jax.grad(safe_sqrt)(4.0).item()
      (0.0, 0.25)
    """
    negligible = x < float(jnp.finfo(x.dtype).tiny)
    return jnp.where(negligible, 0, jnp.sqrt(jnp.where(negligible, 1, x)))


def _log_one_minus_exp(x: Array) -> Array:
    """``log(1 - exp(-x))`` for ``x > 0``, by the form that keeps the digits: near 0, far away."""
    near = x < math.log(2)
    small, large = jnp.where(near, x, 1), jnp.where(near, 1, x)
    return jnp.where(near, jnp.log(-jnp.expm1(-small)), jnp.log1p(-jnp.exp(-large)))


def _top_bit(keys: Array) -> Array:
    return jnp.ones((), keys.dtype) << (8 * keys.dtype.itemsize - 1)


def _key(x: Array) -> Array:
    """Map floats to unsigned integers that sort in the same order."""
    bits = lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}")
    return jnp.where(bits >= _top_bit(bits), ~bits, bits | _top_bit(bits))


def _value(key: Array, dtype: DTypeLike) -> Array:
    """Map the integers of `_key` back to floats."""
    bits = jnp.where(key >= _top_bit(key), key ^ _top_bit(key), ~key)
    return lax.bitcast_convert_type(bits, dtype)
