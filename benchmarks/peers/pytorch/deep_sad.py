"""Deep SAD (Ruff et al., ICLR 2020) with PyTorch's autograd."""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.peers.pytorch import deep_svdd
from benchmarks.peers.pytorch.loop import minimise

scorer = deep_svdd.scorer


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
    label: Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-4,
    widths: Sequence[int] = (128, 64, 32),
    eta: float = 1.0,
    seed: int = 0,
    compile: bool = False,
    weights: Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Train on ``x`` ``[N, D]`` with labels ``[N]``; the centre is that of all but known anomalies.

    Returns weights and losses; starts from ``weights`` if they are given.
    """
    start = deep_svdd.initial(x.shape[1], widths, seed=seed) if weights is None else weights
    params = [w.clone().requires_grad_() for w in start]
    centre = deep_svdd.centre_of(params, x[label >= 0])

    def loss(batch: Tensor, label: Tensor) -> Tensor:
        return labelled_loss(deep_svdd.score(params, centre, batch), label, eta=eta).mean()

    how = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    losses = minimise(loss, params, x, label, seed=seed, compile=compile, **how)
    return [p.detach() for p in params], losses
