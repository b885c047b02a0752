"""A model for each of many small sets of rows: what comes out for a set depends on it alone."""

import jax
import numpy as np
import optax
import pytest
from cases import KEY, OBJECTIVES, RECIPE, TANH, sparing

from jaxad import networks, objectives, training
from jaxad.rows import ArrayRows
from jaxad.training import sets
from jaxad.training.mesh import default_mesh

SIZES = (300, 7, 64, 290, 130, 1, 200, 77)
KEYS = jax.random.split(KEY, len(SIZES))
STARTS = jax.random.split(jax.random.key(1), len(SIZES))
MESHES = {"devices": lambda: default_mesh(jax.local_devices()), "one device": lambda: None}


@pytest.fixture(params=MESHES)
def mesh(request):
    """The test's four devices, and one."""
    return MESHES[request.param]()


@pytest.fixture
def groups(rng):
    return [rng.normal(size=(size, 5)).astype(np.float32) for size in SIZES]


def padded(groups, length=512, rest=0.0):
    """The sets as leaves ``[S, length, ...]``; ``rest`` fills what is beyond a set's rows."""
    x = np.full((len(groups), length, 5), rest, np.float32)
    label, weight = np.zeros(x.shape[:2], np.int32), np.zeros(x.shape[:2], np.float32)
    for i, rows in enumerate(groups):
        x[i, : len(rows)], weight[i, : len(rows)] = rows, 1
    return ArrayRows(x, label, weight, np.array([len(rows) for rows in groups], np.int32))


def train(
    groups,
    objective=OBJECTIVES["deep_svdd"],
    recipe=RECIPE,
    place=slice(None),
    mesh=None,
    **options,
):
    """Train sets ``place`` of ``groups``, each with its own keys."""
    place = np.arange(len(groups))[place]
    many = [objective] * len(place)
    initial = sets.draw_sets(many, STARTS[place], (5,), mesh=mesh)
    length, given = options.pop("length", 64), options.pop("rows", None)
    rows = padded([groups[i] for i in place]) if given is None else given
    inputs = many, [recipe] * len(place), KEYS[place], rows, initial
    return sets.train_sets(*inputs, length=length, mesh=mesh, **options)


def model(result, place=slice(None)):
    leaves = jax.tree.leaves((result.params, result.stats))
    counts = result.steps, result.skipped, result.epochs, result.failed
    history = [values[:, : RECIPE.epochs] for values in result.history.values()]
    return [np.asarray(leaf)[place] for leaf in (*leaves, *counts, *history)]


def same(one, other):
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", sparing(OBJECTIVES))
def test_a_sets_model_is_the_one_that_fit_trains(name, groups):
    objective, recipe = OBJECTIVES[name], RECIPE
    mesh = MESHES["one device" if name == "deep_svdd" else "devices"]()
    few = [groups[0], groups[2], groups[3], groups[4]]
    initial = sets.draw_sets([objective] * 4, STARTS[:4], (5,), mesh=mesh)
    rows = padded(few)
    rows.label[:, :10] = -1
    found = sets.train_sets(
        [objective] * 4, [recipe] * 4, KEYS[:4], rows, initial, length=64, mesh=mesh
    )
    assert not found.failed.any()
    for i, x in enumerate(few):
        begun = jax.tree.map(lambda leaf, i=i: leaf[i], initial)
        given = training.as_rows(x, rows.label[i, : len(x)])
        alone = training.fit(objective, recipe, KEYS[i], given, initial=begun)
        assert found.steps[i] == alone.steps
        loss = found.history["loss"][i, : recipe.epochs]
        np.testing.assert_allclose(loss, alone.history["loss"], rtol=1e-3)
        pairs = zip(jax.tree.leaves(found.params), jax.tree.leaves(alone.params), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one[i], other, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["deep_svdd", "soft_boundary"])
def test_neighbours_order_padding_and_record_do_not_change_a_bit(name, groups, mesh):
    options = {"objective": OBJECTIVES[name], "mesh": mesh}
    usual = model(train(groups, **options))
    backwards = model(train(groups, place=slice(None, None, -1), **options))
    assert same([leaf[::-1] for leaf in backwards], usual)
    others = [rows if i == 2 else rows[:1] * 9 for i, rows in enumerate(groups)]
    assert same([leaf[2] for leaf in model(train(others, **options))], [v[2] for v in usual])
    assert same(model(train(groups, rows=padded(groups, rest=7.0), **options)), usual)
    assert same(model(train(groups, length=128, **options)), usual)


def test_the_number_of_sets_changes_rounding_at_most(groups):
    usual = train(groups)
    few = train(groups, place=slice(0, 4))
    np.testing.assert_allclose(usual.history["loss"][:4, :3], few.history["loss"][:, :3], rtol=1e-5)


WORST = {
    "rows of 1e30": ({}, 1e30),
    "a rate of 1e30": ({"learning_rate": 1e30}, 1.0),
}


