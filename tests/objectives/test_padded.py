"""Objectives on rows with columns of padding."""

from functools import partial

import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ENCODER, OBJECTIVES, TANH, sparing

import jaxad
from jaxad import hashing, networks, objectives, training
from jaxad.losses.transformation import surprise
from jaxad.objectives import diffusion_time, padding, score_matching
from jaxad.objectives.wrappers import Wrapper
from jaxad.study import populations
from jaxad.typing import Batch

KEY = jax.random.key(3)
RECIPE = training.Recipe(epochs=4, batch_size=64, learning_rate=1e-2, weight_decay=1e-4)
WIDTH = 16


def wide(x, width=WIDTH):
    return np.pad(x, ((0, 0), (0, width - x.shape[1])))


AUTOENCODER = objectives.autoencoder(ENCODER, networks.MLP((8, WIDTH)), noise=0.5)
MIXTURE = objectives.DAGMM(
    networks.MLP((4, 2), **TANH), networks.MLP((4, WIDTH), **TANH), networks.MLP((6, 3), **TANH)
)
COMPOUND = objectives.Compound(
    (
        objectives.goad(ENCODER, n_transforms=4, transform_dim=5),
        objectives.MapReconstruction(
            ENCODER, networks.MLP((8, 5)), n_transforms=4, transform_dim=5
        ),
    ),
    (1.0, 0.5),
)
# What is drawn for the real columns is the same, and so is what is trained.
EQUAL = {name: OBJECTIVES[name] for name in ("deep_svdd", "soft_boundary", "deep_sad", "goad")}
EQUAL |= {"goad_reconstruction": COMPOUND}
EQUAL["icl"] = objectives.icl(*[networks.MLP((8, 4), batch_norm=True)] * 2)
EQUAL["dean"] = objectives.Trimmed(objectives.dean(networks.MLP((8, 1)), bag=3), 0.2, 0.9)
# Their noise or their last layers are drawn for all columns.
DRAWING = {
    "k_dsm": lambda columns: objectives.k_dsm(networks.MLP((8, columns), batch_norm=True)),
    "dte_c": lambda _: objectives.dte_c(networks.MLP((8, 7), batch_norm=True)),
    "tccm": lambda columns: objectives.tccm(networks.MLP((8, columns), batch_norm=True)),
    "neutral_ad": lambda columns: objectives.neutral_ad(
        networks.MLP((8, 4), batch_norm=True), networks.MLP((8, columns)), n_transforms=3
    ),
}
RECONSTRUCTING = {"autoencoder": AUTOENCODER, "dagmm": MIXTURE}


@pytest.mark.parametrize(
    ("name", "width"),
    [(name, width) for name in EQUAL for width in (5, WIDTH) if width > 5 or name in OBJECTIVES],
)
def test_a_padded_run_is_the_run_on_the_real_columns(name, width, rows):
    label = np.where(np.arange(300) % 20 == 0, -1, 0)
    plain, padded = EQUAL[name], objectives.padded(EQUAL[name], 5)
    one = training.fit(plain, RECIPE, KEY, training.as_rows(rows, label))
    x = wide(rows, width)
    other = training.fit(padded, RECIPE, KEY, training.as_rows(x, label))
    np.testing.assert_allclose(other.history["loss"], one.history["loss"], rtol=1e-4)
    expected = training.score(plain, one.params, one.stats, rows)
    found = training.score(padded, other.params, other.stats, x)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_the_first_layer_is_drawn_as_for_the_real_columns(rows):
    padded = objectives.padded(OBJECTIVES["deep_svdd"], 5)
    params, stats = padded.init(KEY, jnp.zeros((1, WIDTH)))
    plain, _ = OBJECTIVES["deep_svdd"].init(KEY, jnp.zeros((1, 5)))
    first, *others = jax.tree.leaves(params["encoder"])
    expected, *rest = jax.tree.leaves(plain["encoder"])
    np.testing.assert_allclose(first[:5], expected, rtol=1e-6)
    for one, other in zip(others, rest, strict=True):
        np.testing.assert_array_equal(one, other)
    assert stats["real"].tolist() == [1] * 5 + [0] * 11


