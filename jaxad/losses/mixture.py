"""Energies under a Gaussian mixture whose parameters are moments of the rows.

Zong et al., "Deep Autoencoding Gaussian Mixture Model for Unsupervised Anomaly Detection", ICLR
2018 (DAGMM). Rows z come with responsibilities gamma. Their weighted moments are the mixture, so
gradients flow from an energy through the mixture into every row of the batch. The same moments,
merged over chunks, are the exact mixture of a whole data set.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import jax.scipy as jsp
from jax import lax

from jaxad.typing import Array

# Below this many rows a component's mean is meaningless; its square must not underflow in float32.
_MASS_FLOOR = 1e-18
# A component with a smaller share of the rows is dead: 1 / share appears in gradients.
_DEAD_SHARE = 1e-12
_NO_MASS = -1e30
_VARIANCE_FLOOR = 1e-10


class Moments(NamedTuple):
    """What a set of rows tells about a mixture; `merge_moments` joins the moments of two sets.

    Attributes:
      count: ``[K]`` rows in each component, in weighted responsibility.
      mean: ``[K, L]``.
      scatter: ``[K, L, L]`` the sum, not the mean, of squared deviations from ``mean``.
    """

    count: Array
    mean: Array
    scatter: Array


class Mixture(NamedTuple):
    """A Gaussian mixture in the form that scoring needs: `energy` uses no linear algebra.

    Attributes:
      log_weight: ``[K]`` logarithm of the component's share, about -1e30 for a dead component.
      mean: ``[K, L]``.
      precision_factor: ``[K, L, L]`` inverse of the covariance's lower Cholesky factor.
      log_det: ``[K]`` logarithm of the covariance's determinant.
      variance: ``[K, L]`` diagonal of the covariance.
    """

    log_weight: Array
    mean: Array
    precision_factor: Array
    log_det: Array
    variance: Array


def empty_moments(components: int, latent: int, dtype: jnp.dtype = jnp.float32) -> Moments:
    """The moments of no rows, where a stream starts."""
    shape = (components, latent)
    return Moments(
        jnp.zeros(components, dtype), jnp.zeros(shape, dtype), jnp.zeros((*shape, latent), dtype)
    )


def moments(z: Array, gamma: Array, weight: Array) -> Moments:
    """Count, mean and centred scatter of every component (equation 5, before the division).

    Args:
      z: ``[B, L]`` rows.
      gamma: ``[B, K]`` responsibilities.
      weight: ``[B]`` row weights. A row of weight 0 changes nothing, gradients included.

    Raises:
      AssertionError: a rank or a shape does not match.
    """
    chex.assert_rank([z, gamma, weight], [2, 2, 1])
    chex.assert_equal_shape_prefix([z, gamma, weight], 1)
    mass = gamma.T * weight[None]
    count = jnp.sum(mass, 1)
    share = mass / jnp.maximum(count, _MASS_FLOOR)[:, None]
    mean = jnp.matmul(share, z, precision="highest")
    deviation = _deviation(z, mean)
    scatter = jnp.einsum("kib,kjb->kij", mass[:, None] * deviation, deviation, precision="highest")
    return Moments(count, mean, scatter)


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Moments of the union of two sets of rows, the scatter between their means included.

    The pairwise update of Chan, Golub and LeVeque ("Updating formulae and a pairwise algorithm
    for computing sample variances", 1979): no difference of large sums is taken.
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

    ``jitter`` times the mean variance is added to every variance. Where rounding makes that too
    little for a sound factor, as it may in float32, ten, a hundred or a thousand times as much is
    added to that component. A component with almost no rows is dead: it becomes a unit Gaussian
    with no mass and no gradient.

    Args:
      moments: of a batch (training) or of all rows (scoring).
      jitter: relative to the covariance's trace over L.
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
    """Negative log-density of every row under the mixture, ``[B]`` (equation 6).

    It grows without bound with the distance from the mixture, so far anomalies do not tie.

    Args:
      z: ``[B, L]`` rows.
      mixture: from `fit`.

    Example:
      >>> import jax.numpy as jnp
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
    """Sum of the inverse variances of all live components, a scalar (equation 7, last term)."""
    alive = mixture.log_weight > _NO_MASS
    return jnp.sum(jnp.where(alive[:, None], 1 / mixture.variance, 0))


def _deviation(z: Array, mean: Array) -> Array:
    """``[K, L, B]``: rows last, since K and L do not fill a CPU's vectors (ten times slower)."""
    return z.T[None] - mean[:, :, None]


def _diagonal(matrices: Array) -> Array:
    return jnp.diagonal(matrices, axis1=-2, axis2=-1)


def _multiplier(covariance: Array, ridge: Array) -> Array:
    """How many times ``ridge`` ``[K]`` a sound Cholesky factor of each covariance takes.

    With exact arithmetic every squared pivot is at least the ridge; half of it leaves room for
    rounding. A failed factorisation is all NaN and compares as unsound.
    """
    times = jnp.asarray([1, 10, 100, 1000], ridge.dtype)
    ladder = times[:, None] * ridge[None]
    identity = jnp.eye(covariance.shape[-1], dtype=covariance.dtype)
    factor = jnp.linalg.cholesky(covariance[None] + ladder[..., None, None] * identity[None, None])
    sound = jnp.all(jnp.square(_diagonal(factor)) > 0.5 * ladder[..., None], -1)
    return times[jnp.argmax(sound.at[-1].set(True), 0)]
