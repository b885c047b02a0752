"""Random numbers by hashing a counter, which are cheap to compute and to compile.

`jax.random` uses a cipher whose code is inlined at every use. In a training step it takes longer to
compile than everything else. So keys are made and split by `jax.random`, and the many numbers drawn
from one key are hashes.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxad.typing import Array, Key


def mix(word: Array) -> Array:
    """Scatter 32-bit words: a bijection, the finaliser of MurmurHash3."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def words(key: Key, shape: tuple[int, ...], *salts: Array) -> Array:
    """Draw uint32 words of ``shape``, a function of the typed ``key`` and integer ``salts``."""
    drawn = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    for salt in (*jax.random.key_data(key).ravel(), *salts):
        drawn = mix(drawn ^ salt.astype(jnp.uint32)) + jnp.uint32(0x9E3779B9)
    return mix(drawn).reshape(shape)


def uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """Draw float32 numbers of ``shape`` from [0, 1), in multiples of 2^-24.

    Example:
      >>> numbers = uniform(jax.random.key(0), (1000,))
      >>> round(float(numbers.mean()), 1), bool((numbers < 1).all())
      (0.5, True)
    """
    return (words(key, shape) >> 8).astype(jnp.float32) * 2.0**-24


def normal(key: Key, shape: tuple[int, ...]) -> Array:
    """Draw standard normal float32 numbers of ``shape``, none beyond 5.3 standard deviations.

    The first rows do not depend on how many follow, so padding rows change no other row's numbers.

    Example:
      >>> key = jax.random.key(0)
      >>> many, few = normal(key, (1000, 2)), normal(key, (5, 2))
      >>> round(float(many.std()), 1), bool((many[:5] == few).all())
      (1.0, True)
    """
    centred = 2 * ((words(key, shape) >> 9).astype(jnp.float32) + 0.5) * 2.0**-23 - 1
    return math.sqrt(2) * lax.erf_inv(centred)


def bernoulli(key: Key, probability: Array | float, shape: tuple[int, ...]) -> Array:
    """Draw booleans of ``shape`` that are true with ``probability``, to 24 bits."""
    return uniform(key, shape) < probability
