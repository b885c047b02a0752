"""Columns of a chunk: checks of names and types, and gathering of rows into one array."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np

from jaxad.fleet.sources import Chunk

_BLOCK = 2048  # rows gathered at a time: a block of 100 columns fits the second-level cache
_SMALL = 2**16  # entries of a small chunk


# Types whose values float32 holds exactly. Names, since old versions of narwhals lack some types.
_FLOAT32 = {"Boolean", "Int8", "Int16", "UInt8", "UInt16", "Float16", "Float32"}
_ENCODE = "encode it before, for example with sklearn.preprocessing.OneHotEncoder or OrdinalEncoder"


class Choice(NamedTuple):
    """The columns that are used of a table.

    Attributes:
      group: names of the columns that identify a group.
      columns: names of the features.
      label: name of the label column, or None.
    """

    group: tuple[Any, ...]
    columns: tuple[Any, ...]
    label: Any

    @staticmethod
    def make(
        chunk: Chunk,
        group: tuple[Any, ...],
        columns: Sequence[Any] | None,
        label: Any,
        known: Sequence[Any] | None,
    ) -> "Choice":
        """The columns of ``chunk`` that the arguments of `jaxad.fleet.tables.open_table` name.

        Raises:
          ValueError: a column is missing, unknown, named twice or not numeric.
          TypeError: names are given in another form than a sequence.
        """
        if not group:
            raise ValueError("group=[] names no column: name the column that identifies a group")
        for argument, names in (("columns", columns), ("known", known)):
            if isinstance(names, str):
                raise TypeError(f"{argument}={names!r} is text: give a list, [{names!r}]")
        if known is not None and label not in chunk.schema:
            label = None
        wanted = known if known is not None else columns
        taken = {*group, *([] if label is None else [label])}
        if wanted is None:
            wanted = [name for name in chunk.schema if name not in taken]
        _check_roles(group, label, wanted)
        for role, names in (
            ("group", group),
            ("label", [] if label is None else [label]),
            ("columns", wanted),
        ):
            if missing := [repr(name) for name in names if name not in chunk.schema]:
                raise ValueError(
                    f"{role}: {chunk.name} has no column {', '.join(missing)}; it has "
                    f"{_listed(chunk.schema)}"
                )
        if known is not None and columns is None:
            extra = [name for name in chunk.schema if name not in {*known, *taken}]
            if extra:
                raise ValueError(
                    f"{chunk.name} has columns that the fleet was not fitted on: {_listed(extra)}; "
                    "drop them, or name the features with columns=[...]"
                )
        if not wanted:
            raise ValueError(f"{chunk.name} has no feature column, only {_listed(taken)}")
        for name in wanted:
            _check_numeric(chunk, name)
        return Choice(group, tuple(wanted), label)

    def fits_float32(self, chunk: Chunk) -> bool:
        """Whether float32 holds all values of the features' types in ``chunk``."""
        return all(str(chunk.schema[name]) in _FLOAT32 for name in self.columns)


def compare(first: Chunk, other: Chunk, choice: Choice) -> None:
    """Check that two chunks have the same columns, and features of numeric types.

    Raises:
      ValueError: they differ.
    """
    changed = [
        *(f"{name!r} is missing" for name in first.schema if name not in other.schema),
        *(f"{name!r} is new" for name in other.schema if name not in first.schema),
    ]
    for name in () if changed else (*choice.group, *choice.columns):
        one, two = _kind(first.schema[name]), _kind(other.schema[name])
        if one != two:
            changed.append(f"{name!r} is {two}, not {one}")
    if changed:
        raise ValueError(
            f"{other.name} has other columns than {first.name}: {', '.join(changed)}; give all "
            "the same columns"
        )


def _check_roles(group: Sequence[Any], label: Any, columns: Sequence[Any]) -> None:
    roles = [(name, "group") for name in group]
    roles += [(label, "label")] if label is not None else []
    roles += [(name, "columns") for name in columns]
    seen: dict[Any, str] = {}
    for name, role in roles:
        if name in seen:
            where = f"both {seen[name]} and {role}" if seen[name] != role else f"{role} twice"
            raise ValueError(f"column {name!r} is named in {where}: name it once")
        seen[name] = role


