"""The papers' image networks: sizes, architecture, batch norm and errors."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxad import networks
from jaxad.networks.images import ConvDecoder, ConvEncoder
from jaxad.networks.lenet import LeNetDecoder, LeNetEncoder


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def shaped(module, *shape):
    """The number of parameters and the shape of the output, without computing them."""

    def build(key):
        return module.init_with_output(key, jnp.zeros((3, *shape)))

    output, variables = jax.eval_shape(build, jax.random.key(0))
    return networks.count_parameters(variables["params"]), output.shape


def variables_of(module, *shape):
    return jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, *shape)))


def made(module, rng, *shape):
    """Parameters, running statistics and a batch in [0, 1]."""
    x = jnp.asarray(rng.uniform(size=(6, *shape)).astype(np.float32))
    return *jax.jit(partial(networks.init, module))(jax.random.key(1), x), x


def trained(module, params, stats, x):
    """The output with batch statistics."""
    return networks.apply(module, params, stats, x, key=jax.random.key(0))[0]


MNIST = (28, 28, 1)


@pytest.mark.parametrize(
    ("encoder", "decoder", "image", "encoder_size", "both"),
    [
        (LeNetEncoder(), LeNetDecoder(MNIST), MNIST, 7_272, 8_472),
        (
            LeNetEncoder((16, 32), (128,), 64),
            LeNetDecoder(MNIST, (16, 32), (128,)),
            MNIST,
            222_096,
            222_096 + 64 * 128 + 25 * (8 * 32 + 32 * 16 + 16),
        ),
        (
            LeNetEncoder((32, 64, 128), (), 128),
            LeNetDecoder((32, 32, 3), (32, 64, 128), code_norm=True),
            (32, 32, 3),
            520_544,
            804_544,
        ),
    ],
    ids=["mnist", "fashion", "cifar10"],
)
def test_the_published_parameter_counts(encoder, decoder, image, encoder_size, both):
    count, code = shaped(encoder, *image)
    assert count == encoder_size
    assert code == (3, encoder.latent_dim)
    decoder_count, output = shaped(decoder, encoder.latent_dim)
    assert encoder_size + decoder_count == both
    assert output == (3, *image)


def test_the_tutorial_autoencoder():
    count, code = shaped(ConvEncoder(), *MNIST)
    assert code == (3, 16)
    # Kernels with biases, scales and offsets of the normalisation, and the code.
    assert count == 9 * 32 + 9 * 32 * 64 + 3 * (32 + 64) + (3136 + 1) * 16
    decoder_count, output = shaped(ConvDecoder(MNIST), 16)
    assert output == (3, *MNIST)
    kernels = 9 * (64 * 64 + 64 * 32 + 32)
    assert decoder_count == 17 * 3136 + kernels + 3 * (64 + 32) + 1


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (15, 9), (7, 12), (10, 18), (36, 20)])
def test_images_of_any_size(size):
    shape = (*size, 2)
    assert shaped(ConvEncoder(), *shape)[1] == (3, 16)
    assert shaped(ConvDecoder(shape), 16)[1] == (3, *shape)
    assert shaped(LeNetEncoder(latent_dim=60), *shape)[1] == (3, 60)
    start = np.array([-(-n // 4) for n in size])
    start = -(-start // 2) if start.max() > 4 else start
    assert shaped(LeNetDecoder(shape), 2 * int(start.prod()))[1] == (3, *shape)


def test_digits_fit_the_papers_defaults():
    assert shaped(LeNetEncoder(), 8, 8, 1)[1] == (3, 32)
    assert shaped(LeNetDecoder((8, 8, 1)), 32)[1] == (3, 8, 8, 1)


def normalised(x):
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes, keepdims=True)) / jnp.sqrt(x.var(axes, keepdims=True) + 1e-4)


def convolved(x, kernel, pad):
    pads = [(pad, pad)] * 2
    return lax.conv_general_dilated(
        x, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def doubled(x):
    return jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)


def test_the_mnist_encoder_step_by_step(rng):
    module = LeNetEncoder()
    params, stats, x = made(module, rng, *MNIST)

    @jax.jit
    def expected(params, x):
        for layer in ("Conv_0", "Conv_1"):
            x = nn.leaky_relu(normalised(convolved(x, params[layer]["kernel"], 2)), 0.01)
            x = nn.max_pool(x, (2, 2), (2, 2))
        return x.reshape(6, -1) @ params["Dense_0"]["kernel"]

    actual = jax.jit(partial(trained, module))(params, stats, x)
    np.testing.assert_allclose(actual, expected(params, x), atol=1e-5)


def test_the_mnist_decoder_step_by_step(rng):
    """The second convolution pads by 3 as a transposed one, by 1 as a plain one: 16 to 14."""
    module = LeNetDecoder(MNIST)
    params, stats, z = made(module, rng, 32)

    @jax.jit
    def expected(params, z):
        x = doubled(nn.leaky_relu(z, 0.01).reshape(6, 4, 4, 2))
        for layer, pad in (("Conv_0", 2), ("Conv_1", 1)):
            x = nn.leaky_relu(normalised(convolved(x, params[layer]["kernel"], pad)), 0.01)
            x = doubled(x)
        return nn.sigmoid(convolved(x, params["Conv_2"]["kernel"], 2))

    actual = jax.jit(partial(trained, module))(params, stats, z)
    np.testing.assert_allclose(actual, expected(params, z), atol=1e-5)


def test_the_cifar_decoder_normalises_the_code_and_does_not_double_it_first(rng):
    module = LeNetDecoder((8, 8, 3), (4,), code_norm=True)
    params, stats, z = made(module, rng, 32)

    @jax.jit
    def expected(params, z):
        x = nn.leaky_relu(normalised(z), 0.01).reshape(6, 4, 4, 2)
        x = doubled(nn.leaky_relu(normalised(convolved(x, params["Conv_0"]["kernel"], 2)), 0.01))
        return nn.sigmoid(convolved(x, params["Conv_1"]["kernel"], 2))

    actual = jax.jit(partial(trained, module))(params, stats, z)
    np.testing.assert_allclose(actual, expected(params, z), atol=1e-5)


SMALL = [
    (LeNetEncoder(hidden=(8,), latent_dim=4), (8, 8, 1)),
    (LeNetDecoder((8, 8, 1), hidden=(8,), code_norm=True), (4,)),
    (ConvEncoder(filters=(4, 6), latent_dim=4), (7, 8, 1)),
    (ConvDecoder((7, 8, 1), filters=(4, 6)), (4,)),
]


@pytest.mark.parametrize(("module", "shape"), SMALL, ids=lambda v: getattr(v, "name", None))
def test_a_padding_row_changes_nothing(module, shape, rng):
    params, stats, x = made(module, rng, *shape)
    weight = jnp.ones(6).at[4:].set(0.0)

    @jax.jit
    def loss(params, x, weight):
        y, new = networks.apply(module, params, stats, x, weight=weight, key=jax.random.key(0))
        rows = jnp.sum(jnp.square(y.reshape(len(x), -1)), 1)
        return jnp.sum(jnp.where(weight > 0, rows, 0.0)), new

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, new), slopes = gradient(params, x.at[4:].mul(100.0), weight)
    (wanted, wanted_new), wanted_slopes = gradient(params, x[:4], jnp.ones(4))
    np.testing.assert_allclose(value, wanted, rtol=1e-4)
    for a, b in zip(
        jax.tree.leaves((new, slopes)), jax.tree.leaves((wanted_new, wanted_slopes)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-4 * (1 + float(jnp.max(jnp.abs(b)))))


@pytest.mark.parametrize(("module", "shape"), SMALL)
def test_a_score_does_not_depend_on_the_other_rows(module, shape, rng):
    params, stats, x = made(module, rng, *shape)
    score = jax.jit(lambda x: networks.apply(module, params, stats, x)[0])
    together, alone = score(x), score(x[2:3])
    np.testing.assert_allclose(together[2:3], alone, atol=1e-5)


def test_batch_norm_can_be_left_out():
    module = LeNetEncoder(hidden=(8,), batch_norm=False)
    assert set(variables_of(module, 8, 8, 1)) == {"params"}
    assert set(variables_of(ConvEncoder(batch_norm=False), 8, 8, 1)) == {"params"}


@pytest.mark.parametrize("module", [LeNetEncoder(), ConvEncoder(use_bias=False, affine=False)])
def test_an_encoder_for_deep_svdd_has_kernels_only(module):
    params = variables_of(module, 8, 8, 1)["params"]
    names = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert names == {"kernel"}


def test_kernels_start_as_published():
    lenet = variables_of(LeNetEncoder((16, 32)), *MNIST)["params"]
    decoder = variables_of(LeNetDecoder(MNIST, (16, 32)), 32)["params"]
    conv = variables_of(ConvEncoder(), *MNIST)["params"]
    for kernel, bound in (
        (lenet["Conv_1"]["kernel"], 1 / (25 * 16) ** 0.5),
        (lenet["Dense_0"]["kernel"], 1 / (49 * 32) ** 0.5),
        # PyTorch's fan-in of a transposed convolution counts output channels.
        (decoder["Conv_1"]["kernel"], 1 / (25 * 16) ** 0.5),
        (conv["Conv_1"]["kernel"], (6 / (9 * 32 + 9 * 64)) ** 0.5),
    ):
        assert 0.98 * bound < float(jnp.max(jnp.abs(kernel))) <= bound
        np.testing.assert_allclose(jnp.std(kernel), bound / 3**0.5, rtol=0.05)


@pytest.mark.parametrize("encoder", [LeNetEncoder(), ConvEncoder()])
def test_a_table_is_refused(encoder):
    with pytest.raises(ValueError, match=r"takes images \[B, H, W, C\].*\(3, 64\)"):
        shaped(encoder, 64)


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (LeNetEncoder((8, 4, 2)), (28, 7, 1), "28 x 7 pixels cannot be halved 3 times"),
        (LeNetDecoder((8, 8, 1)), (30,), "30 numbers.*2 x 2 pixels.*8 x 8.*multiple of 4"),
        (LeNetDecoder(MNIST, hidden=(100,)), (32,), "100 numbers.*4 x 4 pixels.*28 x 28"),
        (LeNetDecoder((8, 8)), (32,), r"shape \(H, W, C\).*\(8, 8\)"),
        (ConvDecoder((8, 0, 1)), (32,), r"shape \(H, W, C\).*\(8, 0, 1\)"),
        (ConvDecoder((8, 8, 1)), (8, 8, 1), r"takes codes \[B, L\].*\(3, 8, 8, 1\)"),
    ],
)
def test_what_cannot_be_is_refused_with_the_sizes(module, shape, message):
    with pytest.raises(ValueError, match=message):
        shaped(module, *shape)
