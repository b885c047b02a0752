"""Rows in memory and streamed: padding, and passes that give the same either way."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxad import data, rows


@pytest.mark.parametrize("count", [1, 255, 256, 257, 384, 385, 4000, 65_536, 65_537, 1_000_000])
def test_bucket_holds_the_rows_with_little_padding(count):
    size = rows.bucket(count)
    assert size >= count
    assert size % 128 == 0
    if count > 256:
        assert size < count * 1.5
    if count > 65_536:
        assert size < count * 1.125


def test_padding_rows_have_weight_zero():
    padded = rows.as_rows(np.ones((3, 2))).padded(256)
    assert padded.x.shape == (256, 2)
    assert float(padded.weight.sum()) == 3


@pytest.mark.parametrize("x", [np.zeros(3), np.zeros((0, 2))])
def test_invalid_rows_raise(x):
    with pytest.raises(ValueError, match="rows of shape"):
        rows.as_rows(x)


def test_labels_of_another_length_are_an_error():
    with pytest.raises(ValueError, match="label has shape"):
        rows.as_rows(np.zeros((3, 2)), label=[0, 1])


@pytest.fixture
def both(rng):
    """The same rows in memory, padded on the device, and as a stream of uneven blocks."""
    x = rng.normal(size=(300, 4)).astype(np.float32)
    label = rng.integers(-1, 2, 300)
    cuts = (0, 7, 200, 300)
    blocks = [(x[a:b], label[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    return rows.as_rows(x, label), data.stream(blocks, rows=90)


def test_rows_reweighed_twice_keep_both_weights(both):
    for given in both:
        first = given.reweigh(lambda batch: jnp.where(batch.label < 0, 0, 2.0 * batch.weight))
        second = first.reweigh(lambda batch: jnp.where(batch.label > 0, 0, batch.weight))
        _, weight = second.values(lambda x: x[:, 0], chunk=16)
        np.testing.assert_array_equal(weight[:300], 2.0 * (both[0].label == 0))
        assert (weight[300:] == 0).all()


@pytest.mark.parametrize("chunk", [16, 77, 1000])
def test_passes_in_memory_and_streamed_agree(both, chunk):
    held, streamed = both
    on_device = held.padded(384)

    def normals(given):
        return given.reweigh(lambda batch: jnp.where(batch.label < 0, 0, batch.weight))

    expected = held.x[held.label >= 0].mean(0)
    for given in (on_device, streamed):
        mean = normals(given).mean(lambda x: x, chunk=chunk)
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)
        total = given.fold(lambda n, batch: n + batch.weight.sum(), jnp.float32(0), chunk=chunk)
        assert total == 300
        values, weight = normals(given).values(lambda x: x[:, 0], chunk=chunk)
        real = np.asarray(weight) > 0
        np.testing.assert_allclose(np.asarray(values)[real], held.x[held.label >= 0, 0], rtol=1e-6)


def test_rows_are_selected_by_label_in_memory_and_streamed(both):
    for given in both:
        kept = given.keep(lambda label: label == 1, otherwise=lambda label: label == 0)
        labels = np.concatenate([label for _, label in kept.on_host()])
        assert (labels == 1).all()
        assert len(labels) == (both[0].label == 1).sum()
        other = given.keep(lambda label: label == 7, otherwise=lambda label: label == 0)
        labels = np.concatenate([label for _, label in other.on_host()])
        assert (labels == 0).all()
        assert len(labels) == (both[0].label == 0).sum()


def test_rows_are_mapped_in_memory_and_streamed(both):
    for given in both:
        x = np.concatenate([x for x, _ in given.map(lambda x: 2 * x).on_host()])
        np.testing.assert_array_equal(x, 2 * both[0].x)


def test_pieces_contain_every_row_and_the_last_is_not_short(both):
    held, streamed = both
    assert [len(piece.x) for piece in streamed.pieces()] == [90, 90, 120]
    np.testing.assert_array_equal(np.concatenate([p.x for p in streamed.pieces()]), held.x)
    assert list(held.pieces()) == [held]


def test_rows_have_their_own_labels():
    given = rows.as_rows(np.ones((3, 2)), [0, 1, -1])
    assert rows.as_rows(given) is given
    with pytest.raises(ValueError, match="these rows have their own"):
        rows.as_rows(given, label=[0, 0, 0])


def test_rows_that_are_taken_keep_their_own_labels_and_weights():
    given = rows.as_rows(np.arange(8.0).reshape(4, 2), [0, 1, -1, 0], [1.0, 2.0, 3.0, 4.0])
    taken = given.take(np.array([3, 1]))
    assert taken.x.tolist() == [[6, 7], [2, 3]]
    assert (taken.label.tolist(), taken.weight.tolist()) == ([0, 1], [4, 2])


def test_chunks_beyond_the_count_are_not_computed():
    x = jnp.ones((6, 3))
    found = rows.map_rows(lambda x: x.sum(axis=1), x, chunk=2, count=jnp.int32(3))
    assert found.tolist() == [3, 3, 3, 3, 0, 0]
