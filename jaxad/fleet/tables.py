"""A long table whose rows belong to groups, read group by group from any source."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd

from jaxad.checks import first_nonfinite
from jaxad.fleet.columns import Choice, Features, compare
from jaxad.fleet.identifiers import Identifiers
from jaxad.fleet.sources import Chunk, Source, open_source


class Grouped(NamedTuple):
    """Rows of consecutive groups, group by group, each in the order of the source.

    Attributes:
      x: features ``[n, D]``, float32 or float64.
      label: values of the label column ``[n]``, or None.
      offsets: int64 ``[groups + 1]``; group ``i`` of these has rows ``offsets[i]:offsets[i + 1]``.
      number: row numbers in the source, int64 ``[n]``, counted from 0.
    """

    x: np.ndarray
    label: np.ndarray | None
    offsets: np.ndarray
    number: np.ndarray

    @property
    def mark(self) -> int:
        """A checksum of the features, labels and groups of the rows, in their order."""
        found = zlib.crc32(self.x, zlib.crc32(self.offsets))  # pyright: ignore[reportArgumentType]
        return found if self.label is None else zlib.crc32(self.label.astype(np.int32), found)  # pyright: ignore[reportArgumentType]


class Table:
    """A long table, made by `open_table`. Rows stay where they are until they are read.

    Attributes:
      group: names of the columns that identify a group.
      columns: names of the D features.
      label: name of the label column, or None.
      keys: identifiers of the G groups, tuples in order of first appearance.
      counts: rows of each group, int64 ``[G]``.
      codes: which of ``keys`` each row belongs to, int32 ``[N]``.
      dtype: float32 if it holds all values of the features' types exactly, else float64.
    """

    def __init__(
        self,
        source: Source,
        columns: Sequence[Any],
        label: Any,
        identifiers: Identifiers,
        codes: Sequence[np.ndarray],
        dtype: np.dtype,
    ):
        self.group, self.columns, self.label = identifiers.group, tuple(columns), label
        self.keys, self.codes, self.dtype = identifiers.keys, np.concatenate(codes), dtype
        self.counts = np.bincount(self.codes, minlength=len(self.keys)).astype(np.int64)
        self._source = source
        self._starts = np.cumsum([0, *(len(part) for part in codes)])  # first row of each chunk
        self._offsets = np.cumsum(np.concatenate([[0], self.counts]))
        self._order = _order(self.codes, len(self.keys))
        self._loaded: dict[int, tuple[Features, Any]] = {}  # columns of chunks in memory

    def __len__(self) -> int:
        return len(self.codes)

    def read(self, start: int, stop: int, *, check: bool = False) -> Grouped:
        """The rows of the groups ``keys[start:stop]``.

        Args:
          start: number of the first group.
          stop: number after the last group.
          check: whether values must be finite, and within the range of float32.

        Raises:
          ValueError: ``check`` is set and a value is none of these, or a stream has other rows
            than before.
        """
        if not 0 <= start <= stop <= len(self.keys):
            raise ValueError(
                f"groups {start}:{stop} are not within the {len(self.keys)} groups of the table"
            )
        first, last = self._offsets[start], self._offsets[stop]
        number = np.arange(first, last) if self._order is None else self._order[first:last]
        number = number.astype(np.int64, copy=False)
        x = np.empty((len(number), len(self.columns)), self.dtype)
        label = self._fill(x, number)
        rows = Grouped(x, label, self._offsets[start : stop + 1] - first, number)
        if check:
            self._check_finite(rows, start)
        return rows

    def frame(self, values: Mapping[str, Any]) -> Any:
        """A frame of the source's library: the group columns, then ``values``, row by row.

        Args:
          values: columns ``[N]`` by name, arrays or pandas categoricals, in the source's row order.

        Returns:
          For a pandas frame, a pandas frame with its index; for polars and pyarrow, one of theirs.
          For files and streams, a pandas frame whose index counts the rows.

        Raises:
          ValueError: a column of ``values`` has the name of a group column, or another length.
        """
        for name, column in values.items():
            if name in self.group:
                raise ValueError(
                    f"the group column {name!r} has the name of a column of the result: rename it"
                )
            if len(column) != len(self):
                raise ValueError(f"{name} has {len(column)} values for {len(self)} rows")
        if self._source.native is None:
            found = {
                name: pd.Series([key[i] for key in self.keys]) for i, name in enumerate(self.group)
            }
            frame = pd.DataFrame(found).take(self.codes).reset_index(drop=True)
            return frame.assign(**values)
        frame = nw.from_native(self._source.native, eager_only=True)
        if frame.implementation.is_pandas():  # its names need not be text
            native = frame.to_native()
            groups = {name: native[name].array for name in self.group}
            return pd.DataFrame(groups | dict(values), index=native.index)
        frame = frame.select(*self.group)
        if frame.implementation.is_pandas_like():
            return frame.to_native().assign(**values)
        added = (
            nw.new_series(
                name,
                column.astype(object) if isinstance(column, pd.Categorical) else column,
                backend=frame.implementation,
            )
            for name, column in values.items()
        )
        return frame.with_columns(*added).to_native()

    def _fill(self, x: np.ndarray, number: np.ndarray) -> np.ndarray | None:
        """Write the features of rows ``number`` to ``x`` ``[n, D]``; return their labels."""
        by_row = np.argsort(number, kind="stable") if len(self._starts) > 2 else None
        rising = number if by_row is None else number[by_row]
        cuts = np.searchsorted(rising, self._starts) if by_row is not None else [0, len(number)]
        labels, places = [], []
        for i, chunk in enumerate(self._chunks()):
            if cuts[i] == cuts[i + 1]:
                continue
            place = slice(None) if by_row is None else by_row[cuts[i] : cuts[i + 1]]
            at = rising[cuts[i] : cuts[i + 1]] - self._starts[i]
            features, label = self._load(i, chunk)
            features.gather(at, x, place)
            if label is not None:
                labels.append(label[at].to_numpy())
                places.append(np.arange(len(x))[place])
        if not labels:
            return None
        found = np.concatenate(labels)
        found[np.concatenate(places)] = found.copy()
        return found

    def _chunks(self) -> Iterator[Chunk]:
        """The chunks of the source, which must be those there were when the table was opened."""
        if not self._source.stream:
            yield from self._source.chunks()
            return
        sizes, seen = np.diff(self._starts).tolist(), Identifiers(self.group, self.keys)
        count = 0
        for chunk in self._source.chunks():
            frame = chunk.load(self.group)
            if count == len(sizes) or len(frame) != sizes[count]:
                raise ValueError(_other_rows(count))
            first = seen.rows
            if not np.array_equal(seen.encode(frame), self.codes[first : seen.rows]):
                raise ValueError(_other_rows(count))
            count += 1
            yield chunk
        if count < len(sizes):
            raise ValueError(_other_rows(count))

    def _load(self, i: int, chunk: Chunk) -> tuple[Features, Any]:
        if i in self._loaded:
            return self._loaded[i]
        names = [*self.columns, *([] if self.label is None else [self.label])]
        frame = chunk.load(names)
        features = Features(frame, self.columns)
        loaded = features, None if self.label is None else frame.get_column(self.label)
        if self._source.resident:
            self._loaded[i] = loaded
        return loaded

    def _check_finite(self, rows: Grouped, start: int) -> None:
        if found := first_nonfinite(rows.x):
            row, column = found.index
            key = self._key_of(rows, start, row)
            remedy = (
                "fill missing values, for example with sklearn.impute.SimpleImputer"
                if found.kind == "NaN"
                else "replace infinite values"
            )
            raise ValueError(
                f"group {name_of(key)}, row {rows.number[row]}, column "
                f"{self.columns[column]!r} is {found.kind} ({found.rows} of {len(rows.x)} rows "
                f"looked at have NaN or infinite values): {remedy}, or drop these rows"
            )
        most = np.finfo(np.float32).max
        if self.dtype == np.float64 and (
            rows.x.max(initial=0) > most or rows.x.min(initial=0) < -most
        ):
            row, column = np.argwhere(np.abs(rows.x) > most)[0]
            key = self._key_of(rows, start, row)
            raise ValueError(
                f"group {name_of(key)}, row {rows.number[row]}, column {self.columns[column]!r} is "
                f"{rows.x[row, column]:g}, beyond float32: clip it to a plausible range"
            )

    def _key_of(self, rows: Grouped, start: int, row: int) -> tuple:
        """The group of a row of ``rows``, the first of which is number ``start``."""
        return self.keys[start + int(np.searchsorted(rows.offsets, row, "right")) - 1]


def open_table(
    source: Any,
    group: Any,
    *,
    columns: Sequence[Any] | None = None,
    label: Any = None,
    known: Sequence[Any] | None = None,
    empty: bool = False,
) -> Table:
    """Open a long table and find its groups. Features are not read yet.

    Args:
      source: one of

        * a pandas, polars or pyarrow frame, or another eager frame that narwhals knows;
        * the path of a Parquet file, or of a folder of them, in which folders named
          ``column=value`` give a column; row groups without a wanted group are not read;
        * a list of frames, or a function that returns a fresh iterator of frames at every call;
          each `Table.read` passes over such a stream once.
      group: the column that identifies a group, or a sequence of columns. Identifiers are text,
        whole numbers, or True and False.
      columns: names of the features. Default: every column but the group's and the label.
      label: name of a label column.
      known: names of the features that a fleet was fitted on; the table must have them, in any
        order. The label column may then be missing.
      empty: whether the table may have no rows.

    Raises:
      FileNotFoundError: there is no such file, or the folder has no Parquet file.
      ImportError: Parquet is given and pyarrow is not installed.
      TypeError: the source is of a type that is not taken, or an identifier is neither text, a
        whole number nor True or False.
      ValueError: a column is missing, unknown, named twice or not numeric, an identifier is
        missing, or the table has no rows. The message names the remedy.

    Example:
      >>> frame = pd.DataFrame({"pump": ["b", "a", "b"], "heat": [1.0, 2.0, 3.0]})
      >>> table = open_table(frame, "pump")
      >>> table.keys, table.columns
      ([('b',), ('a',)], ('heat',))
      >>> table.read(0, 1).x.tolist()
      [[1.0], [3.0]]
    """
    opened = open_source(source)
    first, choice, codes, exact = None, None, [], True
    identifiers = Identifiers(group if isinstance(group, list | tuple) else [group])
    for chunk in opened.chunks():
        if first is None or choice is None:
            first, choice = chunk, Choice.make(chunk, identifiers.group, columns, label, known)
        else:
            compare(first, chunk, choice)
        exact = exact and choice.fits_float32(chunk)
        codes.append(identifiers.encode(chunk.load(choice.group)))
    if choice is None or not (identifiers.rows or empty):
        raise ValueError(f"{opened.name} has no rows")
    dtype = np.dtype(np.float32 if exact else np.float64)
    return Table(opened, choice.columns, choice.label, identifiers, codes, dtype)


def _other_rows(frame: int) -> str:
    return (
        f"the stream has other rows than when it was opened, from frame {frame} on: its function "
        "must return the same frames at every call"
    )


def name_of(key: tuple) -> str:
    """A group's identifier as messages write it: without brackets if it is one value.

    Example:
      >>> name_of(("pump-17",)), name_of(("north", 3))
      ("'pump-17'", "('north', 3)")
    """
    return repr(key[0] if len(key) == 1 else key)


def _order(codes: np.ndarray, groups: int) -> np.ndarray | None:
    """Row numbers by group, each group's in their order; None if rows are in that order already."""
    if np.all(codes[1:] >= codes[:-1]):
        return None
    small = np.uint16 if groups <= 1 << 16 else np.int32  # numpy sorts 16 bits by radix
    order = np.argsort(codes.astype(small, copy=False), kind="stable")
    return order.astype(np.int32) if len(order) < 1 << 31 else order
