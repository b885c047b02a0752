"""Batch normalisation with row weights, so that padding rows have no effect."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from jaxad.typing import Array


class BatchNorm(nn.Module):
    """Normalise every feature by its mean and variance over the weighted rows of a batch.

    A row of weight 0 changes neither the statistics nor their gradients. Evaluation uses the
    running statistics in the collection ``batch_stats``. If the collection ``moments`` is mutable,
    the mean and variance of the batch are stored there, where `jaxad.networks.calibrate` reads
    them.

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
        self, x: Array, *, train: bool = False, weight: Array | None = None, feature_axis: int = -1
    ) -> Array:
        """Normalise ``x``, an array of any shape.

        Args:
          x: the batch. Rows are its first axis, or its last axis if ``feature_axis`` is 0.
          train: use statistics of the batch, and update the running ones.
          weight: ``[B]`` row weights, not negative; None for 1.
          feature_axis: axis of the features.
        """
        feature_axis %= x.ndim
        row_axis = 0 if feature_axis else x.ndim - 1
        features = x.shape[feature_axis]
        mean = self.variable("batch_stats", "mean", jnp.zeros, features, jnp.float32)
        variance = self.variable("batch_stats", "variance", jnp.ones, features, jnp.float32)

        def along(vector: Array, axis: int) -> Array:
            return lax.broadcast_in_dim(
                vector, [len(vector) if a == axis else 1 for a in range(x.ndim)], (axis,)
            )

        if train and not self.is_initializing():
            others = tuple(a for a in range(x.ndim) if a != feature_axis)
            if weight is None:
                batch_mean = jnp.mean(x, others)
                deviation = x - along(batch_mean, feature_axis)
                batch_variance = jnp.mean(jnp.square(deviation), others)
            else:
                positions = x.size // (features * x.shape[row_axis])
                share = weight / (jnp.maximum(jnp.sum(weight), 1e-12) * positions)
                share = along(share, row_axis)
                batch_mean = jnp.sum(x * share, others)
                deviation = x - along(batch_mean, feature_axis)
                batch_variance = jnp.sum(jnp.square(deviation) * share, others)
            if self.is_mutable_collection("moments"):
                self.put_variable("moments", "mean", batch_mean)
                self.put_variable("moments", "variance", batch_variance)
            if self.is_mutable_collection("batch_stats"):
                keep = self.momentum
                mean.value = keep * mean.value + (1 - keep) * batch_mean
                variance.value = keep * variance.value + (1 - keep) * batch_variance
        else:
            batch_mean, batch_variance = mean.value, variance.value
            deviation = x - along(batch_mean, feature_axis)
        scale = lax.rsqrt(batch_variance + self.epsilon)
        if self.affine:
            scale = scale * self.param("scale", nn.initializers.ones, (features,))
        y = deviation * along(scale, feature_axis)
        if self.affine:
            y = y + along(self.param("bias", nn.initializers.zeros, (features,)), feature_axis)
        return y
