"""How fast: image networks inside a compiled loop, against XLA's own convolution and PyTorch.

``python -m benchmarks.suites.convolution``; with ``taskset -c 0`` in front, on one core.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks.environment import usable_cores
from benchmarks.timing import interleaved, ratio
from jaxad import networks
from jaxad.networks.images import ConvDecoder, ConvEncoder
from jaxad.networks.lenet import LeNetEncoder

DESCRIPTION = "image networks in a compiled loop, against native convolutions and PyTorch"
LEARNING_RATE, CENTRE = 1e-4, 0.1


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


def _distance(output, x):
    """One-class Deep SVDD's loss with a fixed centre; works on JAX and PyTorch arrays."""
    return ((output - CENTRE) ** 2).sum(1).mean()


def _error(output, x):
    return ((output[0] - x) ** 2).mean()


class Case(NamedTuple):
    """A network, in `jaxad`, in Flax and (by name) in PyTorch, and how it is trained."""

    jaxad: nn.Module
    flax: nn.Module
    pytorch: str
    loss: Callable
    batch_size: int


_AUTOENCODER = networks.EncoderDecoder(ConvEncoder(), ConvDecoder(shape=(28, 28, 1)))
CASES = {
    "LeNet 8-4, batch 200": Case(LeNetEncoder(), FlaxLeNet(), "lenet", _distance, 200),
    "LeNet 16-32, batch 200": Case(
        LeNetEncoder(filters=(16, 32)), FlaxLeNet((16, 32)), "lenet_16_32", _distance, 200
    ),
    "autoencoder 32-64, batch 32": Case(_AUTOENCODER, FlaxAutoencoder(), "autoencoder", _error, 32),
    "autoencoder 32-64, batch 200": Case(
        _AUTOENCODER, FlaxAutoencoder(), "autoencoder", _error, 200
    ),
}


def compiled(
    module: nn.Module, loss: Callable, batch_size: int, steps: int, images: np.ndarray
) -> Callable[[], Any]:
    """A run of Adam steps as one compiled loop; returns a function that waits for its result."""
    optimiser = optax.adam(LEARNING_RATE)
    params, stats = networks.init(module, jax.random.key(0), jnp.asarray(images[:1]))

    @jax.jit
    def train(params, stats, images):
        def step(i, carry):
            params, stats, moments = carry
            start = i * batch_size % (len(images) - batch_size + 1)
            batch = lax.dynamic_slice_in_dim(images, start, batch_size)

            def objective(params):
                output, new = networks.apply(module, params, stats, batch, key=jax.random.key(0))
                return loss(output, batch), new

            grads, stats = jax.grad(objective, has_aux=True)(params)
            updates, moments = optimiser.update(grads, moments)
            return optax.apply_updates(params, updates), stats, moments

        return lax.fori_loop(0, steps, step, (params, stats, optimiser.init(params)))

    on_device = jnp.asarray(images)
    return lambda: jax.block_until_ready(train(params, stats, on_device))


def pytorch(name: str, loss: Callable, batch_size: int, steps: int, images: np.ndarray) -> Callable:
    """The same steps in PyTorch's usual eager loop."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(len(usable_cores()))
    layers = torch.nn

    class LeNet(layers.Module):
        def __init__(self, first, second):
            super().__init__()
            self.conv1 = layers.Conv2d(1, first, 5, padding=2, bias=False)
            self.conv2 = layers.Conv2d(first, second, 5, padding=2, bias=False)
            self.norm1 = layers.BatchNorm2d(first, 1e-4, affine=False)
            self.norm2 = layers.BatchNorm2d(second, 1e-4, affine=False)
            self.dense = layers.Linear(49 * second, 32, bias=False)

        def forward(self, x):
            for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
                x = functional.max_pool2d(functional.leaky_relu(norm(conv(x))), 2)
            return self.dense(x.flatten(1))

    class Autoencoder(layers.Module):
        def __init__(self):
            super().__init__()

            def activate(features):
                return layers.LeakyReLU(0.2), layers.BatchNorm2d(features, 1e-3, 0.01)

            self.encode = layers.Sequential(
                *(layers.Conv2d(1, 32, 3, 2, 1), *activate(32)),
                *(layers.Conv2d(32, 64, 3, 2, 1), *activate(64)),
                *(layers.Flatten(), layers.Linear(3136, 16)),
            )
            self.decode = layers.Sequential(
                *(layers.Linear(16, 3136), layers.Unflatten(1, (64, 7, 7))),
                *(layers.ConvTranspose2d(64, 64, 3, 2, 1, 1), *activate(64)),
                *(layers.ConvTranspose2d(64, 32, 3, 2, 1, 1), *activate(32)),
                *(layers.ConvTranspose2d(32, 1, 3, 1, 1), layers.Sigmoid()),
            )

        def forward(self, x):
            z = self.encode(x)
            return self.decode(z), z

    torch.manual_seed(0)
    made = {
        "lenet": lambda: LeNet(8, 4),
        "lenet_16_32": lambda: LeNet(16, 32),
        "autoencoder": Autoencoder,
    }
    net = made[name]()
    optimiser = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    data = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def train():
        for i in range(steps):
            start = i * batch_size % (len(data) - batch_size + 1)
            batch = data[start : start + batch_size]
            optimiser.zero_grad()
            loss(net(batch), batch).backward()
            optimiser.step()

    return train


def run(
    repeats: int = 5, steps: int = 10, images: int = 2000, cases: Sequence[str] = tuple(CASES)
) -> list[dict]:
    """Train each network ``steps`` Adam steps at a time, variants interleaved in one process.

    Returns:
      A row per network and variant: seconds per step, rows per second, and how many times faster
      than that variant `jaxad` is, medians with quartiles over the rounds.
    """
    pixels = np.random.default_rng(0).uniform(size=(images, 28, 28, 1)).astype(np.float32)
    found = []
    for name in cases:
        case = CASES[name]
        shared = (case.loss, case.batch_size, steps, pixels)
        variants = {
            "jaxad": compiled(case.jaxad, *shared),
            "flax": compiled(case.flax, *shared),
        }
        try:
            variants["pytorch"] = pytorch(case.pytorch, *shared)
        except ImportError:
            print("PyTorch is not installed: left out")
        _, later = interleaved(variants, repeats)
        for variant, timing in later.items():
            over = ratio(timing, later["jaxad"])
            found.append(
                {
                    "network": name,
                    "variant": variant,
                    "cores": len(usable_cores()),
                    "seconds_per_step": timing.median / steps,
                    "rows_per_second": case.batch_size * steps / timing.median,
                    "jaxad_times_faster": over.median,
                    "quartiles": (over.low, over.high),
                }
            )
    return found


def main() -> None:
    """Measure, and print a line per network and variant."""
    started = time.perf_counter()
    for row in run():
        low, high = row["quartiles"]
        print(
            f"{row['network']:<29} {row['variant']:<8} {row['cores']} core(s) "
            f"{1e3 * row['seconds_per_step']:9.2f} ms/step {row['rows_per_second']:8.0f} rows/s   "
            f"jaxad {row['jaxad_times_faster']:.2f} [{low:.2f}, {high:.2f}] times faster"
        )
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
