"""Scalers: one affine map per feature, fitted by scikit-learn, applied in blocks of rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from jaxad.checks import check_choice

SCALERS = ("auto", "standard", "minmax", "robust", "none")

# Squares of larger values, and sums of these, would overflow float32 in losses and scores.
_LARGEST = 1e15

_BLOCK_BYTES = 2**20  # stays in the second-level cache


@dataclass(frozen=True, eq=False)
class AffineScaler:
    """``(x - shift) * scale``, computed in float64 and returned as float32.

    Attributes:
      shift: ``[...]`` float64, the shape of one row.
      scale: ``[...]`` float64, the shape of one row.
    """

    shift: np.ndarray
    scale: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Scale rows ``[N, ...]`` to float32. A row's result does not depend on other rows.

        Raises:
          ValueError: the rows have another shape than the fitted ones, or a scaled value exceeds
            1e15, whose square losses and scores could not hold in float32.
        """
        if x.shape[1:] != self.shift.shape:
            raise ValueError(
                f"X has rows of shape {x.shape[1:]}, the scaler was fitted on {self.shift.shape}"
            )
        scaled = np.empty(x.shape, np.float32)
        rows = max(1, _BLOCK_BYTES // (8 * max(1, self.shift.size)))
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(x), rows):
                block = slice(start, start + rows)
                centred = np.subtract(x[block], self.shift, dtype=np.float64)
                np.multiply(centred, self.scale, out=scaled[block], casting="same_kind")
                inside = np.abs(scaled[block]) <= _LARGEST
                if not inside.all():
                    index = np.argwhere(~inside)[0]
                    index[0] += start
                    raise ValueError(
                        f"X[{', '.join(map(str, index))}]={x[tuple(index)]:g} is too far from "
                        "the fitted values for float32; clip X to a plausible range"
                    )
        return scaled

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """Undo the scaling of rows ``[N, ...]``; the result is float64."""
        return scaled / self.scale + self.shift


def fit_scaler(
    name: str,
    blocks: Iterable[np.ndarray],
    shape: tuple[int, ...],
    weight: np.ndarray | None = None,
) -> AffineScaler:
    """Fit a scaler by name to a table or to images, in one pass over blocks of rows.

    A constant feature becomes 0: it is shifted by its value and scaled by 1.

    Args:
      name: ``"standard"`` mean 0 and variance 1, ``"minmax"`` to [0, 1], ``"robust"`` median and
        interquartile range, ``"none"`` unchanged: all per feature (images: per pixel and
        channel). ``"auto"`` is ``"standard"`` for tables; images are mapped to [0, 1] by one
        minimum and one maximum over all pixels, which keeps their contrast comparable.
      blocks: finite rows ``[b, *shape]`` of any real type.
      shape: the shape of one row.
      weight: ``[N]`` positive weights of the rows, for mean and variance; the other scalers count
        every row once. None: all weigh the same.

    Raises:
      ValueError: an unknown name, values whose spread float64 cannot hold, or ``"robust"`` with
        several blocks (a median needs all rows at once).

    Example:
      >>> scaler = fit_scaler("minmax", [np.array([[0.0, 5.0]]), np.array([[4.0, 5.0]])], (2,))
      >>> scaler(np.array([[1.0, 5.0]]))
      array([[0.25, 0.  ]], dtype=float32)
    """
    check_choice("scaler", name, SCALERS)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shift, scale = _fit(name, blocks, shape, weight)
    if not (np.isfinite(shift).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(
            f"scaler={name!r}: the spread of some feature of X overflows float64; clip X to a "
            "plausible range"
        )
    return AffineScaler(shift.reshape(shape), scale.reshape(shape))


def _fit(
    name: str, blocks: Iterable[np.ndarray], shape: tuple[int, ...], weight: np.ndarray | None
):
    extremes, moments = MinMaxScaler(), StandardScaler()
    quartiles: Any = None
    if weight is not None and np.ptp(weight) == 0:
        weight = None  # sums with weights round differently
    done = 0
    for number, x in enumerate(blocks):
        x = x.reshape(len(x), -1)
        own = None if weight is None else weight[done : done + len(x)]
        done += len(x)
        if name == "robust":
            if number:
                raise ValueError("scaler='robust' needs all rows at once: choose another")
            quartiles = _quartiles(x)
        elif name != "none":
            extremes.partial_fit(x)
        if name == "standard" or (name == "auto" and len(shape) == 1):
            moments.partial_fit(x, sample_weight=own)
    if name == "none":
        return np.zeros(shape), np.ones(shape)
    # The scales of scikit-learn's MinMaxScaler and RobustScaler have the precision of x, and take a
    # feature for constant below an absolute bound, whatever its unit. Exact are these:
    if name == "robust":
        low, middle, high, rounding = quartiles
        return middle, 1 / _nonzero(np.where(high - low > rounding, high - low, 0))
    low, high = _float64(extremes.data_min_), _float64(extremes.data_max_)
    if name == "minmax":
        return low, 1 / _nonzero(high - low)
    if name == "auto" and len(shape) > 1:
        low, high = low.min(), high.max()
        return np.full(shape, low), np.full(shape, 1 / _nonzero(high - low))
    # The mean of equal numbers is not always that number in floating point.
    shift = np.where(low == high, low, _float64(moments.mean_))
    # StandardScaler treats a feature whose variance overflows as constant.
    scale = np.where(np.isfinite(_float64(moments.var_)), 1 / _float64(moments.scale_), np.nan)
    return shift, scale


def _quartiles(x: np.ndarray) -> np.ndarray:
    """The three quartiles of each feature, and the difference that rounding can make of equal ones.

    A few columns at a time are copied to float64.
    """
    flat = x.reshape(len(x), -1)
    step = max(1, 2**20 // len(x))
    parts = [
        np.percentile(_float64(flat[:, start : start + step]), (25, 50, 75), axis=0)
        for start in range(0, flat.shape[1], step)
    ]
    found = np.concatenate(parts, axis=1)
    digits = np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps
    rounding = digits * np.abs(found).max(axis=0)  # at least one unit in the last place
    return np.concatenate([found, rounding[None]]).reshape(4, *x.shape[1:])


def _float64(values: object) -> np.ndarray:
    return np.asarray(values, np.float64)


def _nonzero(span: np.ndarray) -> np.ndarray:
    """``span`` with 1 for constant features, and where its reciprocal would overflow."""
    return np.where(span > 1 / np.finfo(np.float64).max, span, 1.0)
