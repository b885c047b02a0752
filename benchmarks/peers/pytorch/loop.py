"""The loops that all networks share: training with autograd, and scoring."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def fresh(kind: Callable[..., nn.Module], x: Tensor, seed: int = 0, **options) -> nn.Module:
    """A network for rows ``x`` ``[N, D]`` from its seed; global random state is left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(x.shape[1], **options)


def train_module(
    kind: Callable[..., nn.Module],
    x: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int = 0,
    compile: bool = False,
    **options,
) -> tuple[dict[str, Tensor], Tensor]:
    """Make a network of ``options`` whose output is its loss, and `minimise` it.

    Returns its parameters by name, and the losses ``[epochs]``. The seed is for weights, dropout
    and the order of the rows.
    """
    how = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(x.shape[1], **options)
        losses = minimise(model, model.parameters(), x, seed=seed, compile=compile, **how)
    return {name: p.detach() for name, p in model.named_parameters()}, losses


def minimise(
    loss: Callable[..., Tensor],
    params: Iterable[Tensor],
    x: Tensor,
    *others: Tensor,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int = 0,
    compile: bool = False,
) -> Tensor:
    """Train ``params`` in place by fused Adam over freshly shuffled batches of ``x`` ``[N, D]``.

    ``loss`` is the mean loss of a batch, and of the same rows of ``others``. The last step of an
    epoch takes the rows that are left. Nothing in the loop reads a tensor's value, so Python never
    waits for a kernel it could have overlapped. Returns the mean loss of each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(params, lr=learning_rate, fused=True)
    step_loss = torch.compile(loss) if compile else loss
    history = []
    for _ in range(epochs):
        total = torch.zeros(())
        order = torch.randperm(len(x), generator=generator)
        for index in order.split(batch_size):
            value = step_loss(*(a.index_select(0, index) for a in (x, *others)))
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            optimiser.step()
            total.add_(value.detach(), alpha=len(index) / len(x))
        history.append(total)
    return torch.stack(history)


def score_rows(
    score: Callable[[Tensor], Tensor], x: Tensor, *, chunk: int, compile: bool = False
) -> Callable[[], Tensor]:
    """A function that scores ``x`` ``[N, D]``, ``chunk`` rows at a time, into one vector.

    What is made on the way should fit the cache.
    """
    step = torch.compile(score) if compile else score
    out = torch.empty(len(x))

    @torch.inference_mode()
    def run() -> Tensor:
        for part, into in zip(x.split(chunk), out.split(chunk), strict=True):
            into.copy_(step(part))
        return out

    return run
