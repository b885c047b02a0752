"""Mutants of the scalers of a table."""

from tests.mutants.mutant import of

_SCALING = ("tests/estimators/test_scaling.py",)

MUTANTS = [
    *of(
        "jaxad/estimators/scaling.py",
        _SCALING,
        (
            "inside = np.abs(scaled[block]) <= _LARGEST",
            "inside = scaled[block] <= _LARGEST",
            "values that are far too small are accepted",
        ),
        (
            "index[0] += start",
            "pass",
            "the error names a row of the block",
        ),
        (
            "return scaled / self.scale + self.shift",
            "return (scaled + self.shift) / self.scale",
            "the inverse shifts before it scales",
        ),
        (
            "centred = np.subtract(x[block], self.shift, dtype=np.float64)",
            "centred = np.subtract(x[block], self.shift, dtype=np.float32)",
            "rows lose digits before they are shifted",
        ),
        (
            "shift = np.where(low == high, low, _float64(moments.mean_))",
            "shift = _float64(moments.mean_)",
            "a constant feature is not quite 0",
        ),
        (
            "return low, 1 / _nonzero(high - low)",
            "return low, 1 / _nonzero(high)",
            "minmax divides by the maximum",
        ),
        (
            "low, high = low.min(), high.max()",
            "low, high = low, high",
            "every pixel has a minimum and a maximum of its own",
        ),
        (
            'if name == "standard" or (name == "auto" and len(shape) == 1):',
            'if name == "standard" or name == "auto":',
            "moments of images are taken, too",
            "of images under auto only the extremes are read, so the moments change nothing",
        ),
        (
            "moments.partial_fit(x, sample_weight=own)",
            "moments.partial_fit(x)",
            "weights do not count in the scaler",
        ),
        (
            "own = None if weight is None else weight[done : done + len(x)]",
            "own = None if weight is None else weight[: len(x)]",
            "every block has the weights of the first",
        ),
        (
            "return np.where(span > 1 / np.finfo(np.float64).max, span, 1.0)",
            "return np.where(span > np.finfo(np.float32).tiny, span, 1.0)",
            "a column of a small unit is taken for constant",
        ),
        (
            "if number:\n                raise ValueError(",
            "if False:\n                raise ValueError(",
            "the median of a stream is that of its last block",
        ),
    ),
    *of(
        "jaxad/estimators/scaling.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "np.where(np.isfinite(_float64(moments.var_)), 1 / _float64(moments.scale_), np.nan)",
            "1 / _float64(moments.scale_)",
            "a variance that overflows is taken for a constant feature",
        ),
    ),
]
