"""DAGMM (Zong et al., ICLR 2018, equations 1 to 7) with PyTorch's autograd."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.peers.pytorch.loop import fresh


def mixture(z: Tensor, gamma: Tensor, *, jitter: float = 1e-6) -> tuple[Tensor, Tensor, Tensor]:
    """Mixture weights ``[K]``, means ``[K, d]`` and covariances ``[K, d, d]`` of a batch.

    Args:
      z: ``[B, d]``.
      gamma: ``[B, K]`` memberships.
      jitter: added to the diagonal, relative to the mean variance.
    """
    total = gamma.sum(0) + 1e-12
    mean = gamma.T @ z / total[:, None]
    deviation = z - mean[:, None]
    weighted = deviation * (gamma / total).T[:, :, None]
    covariance = weighted.transpose(1, 2) @ deviation
    scale = jitter * covariance.diagonal(dim1=1, dim2=2).mean(1)
    covariance = covariance + scale[:, None, None] * torch.eye(z.shape[1])
    return total / len(z), mean, covariance


def energy(z: Tensor, phi: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Minus the mixture's log density, ``[B]``."""
    factor = torch.linalg.cholesky(covariance)
    deviation = (z - mean[:, None]).transpose(1, 2)
    whitened = torch.linalg.solve_triangular(factor, deviation, upper=False)
    log_root = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    constant = phi.log() - log_root - 0.5 * z.shape[1] * math.log(2 * math.pi)
    return -torch.logsumexp(constant[:, None] - 0.5 * whitened.square().sum(1), 0)


def _layers(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with tanh between them and none after the last."""
    layers = []
    for m, n in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(m, n), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class DAGMM(nn.Module):
    """Compression network, reconstruction features and estimation network."""

    def __init__(
        self,
        inputs: int,
        *,
        hidden: Sequence[int] = (60, 30, 10),
        latent: int = 1,
        estimation: int = 10,
        components: int = 4,
        dropout: float = 0.5,
        lambda_energy: float = 0.1,
        lambda_covariance: float = 0.005,
    ):
        super().__init__()
        sizes = [inputs, *hidden, latent]
        self.encoder, self.decoder = _layers(sizes), _layers(sizes[::-1])
        self.estimator = nn.Sequential(
            nn.Linear(latent + 2, estimation),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Linear(estimation, components),
            nn.Softmax(dim=1),
        )
        self.lambda_energy, self.lambda_covariance = lambda_energy, lambda_covariance

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latent vector, relative error and cosine ``[B, d]``, and the residual ``[B, D]``."""
        code = self.encoder(x)
        output = self.decoder(code)
        residual = x - output
        size = torch.linalg.vector_norm(x, dim=1).clamp_min(1e-12)
        relative = torch.linalg.vector_norm(residual, dim=1) / size
        output_size = torch.linalg.vector_norm(output, dim=1).clamp_min(1e-12)
        cosine = (x * output).sum(1) / (size * output_size)
        return torch.cat([code, relative[:, None], cosine[:, None]], 1), residual

    def forward(self, x: Tensor) -> Tensor:
        """The mean loss of a batch ``[B, D]``."""
        z, residual = self.features(x)
        phi, mean, covariance = mixture(z, self.estimator(z))
        return (
            residual.square().sum(1).mean()
            + self.lambda_energy * energy(z, phi, mean, covariance).mean()
            + self.lambda_covariance * covariance.diagonal(dim1=1, dim2=2).reciprocal().sum()
        )


def scorer(x: Tensor, **options) -> Callable[[Tensor], Tensor]:
    """Energies of a fresh network under the mixture of ``x``: as fast as a trained one's."""
    return fixed_energy(fresh(DAGMM, x, **options).eval(), x)


@torch.no_grad()
def fixed_energy(model: DAGMM, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Energies under the mixture of all rows ``x``; its factors are inverted once."""
    z, _ = model.features(x)
    phi, mean, covariance = mixture(z, model.estimator(z))
    factor = torch.linalg.cholesky(covariance)
    whiten = torch.linalg.inv(factor)
    log_root = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    constant = phi.log() - log_root - 0.5 * z.shape[1] * math.log(2 * math.pi)

    def score(x: Tensor) -> Tensor:
        z, _ = model.features(x)
        whitened = torch.einsum("kij,bkj->bki", whiten, z[:, None] - mean)
        return -torch.logsumexp(constant - 0.5 * whitened.square().sum(-1), 1)

    return score