@pytest.mark.parametrize("name", ["icl", "tccm", "neutral_ad"])
def test_all_networks_that_see_columns_begin_as_for_the_real_columns(name):
    if name == "icl":
        plain = wider = EQUAL[name]
    else:
        plain, wider = (DRAWING[name](columns) for columns in (5, WIDTH))
    padded = objectives.padded(wider, 5)
    found, _ = padded.init(KEY, jnp.zeros((1, WIDTH)))
    expected, _ = plain.init(KEY, jnp.zeros((1, 5)))
    roles = padded.objective.padded_inputs(5)
    assert roles
    for role in roles:
        first = expected[role]["Dense_0"]["kernel"]
        mine = cut(found[role]["Dense_0"]["kernel"], first)
        np.testing.assert_allclose(mine, first, rtol=1e-6)


def cut(wide, like):
    """The first entries along each axis."""
    return jax.tree.map(lambda a, b: a[tuple(map(slice, b.shape))], wide, like)


@pytest.mark.parametrize("name", DRAWING)
def test_on_given_draws_loss_gradient_and_score_are_those_of_the_real_columns(
    name, rows, monkeypatch
):
    def normal(key, shape):
        return hashing.normal(key, (*shape[:-1], WIDTH))[..., : shape[-1]]

    for module in (diffusion_time, score_matching):
        monkeypatch.setattr(module, "normal", normal)
    plain, padded = DRAWING[name](5), objectives.padded(DRAWING[name](WIDTH), 5)

    def run(objective, params, stats, rows):
        batch = Batch(rows.x, rows.label, rows.weight)
        stats = objective.prepare(params, stats, rows)

        def loss(params, key):
            values, new = objective.loss(params, stats, batch, key)
            return jnp.mean(values), (values, new)

        (_, trained), gradient = jax.value_and_grad(loss, has_aux=True)(params, KEY)
        ready = objective.finish(params, stats, rows)
        evaluated = objective.loss(params, ready, batch, None)[0]
        return trained, gradient, ready, evaluated, objective.score(params, ready, rows.x)

    x = wide(rows[:64])
    params, stats = padded.init(KEY, jnp.asarray(x[:1]))
    like = jax.eval_shape(plain.init, KEY, jnp.zeros((1, 5)))
    found = jax.jit(run)(padded, params, stats, training.as_rows(x).padded(64))
    given = cut(params, like[0]), cut({k: stats[k] for k in like[1]}, like[1])
    expected = jax.jit(run)(plain, *given, training.as_rows(rows[:64]).padded(64))
    (values, new), gradient, ready, *rest = found
    shown = (values, {k: new[k] for k in like[1]}), gradient, {k: ready[k] for k in like[1]}, *rest
    compared = cut(shown, expected), expected
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5), *compared)
    sizes = [
        sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(g))
        for g in (gradient, expected[1])
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-4)  # nothing flows into what was cut off


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWING)
def test_what_is_drawn_for_padding_changes_results_by_chance_alone(name, rows):
    """Losses of other draws, which lie as close as those of two seeds."""
    plain, padded = DRAWING[name](5), objectives.padded(DRAWING[name](WIDTH), 5)
    keys = jax.random.split(KEY, 4)
    one = training.fit_population(plain, RECIPE, keys, rows).history["loss"][:, -1]
    other = training.fit_population(padded, RECIPE, keys, wide(rows)).history["loss"][:, -1]
    np.testing.assert_allclose(other.mean(), one.mean(), rtol=0.1)


