"""The methods with PyTorch's autograd: networks, losses and scores.

A scorer makes the scores of a fresh network, which is as fast as a trained one.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers.pytorch.loop import fresh, minimise, train_module

SLOPE = 0.01


def _layers(
    sizes: Sequence[int], activation: Callable[[], nn.Module], *, bias: bool = True
) -> nn.Sequential:
    """Linear layers with an activation between them and none after the last."""
    layers = []
    for m, n in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(m, n, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


# Deep SVDD, one-class (Ruff et al., ICML 2018, equation 4) and Deep SAD (ICLR 2020)


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


def distances(weights: Sequence[Tensor], centre: Tensor, x: Tensor) -> Tensor:
    """Squared distances to the centre, ``[B]``."""
    return (encode(weights, x) - centre).square().sum(1)


def hypersphere_scorer(
    x: Tensor, *, widths: Sequence[int] = (128, 64, 32)
) -> Callable[[Tensor], Tensor]:
    """The distances to the centre of ``x``."""
    weights = initial(x.shape[1], widths)
    return partial(distances, weights, centre_of(weights, x))


def labelled_loss(
    distance: Tensor, label: Tensor, *, eta: float = 1.0, epsilon: float = 1e-6
) -> Tensor:
    """``d`` of unlabelled rows (0), ``eta (d + epsilon) ** label`` of known ones (+1, -1), ``[B]``.

    The reciprocal is taken of 1 where no anomaly is, so that no slope there is infinite.
    """
    shifted = distance + epsilon
    repelled = torch.where(label < 0, shifted, 1).reciprocal()
    return torch.where(label == 0, distance, eta * torch.where(label < 0, repelled, shifted))


def train_hypersphere(
    x: Tensor,
    label: Tensor | None = None,
    *,
    widths: Sequence[int] = (128, 64, 32),
    eta: float = 1.0,
    seed: int = 0,
    weights: Sequence[Tensor] | None = None,
    **how,
) -> tuple[list[Tensor], Tensor]:
    """Train on ``x`` ``[N, D]``, from ``weights`` if they are given; returns weights and losses.

    With labels ``[N]`` it is Deep SAD, whose centre is that of all rows but known anomalies. The
    other arguments are those of `minimise`.
    """
    start = initial(x.shape[1], widths, seed=seed) if weights is None else weights
    params = [w.clone().requires_grad_() for w in start]
    centre = centre_of(params, x if label is None else x[label >= 0])

    def loss(batch: Tensor, label: Tensor | None = None) -> Tensor:
        distance = distances(params, centre, batch)
        return (distance if label is None else labelled_loss(distance, label, eta=eta)).mean()

    others = [] if label is None else [label]
    losses = minimise(loss, params, x, *others, seed=seed, **how)
    return [p.detach() for p in params], losses


class Autoencoder(nn.Module):
    """Linear layers with ReLU between them, down to the last of ``widths`` and back up."""

    def __init__(self, inputs: int, *, widths: Sequence[int] = (64, 32)):
        super().__init__()
        self.encoder = _layers([inputs, *widths], nn.ReLU)
        self.decoder = _layers([*widths[::-1], inputs], nn.ReLU)

    def score(self, x: Tensor) -> Tensor:
        """The mean squared error of each row, ``[B]``."""
        return (self.decoder(self.encoder(x)) - x).square().mean(1)

    def forward(self, x: Tensor) -> Tensor:
        """The mean loss of a batch ``[B, D]``."""
        return self.score(x).mean()


# DAGMM (Zong et al., ICLR 2018, equations 1 to 7)


def mixture(z: Tensor, gamma: Tensor, *, jitter: float = 1e-6) -> tuple[Tensor, Tensor, Tensor]:
    """Weights ``[K]``, means ``[K, d]`` and covariances ``[K, d, d]`` of rows ``z`` ``[B, d]``.

    ``gamma`` ``[B, K]`` are memberships; ``jitter``, relative to the mean variance, is added to the
    diagonal.
    """
    total = gamma.sum(0) + 1e-12
    mean = gamma.T @ z / total[:, None]
    deviation = z - mean[:, None]
    weighted = deviation * (gamma / total).T[:, :, None]
    covariance = weighted.transpose(1, 2) @ deviation
    scale = jitter * covariance.diagonal(dim1=1, dim2=2).mean(1)
    covariance = covariance + scale[:, None, None] * torch.eye(z.shape[1])
    return total / len(z), mean, covariance


def _log_constant(phi: Tensor, factor: Tensor) -> Tensor:
    """The log density at each mean ``[K]``, by mixture weights and Cholesky factors."""
    log_root = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return phi.log() - log_root - 0.5 * factor.shape[1] * math.log(2 * math.pi)


def energy(z: Tensor, phi: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Minus the mixture's log density, ``[B]``."""
    factor = torch.linalg.cholesky(covariance)
    deviation = (z - mean[:, None]).transpose(1, 2)
    whitened = torch.linalg.solve_triangular(factor, deviation, upper=False)
    constant = _log_constant(phi, factor)
    return -torch.logsumexp(constant[:, None] - 0.5 * whitened.square().sum(1), 0)


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
        self.encoder, self.decoder = _layers(sizes, nn.Tanh), _layers(sizes[::-1], nn.Tanh)
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


