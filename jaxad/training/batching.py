"""Rows on the device: padding to few sizes, and exact shuffling inside the compiled run."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxad.hashing import words
from jaxad.typing import Array, Batch, Key

_BLOCK = 128  # rows copied at a time
_BLOCK_BYTES = 4 * 2**20  # of rows sent to the device at a time


def bucket(count: int) -> int:
    """The padded size for ``count`` rows: two sizes per octave, eight above 65,536 rows.

    Data sets of similar size share a compiled program; at most a third (a ninth) is padding.

    Example:
      >>> [bucket(n) for n in (1, 300, 4000, 100_000)]
      [256, 384, 4096, 106496]
    """
    if count <= 256:
        return 256
    octave = (count - 1).bit_length() - 1
    step = 1 << (octave - (1 if count <= 65_536 else 3))
    return -(-count // step) * step


def as_rows(x: Any, label: Any = None, weight: Any = None) -> Batch:
    """Rows as host arrays: label 0 (unlabelled) and weight 1 where none is given."""
    x = np.asarray(x, np.float32)
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"rows of shape {x.shape}: need [N, ...] with at least one row")
    label = np.zeros(len(x), np.int32) if label is None else np.asarray(label, np.int32)
    weight = np.ones(len(x), np.float32) if weight is None else np.asarray(weight, np.float32)
    for name, values in (("label", label), ("weight", weight)):
        if values.shape != (len(x),):
            raise ValueError(f"{name} has shape {values.shape}, the rows need {(len(x),)}")
    return Batch(x, label, weight)


def pad_rows(rows: Batch, size: int, sharding: Any = None) -> Batch:
    """Append rows of weight 0 up to ``size``; put all on the device, or as ``sharding`` says."""

    def pad(values):
        padded = np.zeros((size, *values.shape[1:]), values.dtype)
        padded[: len(values)] = values
        return jax.device_put(padded, sharding)

    return Batch(pad(rows.x), pad(rows.label), pad(rows.weight), 0.0)


def row_blocks(x: Any, chunk: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows as float32 in blocks of whole chunks, each with the number of rows that are real.

    Few rows are one block, padded with zeros to a bucket that ``chunk`` divides. Of more, all
    blocks have one size whatever their number, and the last one is padded: a copy for the device
    is of a block, which stays in the cache.
    """
    x = np.asarray(x)
    row_bytes = 4 * math.prod(x.shape[1:])
    most = max(1, _BLOCK_BYTES // max(1, chunk * row_bytes)) * chunk
    size = min(most, -(-bucket(len(x)) // chunk) * chunk)
    for start in range(0, max(1, len(x)), size):
        block = np.ascontiguousarray(x[start : start + size], np.float32)
        count = len(block)
        if count < size:
            block = np.concatenate([block, np.zeros((size - count, *x.shape[1:]), np.float32)])
        yield block, count


def gather(x: Array, at: Array) -> Array:
    """Rows ``at`` ``[B]`` of ``x`` ``[N, ...]``; all of ``at`` must be in bounds.

    On CPU a large batch of a table is copied block by block into an array laid out features first,
    as networks lay out their activations in training. Each block fits the cache; and since a loop
    carries the array, it is there once, where a plain transpose would be read across the grain
    again by every operation that uses it.
    """

    def take(at: Array) -> Array:
        return x.at[at].get(mode="promise_in_bounds")

    def in_blocks(at: Array) -> Array:
        def copy(i: Array, laid: Array) -> Array:
            block = take(lax.dynamic_slice_in_dim(at, i * _BLOCK, _BLOCK))
            return lax.dynamic_update_slice_in_dim(laid, block.T, i * _BLOCK, 1)

        laid = jnp.zeros((x.shape[1], len(at)), x.dtype)
        return lax.fori_loop(0, len(at) // _BLOCK, copy, laid).T

    if x.ndim != 2 or len(at) % _BLOCK or len(at) == _BLOCK:
        return take(at)
    return lax.platform_dependent(at, cpu=in_blocks, default=take)


def rounds_for(bits: Any) -> Any:
    """Rounds of `epoch_order` for a row count of so many bits.

    24 look like a true shuffle at 20,000 rows; theory wants them to grow with the logarithm.
    """
    return 2 * bits - 4


def epoch_order(key: Key, epoch: Array, count: Array, length: int, *others: Array) -> Array:
    """A pseudo-random order of rows ``0 .. count - 1``, a new one for every epoch.

    The swap-or-not shuffle (Hoang, Morris & Rogaway, "An Enciphering Scheme Based on a Card
    Shuffle", CRYPTO 2012): in each round a row and its partner ``pivot - row`` change places or
    not, as a hash of the pair says. It is an exact bijection for every count, also a traced one,
    and needs no sort: an epoch without replacement costs little more than drawing at random.

    Args:
      key: typed key of the run.
      epoch: number of the epoch, scalar.
      count: rows, scalar; may be traced.
      length: static length of the result, at least ``count``.
      *others: whole numbers that each make another order, such as that of a chunk of rows.

    Returns:
      ``[length]`` int32; entries from ``count`` on repeat one of the rows.
    """
    drawn = words(key, (max(24, rounds_for(length.bit_length())), 2), epoch, *others)
    # The count decides, not the padded length: beside larger sets the order is what it is alone.
    rounds = jnp.maximum(24, rounds_for(32 - lax.clz(count.astype(jnp.int32))))
    count = count.astype(jnp.uint32)
    pivots, salts = drawn[:, 0] % count, drawn[:, 1]

    def swap_or_not(i: Array, row: Array) -> Array:
        partner = pivots[i] + count - row
        partner = jnp.where(partner >= count, partner - count, partner)
        # Half of `jaxad.hashing.mix` is enough for one bit.
        mixed = (jnp.maximum(row, partner) ^ salts[i]) * jnp.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
        return jnp.where((mixed >> 16) & 1, partner, row)

    position = jnp.arange(length, dtype=jnp.uint32)
    row = jnp.where(position < count, position, 0)
    return lax.fori_loop(0, rounds, swap_or_not, row).astype(jnp.int32)
