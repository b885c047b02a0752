"""Objectives on rows with columns of padding."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ENCODER, OBJECTIVES, TANH

from jaxad import networks, objectives, training
from jaxad.objectives.wrappers import Wrapper
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
RECONSTRUCTING = {"autoencoder": AUTOENCODER, "dagmm": MIXTURE}


@pytest.mark.parametrize("width", [5, WIDTH])
@pytest.mark.parametrize("name", EQUAL)
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
@pytest.mark.parametrize("name", RECONSTRUCTING)
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
