"""The autograd training loop all peers share."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def train_module(
    make: Callable[[], nn.Module], x: Tensor, *, seed: int, **how
) -> tuple[dict[str, Tensor], Tensor]:
    """Make a module whose output is its loss, and `minimise` it; global random state is left alone.

    Args:
      make: makes the module, from a generator seeded with ``seed``.
      x: the rows.
      seed: for weights, dropout and the order of the rows.
      **how: of `minimise`.

    Returns:
      Its parameters by name, and the losses ``[epochs]``.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
        losses = minimise(model, model.parameters(), x, seed=seed, **how)
    return {name: p.detach() for name, p in model.named_parameters()}, losses


def minimise(
    loss: Callable[[Tensor], Tensor],
    params: Iterable[Tensor],
    x: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int = 0,
    compile: bool = False,
) -> Tensor:
    """Fused Adam over freshly shuffled batches of ``x`` ``[N, D]``.

    Nothing in the loop reads a tensor's value, so Python never waits for a kernel it could have
    overlapped.

    Args:
      loss: the mean loss of a batch ``[B, D]``.
      params: the leaves to train, in place.
      x: the rows.
      epochs: passes over the rows.
      batch_size: rows a step; the last step of an epoch takes what is left.
      learning_rate: Adam's.
      seed: for the order of the rows.
      compile: run ``loss`` and its backward pass through ``torch.compile``.

    Returns:
      The mean loss of each epoch, ``[epochs]``.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(params, lr=learning_rate, fused=True)
    step_loss = torch.compile(loss) if compile else loss
    history = []
    for _ in range(epochs):
        total = torch.zeros(())
        order = torch.randperm(len(x), generator=generator)
        for index in order.split(batch_size):
            value = step_loss(x.index_select(0, index))
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            optimiser.step()
            total.add_(value.detach(), alpha=len(index) / len(x))
        history.append(total)
    return torch.stack(history)
