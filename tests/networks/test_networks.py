"""Dense networks, weighted batch norm, and the pure functions that apply modules."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from jaxad import networks, training
from jaxad.networks.convolution import max_pool

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("widths", "inputs", "count"),
    [((128, 64, 32), 274, 45_312), ((32, 16, 8), 21, 1_312), ((32, 16, 4), 6, 768)],
)
def test_deep_sad_parameter_counts(widths, inputs, count):
    module, x = networks.MLP(widths, batch_norm=True), jnp.ones((1, inputs))
    params, _ = jax.eval_shape(lambda: networks.init(module, KEY, x))
    assert networks.count_parameters(params) == count


# With 30 and 60 units, training pads hidden layers; 20 outputs are multiplied from the other side.
@pytest.mark.parametrize("widths", [(16, 8, 3), (30, 60, 20)])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_features_first_is_the_same_network(widths, batch_norm, use_bias, monkeypatch, rows):
    module = networks.MLP(widths, "sigmoid", batch_norm=batch_norm, use_bias=use_bias)
    params, running = jax.jit(lambda: networks.init(module, KEY, rows))()
    weight = jnp.asarray(np.arange(300) % 3, jnp.float32)

    def run():
        def loss(params):
            z, new = networks.apply(module, params, running, rows, weight=weight, key=KEY)
            return jnp.sum(z**2), new

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    features_first = run()
    monkeypatch.setattr(networks.dense, "FEATURES_FIRST_ROWS", 10**6)
    rows_first = run()
    assert jax.tree.structure(features_first) == jax.tree.structure(rows_first)
    for a, b in zip(*map(jax.tree.leaves, (features_first, rows_first)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_the_output_passes_its_activation(name, rows):
    linear, activated = networks.MLP((8, 3)), networks.MLP((8, 3), output_activation=name)
    model = networks.init(linear, KEY, rows)
    expected = getattr(jax.nn, name)(networks.apply(linear, *model, rows)[0])
    np.testing.assert_allclose(networks.apply(activated, *model, rows)[0], expected, rtol=1e-5)


def test_evaluated_rows_depend_neither_on_the_others_nor_on_dropped_units(rows):
    module = networks.MLP((8, 3), batch_norm=True, dropout=0.5, input_dropout=0.2)
    model = networks.init(module, KEY, rows)
    whole, same = networks.apply(module, *model, rows)
    assert same is model[1]
    alone = [networks.apply(module, *model, rows[i : i + 1])[0][0] for i in range(3)]
    np.testing.assert_allclose(whole[:3], alone, rtol=1e-5, atol=1e-6)


def test_features_first_derivatives_of_any_order_and_mode(rows):
    module = networks.MLP((30, 20), "tanh", use_bias=True)
    params, running = networks.init(module, KEY, rows[:128, :2])

    def loss(params):
        return jnp.mean(networks.apply(module, params, running, rows[:128, :2], key=KEY)[0] ** 2)

    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        check_grads(loss, (exact,), order=2)


def test_an_mlp_on_images_says_what_it_needs():
    with pytest.raises(ValueError, match=r"\[B, D\]"):
        networks.init(networks.MLP((4, 2)), KEY, jnp.ones((1, 8, 8, 1)))


def normalise(x, weight, axis=-1):
    module = networks.BatchNorm()
    variables = module.init(KEY, x, feature_axis=axis)
    return module.apply(
        variables, x, train=True, weight=weight, feature_axis=axis, mutable=["batch_stats"]
    )


def test_batch_norm_by_hand(rows):
    y, updated = normalise(rows, None)
    mean, variance = rows.mean(0), rows.var(0)
    np.testing.assert_allclose(y, (rows - mean) / np.sqrt(variance + 1e-4), atol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(updated["batch_stats"]["variance"], 0.9 + 0.1 * variance, rtol=1e-5)


@pytest.mark.parametrize("shape", [(60, 4), (60, 3, 3, 4)])
def test_padding_rows_leave_batch_norm_alone(shape, rng):
    x = rng.normal(size=shape).astype(np.float32)
    x[40:] = 1e3
    weight = np.r_[np.ones(40), np.zeros(20)].astype(np.float32)
    padded, padded_stats = normalise(x, weight)
    alone, alone_stats = normalise(x[:40], None)
    np.testing.assert_allclose(padded[:40], alone, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), padded_stats, alone_stats
    )

    def loss(x):
        return jnp.sum(normalise(x, weight)[0][:40] ** 3)

    gradient = jax.grad(loss)(jnp.asarray(x))
    assert float(jnp.abs(gradient[40:]).max()) == 0
    assert float(jnp.abs(gradient[:40]).max()) > 0


def test_batch_norm_features_first_is_the_transpose(rows):
    weight = jnp.asarray(np.arange(300) % 2, jnp.float32)
    np.testing.assert_allclose(
        normalise(rows.T, weight, axis=0)[0].T, normalise(rows, weight)[0], atol=1e-6
    )


def test_derivatives_of_batch_norm_are_those_of_its_formula(rng):
    x, weight = jnp.asarray(rng.normal(size=(5, 2)) + 3, jnp.float32), jnp.arange(5.0)

    def formula(x):
        share = weight / jnp.sum(weight)
        mean = share @ x
        variance = share @ jnp.square(x - mean[None])
        return (x - mean[None]) / jnp.sqrt(variance + 1e-4)[None]

    for order in (jax.jacrev, lambda f: jax.jacfwd(jax.jacrev(f))):
        actual = order(lambda x: jnp.tanh(normalise(x, weight)[0]))(x)
        expected = order(lambda x: jnp.tanh(formula(x)))(x)
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("train", [True, False])
def test_pooling_inside_batch_norm_equals_pooling_after_it(train, rng):
    x = jnp.asarray(rng.normal(size=(3, 6, 4, 2)), jnp.float32)
    module = networks.BatchNorm()
    variables = module.init(KEY, x)

    def apply(x, **options):
        return module.apply(variables, x, train=train, mutable=["batch_stats"], **options)

    inside, pull = jax.vjp(lambda x: apply(x, pool=max_pool), x)
    after, pull_after = jax.vjp(lambda x: (max_pool((y := apply(x))[0]), y[1]), x)
    for a, b in zip(*map(jax.tree.leaves, (inside, after)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(pull(inside)[0], pull_after(after)[0], rtol=1e-4, atol=1e-5)


def test_batch_norm_with_a_scale_does_not_pool():
    with pytest.raises(ValueError, match="affine=False"):
        networks.BatchNorm(affine=True).init(KEY, jnp.ones((1, 2, 2, 1)), pool=max_pool)


@pytest.mark.parametrize("chunk", [64, 77, 300, 1000])
def test_calibration_is_exact_over_chunks_and_padding(chunk, rows):
    """The statistics of one layer are those of all its inputs for any chunks."""
    padded = np.concatenate([rows + 3, np.full((84, 5), 1e4, np.float32)])
    weight = np.r_[np.ones(300), np.zeros(84)].astype(np.float32)
    padded_rows = training.as_rows(padded, weight=weight)

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False, weight=None):
            return networks.BatchNorm()(x, train=train, weight=weight)

    module = Plain()
    params, running = networks.init(module, KEY, padded)
    running = networks.calibrate(module, params, running, padded_rows, chunk=chunk)
    layer = running["BatchNorm_0"]
    np.testing.assert_allclose(layer["mean"], (rows + 3).mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer["variance"], rows.var(0), rtol=1e-4)


def test_a_users_module_with_fewer_arguments(rows):
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x)

    params, running = networks.init(Plain(), KEY, rows)
    trained, _ = networks.apply(Plain(), params, running, rows, weight=jnp.ones(300), key=KEY)
    evaluated, _ = networks.apply(Plain(), params, running, rows)
    np.testing.assert_array_equal(trained, evaluated)


def test_the_initialiser_is_uniform_and_layers_differ(rows):
    params, _ = networks.init(networks.MLP((64, 64, 64)), jax.random.key(3), jnp.ones((1, 64)))
    first, second, third = (leaf.ravel() * 8 for leaf in jax.tree.leaves(params))
    for kernel in (first, second, third):
        assert scipy.stats.kstest(np.asarray(kernel), scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3
        neighbours = np.corrcoef(kernel[:-1], kernel[1:])[0, 1]
        assert abs(neighbours) < 0.05  # three standard errors
    assert np.abs(np.corrcoef([first, second, third]) - np.eye(3)).max() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": None}, "None is neither an instance of flax.linen.Module nor one of: 'mlp'"),
        ({"network": networks.MLP}, "MLP.* is neither an instance of flax.linen.Module"),
        ({"network": "mlp", "hidden": 16}, r"hidden=16 is not a sequence of widths: pass \(16,\)"),
        ({"network": "mlp", "latent_dim": 0}, "latent_dim=0: every width must be a whole number"),
        ({"network": "cifar10_lenet", "latent_dim": 3}, "has its own sizes"),
    ],
)
def test_an_encoder_that_cannot_be_built_says_why(options, message):
    with pytest.raises(ValueError, match=message):
        networks.build.encoder(**options)


def test_the_key_draws_the_units_that_are_dropped(rng):
    network, x = networks.MLP((32, 3), dropout=0.5), rng.normal(size=(4, 5)).astype(np.float32)
    model = networks.init(network, jax.random.key(0), x)
    one, same, other = (
        networks.apply(network, *model, x, key=jax.random.key(seed))[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()
    evaluated = [networks.apply(network, *model, x)[0] for _ in range(2)]
    np.testing.assert_array_equal(*evaluated)
    assert (evaluated[0] != one).any()
