"""Identifiers of groups: from columns of a frame to a code for each row."""

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

_BLOCK = 1 << 18  # rows coded at a time: bounds the memory of Python strings


class Identifiers:
    """Codes of groups, in order of first appearance.

    Args:
      group: names of the columns that identify a group.
      keys: identifiers that have the codes 0, 1, ... already.

    Example:
      >>> frame = nw.from_native(pd.DataFrame({"site": ["b", "a", "b"], "pump": [1, 1, 1]}))
      >>> found = Identifiers(["site", "pump"])
      >>> found.encode(frame).tolist(), found.keys
      ([0, 1, 0], [('b', 1), ('a', 1)])
    """

    def __init__(self, group: Sequence[Any], keys: Sequence[tuple] = ()):
        self.group, self.rows = tuple(group), 0
        self._codes = {key: code for code, key in enumerate(keys)}

    @property
    def keys(self) -> list[tuple]:
        """The identifiers so far; a row of code ``i`` belongs to ``keys[i]``."""
        return list(self._codes)

    def encode(self, frame: nw.DataFrame[Any]) -> np.ndarray:
        """Codes int32 ``[n]`` of the rows of ``frame``, which follow those encoded before.

        Raises:
          ValueError: an identifier is missing.
          TypeError: an identifier is neither text, a whole number nor True or False.
        """
        codes = np.empty(len(frame), np.int32)
        columns = [frame.get_column(name) for name in self.group]
        for start in range(0, len(codes), _BLOCK):
            block = slice(start, start + _BLOCK)
            codes[block] = self._encode([column[block] for column in columns])
            self.rows += len(codes[block])
        return codes

    def _encode(self, columns: Sequence[nw.Series[Any]]) -> np.ndarray:
        codes, keys = np.zeros(len(columns[0]), np.int64), [()]
        for name, column in zip(self.group, columns, strict=True):
            right, values = _factorise(column, name, self.rows)
            # Pairs are coded anew at every column, which keeps their product small.
            codes, pairs = pd.factorize(codes * len(values) + right)
            split = (divmod(pair, len(values)) for pair in pairs.tolist())
            keys = [(*keys[left], values[right]) for left, right in split]
        known = self._codes
        return np.array([known.setdefault(key, len(known)) for key in keys], np.int32)[codes]


def _factorise(column: nw.Series[Any], name: Any, first: int) -> tuple[np.ndarray, list[Any]]:
    """Codes int64 ``[n]`` of a column's values, and the value of each code."""
    native: Any = column.to_native()
    try:
        if column.dtype.is_nested():
            raise TypeError("lists and records are no identifiers")
        if column.implementation.is_pyarrow():
            native = native.combine_chunks() if hasattr(native, "combine_chunks") else native
            native = native.dictionary_encode().to_pandas()
        elif not column.implementation.is_pandas_like():
            native = pd.Series(column.to_list()) if column.is_null().any() else column.to_numpy()
        codes, values = pd.factorize(native)
    except TypeError as error:  # lists among objects cannot be told apart, either
        raise TypeError(
            f"group column {name!r} has values of type {column.dtype}: cast it to text or a whole "
            "number"
        ) from error
    if (missing := codes < 0).any():
        raise ValueError(
            f"group column {name!r} has no identifier in row {first + int(np.argmax(missing))} "
            f"({int(missing.sum())} rows close to it): fill it, or drop these rows"
        )
    values = values.tolist()
    for code, value in enumerate(values):
        if not isinstance(value, str | int | bool):
            row = first + int(np.argmax(codes == code))
            raise TypeError(
                f"group column {name!r} has {value!r} of type {type(value).__name__} in row {row}: "
                "cast it to text or a whole number"
            )
    return codes.astype(np.int64, copy=False), values
