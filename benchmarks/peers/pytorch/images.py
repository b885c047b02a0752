"""The image networks of the convolution suite in PyTorch's usual eager loop."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class LeNet(nn.Module):
    """The Deep SVDD paper's LeNet for 28 x 28 images, with so many filters."""

    def __init__(self, first: int, second: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, first, 5, padding=2, bias=False)
        self.conv2 = nn.Conv2d(first, second, 5, padding=2, bias=False)
        self.norm1 = nn.BatchNorm2d(first, 1e-4, affine=False)
        self.norm2 = nn.BatchNorm2d(second, 1e-4, affine=False)
        self.dense = nn.Linear(49 * second, 32, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, 1, 28, 28]`` to ``[B, 32]``."""
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            x = functional.max_pool2d(functional.leaky_relu(norm(conv(x))), 2)
        return self.dense(x.flatten(1))


class Autoencoder(nn.Module):
    """Strided convolutions to 16 numbers and transposed ones back."""

    def __init__(self):
        super().__init__()

        def activate(features):
            return nn.LeakyReLU(0.2), nn.BatchNorm2d(features, 1e-3, 0.01)

        self.encode = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, 2, 1), *activate(32)),
            *(nn.Conv2d(32, 64, 3, 2, 1), *activate(64)),
            *(nn.Flatten(), nn.Linear(3136, 16)),
        )
        self.decode = nn.Sequential(
            *(nn.Linear(16, 3136), nn.Unflatten(1, (64, 7, 7))),
            *(nn.ConvTranspose2d(64, 64, 3, 2, 1, 1), *activate(64)),
            *(nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), *activate(32)),
            *(nn.ConvTranspose2d(32, 1, 3, 1, 1), nn.Sigmoid()),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map ``[B, 1, 28, 28]`` to its reconstruction and ``[B, 16]``."""
        z = self.encode(x)
        return self.decode(z), z


class Block(nn.Module):
    """A wide residual network's block: normalisation and ReLU before each convolution."""

    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs, 1e-4), nn.BatchNorm2d(features, 1e-4)
        self.conv1 = nn.Conv2d(inputs, features, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, features, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, C, H, W]`` to ``[B, features, H / stride, W / stride]``."""
        y = functional.relu(self.norm1(x))
        z = functional.relu(self.norm2(self.conv1(y)))
        return self.shortcut(y) + self.conv2(z)


class WideResNet(nn.Module):
    """WRN-10-4 without its classifier."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.blocks = nn.Sequential(Block(16, 64, 1), Block(64, 128, 2), Block(128, 256, 2))
        self.norm = nn.BatchNorm2d(256, 1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``[B, 1, H, W]`` to ``[B, 256]``."""
        return functional.relu(self.norm(self.blocks(self.conv(x)))).mean((2, 3))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lenet": lambda: LeNet(8, 4),
    "lenet_16_32": lambda: LeNet(16, 32),
    "autoencoder": Autoencoder,
    "wide_resnet": WideResNet,
}


def steps(
    name: str,
    images: np.ndarray,
    loss: Callable,
    batch_size: int,
    count: int,
    learning_rate: float,
    threads: int,
) -> Callable[[], None]:
    """A function that takes ``count`` Adam steps on ``images`` ``[N, H, W, C]``.

    ``loss`` is of the network's output and the batch, a scalar.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = NETWORKS[name]()
    optimiser = torch.optim.Adam(net.parameters(), learning_rate, fused=True)
    data = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def train() -> None:
        for i in range(count):
            start = i * batch_size % (len(data) - batch_size + 1)
            batch = data[start : start + batch_size]
            optimiser.zero_grad()
            loss(net(batch), batch).backward()
            optimiser.step()

    return train
