"""Batches on the device: an exact shuffle inside the compiled run, and the rows a batch needs."""

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxad.hashing import words
from jaxad.typing import Array, Key, Stats


def fewest_rows(objective: Any, stats: Stats) -> int:
    """Rows that a batch of the objective needs at least; 1 unless it has ``fewest_rows``.

    Only the shapes of ``stats`` matter.
    """
    needed = getattr(objective, "fewest_rows", None)
    return 1 if needed is None else max(1, int(needed(stats)))


def rounds_for(bits: Any) -> Any:
    """Rounds of `epoch_order` for a row count with ``bits`` binary digits.

    24 rounds look like a true shuffle at 20,000 rows. In theory they grow with the logarithm.
    """
    return 2 * bits - 4


def epoch_order(key: Key, epoch: Array, count: Array, length: int, *others: Array) -> Array:
    """A pseudo-random order of rows ``0 .. count - 1``, a new one for every epoch.

    The swap-or-not shuffle (Hoang, Morris & Rogaway, "An Enciphering Scheme Based on a Card
    Shuffle", CRYPTO 2012): in each round a hash of the pair decides whether a row and its partner
    ``pivot - row`` are swapped. The order is an exact permutation for every count, also a traced
    one, and needs no sort, so it costs little more than sampling with replacement.

    Args:
      key: typed key of the run.
      epoch: number of the epoch, scalar.
      count: rows, scalar; may be traced.
      length: static length of the result, at least ``count``.
      *others: further integers that select an order, such as the number of a chunk.

    Returns:
      ``[length]`` int32; entries from ``count`` on repeat one row.
    """
    drawn = words(key, (max(24, rounds_for(length.bit_length())), 2), epoch, *others)
    # Counted from `count`, not from the padded length, which depends on the largest member's rows.
    rounds = jnp.maximum(24, rounds_for(32 - lax.clz(count.astype(jnp.int32))))
    count = count.astype(jnp.uint32)
    pivots, salts = drawn[:, 0] % count, drawn[:, 1]

    def swap_or_not(i: Array, row: Array) -> Array:
        partner = pivots[i] + count - row
        partner = jnp.where(partner >= count, partner - count, partner)
        # One bit needs only half of `jaxad.hashing.mix`.
        mixed = (jnp.maximum(row, partner) ^ salts[i]) * jnp.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
        return jnp.where((mixed >> 16) & 1, partner, row)

    position = jnp.arange(length, dtype=jnp.uint32)
    row = jnp.where(position < count, position, 0)
    return lax.fori_loop(0, rounds, swap_or_not, row).astype(jnp.int32)
