"""Deep SVDD (Ruff et al., "Deep One-Class Classification", ICML 2018)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from jaxad.losses import hypersphere
from jaxad.objectives.hypersphere import AVAILABLE, Hypersphere
from jaxad.objectives.variants import check_loss
from jaxad.typing import Array


def DeepSVDD(  # noqa: N802
    encoder: nn.Module,
    *,
    loss: Callable[..., Array] = hypersphere.one_class,
    nu: Any = 0.1,
    warm_up: Any = 10.0,
    minimum_centre: Any = 0.1,
    chunk: int = 2048,
    **numbers: Any,
) -> Hypersphere:
    """Deep SVDD: the squared distance to a centre is minimised, and is the score.

    The default loss is the one-class objective (equation 4);
    ``loss=losses.hypersphere.soft_boundary, nu=0.1`` is the soft boundary (equation 3), scored by
    ``d - R^2``. Any function of the same kind is a variant: it gets the arguments it names of
    ``distance``, ``radius``, ``nu``, ``label``, ``z`` and ``centre``, and its ``numbers`` are
    leaves, to be swept without compiling again.

    Args:
      encoder: a network without biases ``[B, ...] -> [B, L]``.
      loss: ``[B]`` values of the squared distances.
      nu: share of rows outside the ball, in (0, 1].
      warm_up: epochs before the radius moves (the papers: 10).
      minimum_centre: coordinates of the centre closer to 0 are moved away to it.
      chunk: rows at a time in exact passes and scoring.
      **numbers: the loss's own numbers.

    Raises:
      TypeError: the loss needs an argument that is neither available nor given.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxad import networks, objectives
      >>> def pseudo_huber(distance, *, delta):
      ...     return delta**2 * (jnp.sqrt(1 + distance / delta**2) - 1)
      >>> objective = objectives.DeepSVDD(networks.MLP((16, 8)), loss=pseudo_huber, delta=1.0)
      >>> objective.numbers
      {'delta': 1.0}
    """
    check_loss(loss, AVAILABLE, numbers)
    return Hypersphere(
        encoder=encoder,
        function=loss,
        numbers=numbers,
        nu=nu,
        warm_up=warm_up,
        minimum_centre=minimum_centre,
        anomalies_in_centre=True,
        chunk=chunk,
    )
