"""Multilayer perceptrons: bias-free encoders, mirrored decoders."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from jaxad.hashing import bernoulli, uniform
from jaxad.layout import FEATURES_FIRST_ROWS
from jaxad.networks.normalization import BatchNorm
from jaxad.networks.types import enter, leave, rounded
from jaxad.typing import Array, Key

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "leaky_relu": jax.nn.leaky_relu,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "linear": lambda x: x,
}

# Batches of FEATURES_FIRST_ROWS or more are kept features first, [D, B], in training: then every
# matrix product of the backward pass has a layout for which CPUs have a fast kernel. Evaluation
# does so only if a hidden layer has fewer than NARROW units, too few to fill a CPU's vectors.
NARROW = 16
# The product that gives the gradient of a kernel is up to 1.7 times as fast if the activations on
# its right are a multiple of VECTOR, the numbers in the widest vector of a CPU.
VECTOR = 16


def lay_features_first(x: Array) -> Array:
    """Return ``x`` ``[B, D]`` unchanged, but with the memory layout of an `MLP`'s activations.

    A loss that compares rows with their reconstructions then reads both in the same order.

    Example:
      >>> lay_features_first(jnp.ones((200, 3))).shape
      (200, 3)
    """
    if x.ndim != 2 or len(x) < FEATURES_FIRST_ROWS:
        return x
    return lax.optimization_barrier(x.T).T


# Flax checks the shape of every parameter in every call: compiled, it is traced but once.
@functools.partial(jax.jit, static_argnames=("shape", "dtype"), inline=True)
def fan_in_uniform(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as the authors' PyTorch code does."""
    bound = math.prod(shape[:-1]) ** -0.5
    return ((2 * uniform(key, shape) - 1) * bound).astype(dtype)


def _padding(width: int) -> int:
    """Units to add to a hidden layer so that it is a multiple of `VECTOR`; 0 if they cost more."""
    padding = -width % VECTOR
    return padding if 8 * padding <= width else 0


def _features_first_product(kernel: Array, x: Array) -> Array:
    """``kernel.T @ x``, of ``[D, U]`` and ``[D, B]``."""
    inputs, units = kernel.shape
    if units > VECTOR and units % VECTOR and inputs % VECTOR == 0:
        return lax.optimization_barrier(kernel.T) @ x  # D is on the right in the kernel's gradient
    return lax.dot_general(kernel, x, (((0,), (0,)), ((), ())))  # U is


class Dense(nn.Module):
    """A linear layer for rows ``[B, D]`` or, features first, ``[D, B]``.

    Attributes:
      features: number of outputs.
      use_bias: add a bias.

    Example:
      >>> Dense(3).init_with_output(jax.random.key(0), jnp.ones((4, 2)))[0].shape
      (4, 3)
    """

    features: int
    use_bias: bool = False

    @nn.compact
    def __call__(
        self,
        x: Array,
        *,
        features_first: bool = False,
        inputs: int | None = None,
        padding: int = 0,
    ) -> Array:
        """Return ``[B, features]``, or ``[features + padding, B]``.

        Args:
          x: the rows, or the activations.
          features_first: whether ``x`` is ``[D, B]``.
          inputs: number of features in ``x``; None: all. Those after them are padding, ignored.
          padding: number of zeros after the features of the result.
        """
        given = x.shape[0] if features_first else x.shape[-1]
        inputs = given if inputs is None else inputs
        kernel = rounded(self.param("kernel", fan_in_uniform, (inputs, self.features)), x)
        bias = None
        if self.use_bias:
            bias = rounded(self.param("bias", initializers.zeros, (self.features,)), x)
        if padding or inputs < given:
            kernel = jnp.pad(kernel, ((0, given - inputs), (0, padding)))
            bias = None if bias is None else jnp.pad(bias, (0, padding))
        y = _features_first_product(kernel, x) if features_first else x @ kernel
        if bias is not None:
            y = y + (bias[:, None] if features_first else bias[None, :])
        return y


class Dropout(nn.Module):
    """In training, set a share ``rate`` of the entries to 0 and divide the others by 1 - ``rate``.

    Attributes:
      rate: in [0, 1). The DAGMM paper's Drop(p) *keeps* entries with probability p.
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
    """A multilayer perceptron: linear layers with an activation after each but the last.

    Attributes:
      widths: number of units of each layer; the last one is the output (an encoder's latent space).
      activation: a name in `ACTIVATIONS`. Bounded activations make it easier for Deep SVDD to
        collapse (Ruff et al. 2018, Proposition 3).
      batch_norm: normalise before each activation, without scale and offset.
      use_bias: add biases. With biases Deep SVDD can map every row to the centre.
      output_activation: a name in `ACTIVATIONS`, applied to the output.
      dropout: share of hidden units dropped in training.
      input_dropout: share of inputs dropped in training.
      dtype: what it computes in, ``"float32"`` or ``"bfloat16"``, which suits accelerators. Its
        parameters and outputs are float32 in both.

    Example:
      >>> MLP((8, 3)).init_with_output(jax.random.key(0), jnp.ones((4, 5)))[0].shape
      (4, 3)
    """

    widths: tuple[int, ...]
    activation: str = "leaky_relu"
    batch_norm: bool = False
    use_bias: bool = False
    output_activation: str = "linear"
    dropout: float = 0.0
    input_dropout: float = 0.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, D]`` to ``[B, widths[-1]]``.

        Raises:
          ValueError: ``x`` does not have two dimensions.
        """
        if x.ndim != 2:
            raise ValueError(
                f"an MLP takes rows [B, D], not an array of shape {x.shape}: "
                "reshape it to two dimensions or use an image network"
            )
        x = enter(self.dtype, x)
        activation = ACTIVATIONS[self.activation]
        narrow = min(self.widths[:-1], default=NARROW) < NARROW
        features_first = (train or narrow) and x.shape[0] >= FEATURES_FIRST_ROWS
        if features_first:
            x = lay_features_first(x).T
        x = Dropout(self.input_dropout)(x, train=train)
        pads = features_first and train and not self.batch_norm
        inputs = None
        for width in self.widths[:-1]:
            padding = _padding(width) if pads else 0
            layer = Dense(width, self.use_bias)
            x = layer(x, features_first=features_first, inputs=inputs, padding=padding)
            inputs = width
            if self.batch_norm:
                axis = 0 if features_first else -1
                x = BatchNorm()(x, train=train, weight=weight, feature_axis=axis)
            x = Dropout(self.dropout)(activation(x), train=train)
        x = Dense(self.widths[-1], self.use_bias)(x, features_first=features_first, inputs=inputs)
        x = ACTIVATIONS[self.output_activation](leave(x))
        return x.T if features_first else x
