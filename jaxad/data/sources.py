"""Streams of rows that need not fit into memory: arrays on disk, Parquet, iterators of blocks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from jaxad.data import parquet
from jaxad.reading import reading
from jaxad.rows import Block, Stream


def stream(
    source: Any,
    *,
    rows: int = 65_536,
    label: Any = None,
    columns: Sequence[str] | None = None,
) -> Stream:
    """Stream rows in chunks to detectors and to `jaxad.training`.

    Every pass reads the source again: one pass per epoch, and a few more for scaling, exact
    statistics and the threshold. All chunks have ``rows`` rows, so memory does not grow with the
    number of rows, except for results with one number per row.

    Args:
      source: one of

        * an array ``[N, ...]``, such as a ``np.memmap``, or the path of a ``.npy`` file;
        * the path of a Parquet file, or of a folder of Parquet files, which are read in the order
          of their names in blocks of about ``rows`` rows (needs pyarrow);
        * a sequence of blocks, or a function without arguments that returns a fresh iterator of
          blocks. A block is an array or DataFrame of any length, or a pair of it and labels;
        * an iterator of blocks. It can be read only once, for scoring or ``partial_fit``.
      rows: rows per chunk, rounded up to a multiple of the batch size or of the objective's chunk.
        Training shuffles rows only within chunks, so a chunk should contain many batches, and the
        source should be in random order.
      label: labels ``[N]`` of an array, or the name of a Parquet column. +1 known normal, -1 known
        anomaly, 0 unlabelled.
      columns: the Parquet columns to read; None reads all except ``label``.

    Returns:
      The rows, a `jaxad.rows.Stream`.

    Raises:
      FileNotFoundError: the file does not exist, or the folder has no Parquet file.
      ImportError: pyarrow is needed for Parquet.
      TypeError: the source is of another kind.
      ValueError: a file is damaged or of another kind, there are no rows, a column is missing or
        not numeric, or the files' columns differ. Passes over the rows also raise it for invalid
        rows, with their range.

    Example:
      >>> import numpy as np
      >>> from jaxad import DeepSVDD, data
      >>> blocks = [np.random.default_rng(i).normal(size=(300, 4)) for i in range(3)]
      >>> source = data.stream(blocks, rows=256)
      >>> DeepSVDD(epochs=2, random_state=0).fit(source).anomaly_score(source).shape
      (900,)
    """
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise ValueError(f"rows={rows!r} is not a positive whole number")
    name = "the source"
    if isinstance(source, str | Path):
        path = Path(source)
        name = str(path)
        if path.is_dir() or path.suffix.lower() in parquet.SUFFIXES:
            table = parquet.table(path, columns, label)
            return Stream(table.read, (len(table.columns),), rows, table.columns)
        if path.suffix.lower() != ".npy":
            raise ValueError(
                f"{path} is neither a .npy file nor Parquet: give a function that returns an "
                "iterator of blocks, such as lambda: pandas.read_csv(path, chunksize=100_000)"
            )
        with reading(path, "a .npy file"):
            try:
                source = np.lib.format.open_memmap(path, mode="r")
            except MemoryError as error:  # rows are not read here, so the length in it is wrong
                raise ValueError("its header claims more memory than there is") from error
        if source.dtype.kind not in "biuf":
            raise ValueError(
                f"{path} holds values of type {source.dtype!s:.60}: save numbers as float32"
            )
    if columns is not None:
        raise ValueError(f"columns={columns!r} is for Parquet: take the columns yourself")
    if isinstance(source, np.ndarray):
        return _from_array(source, label, rows, name)
    if label is not None:
        raise ValueError("label: with blocks of rows give pairs of a block and its labels")
    return _from_blocks(source, rows)


def _from_array(x: np.ndarray, label: Any, rows: int, name: str) -> Stream:
    if x.ndim < 2 or not len(x):
        raise ValueError(f"{name} has shape {x.shape}: need [N, ...] with at least one row")
    marks = None if label is None else np.asarray(label)
    if marks is not None and marks.shape != (len(x),):
        raise ValueError(f"label has shape {marks.shape}, the source needs {(len(x),)}")

    def read(size: int) -> Iterator[Block]:
        for start in range(0, len(x), size):
            block = np.asarray(x[start : start + size])
            yield block, _unlabelled(block) if marks is None else marks[start : start + size]

    return Stream(read, x.shape[1:], rows)


def _from_blocks(source: Any, rows: int) -> Stream:
    once = isinstance(source, Iterator)
    if not (once or callable(source) or isinstance(source, Sequence)):
        raise TypeError(
            f"{type(source).__name__} is no source of rows: give an array, a path, a sequence of "
            "blocks, or a function that returns an iterator of blocks"
        )
    opened: Any = source if callable(source) else lambda: source
    blocks = iter(opened())
    head = next(blocks, None)
    if head is None:
        raise ValueError("the source has no rows: give it at least one block")
    if once:
        opened = _only_once(chain([head], blocks))
    else:
        _close(blocks)
    first, _ = _split(head)
    columns = _columns(first)
    if np.ndim(first) < 2:
        raise ValueError(f"a block has shape {np.shape(first)}: need [rows, ...]")

    def read(size: int) -> Iterator[Block]:
        del size
        for block in _closing(opened()):
            x, label = _split(block)
            if columns != _columns(x):
                raise ValueError(f"a block has columns {_columns(x)}, the first has {columns}")
            x = np.asarray(x)
            yield x, _unlabelled(x) if label is None else np.asarray(label)

    return Stream(read, np.shape(first)[1:], rows, columns, once)


def _only_once(blocks: Iterable) -> Callable[[], Iterable]:
    left = [blocks]

    def opened() -> Iterable:
        if not left:
            raise ValueError(
                "an iterator of blocks can be read only once: give a function that returns a "
                "fresh one"
            )
        return left.pop()

    return opened


def _closing(blocks: Iterable) -> Iterator:
    """Yield the blocks and close their source, also if the pass ends early."""
    blocks = iter(blocks)
    try:
        yield from blocks
    finally:
        _close(blocks)


def _close(blocks: Iterator) -> None:
    close = getattr(blocks, "close", None)
    if close is not None:
        close()


def _split(block: Any) -> tuple[Any, Any]:
    return block if isinstance(block, tuple) else (block, None)


def _columns(block: Any) -> tuple[str, ...] | None:
    names = getattr(block, "columns", None)
    return None if names is None else tuple(map(str, names))


def _unlabelled(x: np.ndarray) -> np.ndarray:
    return np.zeros(len(x), np.int32)
