"""GOAD for images: the 72 transforms, the residual network, the objective and the detector."""

import codegen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import jaxad
from jaxad import networks, objectives, training
from jaxad.typing import Batch

KEY = jax.random.key(0)
TRUNK = networks.ConvEncoder((8,), 8)
OBJECTIVE = objectives.image_goad(TRUNK, shift=2)
RECIPE = training.Recipe(epochs=20, batch_size=16, learning_rate=1e-3)
DIGITS, DIGIT = load_digits(return_X_y=True)
IMAGES = (DIGITS / 16).reshape(-1, 8, 8, 1).astype(np.float32)
ONES, ZEROS = IMAGES[DIGIT == 1], IMAGES[DIGIT == 0][:40]
TRAIN, TEST = ONES[:64], ONES[64:104]


@pytest.fixture(scope="module")
def optimised():
    """Optimise compiled code, because training on 72 views of every image is slow."""
    with codegen.optimised():
        yield


# The transforms


def mirrored(i, side):
    """Reflect an index into the image without repeating the edge."""
    if i < 0:
        return -i
    return i if i < side else 2 * (side - 1) - i


def by_loops(image, flip, down, right, turns):
    """One view of ``image`` ``[side, side, C]``, pixel by pixel."""
    side = len(image)
    view = np.empty_like(image)
    for i in range(side):
        for j in range(side):
            row, column = i, j
            for _ in range(turns):  # the pixel one quarter turn earlier
                row, column = column, side - 1 - row
            row, column = mirrored(row - down, side), mirrored(column - right, side)
            view[i, j] = image[row, side - 1 - column if flip else column]
    return view


@pytest.mark.parametrize(("side", "shift"), [(4, 1), (5, 4)])
def test_transforms_equal_loops_over_pixels(side, shift, rng):
    x = rng.normal(size=(2, side, side, 3)).astype(np.float32)
    expected = [
        by_loops(image, flip, down, right, turns)
        for image in x
        for flip in (False, True)
        for down in (0, -shift, shift)
        for right in (0, -shift, shift)
        for turns in range(4)
    ]
    views = networks.geometric_transforms(jnp.asarray(x), shift=shift)
    np.testing.assert_array_equal(views, np.reshape(expected, views.shape))


def test_the_first_transform_is_the_identity_and_all_differ(rng):
    x = jnp.asarray(rng.normal(size=(1, 8, 8, 1)), jnp.float32)
    views = networks.geometric_transforms(x, shift=2)
    np.testing.assert_array_equal(views[:, 0], x)
    assert len(np.unique(views.reshape(72, -1), axis=0)) == 72


def test_the_default_shift_is_the_papers_and_scales():
    x = jnp.arange(32.0 * 32).reshape(1, 32, 32, 1)
    np.testing.assert_array_equal(
        networks.geometric_transforms(x), networks.geometric_transforms(x, shift=8)
    )
    assert [networks.check_shift(side, side) for side in (28, 8, 4, 2)] == [7, 2, 1, 1]


@pytest.mark.parametrize(
    ("shape", "shift", "match"),
    [
        ((1, 4, 6, 1), 1, "4 by 6"),
        ((1, 4, 4, 1), 4, "shift=4"),
        ((1, 4, 4, 1), 0, "shift=0"),
        ((1, 1, 1, 1), None, "1 by 1"),
        ((4, 4), 1, r"\(4, 4\)"),
    ],
)
def test_images_that_cannot_be_transformed(shape, shift, match):
    with pytest.raises(ValueError, match=match):
        networks.geometric_transforms(jnp.zeros(shape), shift=shift)


# The network


@pytest.mark.parametrize(
    ("depth", "width", "channels", "features", "count"),
    [(10, 4, 3, 256, 1_196_240), (10, 1, 1, 64, 76_912), (28, 10, 3, 640, 36_472_784)],
)
def test_published_sizes(depth, width, channels, features, count):
    """WRN-28-10 has 36.5 million parameters, of which 6,410 are in the classifier."""
    module = networks.WideResNet(depth, width)
    x = jnp.zeros((1, 32, 32, channels))
    params, _ = jax.eval_shape(lambda: networks.init(module, KEY, x))
    assert networks.count_parameters(params) == count
    z = jax.eval_shape(lambda: module.init_with_output(KEY, x)[0])
    assert z.shape == (1, features)


