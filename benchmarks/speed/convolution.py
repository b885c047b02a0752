"""How fast: image networks inside a compiled loop, against XLA's own convolution and PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks.record import environment, tables
from benchmarks.record.rows import Row
from benchmarks.record.store import Part
from benchmarks.record.timing import NO_GOAL, Goal, against, timed_rows
from benchmarks.speed.methods import if_torch
from jaxad import networks
from jaxad.networks import ConvDecoder, ConvEncoder, LeNetEncoder

DESCRIPTION = "image networks in a compiled loop, against native convolutions and PyTorch"
LEARNING_RATE, BATCH_SIZE, CENTRE = 1e-4, 200, 0.1


class FlaxLeNet(nn.Module):
    """`LeNetEncoder` from Flax's own layers."""

    filters: tuple[int, ...] = (8, 4)

    @nn.compact
    def __call__(self, x, *, train=False):
        """Map ``[B, 28, 28, 1]`` to ``[B, 32]``."""
        for features in self.filters:
            x = nn.Conv(features, (5, 5), use_bias=False)(x)
            x = nn.BatchNorm(
                not train, momentum=0.9, epsilon=1e-4, use_bias=False, use_scale=False
            )(x)
            x = nn.max_pool(nn.leaky_relu(x), (2, 2), (2, 2))
        return nn.Dense(32, use_bias=False)(x.reshape(x.shape[0], -1))


class FlaxAutoencoder(nn.Module):
    """`ConvEncoder` and `ConvDecoder` from Flax's own layers."""

    @nn.compact
    def __call__(self, x, *, train=False):
        """Map ``[B, 28, 28, 1]`` to its reconstruction and ``[B, 16]``."""

        def activate(x):
            return nn.BatchNorm(not train, momentum=0.99, epsilon=1e-3)(nn.leaky_relu(x, 0.2))

        for features in (32, 64):
            x = activate(nn.Conv(features, (3, 3), (2, 2))(x))
        z = nn.Dense(16)(x.reshape(x.shape[0], -1))
        x = nn.Dense(7 * 7 * 64)(z).reshape(-1, 7, 7, 64)
        for features in (64, 32):
            x = activate(nn.ConvTranspose(features, (3, 3), (2, 2))(x))
        return nn.sigmoid(nn.Conv(1, (3, 3))(x)), z


class FlaxBlock(nn.Module):
    """A block of `networks.WideResNet` from Flax's own layers."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x, train):
        """Map ``[B, H, W, C]`` to ``[B, H / stride, W / stride, features]``."""

        def activate(x):
            return nn.relu(nn.BatchNorm(not train, momentum=0.9, epsilon=1e-4)(x))

        def conv(kernel, stride):
            pads = kernel // 2
            return nn.Conv(self.features, (kernel,) * 2, (stride,) * 2, pads, use_bias=False)

        y = activate(x)
        return conv(1, self.stride)(y) + conv(3, 1)(activate(conv(3, self.stride)(y)))


class FlaxWideResNet(nn.Module):
    """`networks.WideResNet` from Flax's own layers."""

    @nn.compact
    def __call__(self, x, *, train=False):
        """Map ``[B, H, W, 1]`` to ``[B, 256]``."""
        x = nn.Conv(16, (3, 3), use_bias=False)(x)
        for features, stride in ((64, 1), (128, 2), (256, 2)):
            x = FlaxBlock(features, stride)(x, train)
        x = nn.relu(nn.BatchNorm(not train, momentum=0.9, epsilon=1e-4)(x))
        return x.mean((1, 2))


def _distance(output, x):
    """One-class Deep SVDD's loss with a fixed centre; works on JAX and PyTorch arrays."""
    return ((output - CENTRE) ** 2).sum(1).mean()


def _error(output, x):
    return ((output[0] - x) ** 2).mean()


class Case(NamedTuple):
    """A network in `jaxad`, in Flax and (by name) in PyTorch, its loss, and goals of the others.

    ``side`` is the height and width of the images.
    """

    jaxad: nn.Module
    flax: nn.Module
    pytorch: str
    loss: Callable
    flax_goal: Goal = NO_GOAL
    pytorch_goal: Goal = NO_GOAL
    side: int = 28


