"""Convolutions equal XLA's in value and gradient, and keep the fast layout inside a loop."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxad.networks.convolution import conv2d, conv2d_transpose, max_pool, upsample

LAYOUT = ("NHWC", "HWIO", "NHWC")


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def native(x, kernel, *, stride=1, padding="same"):
    pads = "SAME" if padding == "same" else [(padding, padding)] * 2
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, pads, dimension_numbers=LAYOUT)


def native_transpose(x, kernel, *, stride=1, padding="same"):
    reach = kernel.shape[0] - 1
    pads = "SAME" if padding == "same" else [(reach - padding,) * 2] * 2
    return lax.conv_transpose(x, kernel, (stride,) * 2, pads, dimension_numbers=LAYOUT)


def draw(rng, *shapes, dtype=np.float32):
    return [jnp.asarray(rng.normal(size=s).astype(dtype)) for s in shapes]


def with_gradients(function):
    """The output and its gradients for varied cotangents."""

    def compute(x, kernel):
        y, pull = jax.vjp(function, x, kernel)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return compute


def value_and_gradients(function, x, kernel):
    return jax.jit(with_gradients(function))(x, kernel)


def assert_same(actual, expected, tolerance=1e-5):
    leaves = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    for a, b in leaves:
        scale = float(jnp.max(jnp.abs(b))) + 1e-30
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


# Image, kernel, stride, padding: folded and unfolded widths, odd sizes, every stride and padding
# the networks use, a stride that leaves a last row unread, images smaller than the kernel.
CASES = [
    ((12, 12, 1), (5, 8), 1, "same"),
    ((7, 9, 8), (5, 4), 1, 2),
    ((14, 14, 4), (5, 8), 1, 3),
    ((6, 5, 3), (5, 40), 1, 0),
    ((8, 8, 40), (3, 1), 1, "same"),
    ((8, 8, 1), (3, 4), 2, "same"),
    ((7, 5, 3), (3, 4), 2, "same"),
    ((6, 8, 2), (3, 3), 2, 0),
    ((8, 7, 2), (2, 3), 3, "same"),
    ((2, 2, 3), (3, 4), 1, "same"),
    ((2, 3, 3), (3, 4), 2, 1),
    ((1, 2, 5), (5, 2), 2, "same"),
]


@pytest.mark.parametrize(("image", "kernel", "stride", "padding"), CASES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(conv2d, native), (conv2d_transpose, native_transpose)],
    ids=["conv", "transpose"],
)
def test_value_and_gradients_are_the_native_ones(rng, ours, theirs, image, kernel, stride, padding):
    side, features = kernel
    x, k = draw(rng, (3, *image), (side, side, image[2], features))
    options = dict(stride=stride, padding=padding)
    expected = value_and_gradients(partial(theirs, **options), x, k)
    assert_same(value_and_gradients(partial(ours, **options), x, k), expected)


def test_float64(rng):
    with jax.enable_x64(True):
        x, k = draw(rng, (2, 8, 8, 1), (5, 5, 1, 4), dtype=np.float64)
        actual = value_and_gradients(conv2d, x, k)
        assert actual[0].dtype == jnp.float64
        assert_same(actual, value_and_gradients(native, x, k), 1e-13)


@pytest.mark.parametrize(("size", "stride"), [(8, 1), (8, 2), (9, 3)])
def test_the_transpose_is_the_adjoint(rng, size, stride):
    x, k, y = draw(rng, (2, size, size, 3), (3, 3, 3, 4), (2, size // stride, size // stride, 4))
    turned = jnp.swapaxes(k[::-1, ::-1], 2, 3)
    forth = jnp.vdot(conv2d(x, k, stride=stride), y)
    back = jnp.vdot(x, conv2d_transpose(y, turned, stride=stride))
    np.testing.assert_allclose(forth, back, rtol=1e-4)


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
@pytest.mark.parametrize("function", [partial(conv2d, stride=2), conv2d_transpose])
def test_vmap_is_a_loop_over_members(rng, function, axes):
    shapes = [(2, 6, 6, 2), (3, 3, 2, 4)]
    members = [(3,) * (a is not None) for a in axes]
    x, k = draw(rng, *(m + s for m, s in zip(members, shapes, strict=True)))

    member = jax.jit(with_gradients(function))
    actual = jax.jit(jax.vmap(with_gradients(function), axes))(x, k)
    for i in range(3):
        own = [v if axis is None else v[i] for v, axis in zip((x, k), axes, strict=True)]
        assert_same(jax.tree.map(lambda leaf, i=i: leaf[i], actual), member(*own))


def descend(x, kernel, function):
    """Gradient descent in a compiled loop."""

    def energy(kernel):
        return jnp.sum(jnp.square(function(x, kernel)))

    def step(_, kernel):
        return kernel - 1e-3 * jax.grad(energy)(kernel)

    return lax.fori_loop(0, 3, step, kernel)


def test_training_in_a_while_loop_is_the_same(rng):
    x, k = draw(rng, (2, 8, 8, 1), (5, 5, 1, 4))
    run = jax.jit(descend, static_argnums=2)
    assert_same(run(x, k, conv2d), run(x, k, native))


def test_a_gradient_of_a_gradient(rng):
    x, k = draw(rng, (2, 6, 6, 2), (3, 3, 2, 3))

    def penalty(kernel, function):
        slope = jax.grad(lambda x: jnp.sum(jnp.tanh(function(x, kernel))))(x)
        return jnp.sum(jnp.square(slope))

    slope = jax.jit(jax.grad(penalty), static_argnums=1)
    assert_same(slope(k, conv2d), slope(k, native), 1e-4)


@pytest.mark.parametrize("side", [8, 2])
@pytest.mark.parametrize(
    "function",
    [conv2d, partial(conv2d, stride=2), partial(conv2d_transpose, stride=2)],
    ids=["plain", "strided", "transpose"],
)
def test_every_convolution_in_a_loop_has_the_fast_form(rng, function, side):
    """XLA's CPU compiler makes a scalar loop of other layouts, tens of times slower.

    It does so, too, if the kernel is larger than the image.
    """
    x, k = draw(rng, (4, side, side, 2), (3, 3, 2, 2))

    def both(x, k):
        return jnp.sum(jnp.square(function(x, k)))

    def loop(x, k):
        def step(_, pair):
            return jax.tree.map(lambda a, g: a - 1e-3 * g, pair, jax.grad(both, (0, 1))(*pair))

        return lax.fori_loop(0, 3, step, (x, k))

    compiled = jax.jit(loop).lower(x, k).compile().as_text()
    if jax.default_backend() != "cpu":
        pytest.skip("a matter of the CPU compiler")
    orders = re.findall(r"dim_labels=(\S+?)[, ]", compiled)
    assert len(orders) >= (3 if side == 8 else 1)
    assert set(orders) == {"b01f_01io->b01f"}


def test_accelerators_get_the_native_operation(rng):
    x, k = draw(rng, (4, 8, 8, 1), (5, 5, 1, 8))
    gradient = jax.jit(jax.grad(lambda k: jnp.sum(jnp.square(conv2d(x, k)))))

    def kernels(platform):
        text = gradient.trace(k).lower(lowering_platforms=(platform,)).as_text()
        lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        return {re.search(r": \(tensor<\S+>, tensor<(\S+)xf32>", line)[1] for line in lines}

    assert "5x5x1x8" in kernels("cuda")
    assert "5x5x1x8" not in kernels("cpu")


@pytest.mark.parametrize("function", [conv2d, conv2d_transpose])
def test_wrong_shapes_raise(function):
    with pytest.raises(AssertionError):
        function(jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 1, 4)))
    with pytest.raises(AssertionError):
        function(jnp.ones((8, 8, 3)), jnp.ones((3, 3, 3, 4)))


@pytest.mark.parametrize(("size", "channels"), [((8, 6), 1), ((7, 9), 3), ((6, 4), 16)])
def test_max_pool(rng, size, channels):
    x = rng.normal(size=(2, *size, channels)).astype(np.float32)
    even = x[:, : size[0] // 2 * 2, : size[1] // 2 * 2]
    expected = even.reshape(2, size[0] // 2, 2, size[1] // 2, 2, channels).max((2, 4))
    value, pull = jax.vjp(jax.jit(max_pool), jnp.asarray(x))
    np.testing.assert_array_equal(value, expected)
    spread = np.kron(expected, np.ones((1, 2, 2, 1), np.float32))
    wanted = np.zeros_like(x)
    wanted[:, : even.shape[1], : even.shape[2]] = np.where(even == spread, spread, 0)
    np.testing.assert_array_equal(pull(value)[0], wanted)


def test_a_tie_sends_its_gradient_to_the_first():
    _, pull = jax.vjp(max_pool, jnp.ones((1, 2, 2, 1)))
    (gradient,) = pull(jnp.ones((1, 1, 1, 1)))
    assert gradient[0, :, :, 0].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_max_pool_keeps_nan():
    x = np.zeros((1, 2, 8, 1), np.float32)
    x[0, [0, 0, 1, 1], [0, 3, 4, 7], 0] = np.nan
    assert np.isnan(max_pool(jnp.asarray(x))).all()


def test_upsample(rng):
    (x,) = draw(rng, (2, 3, 4, 5))
    np.testing.assert_array_equal(upsample(x), np.kron(x, np.ones((1, 2, 2, 1))))
