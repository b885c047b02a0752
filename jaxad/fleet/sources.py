"""Sources of a long table, as chunks: frames in memory, Parquet files, streams of frames."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd

from jaxad.reading import reading

_SUFFIXES = (".parquet", ".pq")


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
      stream: whether a function of the user returns the frames.
    """

    name: str
    chunks: Callable[[], Iterable[Chunk]]
    native: Any = None
    resident: bool = False
    stream: bool = False


def open_source(source: Any) -> Source:
    """The chunks of anything that ``jaxad.fleet.tables.open_table`` takes.

    Raises:
      FileNotFoundError: there is no such file, or the folder has no Parquet file.
      ImportError: Parquet is given and pyarrow is not installed.
      TypeError: ``source`` is of a type that is not taken; the message names the remedy.
      ValueError: a file is damaged or not Parquet, or names of columns are not unique.
    """
    if isinstance(source, str | Path):
        files = parquet_chunks(Path(source))
        return Source(str(source), lambda: files)
    if isinstance(source, list | tuple):
        frames = [frame_chunk(frame, f"frame {i} of the list") for i, frame in enumerate(source)]
        return Source("the list of frames", lambda: frames, resident=True)
    if isinstance(source, Iterator):
        raise TypeError(
            f"source is a {type(source).__name__}, which can be read only once: give a function "
            "that returns a fresh one at every call, or a list of frames"
        )
    if callable(source):
        return Source("the stream", lambda: _stream(source), stream=True)
    chunk = frame_chunk(source, "the frame")
    if hasattr(source, "to_batches"):  # a pyarrow table is in chunks already
        whole = nw.from_native(source, eager_only=True)
        edges = np.cumsum([0, *(len(batch) for batch in source.to_batches())]).tolist()
        parts = [whole[a:b] for a, b in pairwise(edges)] or [whole]
        chunks = [chunk._replace(load=lambda columns, part=part: part) for part in parts]
        return Source(chunk.name, lambda: chunks, source, resident=True)
    return Source(chunk.name, lambda: [chunk], source, resident=True)


def _stream(source: Callable[[], Any]) -> Iterator[Chunk]:
    frames = source()
    if not isinstance(frames, Iterable):
        raise TypeError(
            f"the function given as source returned a {type(frames).__name__}: it has to return "
            "an iterator of frames"
        )
    for i, frame in enumerate(frames):
        yield frame_chunk(frame, f"frame {i} of the stream")


def parquet_chunks(path: Path) -> list[Chunk]:
    """Row groups of a Parquet file, or of all those below a folder, in the order of their paths.

    Folders named ``column=value`` give a column. Whole numbers are read as such there: ``pump=07``
    is pump 7. Files and folders whose names begin with ``_`` or ``.`` are left out.

    Raises:
      FileNotFoundError: there is no such file, or the folder has no Parquet file.
      ImportError: pyarrow is not installed.
      ValueError: a file is damaged or not Parquet.
    """
    if path.is_dir():
        below = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
        paths = [p for p in sorted(below) if p.suffix.lower() in _SUFFIXES]
        paths = [path / p for p in paths if not any(n.startswith(("_", ".")) for n in p.parts)]
    else:
        paths = [path] if path.is_file() else []
    if not paths:
        raise FileNotFoundError(f"{path} is neither a Parquet file nor a folder with some")
    if paths[0].suffix.lower() not in _SUFFIXES:
        raise ValueError(
            f"{path} does not end in .parquet or .pq: read it with pandas or polars, and give the "
            "frame, or a function that returns an iterator of its parts"
        )
    pyarrow = _pyarrow(path)
    with reading(path, "Parquet"):
        files = pyarrow.dataset.dataset(
            [str(p) for p in paths],
            format="parquet",
            partitioning=pyarrow.dataset.HivePartitioning.discover(),
            partition_base_dir=str(path) if path.is_dir() else None,
        )
        return [chunk for file in files.get_fragments() for chunk in _row_groups(files, file)]


def _row_groups(files: Any, file: Any) -> Iterator[Chunk]:
    own = file.physical_schema
    for field in files.partitioning.schema:
        if field.name not in own.names:
            own = own.append(field)
    empty = frame_chunk(own.empty_table(), file.path)
    for group in file.split_by_row_group() or [file]:

        def load(columns: Sequence[Any], group: Any = group) -> nw.DataFrame[Any]:
            with reading(file.path, "Parquet"):
                table = group.to_table(schema=own, columns=list(columns))
            return nw.from_native(table, eager_only=True)

        yield empty._replace(load=load)


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.dataset
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"{path}: Parquet needs pyarrow: pip install 'jaxad[parquet]'") from error
    return pyarrow


def frame_chunk(frame: Any, name: str) -> Chunk:
    """A frame in memory as a chunk.

    Raises:
      TypeError: this is no frame, or a lazy one.
      ValueError: two columns have one name, or names have several levels.
    """
    if isinstance(frame, pd.DataFrame) and frame.columns.nlevels > 1:
        raise ValueError(
            f"the columns of {name} have {frame.columns.nlevels} levels: join them, for example "
            "frame.columns = ['_'.join(map(str, c)) for c in frame.columns]"
        )
    try:
        whole = nw.from_native(frame, eager_only=True)
        schema = _schema(whole)
    except nw.exceptions.DuplicateError as error:
        raise ValueError(f"{name} has columns of the same name: rename one. {error}") from None
    except TypeError:
        raise TypeError(f"{name} is a {type(frame).__name__}: {_remedy(frame)}") from None
    return Chunk(name, schema, lambda columns: whole)


def _schema(frame: nw.DataFrame[Any]) -> dict[Any, Any]:
    """The narwhals type of each column; for pandas, each type of numbers is looked up once."""
    native: Any = frame.to_native()
    if not frame.implementation.is_pandas() or not native.columns.is_unique:
        return dict(frame.schema)
    found, numbers = {}, {}
    for place, (name, dtype) in enumerate(zip(native.columns, native.dtypes, strict=True)):
        known = numbers.get(dtype)
        if known is None:
            known = nw.from_native(native.iloc[:, [place]], eager_only=True).schema[name]
            if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
                numbers[dtype] = known
        found[name] = known
    return found


def _remedy(frame: Any) -> str:
    if hasattr(frame, "collect"):
        return "collect the lazy frame first: frame.collect()"
    if hasattr(frame, "compute"):
        return "compute it first: frame.compute()"
    if hasattr(frame, "to_pandas"):
        return "turn it into a pandas frame first: frame.to_pandas()"
    return (
        "give a pandas, polars or pyarrow frame, the path of a Parquet file or folder, or a "
        "function that returns a fresh iterator of frames"
    )
