"""One-class Deep SVDD without autograd: the fastest PyTorch we know how to write.

Gradients are derived by hand and written into buffers made once, all weights live in one flat
vector that one fused Adam call updates, and rows are gathered once an epoch. Nobody would train a
new method like this; it bounds what the framework can do from Python.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.peers.pytorch.methods import SLOPE, centre_of, initial


class _Step:
    """Forward and backward pass of one batch size, in buffers of its own."""

    def __init__(self, rows: int, weights: list[Tensor], grads: list[Tensor], centre: Tensor):
        self.weights, self.transposed, self.grads = weights, [w.T for w in weights], grads
        self.centre = centre
        self.scale = 2 / rows
        self.outputs = [torch.empty(rows, w.shape[1]) for w in weights]
        self.outputs_transposed = [h.T for h in self.outputs]
        self.cotangents = [torch.empty_like(h) for h in self.outputs[:-1]]
        self.flat = self.outputs[-1].view(-1)

    def __call__(self, x: Tensor) -> Tensor:
        """Write the gradients of the batch's mean loss; return the sum of its losses."""
        h = x
        for weight, output in zip(self.weights, self.outputs, strict=True):
            torch.mm(h, weight, out=output)
            if output is not self.outputs[-1]:
                torch.nn.functional.leaky_relu_(output, SLOPE)
            h = output
        h.sub_(self.centre)
        total = torch.dot(self.flat, self.flat)
        g = h.mul_(self.scale)
        for layer in range(len(self.weights) - 1, 0, -1):
            torch.mm(self.outputs_transposed[layer - 1], g, out=self.grads[layer])
            below = torch.mm(g, self.transposed[layer], out=self.cotangents[layer - 1])
            g = torch.ops.aten.leaky_relu_backward.grad_input(
                below, self.outputs[layer - 1], SLOPE, True, grad_input=below
            )
        torch.mm(x.T, g, out=self.grads[0])
        return total


def _views(flat: Tensor, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    pieces = flat.split([m * n for m, n in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


@torch.no_grad()
def train(
    x: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    widths: Sequence[int] = (128, 64, 32),
    seed: int = 0,
    weights: Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], Tensor]:
    """The same as `methods.train_hypersphere` without labels, up to rounding."""
    start = initial(x.shape[1], widths, seed=seed) if weights is None else weights
    shapes = [(w.shape[1], w.shape[0]) for w in start]
    params = torch.cat([w.T.reshape(-1) for w in start])
    grads, mean, variance = (torch.zeros_like(params) for _ in range(3))
    steps = torch.zeros(())
    centre = centre_of(start, x)
    sizes = {min(batch_size, len(x) - begin) for begin in range(0, len(x), batch_size)}
    step = {
        size: _Step(size, _views(params, shapes), _views(grads, shapes), centre) for size in sizes
    }
    generator = torch.Generator().manual_seed(seed)
    gathered = torch.empty_like(x)
    history = torch.zeros(epochs)
    adam = {"lr": learning_rate, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    adam |= {"amsgrad": False, "maximize": False}
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        torch.index_select(x, 0, order, out=gathered)
        total = history[epoch]
        for batch in gathered.split(batch_size):
            total.add_(step[len(batch)](batch), alpha=1 / len(x))
            steps.add_(1)
            torch._fused_adam_([params], [grads], [mean], [variance], [], [steps], **adam)
    return [w.T.contiguous() for w in _views(params, shapes)], history
