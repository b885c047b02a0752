"""The exact shuffle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxad.training import batching


def order(count, seed=0, epoch=0, length=None):
    key, length = jax.random.key(seed), length or count
    return np.asarray(batching.epoch_order(key, jnp.int32(epoch), jnp.int32(count), length))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 128, 1000, 4097])
def test_shuffle_is_a_permutation(count):
    assert (np.sort(order(count)) == np.arange(count)).all()


def test_shuffle_with_a_traced_count_is_the_same():
    def traced(count):
        return batching.epoch_order(jax.random.key(3), jnp.int32(5), count, 128)

    expected = order(100, seed=3, epoch=5, length=128)
    assert (np.asarray(jax.jit(traced)(jnp.int32(100))) == expected).all()


def test_entries_beyond_the_count_are_in_range():
    padded = order(100, length=384)
    assert (np.sort(padded[:100]) == np.arange(100)).all()
    assert ((padded[100:] >= 0) & (padded[100:] < 100)).all()


def test_shuffle_differs_between_epochs_and_seeds():
    first = order(1000)
    for other in (order(1000, epoch=1), order(1000, seed=1)):
        assert (first == other).sum() < 10


def test_shuffle_looks_random():
    """Positions are uniform; neighbours and fixed points are as rare as in random orders."""
    count, trials = 500, 200

    def of_seed(words):
        key = jax.random.wrap_key_data(words)
        return batching.epoch_order(key, jnp.int32(0), jnp.int32(count), count)

    words = np.random.default_rng(0).integers(2**32, size=(trials, 2), dtype=np.uint32)
    orders = np.asarray(jax.jit(jax.vmap(of_seed))(words))
    cells = np.zeros((10, 10))
    np.add.at(cells, (np.arange(count)[None] * 10 // count, orders * 10 // count), 1)
    expected = count * trials / 100
    assert ((cells - expected) ** 2 / expected).sum() < 130  # 99.9 % point of chi2 with 81 is 126
    assert abs((orders == np.arange(count)).sum() / trials - 1) < 0.35
    adjacent = (np.abs(np.diff(orders.astype(int), axis=1)) == 1).sum() / trials
    assert abs(adjacent - 2) < 0.5
