"""GOAD for images (Bergman & Hoshen, ICLR 2020, with the transforms of Golan & El-Yaniv, 2018)."""

from typing import Any

import flax.linen as nn

from jaxad.objectives.goad import ViewClassifier
from jaxad.objectives.views import GeometricViews


def ImageGOAD(  # noqa: N802
    trunk: nn.Module,
    *,
    shift: int | None = None,
    margin: Any = 1.0,
    triplet_weight: Any = 0.1,
    epsilon: Any = 1e-6,
    chunk: int = 16,
) -> ViewClassifier:
    """GOAD for images: tell 72 geometric transforms of an image apart.

    An image is seen flipped or not, shifted by ``-shift``, 0 or ``shift`` pixels in both directions
    and turned by 0, 90, 180 or 270 degrees. A batch of B images is 72 B images to the network.

    Args:
      trunk: ``[B, H, W, C] -> [B, L]``, in the paper `jaxad.networks.WideResNet`. It gets pixels in
        [-1, 1] from rows in [0, 1].
      shift: pixels; None is a quarter of the side, the paper's 8 for 32.
      margin: of the triplet-centre loss, in squared distance.
      triplet_weight: the paper's lambda.
      epsilon: least squared distance in the score's probabilities.
      chunk: rows at a time in exact passes and scoring.

    Raises:
      ValueError: from ``init``, for images that are not square, or a shift that does not fit them.

    Example:
      >>> import jax
      >>> from jaxad import networks, objectives
      >>> objective = objectives.ImageGOAD(networks.WideResNet(depth=10, width=1))
      >>> _, stats = objective.init(jax.random.key(0), jax.numpy.zeros((1, 8, 8, 1)))
      >>> stats["centres"].shape
      (72, 64)
    """
    views = GeometricViews(shift, chunk)
    return ViewClassifier(trunk, views, margin, triplet_weight, epsilon)
