"""Batch normalisation with row weights, so that padding rows have no effect."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from jaxad.networks.types import leave, rounded
from jaxad.typing import Array


class BatchNorm(nn.Module):
    """Normalise every feature by its mean and variance over the weighted rows of a batch.

    A row of weight 0 changes neither the statistics nor their gradients. Evaluation uses the
    running statistics in the collection ``batch_stats``. Statistics of bfloat16 are computed in
    float32. If the collection ``moments`` is mutable, the mean and variance of the batch are stored
    there, where `jaxad.networks.calibrate` reads them.

    Attributes:
      affine: learn a scale and an offset. Not for Deep SVDD: with an offset the network can output
        the centre for every input (Ruff et al. 2018, Proposition 2).
      epsilon: added to the variance, 1e-4 in the papers' networks.
      momentum: share of the old running statistics kept at each step.

    Example:
      >>> x = jnp.array([[1.0], [3.0]])
      >>> module = BatchNorm(epsilon=0.0)
      >>> module.apply(module.init({}, x), x, train=True, mutable=["batch_stats"])[0].tolist()
      [[-1.0], [1.0]]
    """

    affine: bool = False
    epsilon: float = 1e-4
    momentum: float = 0.9

    @nn.compact
    def __call__(
        self,
        x: Array,
        *,
        train: bool = False,
        weight: Array | None = None,
        feature_axis: int = -1,
        pool: Callable[[Array], Array] | None = None,
    ) -> Array:
        """Normalise ``x``, an array of any shape.

        Args:
          x: the batch. Rows are its first axis, or its last axis if ``feature_axis`` is 0.
          train: use statistics of the batch, and update the running ones.
          weight: ``[B]`` row weights, not negative; None for 1.
          feature_axis: axis of the features.
          pool: takes maxima of ``x``, whose statistics are still those before pooling. This equals
            pooling the result, since normalising without a scale keeps the order, with fewer
            numbers to normalise. Not with ``affine``.

        Raises:
          ValueError: ``pool`` is given with ``affine``.
        """
        if pool is not None and self.affine:
            raise ValueError(
                "pool=... needs affine=False, since a negative scale turns maxima into minima: "
                "pool the normalised array instead"
            )
        given, x = x, leave(x)
        feature_axis %= x.ndim
        row_axis = 0 if feature_axis else x.ndim - 1
        features = x.shape[feature_axis]
        mean = self.variable("batch_stats", "mean", jnp.zeros, features, jnp.float32)
        variance = self.variable("batch_stats", "variance", jnp.ones, features, jnp.float32)

        # CPUs are slow at sums along an array's last axis, so those over the rows of a table that
        # has its features first are products: of averages, and of the gradients of `along`.
        features_first = x.ndim == 2 and feature_axis == 0

        def along(vector: Array, axis: int) -> Array:
            if features_first and axis == 0:
                return lax.dot(vector[:, None], jnp.ones((1, x.shape[1])), precision="highest")
            return lax.broadcast_in_dim(
                vector, [len(vector) if a == axis else 1 for a in range(x.ndim)], (axis,)
            )

        if train and not self.is_initializing():
            others = tuple(a for a in range(x.ndim) if a != feature_axis)
            if weight is None:

                def average(values: Array) -> Array:
                    return jnp.mean(values, others)
            else:
                positions = x.size // (features * x.shape[row_axis])
                share = weight / (jnp.maximum(jnp.sum(weight), 1e-12) * positions)
                row_share = along(share, row_axis)

                def average(values: Array) -> Array:
                    if features_first:
                        return lax.dot(values, share, precision="highest")
                    return jnp.sum(values * row_share, others)

            batch_mean = average(x)
            # The variance about any fixed point, less the square of its distance to the mean, has
            # the same value and derivatives, and its gradient needs no sum over the batch.
            point = lax.stop_gradient(batch_mean)
            spread = average(jnp.square(x - along(point, feature_axis)))
            batch_variance = spread - jnp.square(batch_mean - point)
            if self.is_mutable_collection("moments"):
                self.put_variable("moments", "mean", batch_mean)
                self.put_variable("moments", "variance", batch_variance)
            if self.is_mutable_collection("batch_stats"):
                keep = self.momentum
                mean.value = keep * mean.value + (1 - keep) * batch_mean
                variance.value = keep * variance.value + (1 - keep) * batch_variance
        else:
            batch_mean, batch_variance = mean.value, variance.value
        scale = lax.rsqrt(batch_variance + self.epsilon)
        if self.affine:
            scale = scale * self.param("scale", nn.initializers.ones, (features,))
        x = x if pool is None else pool(x)
        y = (x - along(batch_mean, feature_axis)) * along(scale, feature_axis)
        if self.affine:
            y = y + along(self.param("bias", nn.initializers.zeros, (features,)), feature_axis)
        return rounded(y, given)
