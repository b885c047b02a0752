"""Sources of a long table, as chunks: frames in memory, Parquet files, streams of frames."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import narwhals as nw


class Chunk(NamedTuple):
    """Consecutive rows of a source.

    Attributes:
      name: what messages call these rows.
      schema: the narwhals type of each column.
      load: returns a narwhals frame that has at least the columns it is given.
    """

    name: str
    schema: dict[Any, Any]
    load: Callable[[Sequence[Any]], nw.DataFrame[Any]]


class Source(NamedTuple):
    """A long table.

    Attributes:
      name: what messages call the table.
      chunks: returns the chunks, in the same order at every call.
      native: the frame that the user gave, if the table is one frame in memory.
      resident: whether all rows are in memory.
    """

    name: str
    chunks: Callable[[], Iterable[Chunk]]
    native: Any = None
    resident: bool = False


def open_source(source: Any) -> Source:
    """The chunks of anything that ``jaxad.fleet.tables.open_table`` takes.

    Raises:
      TypeError: ``source`` is of a type that is not taken; the message names the remedy.
    """
    chunk = frame_chunk(source, "the frame")
    return Source(chunk.name, lambda: [chunk], source, resident=True)


def frame_chunk(frame: Any, name: str) -> Chunk:
    """A frame in memory as a chunk.

    Raises:
      TypeError: this is no frame, or a lazy one.
      ValueError: two columns have one name, or names have several levels.
    """
    if _levels(frame) > 1:
        raise ValueError(
            f"the columns of {name} have {_levels(frame)} levels: join them, for example "
            "frame.columns = ['_'.join(map(str, c)) for c in frame.columns]"
        )
    try:
        whole = nw.from_native(frame, eager_only=True)
        schema = dict(whole.schema)
    except nw.exceptions.DuplicateError as error:
        raise ValueError(f"{name} has columns of the same name: rename one. {error}") from None
    except TypeError:
        raise TypeError(f"{name} is a {type(frame).__name__}: {_remedy(frame)}") from None
    return Chunk(name, schema, lambda columns: whole)


def _levels(frame: Any) -> int:
    return getattr(getattr(frame, "columns", None), "nlevels", 1)


def _remedy(frame: Any) -> str:
    if hasattr(frame, "collect"):
        return "collect the lazy frame first: frame.collect()"
    if hasattr(frame, "compute"):
        return "compute it first: frame.compute()"
    return (
        "give a pandas, polars or pyarrow frame, the path of a Parquet file or folder, or a "
        "function that returns a fresh iterator of frames"
    )
