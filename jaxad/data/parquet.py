"""Parquet files that form one table, read block by block."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxad.reading import reading
from jaxad.rows import Block

SUFFIXES = (".parquet", ".pq")
_KIND = "a Parquet file"


class Table(NamedTuple):
    """Parquet files with the same columns.

    Attributes:
      paths: the files, in the order in which they are read.
      columns: names of the features.
      label: name of the label column, or None.
    """

    paths: tuple[Path, ...]
    columns: tuple[str, ...]
    label: str | None

    def read(self, size: int) -> Iterator[Block]:
        """Yield blocks of at most ``size`` rows, file by file. Missing values are NaN.

        Raises:
          ValueError: a file is damaged.
        """
        parquet = _pyarrow(self.paths[0]).parquet
        names = [*self.columns, *([self.label] if self.label is not None else [])]
        for path in self.paths:
            with reading(path, _KIND):
                file = parquet.ParquetFile(path)
            with file:
                batches = file.iter_batches(batch_size=size, columns=names)
                while (batch := _next(path, batches)) is not None:
                    column = lambda name, b=batch: b.column(name).to_numpy(zero_copy_only=False)  # noqa: E731
                    x = np.stack([column(name) for name in self.columns], axis=1)
                    label = np.zeros(len(x), np.int32) if self.label is None else column(self.label)
                    yield x, label


def table(path: Path, columns: Sequence[str] | None, label: str | None) -> Table:
    """Open a Parquet file, or all those of a folder, for `jaxad.data.stream`.

    Raises:
      FileNotFoundError: there is no such file, or the folder has no Parquet file.
      ImportError: pyarrow is not installed.
      ValueError: a file is damaged or not Parquet, a column does not exist, is not numeric or has
        the name of another, or files differ in their columns.
    """
    pyarrow = _pyarrow(path)
    paths = (path,)
    if path.is_dir():
        paths = tuple(sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES))
    if not paths or not all(p.is_file() for p in paths):
        raise FileNotFoundError(f"{path} is neither a Parquet file nor a folder of Parquet files")
    read = None if columns is None else {*columns, label}
    first = _types(pyarrow, paths[0], read)
    for other in paths[1:]:
        _compare(paths[0], first, other, _types(pyarrow, other, read))
    wanted = [name for name in first if name != label] if columns is None else list(columns)
    for name in [*wanted, *([] if label is None else [label])]:
        if name not in first:
            raise ValueError(f"{paths[0]} has no column {name!r}; it has {', '.join(first)}")
        if not first[name]:
            raise ValueError(
                f"{paths[0]}: column {name!r} is not numeric: encode it, or leave it out with "
                "columns=[...]"
            )
    if not wanted:
        raise ValueError(f"{paths[0]} has no column left to learn from")
    return Table(paths, tuple(wanted), label)


def _types(pyarrow: Any, path: Path, read: set[str | None] | None) -> dict[str, bool]:
    """Names of the columns, and whether each is numeric; ``read`` are those that count, or all."""
    types = pyarrow.types
    with reading(path, _KIND):
        schema = pyarrow.parquet.read_schema(path)
        counts = Counter(schema.names)
    twice = [name for name, count in counts.items() if count > 1]
    if twice := [name for name in twice if read is None or name in read]:
        raise ValueError(f"{path} has two columns {twice[0]!r:.60}: rename one")
    numeric = types.is_integer, types.is_floating, types.is_boolean
    return {field.name: any(kind(field.type) for kind in numeric) for field in schema}


def _next(path: Path, batches: Iterator[Any]) -> Any:
    """The next batch of a file, or None."""
    with reading(path, _KIND):
        return next(batches, None)


def _compare(path: Path, one: dict[str, bool], other_path: Path, other: dict[str, bool]) -> None:
    """Raise a ValueError that lists the differences unless two files have the same columns."""
    changed = [
        *(f"{name!r} is missing" for name in one if name not in other),
        *(f"{name!r} is new" for name in other if name not in one),
        *(f"{n!r} is numeric in one only" for n in one if n in other and one[n] != other[n]),
    ]
    if changed:
        raise ValueError(
            f"{other_path} has other columns than {path}: {', '.join(changed)}; give the files of "
            "a folder the same columns"
        )


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"{path}: Parquet needs pyarrow: pip install 'jaxad[parquet]'") from error
    return pyarrow
