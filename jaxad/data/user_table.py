"""A user's own table, with a label column."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxad.data.cards import Card
from jaxad.data.dataset import Dataset
from jaxad.data.parquet import SUFFIXES
from jaxad.reading import reading


def read_table(
    path: str | Path, *, label: str, anomaly: Any = None, drop: Sequence[str] = ()
) -> Dataset:
    """Read the features and the label column of a CSV or Parquet file with a header.

    Args:
      path: the file, Parquet if its name ends in ``.parquet`` or ``.pq``, otherwise CSV, which may
        be compressed.
      label: the column that tells anomalies from normal rows.
      anomaly: the value of that column that marks an anomaly, or a list of such values. If None,
        the column must hold 1 for anomalies and 0 for normal rows.
      drop: columns that are not features, such as an identifier or the time.

    Raises:
      FileNotFoundError: the file does not exist.
      ImportError: the file is Parquet and pyarrow is not installed.
      ValueError: the file is damaged or of another kind, a column does not exist or two have one
        name, a feature has values that are not finite numbers, or the label column cannot be
        interpreted.

    Example:
      >>> read_table("creditcard.csv", label="Class", drop=["Time"])  # doctest: +SKIP
      Dataset('creditcard', x: (284807, 29) float64, 492 anomalies)
    """
    path = Path(path)
    frame = _read(path)
    absent = [name for name in (label, *drop) if name not in frame]
    if absent:
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, absent))}; "
            f"it has {', '.join(map(str, frame.columns))}"
        )
    if len(twice := frame.columns[frame.columns.duplicated()]):
        raise ValueError(f"{path} has two columns {str(twice[0])!r:.60}: rename one")
    try:
        is_anomaly = _marks(pd.Series(frame[label]), anomaly, path)
    except TypeError as error:  # lists, for example
        raise ValueError(
            f"column {label!r} of {path} holds values that cannot be compared ({error}): give "
            "another label column"
        ) from error
    table = frame.drop(columns=[label, *drop])
    _check_numbers(table, path)
    x = table.to_numpy(np.float64)
    card = Card(path.stem, len(x), x.shape[1:], int(is_anomaly.sum()), source=str(path))
    return Dataset(x, card, is_anomaly, features=tuple(map(str, table.columns)))


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give the path of a CSV or Parquet file")
    if path.suffix.lower() not in SUFFIXES:
        with reading(path, "a CSV file"):
            return pd.read_csv(path)
    try:
        with reading(path, "a Parquet file"):
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
    not_numeric = [
        str(name)
        for name, kind in table.dtypes.items()
        if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind))
    ]
    if not_numeric:
        raise ValueError(
            f"{path}: not every value is a number in {', '.join(not_numeric)}: encode the column "
            "(for example with pandas.get_dummies), leave it out with drop=[...], or read the "
            "table with pandas and encode it in a Pipeline (docs/tables.md)"
        )
    bad = ~np.isfinite(table.to_numpy(np.float64, na_value=np.nan))
    if bad.any():
        names = ", ".join(map(str, table.columns[np.flatnonzero(bad.any(axis=0))]))
        rows = int(bad.any(axis=1).sum())
        raise ValueError(
            f"{path}: values are missing or infinite in {names} ({rows} of {len(table)} rows): "
            "fill them in, leave the column out with drop=[...], or read the table with pandas and "
            "impute them in a Pipeline (docs/tables.md)"
        )
