"""Multilayer perceptrons: bias-free encoders, mirrored decoders."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from jaxad.hashing import bernoulli, uniform
from jaxad.networks.normalization import BatchNorm
from jaxad.typing import Array, Key

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "leaky_relu": jax.nn.leaky_relu,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "linear": lambda x: x,
}

# From this many rows on, activations are kept features first while training: every product of
# the backward pass then has a layout with a fast kernel on CPU. Otherwise only where a hidden
# layer has too few units to fill a CPU's vectors, which then run along the rows.
FEATURES_FIRST_ROWS = 128
NARROW = 16


def lay_features_first(x: Array) -> Array:
    """``x`` itself, laid out in memory as an `MLP` lays out activations features first.

    A loss that compares rows ``[B, D]`` with their reconstructions then runs along both.
    """
    if x.ndim != 2 or len(x) < FEATURES_FIRST_ROWS:
        return x
    return lax.optimization_barrier(x.T).T


def fan_in_uniform(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the initialiser of the papers' published code."""
    bound = math.prod(shape[:-1]) ** -0.5
    return ((2 * uniform(key, shape) - 1) * bound).astype(dtype)


class Dense(nn.Module):
    """A linear layer for rows ``[B, I]`` or, features first, ``[I, B]``."""

    features: int
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Array, *, features_first: bool = False) -> Array:
        """Return ``[B, features]``, or ``[features, B]``."""
        inputs = x.shape[0] if features_first else x.shape[-1]
        kernel = self.param("kernel", fan_in_uniform, (inputs, self.features))
        if features_first:
            y = lax.dot_general(kernel, x, (((0,), (0,)), ((), ())))
        else:
            y = x @ kernel
        if self.use_bias:
            bias = self.param("bias", initializers.zeros, (self.features,))
            y = y + (bias[:, None] if features_first else bias[None, :])
        return y


class Dropout(nn.Module):
    """Set a share ``rate`` of the entries to 0 in training, and scale the others up to make up.

    Attributes:
      rate: in [0, 1). (The DAGMM paper's Drop(p) keeps with probability p.)
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Return an array shaped like ``x``."""
        if not train or self.rate == 0:
            return x
        keep = 1 - self.rate
        return jnp.where(bernoulli(self.make_rng("dropout"), keep, x.shape), x / keep, 0)


class MLP(nn.Module):
    """Linear layers with an activation between them, and none after the last.

    Attributes:
      widths: units of each layer, the last one the output (the latent space of an encoder).
      activation: a name in `ACTIVATIONS`; unbounded ones keep Deep SVDD from collapsing.
      batch_norm: normalise before each activation, without scale and offset.
      use_bias: biases. Off by default: with them Deep SVDD can map everything to the centre.
      output_activation: applied to the last layer.
      dropout: share of hidden units dropped in training.
      input_dropout: share of inputs dropped in training.
    """

    widths: tuple[int, ...]
    activation: str = "leaky_relu"
    batch_norm: bool = False
    use_bias: bool = False
    output_activation: str = "linear"
    dropout: float = 0.0
    input_dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, D]`` to ``[B, widths[-1]]``."""
        if x.ndim != 2:
            raise ValueError(
                f"an MLP takes rows [B, D], not an array of shape {x.shape}: "
                "reshape it to two dimensions or use an image network"
            )
        activation = ACTIVATIONS[self.activation]
        prefers = train or min(self.widths[:-1], default=NARROW) < NARROW
        features_first = prefers and x.shape[0] >= FEATURES_FIRST_ROWS
        if features_first:
            x = lay_features_first(x).T
        x = Dropout(self.input_dropout)(x, train=train)
        for width in self.widths[:-1]:
            x = Dense(width, self.use_bias)(x, features_first=features_first)
            if self.batch_norm:
                axis = 0 if features_first else -1
                x = BatchNorm()(x, train=train, weight=weight, feature_axis=axis)
            x = Dropout(self.dropout)(activation(x), train=train)
        x = Dense(self.widths[-1], self.use_bias)(x, features_first=features_first)
        x = ACTIVATIONS[self.output_activation](x)
        return x.T if features_first else x
