"""Frames of pandas, polars and other libraries: read as pandas, returned as they came."""

from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd


def as_pandas(X: Any) -> Any:
    """A frame or series of another library, such as polars, as one of pandas; all else unchanged.

    Missing numbers become NaN.

    Example:
      >>> import polars as pl
      >>> as_pandas(pl.DataFrame({"heat": [1.5, None]})).columns.tolist()
      ['heat']
    """
    if isinstance(X, pd.DataFrame | pd.Series | np.ndarray):
        return X
    given = nw.from_native(X, pass_through=True, allow_series=True)
    if isinstance(given, nw.LazyFrame):
        raise ValueError("X is a lazy frame: collect it first, for example with X.collect()")
    if isinstance(given, nw.Series):
        return pd.Series(given.to_numpy(), name=given.name)
    if isinstance(given, nw.DataFrame):
        return pd.DataFrame({name: given.get_column(name).to_numpy() for name in given.columns})
    return X


def like(X: Any, values: np.ndarray, columns: Any = None) -> Any:
    """``values`` ``[N, D]`` as a frame of X's library, with its index; an array for other X.

    Args:
      X: a frame with N rows, or anything else.
      values: the values; those of another rank stay an array.
      columns: names of the columns; None: those of X.

    Example:
      >>> like(pd.DataFrame({"heat": [1.0, 2.0]}, index=["a", "b"]), np.ones((2, 1)))
         heat
      a   1.0
      b   1.0
    """
    if values.ndim != 2:
        return values
    if isinstance(X, pd.DataFrame):
        return pd.DataFrame(
            values, index=X.index, columns=X.columns if columns is None else columns
        )
    given = nw.from_native(X, pass_through=True)
    if not isinstance(given, nw.DataFrame):
        return values
    names = given.columns if columns is None else columns
    named = dict(zip(names, values.T, strict=True))
    return nw.from_dict(named, backend=given.implementation).to_native()
