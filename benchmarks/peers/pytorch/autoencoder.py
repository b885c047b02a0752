"""A dense autoencoder with PyTorch's autograd."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from benchmarks.peers.pytorch.loop import fresh


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
    return fresh(Autoencoder, x, **options).eval().score
