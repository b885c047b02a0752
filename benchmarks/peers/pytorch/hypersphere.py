"""One-class Deep SVDD (Ruff et al., ICML 2018, equation 4) and Deep SAD (ICLR 2020)."""

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


def labelled_loss(
    distance: Tensor, label: Tensor, *, eta: float = 1.0, epsilon: float = 1e-6
) -> Tensor:
    """``d`` of unlabelled rows (0), ``eta (d + epsilon) ** label`` of known ones (+1, -1), ``[B]``.

    The reciprocal is taken of 1 where no anomaly is, so that no slope there is infinite.
    """
    shifted = distance + epsilon
    repelled = torch.where(label < 0, shifted, 1).reciprocal()
    return torch.where(label == 0, distance, eta * torch.where(label < 0, repelled, shifted))


def train(
    x: Tensor,
    label: Tensor | None = None,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    widths: Sequence[int] = (128, 64, 32),
    eta: float = 1.0,
    seed: int = 0,
    compile: bool = False,
    weights: Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Train on ``x`` ``[N, D]``, from ``weights`` if they are given; returns weights and losses.

    With labels ``[N]`` it is Deep SAD, whose centre is that of all rows but known anomalies.
    """
    start = initial(x.shape[1], widths, seed=seed) if weights is None else weights
    params = [w.clone().requires_grad_() for w in start]
    centre = centre_of(params, x if label is None else x[label >= 0])

    def loss(batch: Tensor, label: Tensor | None = None) -> Tensor:
        distance = score(params, centre, batch)
        return (distance if label is None else labelled_loss(distance, label, eta=eta)).mean()

    how = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    others = [] if label is None else [label]
    losses = minimise(loss, params, x, *others, seed=seed, compile=compile, **how)
    return [p.detach() for p in params], losses
