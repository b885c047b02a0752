"""Deep SAD (Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from jaxad.losses import sad
from jaxad.objectives.hypersphere import AVAILABLE, Hypersphere
from jaxad.objectives.variants import check_loss
from jaxad.typing import Array


def DeepSAD(  # noqa: N802
    encoder: nn.Module,
    *,
    loss: Callable[..., Array] = sad.labelled_exponent,
    minimum_centre: Any = 0.1,
    anomalies_in_centre: bool = False,
    chunk: int = 2048,
    **numbers: Any,
) -> Hypersphere:
    """Deep SAD: known normals near the centre, known anomalies far from it.

    Unlabelled rows cost their squared distance ``d``, labelled ones ``eta * (d + epsilon) **
    label``. Without labels it is Deep SVDD. The score is ``d``. Any loss that takes ``label`` is a
    variant, see `DeepSVDD`.

    Args:
      encoder: a network without biases ``[B, ...] -> [B, L]``.
      loss: ``[B]`` values of the squared distances and the labels.
      minimum_centre: coordinates of the centre closer to 0 are moved away to it.
      anomalies_in_centre: let known anomalies count for the centre, as the paper's code does.
      chunk: rows at a time in exact passes and scoring.
      **numbers: the loss's own numbers: ``eta`` (1), ``epsilon`` (1e-6) and ``exponent`` (1).

    Raises:
      TypeError: the loss needs an argument that is neither available nor given.
    """
    defaults = {"eta": 1.0, "epsilon": 1e-6} if loss is sad.labelled_exponent else {}
    numbers = defaults | numbers
    check_loss(loss, AVAILABLE, numbers)
    return Hypersphere(
        encoder=encoder,
        function=loss,
        numbers=numbers,
        nu=0.1,
        warm_up=0.0,
        minimum_centre=minimum_centre,
        anomalies_in_centre=anomalies_in_centre,
        chunk=chunk,
    )