@pytest.mark.parametrize("case", WORST)
def test_a_set_that_is_not_finite_fails_and_its_neighbours_keep_their_bits(case, groups, mesh):
    change, scale = WORST[case]
    many, recipes = [OBJECTIVES["deep_svdd"]] * 8, [RECIPE] * 8
    initial = sets.draw_sets(many, STARTS, (5,), mesh=mesh)
    usual = sets.train_sets(many, recipes, KEYS, padded(groups), initial, length=64, mesh=mesh)
    recipes[3] = RECIPE.replace(**{"max_skipped": 3.0} | change)
    groups[3] = groups[3] * np.float32(scale)
    found = sets.train_sets(many, recipes, KEYS, padded(groups), initial, length=64, mesh=mesh)
    assert found.skipped.tolist() == [0, 0, 0, found.skipped[3], 0, 0, 0, 0]
    if scale > 1:
        assert found.failed.tolist() == [i == 3 for i in range(8)]
        assert found.skipped[3] >= 3
    rest = np.arange(8) != 3
    assert same(model(found, rest), model(usual, rest))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.params))


def test_a_repeated_set_is_the_one_that_a_guarded_fit_trains(groups):
    groups[3][5] = 1e30
    objective = OBJECTIVES["autoencoder"]
    found = train(groups, objective=objective)
    initial = sets.draw_sets([objective] * 8, STARTS, (5,))
    begun = jax.tree.map(lambda leaf: leaf[3], initial)
    alone = training.fit(objective, RECIPE, KEYS[3], groups[3], initial=begun)
    assert found.skipped[3] == alone.skipped == RECIPE.epochs
    assert not found.failed.any()
    pairs = zip(jax.tree.leaves(found.params), jax.tree.leaves(alone.params), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one[3], other, rtol=1e-3, atol=1e-4)


def test_optimizers_of_the_users(groups, mesh):
    recipe = RECIPE.replace(optimizer=optax.scale_by_lion, learning_rate=1e-3)
    found = train(groups, recipe=recipe, mesh=mesh)
    assert not found.failed.any()
    other = train(groups, recipe=recipe.replace(optimizer="adam"), mesh=mesh)
    assert not same(model(found), model(other))
    groups[3] = groups[3] * np.float32(1e30)
    hurt = train(groups, recipe=recipe.replace(max_skipped=3.0), mesh=mesh)
    assert hurt.failed.tolist() == [i == 3 for i in range(8)]
    assert same(model(hurt, np.arange(8) != 3), model(found, np.arange(8) != 3))


def test_recipes_of_their_own(groups):
    many = [OBJECTIVES["deep_svdd"]] * 8
    recipes = [RECIPE.replace(epochs=float(1 + i), learning_rate=0.01 / (1 + i)) for i in range(8)]
    initial = sets.draw_sets(many, STARTS, (5,))
    found = sets.train_sets(many, recipes, KEYS, padded(groups), initial, length=64)
    assert found.epochs.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    known = ~np.isnan(found.history["loss"])
    assert known.sum(axis=1).tolist() == found.epochs.tolist()
    assert found.steps.tolist() == [
        -(-n // RECIPE.batch_size) * (1 + i) for i, n in enumerate(SIZES)
    ]


def test_statistics_that_are_given_are_kept(groups):
    usual = train(groups, fitted=True)
    initial = sets.draw_sets([OBJECTIVES["deep_svdd"]] * 8, STARTS, (5,))
    assert same(jax.tree.leaves(usual.stats), jax.tree.leaves(initial[1]))
    assert not same(jax.tree.leaves(train(groups).stats), jax.tree.leaves(initial[1]))


def test_a_record_that_is_too_short_is_named(groups):
    with pytest.raises(ValueError, match="length=2 is less than 3 epochs: raise it"):
        train(groups, length=2)


def test_scores_are_those_of_the_objective_and_depend_on_no_neighbour(groups, mesh):
    objective = objectives.autoencoder(networks.MLP((4, 2), **TANH), networks.MLP((4, 5), **TANH))
    many = [objective] * 8
    params, stats = sets.draw_sets(many, STARTS, (5,), mesh=mesh)
    x = np.zeros((8, sets.SCORED, 5), np.float32)
    for i, rows in enumerate(groups):
        x[i, : len(rows)] = rows[: sets.SCORED]
    found = sets.apply_sets("score", many, params, stats, x, mesh=mesh)
    changed = x.copy()
    changed[[0, 1, 3]] = 5
    changed[2, 64:] = 9
    other = sets.apply_sets("score", many, params, stats, changed, mesh=mesh)
    assert same([other[4:], other[2, :64]], [found[4:], found[2, :64]])
    gradient = sets.apply_sets("gradient", many, params, stats, x, mesh=mesh)
    for i in range(8):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], (params, stats))
        np.testing.assert_allclose(found[i], objective.score(*own, x[i]), rtol=1e-5)
        slope = jax.grad(lambda x, own=own: objective.score(*own, x).sum())(x[i])
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-4, atol=1e-5)


def test_sets_are_padded_to_few_lengths_and_called_in_fixed_numbers(monkeypatch):
    assert {sets.padded_rows(n) for n in range(1, 2049)} == {256, 512, 1024, 2048}
    small, wide = OBJECTIVES["deep_svdd"], objectives.deep_svdd(networks.MLP((2000, 1000)))
    alone = sets.side_by_side(small, (5,), 256, None)
    assert alone > 1
    assert sets.side_by_side(wide, (5,), 256, None) == 1
    mesh = default_mesh(jax.local_devices())
    assert sets.side_by_side(small, (5,), 256, mesh) % 4 == 0
    assert sets.side_by_side(wide, (5,), 256, mesh) == 4