def _check_numeric(chunk: Chunk, name: Any) -> None:
    dtype = chunk.schema[name]
    if _kind(dtype) == "numeric":
        return
    remedy = _ENCODE
    if dtype.is_temporal():
        remedy = "turn it into numbers of your choice (hours since a date, the hour of the day)"
    elif str(dtype) in ("Object", "Unknown"):
        remedy = "cast it to a number type if it holds numbers, encode it if not"
    raise ValueError(
        f"column {name!r} of {chunk.name} is not numeric (its type is {dtype}): {remedy}, or leave "
        "it out with columns=[...]"
    )


def _kind(dtype: Any) -> str:
    """Kinds of types that may not change within a table."""
    if dtype.is_numeric() or str(dtype) == "Boolean":
        return "numeric"
    if str(dtype).startswith(("String", "Categorical", "Enum")):
        return "text"
    return str(dtype)


def _listed(names: Iterable[Any]) -> str:
    """Names for a message, the first ten of them."""
    names = [repr(name) for name in names]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


class Features:
    """Feature columns ``D`` of one chunk, not copied where the library gives a view.

    Args:
      frame: a frame that has the columns.
      names: their names.
    """

    def __init__(self, frame: nw.DataFrame[Any], names: Sequence[Any]):
        self._block = None
        named = all(isinstance(name, str) for name in names)  # narwhals selects by text alone
        if named and len(frame) * len(names) <= _SMALL:  # a copy costs less than many columns
            block = frame.select(*names).to_numpy()
            self._block = block if block.dtype.kind in "biuf" else None
        if self._block is None:
            self._columns = [_view(frame.get_column(name)) for name in names]
            self._block = _as_block(self._columns)

    def gather(self, at: np.ndarray, x: np.ndarray, place: Any) -> None:
        """Write rows ``at`` ``[n]`` to the rows ``place`` (a slice or ``[n]``) of ``x``."""
        run = bool(len(at)) and int(at[-1]) - int(at[0]) == len(at) - 1 and _rising(at)
        for start in range(0, len(at), _BLOCK):
            rows: Any = at[start : start + _BLOCK]
            if run:
                rows = slice(int(rows[0]), int(rows[-1]) + 1)
            into: Any = slice(start, start + _BLOCK)
            if not isinstance(place, slice):
                into = place[into]
            x[into] = self._rows(rows, min(_BLOCK, len(at) - start), x.dtype)

    def _rows(self, rows: Any, n: int, dtype: Any) -> np.ndarray:
        if self._block is not None:
            return self._block[rows]
        block = np.empty((len(self._columns), n), dtype)
        for row, column in zip(block, self._columns, strict=True):
            if not isinstance(column, np.ndarray):
                row[:] = _numbers(column[rows])
            elif isinstance(rows, slice) or column.dtype != dtype or not column.flags.c_contiguous:
                row[:] = column[rows]
            else:
                column.take(rows, out=row, mode="clip")  # "raise" would copy through a buffer
        return block.T


def _rising(at: np.ndarray) -> bool:
    return bool(np.all(at[1:] > at[:-1]))


def _view(column: nw.Series[Any]) -> Any:
    """The column as an array, if that copies nothing; else the column."""
    native: Any = column.to_native()
    if column.implementation.is_pandas_like():
        return native.to_numpy() if isinstance(native.dtype, np.dtype) else column
    try:
        if column.implementation.is_polars():
            return native.to_numpy(allow_copy=False)
        if column.implementation.is_pyarrow() and native.num_chunks == 1:
            return native.chunk(0).to_numpy(zero_copy_only=True)
    except (RuntimeError, ValueError):
        pass
    return column


def _numbers(column: nw.Series[Any]) -> np.ndarray:
    """The values of a numeric column; missing ones are NaN."""
    values = column.to_numpy()
    return values if values.dtype != object else values.astype(np.float64)


def _as_block(columns: Sequence[Any]) -> np.ndarray | None:
    """The columns as a view ``[N, D]`` if they lie at equal distances, rows first, in memory."""
    if not all(isinstance(column, np.ndarray) for column in columns):
        return None
    first = columns[0]
    where = [column.__array_interface__["data"][0] for column in columns]
    steps = set(np.diff(where).tolist())
    same = all(c.dtype == first.dtype and c.strides == first.strides for c in columns)
    if not same or len(steps) > 1:
        return None
    step = steps.pop() if steps else first.itemsize
    if abs(step) >= abs(first.strides[0]) and len(columns) > 1:
        return None  # columns first: gathering column by column is faster
    shape, strides = (len(first), len(columns)), (first.strides[0], step)
    return np.lib.stride_tricks.as_strided(first, shape, strides, writeable=False)
