"""The type that a network computes in: that of its input, or bfloat16.

bfloat16 has the range of float32 with 8 instead of 24 binary digits. Accelerators multiply it
several times as fast. Parameters, their updates, running statistics and outputs stay float32; what
is rounded are activations, and copies of the parameters.
"""

import jax.numpy as jnp

from jaxad.typing import Array

TYPES = ("float32", "bfloat16")


def enter(dtype: str, x: Array) -> Array:
    """A network's input in the type ``dtype``; its layers compute in the type of their input.

    ``"float32"`` leaves it unchanged, so that a network of float64 parameters computes in float64.

    Raises:
      ValueError: the type is neither ``"float32"`` nor ``"bfloat16"``.

    Example:
      >>> enter("bfloat16", jnp.ones(2)).dtype
      dtype(bfloat16)
    """
    if dtype not in TYPES:
        raise ValueError(f"dtype={dtype!r} must be one of {', '.join(map(repr, TYPES))}")
    return x if dtype == "float32" else x.astype(dtype)


def leave(x: Array) -> Array:
    """A network's output: bfloat16 becomes float32, other types stay.

    Example:
      >>> leave(jnp.ones(2, jnp.bfloat16)).dtype
      dtype('float32')
    """
    return x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x


def rounded(parameter: Array, x: Array) -> Array:
    """A layer's parameter, rounded to bfloat16 if its input is.

    Example:
      >>> rounded(jnp.ones(3), jnp.ones(2, jnp.bfloat16)).dtype
      dtype(bfloat16)
    """
    return parameter.astype(x.dtype) if x.dtype == jnp.bfloat16 else parameter