@pytest.mark.parametrize(("depth", "width"), [(9, 1), (12, 1), (4, 1), (10, 0)])
def test_sizes_that_do_not_exist(depth, width):
    name = "width" if width < 1 else "depth"
    with pytest.raises(ValueError, match=f"{name}="):
        networks.init(networks.WideResNet(depth, width), KEY, jnp.zeros((1, 8, 8, 1)))


def test_a_residual_network_on_rows_says_what_it_needs():
    with pytest.raises(ValueError, match=r"\[B, H, W, C\]"):
        networks.init(networks.WideResNet(10, 1), KEY, jnp.zeros((1, 8)))


def test_a_block_with_silent_convolutions_is_its_shortcut(rng):
    x = jnp.asarray(rng.normal(size=(2, 4, 4, 3)), jnp.float32)
    block = networks.wide_resnet.Block(3)
    params, running = jax.jit(lambda: networks.init(block, KEY, x))()
    apply = jax.jit(lambda params: networks.apply(block, params, running, x)[0])
    np.testing.assert_array_equal(apply(jax.tree.map(jnp.zeros_like, params)), x)
    assert (apply(params) != x).all()


def test_rows_of_weight_zero_do_not_touch_the_residual_network(rng):
    x = jnp.asarray(rng.normal(size=(6, 4, 4, 1)), jnp.float32)
    weight = jnp.asarray([1.0, 1, 1, 1, 0, 0])
    module = networks.WideResNet(10, 1)
    params, running = jax.jit(lambda: networks.init(module, KEY, x))()

    @jax.jit
    def apply(x):
        return networks.apply(module, params, running, x, weight=weight, key=KEY)

    (z, after), (other_z, other_after) = apply(x), apply(x.at[4:].set(50.0))
    np.testing.assert_array_equal(z[:4], other_z[:4])
    assert (z[4:] != other_z[4:]).any()
    jax.tree.map(np.testing.assert_array_equal, after, other_after)


# The objective, with a network that compiles quickly


@pytest.fixture(scope="module")
def untrained(optimised):
    return training.fit(OBJECTIVE, RECIPE.replace(epochs=0), KEY, TRAIN)


@pytest.fixture(scope="module")
def trained(optimised):
    return training.fit(OBJECTIVE, RECIPE, KEY, TRAIN)


@pytest.fixture(scope="module")
def scores(trained):
    return training.score(OBJECTIVE, trained.params, trained.stats, TEST)


def assert_all_moved(after, before):
    moved = jax.tree.map(lambda a, b: float((a != b).mean()), after, before)
    assert min(jax.tree.leaves(moved)) > 0.99, moved


def test_every_parameter_moves_and_the_loss_falls(trained, untrained):
    assert_all_moved(trained.params, untrained.params)
    loss = trained.history["loss"]
    assert np.isfinite(loss).all()
    assert loss[-1] < 0.9 * loss[0]


def test_scores_are_finite_distinct_and_row_wise(trained, scores):
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) == len(scores)
    order = np.random.default_rng(0).permutation(len(TEST))
    shuffled = training.score(OBJECTIVE, trained.params, trained.stats, TEST[order])
    np.testing.assert_array_equal(shuffled, scores[order])
    beside = np.concatenate([TEST[:5], np.full_like(TEST[:1], 1e4)])
    beside = training.score(OBJECTIVE, trained.params, trained.stats, beside)
    np.testing.assert_array_equal(beside[:5], scores[:5])


def test_another_digit_is_more_anomalous(trained, scores):
    others = training.score(OBJECTIVE, trained.params, trained.stats, ZEROS)
    assert roc_auc_score(np.repeat([0, 1], [len(TEST), len(ZEROS)]), [*scores, *others]) > 0.9


