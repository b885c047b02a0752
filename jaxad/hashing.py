"""Random words by hashing a counter: cheap to compute, and cheap to compile.

`jax.random` draws with a cipher whose code is inlined at every use; in a compiled training step
that costs more time to compile than the step itself. Keys are still made and split by
`jax.random`; only the many words drawn from one key are hashed.
"""

import jax
import jax.numpy as jnp

from jaxad.typing import Array, Key


def mix(word: Array) -> Array:
    """A bijection of 32-bit words that scatters them (the finaliser of MurmurHash3)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def words(key: Key, shape: tuple[int, ...], *salts: Array) -> Array:
    """Random uint32 of ``shape``, a function of the typed ``key`` and integer ``salts``."""
    size = 1
    for length in shape:
        size *= length
    drawn = jnp.arange(size, dtype=jnp.uint32)
    for salt in (*jax.random.key_data(key).ravel(), *salts):
        drawn = mix(drawn ^ salt.astype(jnp.uint32)) + jnp.uint32(0x9E3779B9)
    return mix(drawn).reshape(shape)


def uniform(key: Key, shape: tuple[int, ...]) -> Array:
    """Numbers of ``shape`` in [0, 1), multiples of 2^-24."""
    return (words(key, shape) >> 8).astype(jnp.float32) * 2.0**-24


def bernoulli(key: Key, probability: Array | float, shape: tuple[int, ...]) -> Array:
    """Booleans of ``shape``, each true with ``probability`` (to 24 bits)."""
    return uniform(key, shape) < probability