def test_windows_follow_the_real_columns():
    icl = EQUAL["icl"]
    sizes = [objectives.padded(icl, columns).window_size for columns in (33.0, 40.0, 41.0)]
    assert sizes == [2, 2, 10]
    assert objectives.padded(icl, np.array([3.0, 40.0])).features.tolist() == [3, 40]
    with pytest.raises(ValueError, match=r"features=array.*InternalContrast has another struct"):
        objectives.padded(icl, np.array([40.0, 41.0]))
    with pytest.raises(ValueError, match="window_size=2 in a table with 2 columns: give 1 to 1"):
        objectives.padded(icl, 2)
    with pytest.raises(ValueError, match="bag=3 features of a table with 2: give 1 to 2"):
        objectives.padded(EQUAL["dean"], 2)


def test_windows_that_touch_padding_are_0_in_the_latent_vectors(rows):
    padded, x = objectives.padded(EQUAL["icl"], 5), jnp.asarray(wide(rows[:8]))
    z = padded.transform(*padded.init(KEY, x[:1]), x).reshape(8, 15, 4)
    assert not z[:, 4:].any()
    assert z[:, :4].all()


def test_several_widths_are_one_population(rows):
    """The number of real columns is a leaf, as a rate is."""
    base = OBJECTIVES["deep_svdd"]
    own = [objectives.padded(base, features) for features in (3.0, 5.0)]
    assert jax.tree.structure(own[0]) == jax.tree.structure(own[1])
    x = [wide(rows[:, :3]), wide(rows)]
    keys = jax.random.split(KEY, 2)
    result = training.fit_population(own, RECIPE, keys, x)
    for p, features in enumerate((3, 5)):
        alone = training.fit(base, RECIPE, keys[p], rows[:, :features])
        np.testing.assert_allclose(result.history["loss"][p], alone.history["loss"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", sparing(RECONSTRUCTING))
def test_padding_is_neither_noised_nor_reconstructed_nor_learnt(name, rows):
    padded = objectives.padded(RECONSTRUCTING[name], 5)
    x = jnp.asarray(wide(rows[:64]))
    params, stats = padded.init(KEY, x[:1])
    batch = Batch(x, jnp.zeros(64, jnp.int32), jnp.ones(64))
    assert not padded.reconstruct(params, stats, x)[:, 5:].any()
    assert padded.reconstruct(params, stats, x)[:, :5].all()

    def mean(params):
        return jnp.mean(padded.loss(params, stats, batch, KEY)[0])

    gradient = jax.grad(mean)(params)
    (into,) = [g for g in jax.tree.leaves(gradient["encoder"]) if g.shape[0] == WIDTH]
    assert not into[5:].any()
    assert into[:5].all()
    out_of = [g for g in jax.tree.leaves(gradient["decoder"]) if g.shape[-1] == WIDTH]
    assert out_of
    for leaf in out_of:
        assert not leaf[..., 5:].any()
        assert leaf[..., :5].any()


@pytest.mark.parametrize("name", RECONSTRUCTING)
def test_scores_ignore_the_weights_of_padding(name, rows):
    padded, x = objectives.padded(RECONSTRUCTING[name], 5), wide(rows)
    result = training.fit(padded, RECIPE, KEY, x)
    score = training.score(padded, result.params, result.stats, x)

    first = jax.tree.map(
        lambda leaf: leaf.at[5:].set(99.0) if len(leaf) == WIDTH else leaf,
        result.params["encoder"],
    )
    last = jax.tree.map(
        lambda leaf: leaf.at[..., 5:].set(99.0) if leaf.shape[-1] == WIDTH else leaf,
        result.params["decoder"],
    )
    params = result.params | {"encoder": first, "decoder": last}
    assert not np.array_equal(
        jax.flatten_util.ravel_pytree(params)[0], jax.flatten_util.ravel_pytree(result.params)[0]
    )
    other = training.score(padded, params, result.stats, x)
    np.testing.assert_array_equal(other, score)


def test_the_loss_and_noise_of_an_autoencoder_are_those_of_its_columns(rows):
    """In expectation: as many draws, and the same spread in the real columns."""
    plain = objectives.autoencoder(ENCODER, networks.MLP((8, 5)), noise=0.5)
    one = training.fit(plain, RECIPE, KEY, rows)
    other = training.fit(objectives.padded(AUTOENCODER, 5), RECIPE, KEY, wide(rows))
    np.testing.assert_allclose(other.history["loss"] * WIDTH / 5, one.history["loss"], rtol=0.15)


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        (objectives.DAGMM(*[networks.MLP((4, 8))] * 3, reduction="mean"), "DAGMM"),
        (objectives.image_goad(networks.WideResNet(10, 1)), "ViewClassifier"),
        (objectives.Compound((OBJECTIVES["deep_svdd"], 3), (1.0, 1.0)), "Compound"),
        (3, "int"),
    ],
)
def test_what_cannot_tell_is_refused(objective, name):
    with pytest.raises(ValueError, match=f"{name} does not take columns of padding.*one width"):
        objectives.padded(objective, 5)