def test_centres_are_the_means_of_the_training_rows(trained):
    z = training.apply_rows("transform", OBJECTIVE, trained.params, trained.stats, TRAIN)
    centres = z.reshape(len(TRAIN), 72, -1).mean(0)
    np.testing.assert_allclose(trained.stats["centres"], centres, rtol=1e-4, atol=1e-5)


def test_padding_rows_change_neither_loss_nor_gradient_nor_statistics(untrained):
    params, stats = training.recipe.as_leaves((untrained.params, untrained.stats))
    weight = jnp.asarray([1.0, 1, 1, 1, 0, 0])

    @jax.jit
    def evaluate(x):
        def loss(params):
            batch = Batch(x, jnp.zeros(6, jnp.int32), weight)
            values, new = OBJECTIVE.loss(params, stats, batch, KEY)
            return jnp.sum(values * weight) / jnp.sum(weight), new

        return jax.value_and_grad(loss, has_aux=True)(params)

    x = jnp.asarray(TRAIN[:6])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        evaluate(x),
        evaluate(x.at[4:].set(50.0)),
    )


# The detector


def detector(**options):
    small = {"network": "wide_resnet", "resnet_width": 1, "shift": 2, "epochs": 2}
    return jaxad.GOAD(**(small | {"batch_size": 16, "random_state": 0} | options))


@pytest.mark.full
def test_the_detector_on_images_and_its_file(optimised, tmp_path):
    images = TRAIN[:48, ..., 0]
    fitted, untrained = detector().fit(images), detector(epochs=0).fit(images)
    assert_all_moved(fitted.params_, untrained.params_)
    assert fitted.history_["loss"][-1] < fitted.history_["loss"][0]
    score = fitted.anomaly_score(images)
    assert score.shape == (len(images),)
    assert len(np.unique(score)) == len(score)
    assert fitted.transform(images[:3]).shape == (3, 72 * 64)
    fitted.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    assert loaded.get_params() == fitted.get_params()
    np.testing.assert_array_equal(loaded.anomaly_score(images), score)


def test_a_users_module_gets_images_of_any_range():
    options = {"shift": 2, "epochs": 1, "batch_size": 16, "random_state": 0}
    fitted = jaxad.GOAD(network=TRUNK, **options).fit(TRAIN)
    assert fitted.transform(TRAIN[:2]).shape == (2, 72 * 8)
    again = jaxad.GOAD(network=TRUNK, **options).fit(255 * TRAIN)
    np.testing.assert_allclose(
        again.anomaly_score(255 * TRAIN), fitted.anomaly_score(TRAIN), rtol=1e-2
    )


@pytest.mark.parametrize(
    ("options", "images", "match"),
    [
        ({"network": "conv"}, TRAIN, "network='conv'"),
        ({"resnet_depth": 12}, TRAIN, "resnet_depth=12"),
        ({"resnet_width": 0}, TRAIN, "resnet_width=0"),
        ({"shift": 8}, TRAIN, "shift=8"),
        ({"shift": 0}, TRAIN, "shift=0"),
        ({"reconstruction_weight": 0.5}, TRAIN, "reconstruction_weight=0.5"),
        ({}, TRAIN[:, :, :6], "8 by 6"),
        ({}, TRAIN.reshape(len(TRAIN), -1), r"\[N, H, W"),
    ],
)
def test_invalid_arguments_raise_before_compiling(options, images, match):
    with training.Stopwatch() as watch, pytest.raises(ValueError, match=match):
        detector(**options).fit(images)
    assert watch.compilations == 0


@pytest.mark.parametrize("other", [jaxad.DeepSVDD, jaxad.DeepSAD, jaxad.AutoEncoder])
def test_other_detectors_refuse_the_residual_network(other):
    with pytest.raises(ValueError, match="network='wide_resnet'"):
        other(network="wide_resnet").fit(TRAIN)
