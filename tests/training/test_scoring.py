"""Row-wise functions are bit-identical for every number, type and layout of rows."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax.sharding import NamedSharding, PartitionSpec

import jaxad
from jaxad import networks, objectives, training
from jaxad.training import compilation, scoring

RECIPE = training.Recipe(epochs=1)
X = np.random.default_rng(0).normal(size=(3000, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(jaxad.rows, "_BLOCK_BYTES", 4 * 5 * 512)  # two chunks


OBJECTIVES = {
    "wide": objectives.deep_svdd(networks.MLP((16, 4)), chunk=256),
    "narrow": objectives.deep_svdd(networks.MLP((8, 4)), chunk=256),
    "dagmm": objectives.DAGMM(
        networks.MLP((8, 1), "tanh"),
        networks.MLP((8, 5), "tanh"),
        networks.MLP((10, 2), "tanh"),
        chunk=256,
    ),
}


@pytest.fixture(scope="module", params=OBJECTIVES)
def trained(request):
    objective = OBJECTIVES[request.param]
    params, stats, *_ = training.fit(objective, RECIPE, jax.random.key(0), X[:300])
    return objective, params, stats


@pytest.mark.parametrize("count", [0, 1, 255, 512, 513, 1024, 3000])
def test_blocks_have_one_size_and_contain_every_row_once(count):
    blocks = list(jaxad.rows.unweighted(X[:count], np.zeros(count)).blocks(256))
    assert len({block.shape for block, _ in blocks}) == 1
    assert all(len(block) % 256 == 0 for block, _ in blocks)
    assert np.array_equal(np.concatenate([block[:n] for block, n in blocks]), X[:count])
    assert not np.concatenate([block[n:] for block, n in blocks]).any()


@pytest.mark.parametrize("count", [0, 1, 512, 513, 3000])
def test_scores_do_not_depend_on_the_number_of_blocks(trained, count):
    whole = training.score(*trained, X[:count])
    assert whole.shape == (count,)
    parts = [training.score(*trained, X[:count][i : i + 100]) for i in range(0, count, 100)]
    assert np.array_equal(whole, np.concatenate([np.zeros(0, np.float32), *parts]))


def test_type_and_layout_of_the_rows_change_nothing(trained):
    wanted = training.score(*trained, X)
    for same in (
        X.astype(np.float64),
        np.asfortranarray(X),
        np.repeat(X, 2, 0)[::2],
        jax.numpy.asarray(X),
    ):
        assert np.array_equal(training.score(*trained, same), wanted)


class Squares(objectives.BaseObjective):
    """A score that small integers could not hold."""

    chunk: int = struct.field(pytree_node=False, default=64)

    def score(self, params, stats, x):
        return jnp.sum(jnp.square(x), -1)


def test_small_integers_are_scored_as_numbers():
    x = np.full((515, 5), 200, np.uint8)  # a whole block, and a padded one
    found = training.score(Squares(), {}, {}, x, threads=1)
    assert found.tolist() == [5 * 200.0**2] * 515


def test_functions_with_several_values_per_row(trained):
    objective, params, stats = trained
    z = training.apply_rows("transform", objective, params, stats, X)
    some = training.apply_rows("transform", objective, params, stats, X[700:900])
    assert z.shape == (3000, z.shape[1])
    assert np.array_equal(z[700:900], some)


def test_a_population_in_blocks_scores_like_its_members():
    objective = objectives.deep_svdd(networks.MLP((16, 4)), chunk=256)
    keys = jax.random.split(jax.random.key(0), 3)
    population = training.fit_population(objective, RECIPE, keys, X[:300])
    scores = training.score_population(objective, population.params, population.stats, X)
    assert scores.shape == (3, 3000)
    for p in range(3):
        own = jax.tree.map(lambda leaf, p=p: leaf[p], (population.params, population.stats))
        assert np.array_equal(scores[p], training.score(objective, *own, X))


def test_several_blocks_share_a_program(trained):
    training.score(*trained, X[:600])
    with compilation.Stopwatch() as seen:
        training.score(*trained, X[:2100])
        training.score(*trained, X)
    assert seen.compilations == 0


def test_the_chunks_of_scoring_leave_exact_passes_alone(monkeypatch):
    """Batch norm is calibrated on chunks, so another size would change what is fitted."""
    deep = objectives.deep_svdd(networks.MLP((16, 16, 8), batch_norm=True))
    fits = []
    for chunk in (64, 256):
        monkeypatch.setattr(jaxad.training.scoring, "_CPU_CHUNK", chunk)
        fits.append(training.fit(deep, RECIPE, jax.random.key(0), X))
        assert training.score(deep, *fits[-1][:2], X).shape == (len(X),)
    leaves = zip(*(jax.tree.leaves(fit[:2]) for fit in fits), strict=True)
    assert all(np.array_equal(one, other) for one, other in leaves)


def test_a_population_that_lay_on_the_devices_already_is_kept_nowhere():
    objective = objectives.deep_svdd(networks.MLP((3,)))
    mesh = training.make_mesh(2)
    keys = jax.random.split(jax.random.key(0), 2)
    trained = training.fit_population(objective, RECIPE, keys, X[:300], mesh=mesh)
    lies = NamedSharding(mesh, PartitionSpec("population"))
    model = jax.device_put(jax.tree.map(np.array, (trained.params, trained.stats)), lies)
    before = len(scoring._kept)
    training.score_population(objective, *model, X[:3], mesh=mesh)
    del model
    gc.collect()
    assert len(scoring._kept) == before


def test_a_population_stays_on_the_devices_while_it_exists(monkeypatch):
    """Scoring again sends no weights, and what is dropped is kept nowhere."""
    objective = objectives.deep_svdd(networks.MLP((3,)))
    keys = jax.random.split(jax.random.key(0), 3)
    trained = training.fit_population(objective, RECIPE, keys, X[:300])
    model = jax.tree.map(lambda leaf: leaf + 0, (trained.params, trained.stats))  # seen by none
    before = len(scoring._kept)
    first = training.score_population(objective, *model, X[:3])
    assert len(scoring._kept) == before + 1
    with monkeypatch.context() as patch:
        patch.setattr(scoring.OnDevices, "place", None)
        np.testing.assert_array_equal(training.score_population(objective, *model, X[:3]), first)
    other = jax.tree.map(lambda leaf: leaf * 2, model[0])
    assert not np.array_equal(training.score_population(objective, other, model[1], X[:3]), first)
    del model, other
    gc.collect()
    assert len(scoring._kept) == before
