"""A user's own table, with a label column."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxad.data.cards import Card
from jaxad.data.dataset import Dataset


def read_table(
    path: str | Path, *, label: str, anomaly: Any = None, drop: Sequence[str] = ()
) -> Dataset:
    """Rows and marks of a CSV or Parquet file with a header.

    Args:
      path: the file; a name that ends in ``.parquet`` is Parquet, any other CSV, compressed or not.
      label: the column that tells anomalies from normal rows.
      anomaly: the value of that column that marks an anomaly, or a list of such values; without
        it the column must hold 1 for an anomaly and 0 otherwise.
      drop: columns that are no features, such as an identifier or the time.

    Raises:
      FileNotFoundError: no such file.
      ImportError: Parquet without pyarrow.
      ValueError: a column that is not there, a feature that is no number, missing or infinite, or
        labels that say nothing.

    Example:
      >>> read_table("creditcard.csv", label="Class", drop=["Time"])  # doctest: +SKIP
    """
    path = Path(path)
    frame = _read(path)
    absent = [name for name in (label, *drop) if name not in frame]
    if absent:
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, absent))}; "
            f"it has {', '.join(map(str, frame.columns))}"
        )
    is_anomaly = _marks(pd.Series(frame[label]), anomaly, path)
    table = frame.drop(columns=[label, *drop])
    _check_numbers(table, path)
    x = table.to_numpy(np.float64)
    card = Card(path.stem, len(x), x.shape[1:], int(is_anomaly.sum()), source=str(path))
    return Dataset(x, card, is_anomaly, features=tuple(map(str, table.columns)))


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give the path of a CSV or Parquet file")
    if path.suffix.lower() not in (".parquet", ".pq"):
        return pd.read_csv(path)
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(
            f"{path} is a Parquet file, which needs pyarrow: pip install 'jaxad[parquet]', or save "
            "the table as CSV"
        ) from error


def _marks(column: pd.Series, anomaly: Any, path: Path) -> np.ndarray:
    where = f"column {column.name!r} of {path}"
    if anomaly is None:
        wrong = ~column.isin((0, 1)).to_numpy()
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{where} holds {column.iloc[row]!r} in row {row}, which is neither 0 nor 1: say "
                "with anomaly=... which values mark an anomaly"
            )
        return column.to_numpy(bool)
    values = anomaly if isinstance(anomaly, list | tuple | set) else [anomaly]
    absent = [value for value in values if not (column == value).any()]
    if absent:
        raise ValueError(
            f"{where} never holds {', '.join(map(repr, absent))}; "
            f"it holds {', '.join(map(repr, column.unique()[:10].tolist()))}"
        )
    return column.isin(values).to_numpy(bool)


def _check_numbers(table: pd.DataFrame, path: Path) -> None:
    if not len(table.columns):
        raise ValueError(f"{path} has no column left to learn from")
    words = [
        str(name)
        for name, kind in table.dtypes.items()
        if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind))
    ]
    if words:
        raise ValueError(
            f"{path}: not every value is a number in {', '.join(words)}: encode the column, or "
            "leave it out with drop=[...]"
        )
    bad = ~np.isfinite(table.to_numpy(np.float64, na_value=np.nan))
    if bad.any():
        names = ", ".join(map(str, table.columns[np.flatnonzero(bad.any(axis=0))]))
        rows = int(bad.any(axis=1).sum())
        raise ValueError(
            f"{path}: values are missing or infinite in {names} ({rows} of {len(table)} rows): "
            "fill them in, or leave the column out with drop=[...]"
        )
