"""The Gaussian mixture of DAGMM, and the energy of rows under it.

Zong et al., "Deep Autoencoding Gaussian Mixture Model for Unsupervised Anomaly Detection", ICLR
2018. The mixture is computed from the moments of rows z, weighted by responsibilities gamma, so
the gradient of an energy reaches every row of the batch. Moments merged over chunks give the exact
mixture of a whole data set.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import jax.scipy as jsp
from jax import lax

from jaxad.typing import Array

# The smallest divisor of sums over a component's rows. Its square must not underflow in float32.
_MASS_FLOOR = 1e-18
# A component with a smaller share of the rows counts as dead, since gradients contain 1 / share.
_DEAD_SHARE = 1e-12
# The log-weight of a dead component: finite, to keep gradients finite.
_NO_MASS = -1e30
_VARIANCE_FLOOR = 1e-10


class Moments(NamedTuple):
    """Sufficient statistics of rows for a mixture; `merge_moments` joins those of two sets.

    Attributes:
      count: ``[K]`` sum over the rows of weight times responsibility.
      mean: ``[K, L]`` weighted mean.
      scatter: ``[K, L, L]`` sum, not mean, of the weighted outer products of deviations from it.

    Example:
      >>> moments(jnp.array([[0.0], [2.0]]), jnp.ones((2, 1)), jnp.ones(2)).mean.tolist()
      [[1.0]]
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]
    mean: Array
    scatter: Array


class Mixture(NamedTuple):
    """A Gaussian mixture, factorised so that `energy` needs matrix products only.

    Attributes:
      log_weight: ``[K]`` logarithm of each component's share, -1e30 for a dead component.
      mean: ``[K, L]``.
      precision_factor: ``[K, L, L]`` inverse of the lower Cholesky factor of the covariance.
      log_det: ``[K]`` logarithm of the determinant of the covariance.
      variance: ``[K, L]`` diagonal of the covariance.

    Example:
      >>> z = jnp.array([[0.0], [2.0]])
      >>> fit(moments(z, jnp.ones((2, 1)), jnp.ones(2))).mean.tolist()
      [[1.0]]
    """

    log_weight: Array
    mean: Array
    precision_factor: Array
    log_det: Array
    variance: Array


def empty_moments(components: int, latent: int, dtype: jnp.dtype = jnp.float32) -> Moments:
    """The moments of no rows, to which `merge_moments` adds those of the first chunk.

    Example:
      >>> empty_moments(2, 3).mean.shape
      (2, 3)
    """
    shape = (components, latent)
    return Moments(
        jnp.zeros(components, dtype), jnp.zeros(shape, dtype), jnp.zeros((*shape, latent), dtype)
    )