@torch.no_grad()
def fixed_energy(model: DAGMM, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Energies under the mixture of all rows ``x``; its factors are inverted once."""
    z, _ = model.features(x)
    phi, mean, covariance = mixture(z, model.estimator(z))
    factor = torch.linalg.cholesky(covariance)
    whiten, constant = torch.linalg.inv(factor), _log_constant(phi, factor)

    def score(x: Tensor) -> Tensor:
        z, _ = model.features(x)
        whitened = torch.einsum("kij,bkj->bki", whiten, z[:, None] - mean)
        return -torch.logsumexp(constant - 0.5 * whitened.square().sum(-1), 1)

    return score


def dagmm_scorer(x: Tensor, **options) -> Callable[[Tensor], Tensor]:
    """Energies under the mixture of ``x``."""
    return fixed_energy(fresh(DAGMM, x, **options).eval(), x)


# GOAD for tables (Bergman and Hoshen, ICLR 2020)


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
        self.trunk = _layers([mapped, *widths], partial(nn.LeakyReLU, 0.2), bias=False)
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
def goad_scorer(x: Tensor, **options) -> Callable[[Tensor], Tensor]:
    """Confusions by the class centres of ``x``."""
    model = fresh(GOAD, x, **options).eval()
    return partial(confusion, model, model.encode(x).mean(0))


# K-DSM (Zan et al., arXiv 2605.06955), DTE-C (Livernoche et al., ICLR 2024), ICL (Shenkar and Wolf,
# ICLR 2022)


class KDSM(nn.Module):
    """A network that learns the noise in a row, of one scale for all features."""

    def __init__(
        self, inputs: int, *, widths: Sequence[int] = (64, 64), scale: float = 0.5, draws: int = 3
    ):
        super().__init__()
        self.network = _layers([inputs, *widths, inputs], partial(nn.LeakyReLU, SLOPE))
        self.scale, self.draws = scale, draws

    def score(self, x: Tensor) -> Tensor:
        """The squared length of the network's output, ``[B]``."""
        return self.network(x).square().sum(1)

    def forward(self, x: Tensor) -> Tensor:
        """The mean loss of a batch ``[B, D]``."""
        noise = torch.randn(len(x), self.draws, x.shape[1])
        found = self.network((x[:, None] + self.scale * noise).flatten(0, 1))
        return 0.5 * (found + noise.flatten(0, 1)).square().sum(1).mean()


class DTEC(nn.Module):
    """A classifier of the level of noise in a row."""

    def __init__(
        self,
        inputs: int,
        *,
        widths: Sequence[int] = (256, 512, 256),
        bins: int = 7,
        levels: int = 400,
        dropout: float = 0.5,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for m, n in zip([inputs, *widths], widths, strict=False):
            layers += [nn.Linear(m, n), nn.ReLU(), nn.Dropout(dropout)]
        self.network = nn.Sequential(*layers, nn.Linear(widths[-1], bins))
        self.register_buffer(
            "scale", (1 - torch.cumprod(1 - torch.linspace(1e-4, 0.01, levels), 0)).sqrt()
        )
        self.bins, self.levels = bins, levels

    def score(self, x: Tensor) -> Tensor:
        """The expected bin, ``[B]``."""
        return torch.softmax(self.network(x), 1) @ torch.arange(float(self.bins))

    def forward(self, x: Tensor) -> Tensor:
        """The mean loss of a batch ``[B, D]``."""
        level = torch.randint(self.levels, (len(x),))
        noisy = x + self.scale[level][:, None] * torch.randn_like(x)
        return F.cross_entropy(self.network(noisy), level * self.bins // self.levels)


class ICL(nn.Module):
    """Two bias-free networks that map windows of a row, and the rest of the row, to each other."""

    def __init__(
        self,
        inputs: int,
        *,
        widths: Sequence[int] = (200, 400, 200),
        window: int = 2,
        temperature: float = 0.1,
    ):
        super().__init__()
        activation = partial(nn.LeakyReLU, SLOPE)
        self.complement = _layers([inputs - window, *widths], activation, bias=False)
        self.window = _layers([window, *widths], activation, bias=False)
        self.temperature = temperature
        inside = torch.arange(inputs - window + 1)[:, None] + torch.arange(window)
        others = [[i for i in range(inputs) if i not in row] for row in inside.tolist()]
        self.register_buffer("inside", inside)
        self.register_buffer("outside", torch.tensor(others))

    def score(self, x: Tensor) -> Tensor:
        """The mean cross-entropy of each rest's window among the row's windows, ``[B]``."""
        f = F.normalize(self.complement(x[:, self.outside]), dim=-1)
        g = F.normalize(self.window(x[:, self.inside]), dim=-1)
        logits = f @ g.transpose(1, 2) / self.temperature
        return -torch.log_softmax(logits, -1).diagonal(dim1=1, dim2=2).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        """The mean loss of a batch ``[B, D]``."""
        return self.score(x).mean()


def scorer_of(kind: Callable[..., nn.Module]) -> Callable[..., Callable[[Tensor], Tensor]]:
    """A scorer of networks whose ``score`` needs no statistics of the rows."""

    def scorer(x: Tensor, **options) -> Callable[[Tensor], Tensor]:
        return fresh(kind, x, **options).eval().score

    return scorer


class Method(NamedTuple):
    """``train(x, *, epochs, batch_size, learning_rate, ...) -> (params, losses)``, and scores.

    Labels follow the rows where a method takes them.
    """

    train: Callable
    scorer: Callable


METHODS = {
    "deep_svdd": Method(train_hypersphere, hypersphere_scorer),
    "deep_sad": Method(train_hypersphere, hypersphere_scorer),
    "autoencoder": Method(partial(train_module, Autoencoder), scorer_of(Autoencoder)),
    "dagmm": Method(partial(train_module, DAGMM), dagmm_scorer),
    "goad": Method(partial(train_module, GOAD), goad_scorer),
    "k_dsm": Method(partial(train_module, KDSM), scorer_of(KDSM)),
    "dte_c": Method(partial(train_module, DTEC), scorer_of(DTEC)),
    "icl": Method(partial(train_module, ICL), scorer_of(ICL)),
}
