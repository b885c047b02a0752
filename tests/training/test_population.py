"""Populations: members equal models that are trained alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, KEYS, OBJECTIVES, RECIPE, assert_alike, labelled, sparing

from jaxad import training

SVDD = OBJECTIVES["deep_svdd"]
RATES = RECIPE.replace(learning_rate=np.array([1e-2, 1e-3, 3e-2]))


@pytest.mark.parametrize("name", sparing(OBJECTIVES))
def test_a_member_equals_a_model_trained_alone(name, rows):
    """Includes different rates, sets smaller than a batch, and P not divisible by the devices."""
    objective = OBJECTIVES[name]
    found = training.fit_population(objective, RATES, KEYS, labelled(rows))
    alone = RECIPE.replace(learning_rate=1e-3)
    one = training.fit(objective, alone, KEYS[1], labelled(rows))
    assert_alike(objective, found.member(1), one, rows)
    scores = training.score_population(objective, found.params, found.stats, rows[:50])
    expected = training.score(objective, one.params, one.stats, rows[:50])
    np.testing.assert_allclose(scores[1], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert scores.shape == (3, 50)
    assert not np.allclose(scores[0], scores[2])


@pytest.mark.parametrize("vectorised", [False, True])
def test_vectorised_and_sequential_members_agree(vectorised, rows):
    found = training.fit_population(SVDD, RECIPE, KEYS, rows, vectorised=vectorised)
    assert_alike(SVDD, found.member(0), training.fit(SVDD, RECIPE, KEYS[0], rows), rows)


def test_members_may_train_for_different_epochs(rows):
    recipe = RECIPE.replace(epochs=np.array([1.0, 70.0, 3.0]))
    found = training.fit_population(SVDD, recipe, KEYS, rows)
    assert found.epochs.tolist() == [1, 70, 3]
    assert found.steps.tolist() == [5, 350, 15]
    assert found.history["loss"].shape == (3, 70)
    assert np.isnan(found.history["loss"]).sum() == 69 + 67
    one = training.fit(SVDD, RECIPE.replace(epochs=70), KEYS[1], rows)
    assert_alike(SVDD, found.member(1), one, rows)


def test_each_member_stops_early_by_itself(rows):
    recipe = RECIPE.replace(epochs=20, patience=2, learning_rate=np.array([1e-2, 10.0, 1e-3]))
    found = training.fit_population(SVDD, recipe, KEYS, rows[:200], validation=rows[200:])
    assert found.best_epoch is not None
    for p in (0, 1):
        alone = recipe.replace(learning_rate=float(recipe.learning_rate[p]))
        one = training.fit(SVDD, alone, KEYS[p], rows[:200], validation=rows[200:])
        assert found.best_epoch[p] == one.best_epoch
        assert found.epochs[p] == len(one.history["loss"])
        validation = found.member(p).history["validation_loss"]
        np.testing.assert_allclose(validation, one.history["validation_loss"], rtol=1e-3)


def test_a_failed_member_does_not_affect_the_others(rows):
    recipe = RATES.replace(learning_rate=np.array([1e-2, 1e30, 1e-3]), max_skipped=3)
    objective = OBJECTIVES["autoencoder"]
    found = training.fit_population(objective, recipe, KEYS, rows)
    assert found.failed.tolist() == [False, True, False]
    one = training.fit(objective, RECIPE.replace(learning_rate=1e-3), KEYS[2], rows)
    assert_alike(objective, found.member(2), one, rows)
    with pytest.raises(training.NonFiniteError):
        training.fit(objective, RECIPE.replace(learning_rate=1e30, max_skipped=3), KEYS[1], rows)


SUBSETS = (np.arange(100), np.arange(300) > 49, np.repeat(np.arange(30), 9))


def test_members_with_different_subsets_weights_and_sets(rows):
    folds = training.fit_population(SVDD, RECIPE, KEYS, rows, subsets=SUBSETS)
    sets = training.fit_population(SVDD, RECIPE, KEYS, [rows[subset] for subset in SUBSETS])
    for p, subset in enumerate(SUBSETS):
        one = training.fit(SVDD, RECIPE, KEYS[p], rows[subset])
        assert_alike(SVDD, folds.member(p), one, rows)
        assert_alike(SVDD, sets.member(p), one, rows)
    weight = np.ones((3, 300), np.float32)
    weight[1, :200] = 0
    weighted = training.fit_population(SVDD, RECIPE, KEYS, training.as_rows(rows, weight=weight))
    one = training.fit(SVDD, RECIPE, KEYS[1], training.as_rows(rows, weight=weight[1]))
    assert_alike(SVDD, weighted.member(1), one, rows)


def test_folds_of_validation_rows(rows):
    found = training.fit_population(
        SVDD, RECIPE, KEYS[:2], rows, subsets=SUBSETS[:2],
        validation_subsets=[np.arange(100, 300), np.arange(50)],
    )  # fmt: skip
    one = training.fit(SVDD, RECIPE, KEYS[1], rows[50:], validation=rows[:50])
    validation = found.member(1).history["validation_loss"]
    np.testing.assert_allclose(validation, one.history["validation_loss"], rtol=1e-4)


def test_a_small_set_is_shuffled_independently_of_larger_sets(rng):
    large = rng.normal(size=(40_000, 2)).astype(np.float32)
    recipe = RECIPE.replace(batch_size=4096)
    found = training.fit_population(SVDD, recipe, KEYS[:2], [large[:5000], large])
    one = training.fit(SVDD, recipe, KEYS[0], large[:5000])
    np.testing.assert_allclose(found.member(0).history["loss"], one.history["loss"], rtol=1e-5)


def test_scoring_needs_as_many_objectives_as_models(rows):
    found = training.fit_population(SVDD, RECIPE, KEYS, rows)
    with pytest.raises(ValueError, match="objective 2, params"):
        training.score_population([SVDD, SVDD], found.params, found.stats, rows)


def test_a_number_of_the_objective_may_differ(rows):
    nu = np.array([0.05, 0.5], np.float32)
    objective = OBJECTIVES["soft_boundary"].replace(nu=nu)
    listed = [OBJECTIVES["soft_boundary"].replace(nu=float(n)) for n in nu]
    keys = jnp.stack([KEY, KEY])
    found = training.fit_population(objective, RECIPE, keys, rows)
    again = training.fit_population(listed, RECIPE, keys, rows)
    np.testing.assert_array_equal(found.history["loss"], again.history["loss"])
    one = training.fit(listed[1], RECIPE, KEY, rows)
    assert_alike(listed[1], found.member(1), one, rows)
    assert found.stats["radius"][0] > found.stats["radius"][1]
    scores = training.score_population(objective, found.params, found.stats, rows)
    np.testing.assert_allclose((scores > 0).mean(1), nu, atol=0.02)


def test_pretrained_members_start_from_their_pretraining(rows):
    first = training.fit_population(SVDD, RECIPE, KEYS, rows)
    found = training.fit_population(
        SVDD, RECIPE.replace(epochs=0), KEYS, rows, initial=(first.params, first.stats)
    )
    jax.tree.map(np.testing.assert_array_equal, found.params, first.params)
    assert found.history["loss"].shape == (3, 0)


def test_sixty_four_members_compile_as_few_programs_as_two(rows):
    found = {}
    for size in (4, 64):
        jax.clear_caches()
        keys = jax.random.split(KEY, size)
        found[size] = training.fit_population(SVDD, RECIPE, keys, rows).compilations
    assert found[64] == found[4] <= 6
    other = RECIPE.replace(learning_rate=1e-4)
    again = training.fit_population(SVDD, other, jax.random.split(KEYS[0], 64), rows[:290])
    assert again.compilations == 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"recipe": RATES, "keys": KEYS[:2]}, "recipe.learning_rate 3, keys 2"),
        ({"keys": KEY}, "nothing has an axis over members"),
        ({"keys": KEYS[:0]}, "keys has length 0"),
        ({"keys": 3}, "keys=3 is neither"),
        ({"keys": np.zeros(2, np.uint32)}, "neither a typed key"),
        ({"subsets": SUBSETS[:2]}, "keys 3, rows.index 2"),
        ({"subsets": []}, "subsets of rows is empty"),
        ({"initial": ({"a": np.ones((2, 1))}, {})}, r"keys 3, initial\[0\]\['a'\] 2"),
        ({"recipe": RECIPE.replace(epochs=2.5)}, "epochs=2.5 is not a whole number"),
        ({"recipe": RATES.replace(learning_rate=np.ones((3, 1)))}, r"shape \(3, 1\)"),
        ({"recipe": RATES.replace(learning_rate=np.array([1, -1, 1]))}, "member 1: learning_rate"),
        (
            {"recipe": RECIPE.replace(batch_size=np.array([8, 16, 32]))},
            "recipe.batch_size=array.* is structure",
        ),
        ({"objective": [SVDD, SVDD, OBJECTIVES["goad"]]}, "3 objectives of the list differ"),
        ({"subsets": [np.arange(9), np.arange(0), np.arange(3)]}, "subset 1 of rows"),
        ({"subsets": [np.arange(9), np.arange(3), np.array([300])]}, "subset 2 of rows"),
        ({"subsets": [np.arange(9), np.arange(3), np.array([0, -1])]}, "subset 2 of rows"),
        ({"rows": []}, "empty list"),
        ({"rows": [np.ones((9, 5)), np.ones((9, 4)), np.ones((9, 4))]}, "different shapes"),
        ({"rows": [np.ones((9, 5))] * 3, "subsets": SUBSETS}, "need shared rows"),
        ({"recipe": RECIPE.replace(batch_size=63), "mesh": (1, 2)}, "batch_size=63"),
    ],
)
def test_invalid_arguments_raise_before_compiling(arguments, match, rows):
    given = {"objective": SVDD, "recipe": RECIPE, "keys": KEYS, "rows": rows} | arguments
    if "mesh" in given:
        given["mesh"] = training.make_mesh(*given["mesh"])
    with training.Stopwatch() as watch, pytest.raises(ValueError, match=match):
        training.fit_population(**given)
    assert watch.compilations == 0


def test_a_population_in_pieces_is_each_member_alone(rows):
    halves = rows[:150], rows[150:]
    soft = OBJECTIVES["soft_boundary"]
    together = training.begin(soft, RECIPE, KEYS, halves[0])
    alone = training.begin(soft, RECIPE, KEYS[2], halves[0])
    for half in halves:
        together, population = training.advance(soft, RECIPE, together, half)
        alone, one = training.advance(soft, RECIPE, alone, half)
    assert population.epochs.tolist() == [2, 2, 2]
    assert_alike(soft, population.member(2), one._replace(epochs=1), rows)


def test_members_are_taken_as_a_population(rows):
    population = training.fit_population(SVDD, RECIPE, KEYS, rows)
    part = population.take([2, 0])
    assert part.size == 2
    np.testing.assert_array_equal(part.history["loss"], population.history["loss"][[2, 0]])
    np.testing.assert_array_equal(
        part.member(0).stats["centre"], population.member(2).stats["centre"]
    )


def test_labels_of_each_member_are_for_a_population_only(rows):
    labelled_by_each = training.as_rows(rows, np.zeros((3, 300)))
    with training.Stopwatch() as watch, pytest.raises(ValueError, match="fit_population"):
        training.fit(SVDD, RECIPE, KEY, labelled_by_each)
    assert watch.compilations == 0


@pytest.mark.parametrize("recipe", ["shared", "listed"])
def test_a_recipe_that_is_no_number_is_named(recipe, rows):
    wrong = RECIPE.replace(learning_rate="a")
    given = wrong if recipe == "shared" else [RECIPE, wrong, RECIPE]
    with pytest.raises(TypeError, match="learning_rate='a' is not a number"):
        training.fit_population(SVDD, given, KEYS, rows)
