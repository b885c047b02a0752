"""The contrast normalisation of Deep SVDD's image experiments."""

from typing import Any

import numpy as np


def contrast_normalised(images: Any) -> np.ndarray:
    """Every image less its mean and divided by its mean absolute deviation from it.

    Global contrast normalisation with the L1 norm (Ruff et al., ICML 2018, section 4.2). Their code
    then maps the normal class's training images to [0, 1] by one minimum and one maximum over all
    pixels, which is the ``"auto"`` scaler of an image detector fitted on them.

    Args:
      images: ``[N, H, W, C]``, any real type. A constant image becomes 0.

    Returns:
      ``[N, H, W, C]`` float32.

    Example:
      >>> contrast_normalised(np.array([0, 0, 0, 4]).reshape(1, 2, 2, 1)).ravel().tolist()
      [-0.6666666865348816, -0.6666666865348816, -0.6666666865348816, 2.0]
    """
    x = np.asarray(images, np.float32)
    pixels = tuple(range(1, x.ndim))
    x = x - x.mean(axis=pixels, keepdims=True)
    deviation = np.abs(x).mean(axis=pixels, keepdims=True)
    return x / np.where(deviation > 0, deviation, 1)
