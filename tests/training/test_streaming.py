"""Streams: training, exact passes and scores agree with those of rows in memory."""

import threading

import jax
import numpy as np
import pytest
from cases import KEY, KEYS, OBJECTIVES, RECIPE, assert_alike, labelled, sparing

from jaxad import data, networks, objectives, training
from jaxad.losses import hypersphere

IN_ORDER = RECIPE.replace(shuffle=False)
STREAMED = OBJECTIVES | {
    # Deep layers of a calibrated network see the chunk: its borders must be the same.
    "soft_boundary": objectives.deep_svdd(
        networks.MLP((8, 8, 4), batch_norm=True),
        loss=hypersphere.soft_boundary,
        radius=True,
        warm_up=1,
        chunk=128,
    )
}


def assert_close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STREAMED))
def test_an_unshuffled_stream_equals_rows_in_memory(name, rows):
    """Blocks of odd sizes, labels, and a partial last chunk."""
    objective, batch = STREAMED[name], labelled(rows)
    cuts = [0, 7, 200, 201, 300]
    blocks = [(rows[a:b], batch.label[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    stream = data.stream(blocks, rows=100)
    in_memory = training.fit(objective, IN_ORDER, KEY, batch)
    streamed = training.fit(objective, IN_ORDER, KEY, stream)
    assert_close(in_memory.params, streamed.params)
    assert_close(in_memory.stats, streamed.stats)
    np.testing.assert_allclose(streamed.history["loss"], in_memory.history["loss"], rtol=1e-5)
    assert (in_memory.steps, in_memory.skipped) == (streamed.steps, streamed.skipped)
    model = objective, streamed.params, streamed.stats
    np.testing.assert_array_equal(training.score(*model, stream), training.score(*model, rows))


def test_without_shuffling_batches_are_in_order(rows):
    """Only the last batch has a gradient, so only it moves the parameters."""
    recipe = IN_ORDER.replace(epochs=1)
    objective = OBJECTIVES["autoencoder"]
    swapped = np.concatenate([rows[:64][::-1], rows[64:]])  # the first batch, turned around
    other = np.concatenate([rows[1:65], rows[:1], rows[65:]])  # a row moved to the second one
    runs = [training.fit(objective, recipe, KEY, x).history["loss"] for x in (rows, swapped, other)]
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-5)
    assert abs(runs[2] - runs[0]) > 1e-5 * runs[0]


def test_rows_are_shuffled_inside_chunks(rows):
    """The key changes the result only if chunks are larger than a batch."""
    objective, recipe = OBJECTIVES["deep_svdd"], RECIPE.replace(batch_size=16)

    def losses(recipe, size, seed=0):
        stream = data.stream(rows, rows=size)
        return training.fit(objective, recipe, jax.random.key(seed), stream).history["loss"]

    in_order = recipe.replace(shuffle=False)
    np.testing.assert_allclose(losses(recipe, 16), losses(in_order, 16), rtol=1e-4)
    shuffled = losses(recipe, 128)
    assert np.abs(shuffled / losses(in_order, 128) - 1).max() > 1e-3
    np.testing.assert_array_equal(losses(recipe, 128), shuffled)


def test_early_stopping_validation_and_progress(rows, capsys):
    recipe = IN_ORDER.replace(epochs=40, patience=2, learning_rate=0.05)
    options = {"validation": rows[200:], "progress": True}
    objective = OBJECTIVES["autoencoder"]
    in_memory = training.fit(objective, recipe, KEY, rows[:200], **options)
    streamed = training.fit(objective, recipe, KEY, data.stream(rows[:200], rows=64), **options)
    assert streamed.best_epoch == in_memory.best_epoch
    assert len(streamed.history["loss"]) < 40
    np.testing.assert_allclose(
        streamed.history["validation_loss"], in_memory.history["validation_loss"], rtol=1e-4
    )
    assert "row" in capsys.readouterr().err


def test_chunks_do_not_recompile(rows):
    def compilations(count):
        stream = data.stream(np.tile(rows, (count, 1)), rows=128)
        return training.fit(OBJECTIVES["deep_svdd"], RECIPE, KEY, stream).compilations

    compilations(1)
    assert compilations(2) == compilations(7)


def test_a_diverging_run_ends_within_the_epoch():
    recipe = RECIPE.replace(batch_size=1, max_skipped=3)
    read = []

    def blocks():
        for i in range(50):
            read.append(i)
            yield np.full((4, 5), 1e30, np.float32)

    with pytest.raises(training.NonFiniteError, match="4 steps in a row"):
        training.fit(OBJECTIVES["autoencoder"], recipe, KEY, data.stream(blocks, rows=4))
    assert max(read) < 5


def test_a_stream_sharded_over_devices(rows):
    stream, objective = data.stream(rows, rows=128), OBJECTIVES["deep_svdd"]
    alone = training.fit(objective, RECIPE, KEY, stream)
    shared = training.fit(objective, RECIPE, KEY, stream, mesh=training.make_mesh(1, 2))
    assert_alike(objective, alone, shared, rows)


def test_no_thread_is_left_behind(rows):
    def threads():
        return [t for t in threading.enumerate() if t.name.startswith("jaxad-stream")]

    chunks = iter(data.stream(rows, rows=64))
    next(chunks)
    assert threads()
    chunks.close()
    assert not threads()

    def broken():
        yield rows[:64]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        training.fit(OBJECTIVES["deep_svdd"], RECIPE, KEY, data.stream(broken, rows=64))
    assert not threads()


def test_few_chunks_are_in_memory_at_a_time(rows):
    """At most one chunk is read ahead."""
    read = []

    def blocks():
        for i in range(10):
            read.append(i)
            yield rows[:64]

    chunks = iter(data.stream(blocks, rows=64))
    read.clear()
    for number in range(5):
        next(chunks)
        assert len(read) <= number + 2


def test_a_generator_is_scored_but_not_trained_on(rows):
    def once():
        return data.stream((rows[i : i + 90] for i in range(0, 300, 90)), rows=64)

    objective = OBJECTIVES["deep_svdd"]
    with pytest.raises(ValueError, match="only once.*function"):
        training.fit(objective, RECIPE, KEY, once())
    result = training.fit(objective, RECIPE, KEY, rows)
    model, source = (objective, result.params, result.stats), once()
    np.testing.assert_array_equal(training.score(*model, source), training.score(*model, rows))
    with pytest.raises(ValueError, match="only once"):
        training.score(*model, source)


def test_a_run_on_a_stream_resumes_from_its_checkpoints(rows, tmp_path):
    objective, folder = OBJECTIVES["deep_svdd"], tmp_path / "run"
    stream = data.stream(rows, rows=64)
    whole = training.fit(objective, RECIPE, KEY, stream)
    training.fit(objective, RECIPE.replace(epochs=2), KEY, stream, checkpoints=folder)
    resumed = training.fit(objective, RECIPE, KEY, stream, checkpoints=folder)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])
    with pytest.raises(ValueError, match="not the same rows"):
        training.fit(objective, RECIPE, KEY, data.stream(rows + 1, rows=64), checkpoints=folder)