class Passing(Wrapper):
    """A wrapper that changes nothing, padding included."""

    @property
    def takes_padding(self):
        return self.objective.takes_padding


def test_wrappers_and_parts_are_kept_around_it():
    wrapped = objectives.padded(Passing(OBJECTIVES["deep_svdd"]), 5)
    assert type(wrapped) is Passing
    assert type(wrapped.objective) is objectives.Padded
    both = objectives.padded(COMPOUND, 5)
    assert [part.features for part in both.parts] == [5, 5]


def made(change=lambda columns: columns):
    """An objective for columns, which `change` may make depend on their number."""
    return lambda columns: objectives.Compound(
        (
            objectives.tccm(networks.MLP((8, columns))),
            objectives.dean(networks.MLP((8, 1)), bag=min(2, change(columns))),
        ),
        (1.0, 0.5),
    )


def test_objectives_that_differ_in_nothing_but_outputs_are_told_from_others():
    def alike(make):
        return padding.equal_but_outputs(make(5), make(8), 5, 8)

    assert alike(made())
    assert alike(lambda _: OBJECTIVES["goad"])
    assert alike(lambda columns: objectives.Trimmed(objectives.icl(ENCODER, ENCODER), 0.2, 0.9))
    others = {
        "a bag": made(lambda columns: columns - 4),
        "a number": lambda columns: objectives.k_dsm(networks.MLP((8, columns)), scale=1 / columns),
        "a hidden layer": lambda columns: objectives.tccm(networks.MLP((2 * columns, columns))),
        "an output": lambda columns: objectives.deep_svdd(networks.MLP((8, columns - 1))),
        "a class": lambda columns: OBJECTIVES["goad" if columns == 5 else "deep_svdd"],
        "a network that may see more": lambda columns: objectives.deep_svdd(nn.Dense(4)),
        "parts": lambda columns: objectives.Compound(
            (OBJECTIVES["goad"],) * columns, (1.0,) * columns
        ),
    }
    assert [name for name, make in others.items() if alike(make)] == []


def test_an_objective_derived_from_jaxads_must_say_that_it_knows_padding():
    """Its own score may look at columns of padding as if they were rows' values."""
    kind = type(OBJECTIVES["deep_svdd"])

    class Own(kind):
        def score(self, params, stats, x):
            return jnp.var(x, 1)

    class Told(Own):
        def padded_inputs(self, columns):
            return super().padded_inputs(columns)

    found = [objectives.padding.knows_padding(one) for one in (kind, Own, Told)]
    assert found == [True, False, True]


def test_an_output_of_the_width_of_the_rows_is_not_padded():
    """It was, and the whole comparison failed."""
    detector = jaxad.ObjectiveDetector(lambda shape: objectives.tccm(networks.MLP((8, 5))))
    assert not populations.can_pad(detector, 5, 8)
    fits = jaxad.ObjectiveDetector(lambda shape: objectives.tccm(networks.MLP((8, *shape))))
    assert populations.can_pad(fits, 5, 8)


def test_the_least_probable_class_of_one_has_a_gradient():
    """A surprise with no other class is 0, and so is its gradient; it was NaN."""
    gradient = jax.grad(lambda own: surprise(own, jnp.full((1,), -jnp.inf)))
    assert gradient(1.0) == 0