def moments(z: Array, gamma: Array, weight: Array) -> Moments:
    """Count, mean and scatter of every component: the sums in equation 5, before the division.

    Args:
      z: ``[B, L]`` rows.
      gamma: ``[B, K]`` responsibilities.
      weight: ``[B]`` row weights. A row of weight 0 changes nothing, gradients included.

    Raises:
      AssertionError: a rank or a shape does not match.

    Example:
      >>> found = moments(jnp.array([[0.0], [2.0]]), jnp.ones((2, 1)), jnp.ones(2))
      >>> found.count.tolist(), found.mean.tolist(), found.scatter.tolist()
      ([2.0], [[1.0]], [[[2.0]]])
    """
    chex.assert_rank([z, gamma, weight], [2, 2, 1])
    chex.assert_equal_shape_prefix([z, gamma, weight], 1)
    mass = gamma.T * weight[None]
    count = jnp.sum(mass, 1)
    share = mass / jnp.maximum(count, _MASS_FLOOR)[:, None]
    # About a point among the rows, sums keep the digits of a spread far smaller than the mean.
    part = weight / jnp.maximum(jnp.sum(weight), _MASS_FLOOR)
    origin = lax.stop_gradient(jnp.matmul(part, z, precision="highest"))
    z = z - origin[None]
    mean = jnp.matmul(share, z, precision="highest")
    deviation = _deviation(z, mean)
    scatter = jnp.einsum("kib,kjb->kij", mass[:, None] * deviation, deviation, precision="highest")
    return Moments(count, mean + origin[None], scatter)


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Moments of the union of two sets of rows.

    The pairwise update of Chan, Golub and LeVeque ("Updating formulae and a pairwise algorithm
    for computing sample variances", 1979), which never subtracts large sums.

    Example:
      >>> halves = [moments(jnp.array([[z]]), jnp.ones((1, 1)), jnp.ones(1)) for z in (0.0, 2.0)]
      >>> merge_moments(*halves).scatter.tolist()
      [[[2.0]]]
    """
    chex.assert_trees_all_equal_shapes_and_dtypes(a, b)
    count = a.count + b.count
    share = b.count / jnp.maximum(count, _MASS_FLOOR)
    shift = b.mean - a.mean
    between = (a.count * share)[:, None, None] * shift[:, :, None] * shift[:, None, :]
    return Moments(count, a.mean + share[:, None] * shift, a.scatter + b.scatter + between)


@jax.jit
def fit(moments: Moments, *, jitter: Array | float = 1e-6) -> Mixture:
    """The mixture with these moments (equation 5), factorised for scoring.

    Every variance of a component grows by ``jitter`` times the mean variance. If rounding still
    spoils the Cholesky factor of a component, the addition is 10, 100 or 1000 times as large there.
    A component with almost no rows is dead: it becomes a unit Gaussian without mass or gradient.
    The function is compiled, so eager calls are fast.

    Args:
      moments: moments of a batch (training) or of all rows (scoring).
      jitter: addition to the variances, relative to the trace of the covariance over L.

    Example:
      >>> z = jnp.array([[0.0], [2.0]])
      >>> fit(moments(z, jnp.ones((2, 1)), jnp.ones(2)), jitter=0.0).variance.tolist()
      [[1.0]]
    """
    count, mean, scatter = moments
    chex.assert_rank([count, mean, scatter], [1, 2, 3])
    share = count / jnp.maximum(jnp.sum(count), _MASS_FLOOR)
    alive = share > _DEAD_SHARE
    log_weight = jnp.where(alive, jnp.log(jnp.where(alive, share, 1)), _NO_MASS)

    identity = jnp.broadcast_to(jnp.eye(mean.shape[-1], dtype=mean.dtype), scatter.shape)
    covariance = scatter / jnp.maximum(count, _MASS_FLOOR)[:, None, None]
    covariance = jnp.where(alive[:, None, None], covariance, identity)
    ridge = jitter * jnp.mean(_diagonal(covariance), -1) + _VARIANCE_FLOOR
    ridge = ridge * _multiplier(lax.stop_gradient(covariance), lax.stop_gradient(ridge))
    covariance = covariance + ridge[:, None, None] * identity

    factor = jnp.linalg.cholesky(covariance)
    precision_factor = jsp.linalg.solve_triangular(factor, identity, lower=True)
    log_det = 2 * jnp.sum(jnp.log(_diagonal(factor)), -1)
    return Mixture(log_weight, mean, precision_factor, log_det, _diagonal(covariance))


def energy(z: Array, mixture: Mixture) -> Array:
    """Negative log-density of each row under the mixture, ``[B]`` (equation 6).

    It grows with the distance from the mixture without bound, so remote anomalies do not tie.

    Args:
      z: ``[B, L]`` rows.
      mixture: the result of `fit`.

    Example:
      >>> z = jnp.array([[0.0], [2.0]])
      >>> mixture = fit(moments(z, jnp.ones((2, 1)), jnp.ones(2)))
      >>> [round(e, 2) for e in energy(jnp.array([[1.0], [3.0]]), mixture).tolist()]
      [0.92, 2.92]
    """
    chex.assert_rank(z, 2)
    chex.assert_axis_dimension(z, 1, mixture.mean.shape[-1])
    whitened = jnp.matmul(
        mixture.precision_factor, _deviation(z, mixture.mean), precision="highest"
    )
    constant = mixture.log_det + z.shape[1] * math.log(2 * math.pi)
    exponent = jnp.sum(jnp.square(whitened), 1) + constant[:, None]
    return -jsp.special.logsumexp(mixture.log_weight[:, None] - 0.5 * exponent, axis=0)


def covariance_penalty(mixture: Mixture) -> Array:
    """Sum of the inverse variances of all live components, a scalar (equation 7, last term).

    Example:
      >>> z = jnp.array([[0.0], [4.0]])
      >>> mixture = fit(moments(z, jnp.ones((2, 1)), jnp.ones(2)), jitter=0.0)
      >>> float(covariance_penalty(mixture))
      0.25
    """
    alive = mixture.log_weight > _NO_MASS
    return jnp.sum(jnp.where(alive[:, None], 1 / mixture.variance, 0))


def _deviation(z: Array, mean: Array) -> Array:
    """``[K, L, B]`` deviations from the means.

    Rows are the last axis because K and L are too small to fill a CPU's vectors: ten times faster.
    """
    return z.T[None] - mean[:, :, None]


def _diagonal(matrices: Array) -> Array:
    return jnp.diagonal(matrices, axis1=-2, axis2=-1)


def _multiplier(covariance: Array, ridge: Array) -> Array:
    """The multiple of ``ridge`` ``[K]`` that makes the Cholesky factor of each covariance sound.

    A factor is sound if every squared pivot exceeds half the ridge; in exact arithmetic it is at
    least the ridge. A failed factorisation is all NaN, which does not pass the comparison.
    """
    times = jnp.asarray([1, 10, 100, 1000], ridge.dtype)
    ladder = times[:, None] * ridge[None]
    identity = jnp.eye(covariance.shape[-1], dtype=covariance.dtype)
    factor = jnp.linalg.cholesky(covariance[None] + ladder[..., None, None] * identity[None, None])
    sound = jnp.all(jnp.square(_diagonal(factor)) > 0.5 * ladder[..., None], -1)
    return times[jnp.argmax(sound.at[-1].set(True), 0)]
