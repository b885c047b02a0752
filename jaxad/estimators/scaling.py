"""Scalers: one affine map per feature, fitted by scikit-learn and applied in blocks of rows."""

from dataclasses import dataclass

import numpy as np
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from jaxad.estimators.checks import check_choice

SCALERS = ("auto", "standard", "minmax", "robust", "none")

_BLOCK_BYTES = 2**20  # stays in the second-level cache


@dataclass(frozen=True, eq=False)
class AffineScaler:
    """``x' = (x - shift) * scale``, in float64, handed on as float32.

    Attributes:
      shift: ``[...]`` float64, the shape of one row.
      scale: ``[...]`` float64, the shape of one row.
    """

    shift: np.ndarray
    scale: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Scale rows ``[N, ...]`` to float32. A row's result does not depend on other rows.

        Raises:
          ValueError: the rows have another shape than the fitted ones, or a value lies so far
            from the fitted ones that float32 cannot hold it.
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
                if not np.isfinite(scaled[block]).all():
                    index = np.argwhere(~np.isfinite(scaled[block]))[0]
                    index[0] += start
                    raise ValueError(
                        f"X[{', '.join(map(str, index))}]={x[tuple(index)]:g} is too far from "
                        "the fitted values for float32; clip X to a plausible range"
                    )
        return scaled

    def inverse(self, scaled: np.ndarray) -> np.ndarray:
        """Rows ``[N, ...]`` in the units they had before scaling, float64."""
        return scaled / self.scale + self.shift


def fit_scaler(name: str, x: np.ndarray) -> AffineScaler:
    """Fit a scaler by name to rows ``[N, D]`` or images ``[N, H, W, C]``.

    A feature that is constant in ``x`` becomes 0: it is shifted by its value and scaled by 1.

    Args:
      name: ``"standard"`` mean 0 and variance 1, ``"minmax"`` to [0, 1], ``"robust"`` median and
        interquartile range, ``"none"`` unchanged: all per feature (images: per pixel and
        channel). ``"auto"`` is ``"standard"`` for tables; images are mapped to [0, 1] by one
        minimum and one maximum over all pixels, which keeps their contrast comparable.
      x: finite rows, any real type.

    Raises:
      ValueError: unknown name, or values whose spread float64 cannot hold.

    Example:
      >>> fit_scaler("minmax", np.array([[0.0, 5.0], [4.0, 5.0]]))(np.array([[1.0, 5.0]]))
      array([[0.25, 0.  ]], dtype=float32)
    """
    check_choice("scaler", name, SCALERS)
    shape = x.shape[1:]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if name == "none":
            shift, scale = np.zeros(shape), np.ones(shape)
        elif name == "auto" and x.ndim > 2:
            low, high = _float64(x.min()), _float64(x.max())
            shift, scale = np.full(shape, low), np.full(shape, 1 / _nonzero(high - low))
        else:
            shift, scale = _per_feature(name, x.reshape(len(x), -1))
    if not (np.isfinite(shift).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(
            f"scaler={name!r}: the spread of some feature of X overflows float64; clip X to a "
            "plausible range"
        )
    return AffineScaler(shift.reshape(shape), scale.reshape(shape))


def _per_feature(name: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if name == "minmax":
        # scikit-learn's own `scale_` has the precision of x, and calls a feature constant by an
        # absolute bound that depends on it; its minimum and maximum are exact.
        fitted = MinMaxScaler().fit(x)
        low, high = _float64(fitted.data_min_), _float64(fitted.data_max_)
        return low, 1 / _nonzero(high - low)
    if name == "robust":
        fitted = RobustScaler().fit(x)
        return _float64(fitted.center_), 1 / _float64(fitted.scale_)
    fitted = StandardScaler().fit(x)
    # The mean of equal numbers is not always that number in floating point.
    shift = np.where(x.min(axis=0) == x.max(axis=0), x[0], fitted.mean_)
    # scikit-learn takes a feature whose variance overflows for a constant one.
    scale = np.where(np.isfinite(_float64(fitted.var_)), 1 / _float64(fitted.scale_), np.nan)
    return _float64(shift), scale


def _float64(values: object) -> np.ndarray:
    return np.asarray(values, np.float64)


def _nonzero(span: np.ndarray) -> np.ndarray:
    """Spans whose reciprocal is usable; a constant feature's is 1."""
    return np.where(span > np.finfo(np.float32).tiny, span, 1.0)
