"""A dense autoencoder with PyTorch's autograd."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.peers.pytorch.loop import train_module


class Autoencoder(nn.Module):
    """Linear layers with ReLU between them, down to the last of ``widths`` and back up."""

    def __init__(self, inputs: int, *, widths: Sequence[int] = (64, 32)):
        super().__init__()
        self.encoder = _layers([inputs, *widths])
        self.decoder = _layers([*widths[::-1], inputs])

    def score(self, x: Tensor) -> Tensor:
        """The mean squared error of each row, ``[B]``."""
        return (self.decoder(self.encoder(x)) - x).square().mean(1)

    def forward(self, x: Tensor) -> Tensor:
        """The mean loss of a batch ``[B, D]``."""
        return self.score(x).mean()


def _layers(sizes: Sequence[int]) -> nn.Sequential:
    layers = []
    for m, n in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(m, n), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def scorer(x: Tensor, **options) -> Callable[[Tensor], Tensor]:
    """The scores of a fresh network: as fast as a trained one's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Autoencoder(x.shape[1], **options).eval().score


def train(
    x: Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int = 0,
    compile: bool = False,
    **options,
) -> tuple[dict[str, Tensor], Tensor]:
    """Train on ``x`` ``[N, D]``; ``options`` go to `Autoencoder`. Returns parameters and losses."""
    how = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    make = lambda: Autoencoder(x.shape[1], **options)  # noqa: E731
    return train_module(make, x, seed=seed, compile=compile, **how)
