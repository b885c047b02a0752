"""One-class Deep SVDD (Ruff et al., ICML 2018, equation 4) with PyTorch's autograd."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers.pytorch.loop import minimise

SLOPE = 0.01


def initial(inputs: int, widths: Sequence[int], *, seed: int = 0) -> list[Tensor]:
    """Bias-free weights ``[outputs, inputs]``, uniform within 1/sqrt(inputs)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [inputs, *widths]
    return [
        (torch.rand(n, m, generator=generator) * 2 - 1) / m**0.5
        for m, n in zip(sizes, sizes[1:], strict=False)
    ]


def encode(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """The multilayer perceptron ``[B, D] -> [B, L]``."""
    for weight in weights[:-1]:
        x = F.leaky_relu(F.linear(x, weight), SLOPE)
    return F.linear(x, weights[-1])


@torch.no_grad()
def centre_of(weights: Sequence[Tensor], x: Tensor, *, minimum: float = 0.1) -> Tensor:
    """The mean output, coordinates near 0 moved away from it."""
    centre = encode(weights, x).mean(0)
    return torch.where(centre.abs() < minimum, centre.sign() * minimum, centre)


def score(weights: Sequence[Tensor], centre: Tensor, x: Tensor) -> Tensor:
    """Squared distances to the centre, ``[B]``."""
    return (encode(weights, x) - centre).square().sum(1)


def scorer(x: Tensor, *, widths: Sequence[int] = (128, 64, 32)) -> Callable[[Tensor], Tensor]:
    """The scores of a fresh network whose centre is that of ``x``: as fast as a trained one's."""
    weights = initial(x.shape[1], widths)
    return partial(score, weights, centre_of(weights, x))


def train(
    x: Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-4,
    widths: Sequence[int] = (128, 64, 32),
    seed: int = 0,
    compile: bool = False,
    weights: Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Train on ``x`` ``[N, D]``, from ``weights`` if they are given; returns weights and losses."""
    start = initial(x.shape[1], widths, seed=seed) if weights is None else weights
    params = [w.clone().requires_grad_() for w in start]
    centre = centre_of(params, x)

    def loss(batch: Tensor) -> Tensor:
        return score(params, centre, batch).mean()

    losses = minimise(
        loss,
        params,
        x,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        compile=compile,
    )
    return [p.detach() for p in params], losses