_AUTOENCODER = networks.EncoderDecoder(ConvEncoder(), ConvDecoder(shape=(28, 28, 1)))
_WIDE = LeNetEncoder(filters=(16, 32)), FlaxLeNet((16, 32))
_GOAL = Goal(1.1)
CASES = {
    "lenet_8_4": Case(LeNetEncoder(), FlaxLeNet(), "lenet", _distance, Goal(4.0), _GOAL),
    "lenet_16_32": Case(*_WIDE, "lenet_16_32", _distance, pytorch_goal=_GOAL),
    "autoencoder_32_64": Case(
        _AUTOENCODER, FlaxAutoencoder(), "autoencoder", _error, pytorch_goal=_GOAL
    ),
    "wide_resnet_10_4": Case(
        networks.WideResNet(),
        FlaxWideResNet(),
        "wide_resnet",
        _distance,
        pytorch_goal=Goal(1 / 1.5),
        side=8,
    ),
}
DEFAULTS: dict[str, Any] = {
    "parts": tuple(CASES),
    "repeats": 5,
    "steps": 4,
    "images": 2000,
    "cores": 1,
}
CHOICES: dict[str, Sequence[str]] = {"parts": tuple(CASES)}
COLUMNS, NOTE = tables.COMPARISON, tables.COMPARISON_NOTE


def compiled(
    module: nn.Module, loss: Callable, steps: int, images: np.ndarray
) -> Callable[[], Any]:
    """A run of Adam steps as one compiled loop; returns a function that waits for its result."""
    optimiser = optax.adam(LEARNING_RATE)
    params, stats = networks.init(module, jax.random.key(0), jnp.asarray(images[:1]))

    @jax.jit
    def train(params, stats, images):
        def step(i, carry):
            params, stats, moments = carry
            start = i * BATCH_SIZE % (len(images) - BATCH_SIZE + 1)
            batch = lax.dynamic_slice_in_dim(images, start, BATCH_SIZE)

            def objective(params):
                output, new = networks.apply(module, params, stats, batch, key=jax.random.key(0))
                return loss(output, batch), new

            grads, stats = jax.grad(objective, has_aux=True)(params)
            updates, moments = optimiser.update(grads, moments)
            return optax.apply_updates(params, updates), stats, moments

        return lax.fori_loop(0, steps, step, (params, stats, optimiser.init(params)))

    on_device = jnp.asarray(images)
    return lambda: jax.block_until_ready(train(params, stats, on_device))


def _pytorch(case: Case, steps: int, images: np.ndarray) -> dict[str, Callable[[], None]]:
    from benchmarks.peers.pytorch import images as peer

    how = BATCH_SIZE, steps, LEARNING_RATE, len(environment.usable_cores())
    return {"pytorch": peer.steps(case.pytorch, images, case.loss, *how)}


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """A part for each network."""
    return {name: partial(measure, name, settings) for name in settings["parts"]}


def measure(name: str, settings: Mapping[str, Any]) -> list[Row]:
    """Ours, Flax's layers and PyTorch on random images, interleaved, on ``cores`` cores."""
    case, steps, cores = CASES[name], settings["steps"], environment.usable_cores()
    environment.pin(cores[-settings["cores"] :])
    images = np.random.default_rng(0).uniform(size=(settings["images"], case.side, case.side, 1))
    images = images.astype(np.float32)
    failures: dict[str, str] = {}
    try:
        variants = {
            "jaxad": compiled(case.jaxad, case.loss, steps, images),
            "flax": compiled(case.flax, case.loss, steps, images),
        }
        variants |= if_torch(partial(_pytorch, case, steps, images), failures)
        how = {"reference": "jaxad", "units": steps, "failures": failures}
        rows, later = timed_rows(name, variants, settings["repeats"], **how)
    finally:
        environment.pin(cores)
    goals = {"flax": case.flax_goal, "pytorch": case.pytorch_goal}
    return rows + [against(name, peer, "jaxad", later, g, failures) for peer, g in goals.items()]
