"""GOAD for tables (Bergman and Hoshen, ICLR 2020) with PyTorch's autograd."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers.pytorch.loop import fresh


def squared_distances(z: Tensor, centres: Tensor) -> Tensor:
    """``[B, M, M]`` from every ``z`` ``[B, M, L]`` to every centre ``[M, L]``.

    Expanded, so that no array of rows x M x M x L is made; rounding below 0 is clamped.
    """
    squares = z.square().sum(-1, keepdim=True) + centres.square().sum(-1)
    return (squares - 2 * (z @ centres.T)).clamp_min(0)


def triplet_centre(z: Tensor, *, margin: float = 1.0) -> Tensor:
    """Mean hinge between the own class centre and the nearest other one."""
    distance = squared_distances(z, z.mean(0))
    own = distance.diagonal(dim1=1, dim2=2)
    others = distance + torch.diag(torch.full((z.shape[1],), torch.inf))
    return F.relu(own + margin - others.amin(-1)).mean()


class GOAD(nn.Module):
    """Random linear maps, a shared bias-free trunk and a linear head."""

    def __init__(
        self,
        inputs: int,
        *,
        transforms: int = 64,
        mapped: int = 64,
        widths: Sequence[int] = (32, 32, 32, 32, 32),
        margin: float = 1.0,
        triplet_weight: float = 0.1,
    ):
        super().__init__()
        self.register_buffer("maps", torch.randn(transforms, inputs, mapped))
        layers = []
        for m, n in zip([mapped, *widths], widths, strict=False):
            layers += [nn.Linear(m, n, bias=False), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*layers[:-1])
        self.head = nn.Linear(widths[-1], transforms)
        self.margin, self.triplet_weight = margin, triplet_weight

    def encode(self, x: Tensor) -> Tensor:
        """Latent vectors ``[B, M, L]`` of all mapped rows."""
        return self.trunk(torch.einsum("nd,mdr->nmr", x, self.maps))

    def forward(self, x: Tensor) -> Tensor:
        """The mean loss of a batch ``[B, D]``."""
        z = self.encode(x)
        rows, transforms, _ = z.shape
        target = torch.arange(transforms).repeat(rows)
        classified = F.cross_entropy(self.head(z).flatten(0, 1), target)
        return classified + self.triplet_weight * triplet_centre(z, margin=self.margin)


def confusion(model: GOAD, centres: Tensor, x: Tensor, *, epsilon: float = 1e-6) -> Tensor:
    """``[B]``: sum over m of ``-log softmax(-max(squared distance, epsilon))`` of the own class."""
    distance = squared_distances(model.encode(x), centres).clamp_min(epsilon)
    certainty = torch.log_softmax(-distance, -1)
    return -certainty.diagonal(dim1=1, dim2=2).sum(1)


@torch.no_grad()
def scorer(x: Tensor, **options) -> Callable[[Tensor], Tensor]:
    """The scores of a fresh network with the class centres of ``x``: as fast as a trained one's."""
    model = fresh(GOAD, x, **options).eval()
    return partial(confusion, model, model.encode(x).mean(0))
