"""The contract every objective and detector is held to.

Each point answers a defect of an implementation in use: parameters that never moved, losses that
were detached, scores capped into ties, scores that depend on the rows beside them, seeds that
change nothing or everything.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import LOSS_FALLS_TO, PLANTED, TRAINING_NEED_NOT_PAY
from planted import planted
from sklearn.metrics import roc_auc_score

import jaxad
from jaxad import training
from jaxad.typing import Batch

KEY = jax.random.key(0)
RECIPE = training.Recipe(epochs=60, batch_size=64, learning_rate=1e-3, clip_norm=5.0)
TRAIN, TEST, IS_ANOMALY = planted()


@pytest.fixture(scope="module", params=list(PLANTED))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def objective(name):
    return PLANTED[name]


@pytest.fixture(scope="module")
def trained(objective):
    return training.fit(objective, RECIPE, KEY, TRAIN)


@pytest.fixture(scope="module")
def untrained(objective):
    return training.fit(objective, RECIPE.replace(epochs=0), KEY, TRAIN)


@pytest.fixture(scope="module")
def scores(objective, trained):
    return training.score(objective, trained.params, trained.stats, TEST)


def test_every_parameter_moves(trained, untrained):
    moved = jax.tree.map(lambda a, b: bool((a != b).all()), trained.params, untrained.params)
    assert all(jax.tree.leaves(moved)), moved


def test_the_loss_falls(name, trained):
    loss = trained.history["loss"]
    assert np.isfinite(loss).all()
    assert loss[-5:].mean() < LOSS_FALLS_TO.get(name, 0.7) * loss[0]


def test_scores_are_finite_and_distinct(scores):
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 0.99 * len(scores)


def test_training_improves_on_a_set_that_needs_learning(name, objective, scores, untrained):
    before = training.score(objective, untrained.params, untrained.stats, TEST)
    gain = roc_auc_score(IS_ANOMALY, scores) - roc_auc_score(IS_ANOMALY, before)
    assert gain > (-0.02 if name in TRAINING_NEED_NOT_PAY else 0.03)


def test_the_same_key_gives_the_same_bits(objective, trained):
    again = training.fit(objective, RECIPE, KEY, TRAIN)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), trained[:2], again[:2])
    assert all(jax.tree.leaves(same)), same


def test_another_key_gives_another_model(objective, trained):
    other = training.fit(objective, RECIPE, jax.random.key(1), TRAIN)
    assert any(
        (a != b).any() for a, b in zip(*map(jax.tree.leaves, (trained[0], other[0])), strict=True)
    )


def test_a_score_does_not_depend_on_other_rows(objective, trained, scores):
    order = np.random.default_rng(0).permutation(len(TEST))
    shuffled = training.score(objective, trained.params, trained.stats, TEST[order])
    np.testing.assert_array_equal(shuffled, scores[order])
    some = training.score(objective, trained.params, trained.stats, TEST[7:10])
    np.testing.assert_array_equal(some, scores[7:10])
    with_outliers = np.concatenate([TEST[:5], np.full_like(TEST[:1], 1e6)])
    beside = training.score(objective, trained.params, trained.stats, with_outliers)
    np.testing.assert_array_equal(beside[:5], scores[:5])


def test_padding_rows_change_neither_loss_nor_gradient_nor_statistics(objective, untrained):
    label = np.zeros(40, np.int32)
    label[:3] = 1
    alone = Batch(jnp.asarray(TRAIN[:40]), jnp.asarray(label), jnp.ones(40), 3.0)  # warmed up
    padded = Batch(
        jnp.concatenate([alone.x, jnp.full((24, 12), 50.0)]),
        jnp.concatenate([alone.label, jnp.zeros(24, jnp.int32)]),
        jnp.concatenate([alone.weight, jnp.zeros(24)]),
        3.0,
    )
    params, stats = training.recipe.as_leaves((untrained.params, untrained.stats))
    quiet = objective.replace(noise=0.0) if hasattr(objective, "noise") else objective

    def evaluate(batch):
        def loss(params):
            values, new = quiet.loss(params, stats, batch, KEY)
            return jnp.sum(values * batch.weight) / jnp.sum(batch.weight), new

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    for a, b in zip(*map(jax.tree.leaves, (evaluate(alone), evaluate(padded))), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_evaluation_changes_no_statistics(objective, trained):
    batch = Batch(jnp.asarray(TEST[:8]), jnp.zeros(8, jnp.int32), jnp.ones(8), 3.0)
    params, stats = jax.tree.map(jnp.asarray, (trained.params, trained.stats))
    values, after = jax.jit(lambda: objective.loss(params, stats, batch, None))()
    assert values.shape == (8,)
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (stats, after)), strict=True))


def test_no_global_generator_is_touched(objective):
    np.random.seed(5)  # noqa: NPY002
    state = np.random.get_state()  # noqa: NPY002
    training.fit(objective, RECIPE.replace(epochs=1), KEY, TRAIN)
    jaxad.DeepSVDD(epochs=1, hidden=(8,), latent_dim=4, n_members=1).fit(TRAIN)
    after = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(state, after, strict=True))