@pytest.mark.parametrize("name", sparing(["soft_boundary", "dagmm"]))
def test_a_population_on_a_stream_is_each_member_alone(name, rows):
    objective, stream = STREAMED[name], data.stream(rows, rows=128)
    population = training.fit_population(objective, RECIPE, KEYS, stream)
    assert population.history["loss"].shape == (3, 3)
    alone = training.fit(objective, RECIPE, KEYS[1], stream)
    assert_alike(objective, population.member(1), alone, rows)
    model = objective, population.params, population.stats
    np.testing.assert_array_equal(
        training.score_population(*model, stream), training.score_population(*model, rows)
    )


def test_a_population_on_a_stream_goes_on_from_its_checkpoints(rows, tmp_path):
    objective, stream = OBJECTIVES["deep_svdd"], data.stream(rows, rows=128)
    whole = training.fit_population(objective, RECIPE, KEYS, stream)
    run = {"rows": stream, "checkpoints": tmp_path}
    training.fit_population(objective, RECIPE.replace(epochs=2), KEYS, **run)
    resumed = training.fit_population(objective, RECIPE, KEYS, **run)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])


def test_subsets_of_a_stream_are_refused(rows):
    with pytest.raises(ValueError, match="subsets of rows need rows in memory"):
        training.fit_population(
            OBJECTIVES["deep_svdd"], RECIPE, KEYS, data.stream(rows), subsets=[np.arange(9)] * 3
        )


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE.replace(epochs=np.array([2.0, 4.0, 3.0])),
        RECIPE.replace(epochs=30, patience=1, learning_rate=np.array([0.3, 1e-2, 0.1])),
        RECIPE.replace(max_skipped=2, learning_rate=np.array([1e30, 1e-2, 1e-2]), epochs=6),
    ],
    ids=["epochs", "patience", "failure"],
)
def test_every_member_on_a_stream_ends_by_itself(recipe, rows):
    """As in memory: by its own number of epochs, its own patience, its own failure."""
    objective, in_order = OBJECTIVES["autoencoder"], recipe.replace(shuffle=False)
    streamed = training.fit_population(objective, in_order, KEYS, data.stream(rows, rows=128))
    held = training.fit_population(objective, in_order, KEYS, rows)
    for name in ("epochs", "failed", "best_epoch"):  # a failing member ends after its chunk
        np.testing.assert_array_equal(getattr(streamed, name), getattr(held, name), err_msg=name)
    finite = ~held.failed
    for a, b in zip(*map(jax.tree.leaves, (streamed.params, held.params)), strict=True):
        np.testing.assert_allclose(a[finite], b[finite], rtol=1e-3, atol=1e-4)


def test_validation_rows_are_in_memory(rows):
    objective, stream = OBJECTIVES["deep_svdd"], data.stream(rows)
    with training.Stopwatch() as watch:
        with pytest.raises(ValueError, match="validation is a stream"):
            training.fit(objective, RECIPE, KEY, rows, validation=stream)
        with pytest.raises(ValueError, match="validation is a stream"):
            training.fit_population(objective, RECIPE, KEYS, rows, validation=stream)
    assert watch.compilations == 0
