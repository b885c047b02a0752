"""The rows of a data set, in memory or streamed from a source larger than memory.

Exact passes and scoring use the common interface `Rows`. `ArrayRows` is a tree of arrays, which
compiled programs can trace. A pass over a `Stream` is a Python loop around a compiled step, which
cannot be traced.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from jaxad.checks import first_nonfinite
from jaxad.typing import Array, Batch, PyTree

Carry = TypeVar("Carry", bound=PyTree)
Block = tuple[np.ndarray, np.ndarray]
Condition = Callable[[np.ndarray], np.ndarray]  # labels [B] -> booleans [B]

_BLOCK_BYTES = 4 * 2**20  # bytes of rows sent to the device at a time


class Rows(abc.ABC):
    """All rows of a data set, with their labels and weights.

    Attributes:
      resident: whether all rows are in memory, so that compiled programs can trace them.
      once: whether the rows can be read only once.
    """

    once: bool = False

    resident: ClassVar[bool]

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""

    @property
    @abc.abstractmethod
    def like(self) -> Batch:
        """A batch with the shapes and types of a pass, for `jax.eval_shape`."""

    @property
    @abc.abstractmethod
    def identity(self) -> PyTree:
        """Arrays that identify the rows: all rows, or the first chunk of a stream."""

    @abc.abstractmethod
    def fold(
        self, step: Callable[[Carry, Batch], Carry], carry: Carry, *, chunk: int, fewest: int = 1
    ) -> Carry:
        """Fold ``step`` over chunks of ``chunk`` rows, so that every row counts once.

        If the last chunk had fewer than ``fewest`` rows, the last two share theirs equally.
        """

    @abc.abstractmethod
    def values(self, function: Callable[[Array], Array], *, chunk: int) -> tuple[Any, Any]:
        """Apply a row-wise function ``[chunk, ...] -> [chunk]``.

        Returns:
          The values of all rows and their weights, two arrays ``[N]``. For a stream they are on the
          host and take 8 bytes per row.
        """

    @abc.abstractmethod
    def reweigh(self, weigh: Callable[[Batch], Array]) -> "Rows":
        """The same rows with weights ``[B]`` computed by ``weigh`` from each batch."""

    @abc.abstractmethod
    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Rows":
        """The rows transformed by a row-wise function of numpy arrays that keeps their shape."""

    def keep(self, condition: Condition, otherwise: Condition) -> "Rows":
        """The rows whose labels meet ``condition`` or, if none does, ``otherwise``."""
        some = any(condition(label).any() for _, label in self.on_host())
        return self._select(condition if some else otherwise)

    @abc.abstractmethod
    def _select(self, condition: Condition) -> "Rows":
        """The rows whose labels meet ``condition``."""

    @abc.abstractmethod
    def on_host(self) -> Iterator[Block]:
        """One pass over the rows as numpy arrays ``(x, label)``, in blocks."""

    @abc.abstractmethod
    def blocks(self, chunk: int, *, parts: int = 1) -> Iterator[tuple[Any, int]]:
        """Padded float32 blocks of whole chunks, for scoring, and their numbers of real rows.

        Rows in memory make at least ``parts`` blocks, if they are that many chunks.
        """

    @abc.abstractmethod
    def pieces(self) -> Iterator["ArrayRows"]:
        """The rows as sets in memory, one per epoch of incremental training."""

    def mean(self, function: Callable[[Array], Array], *, chunk: int) -> Array:
        """Weighted mean over all rows of a row-wise function ``[chunk, ...] -> [chunk, ...]``.

        It merges the means of chunks, so rounding errors do not grow with the number of rows.
        """

        def add(carry, batch):
            total, average = carry
            added = jnp.sum(batch.weight)
            values = function(batch.x)
            part = batch.weight / jnp.maximum(added, 1e-12)
            own = jnp.tensordot(part, values, 1, precision="highest")
            # The product adds one row after another: this is what its rounding has left out.
            own = own + jnp.tensordot(part, values - own[None], 1, precision="highest")
            share = added / jnp.maximum(total + added, 1e-12)
            return total + added, average + share * (own - average)

        output = jax.eval_shape(lambda batch: function(batch.x[:1]), self.like)
        start = jnp.zeros((), jnp.float32), jnp.zeros(output.shape[1:], output.dtype)
        return self.fold(add, start, chunk=chunk)[1]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("x", "label", "weight", "count"),
    meta_fields=(),
)
@dataclasses.dataclass(frozen=True)
class ArrayRows(Rows):
    """Rows in memory, on the host or on devices.

    Attributes:
      x: ``[N, ...]`` inputs.
      label: ``[N]`` +1 known normal, -1 known anomaly, 0 unlabelled.
      weight: ``[N]`` weight of each row. A padding row has weight 0 and changes nothing.
      count: number of real rows, a scalar; they come first. None: all rows are real.

    Example:
      >>> ArrayRows(np.ones((4, 5)), np.zeros(4, np.int32), np.ones(4)).shape
      (5,)
    """

    x: Any
    label: Any
    weight: Any
    count: Any = None

    resident = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.x.shape[1:]

    @property
    def like(self) -> Batch:
        """The rows as one batch."""
        return Batch(self.x, self.label, self.weight)

    @property
    def identity(self) -> Batch:
        """All rows."""
        return self.like

    def fold(
        self, step: Callable[[Carry, Batch], Carry], carry: Carry, *, chunk: int, fewest: int = 1
    ) -> Carry:
        """See `Rows.fold`.

        If ``chunk`` does not divide the number of rows, the last chunk overlaps the previous one,
        and repeated rows get weight 0. Chunks of padding at the end are skipped.
        """
        total = len(self.weight)
        chunk = min(chunk, total)
        place = jnp.arange(1, total + 1)
        extent = jnp.max(jnp.where(self.weight > 0, place, 0))  # up to the last row that counts

        def body(i, carry):
            begin, end = batch_bounds(i, chunk, extent, fewest)
            start = jnp.minimum(begin, total - chunk)
            x, label, weight = (
                lax.dynamic_slice_in_dim(leaf, start, chunk)
                for leaf in (self.x, self.label, self.weight)
            )
            row = start + jnp.arange(chunk)
            fresh = (row >= begin) & (row < end)
            return step(carry, Batch(x, label, jnp.where(fresh, weight, 0)))

        return lax.fori_loop(0, (extent + chunk - 1) // chunk, body, carry)

    def values(self, function: Callable[[Array], Array], *, chunk: int) -> tuple[Array, Array]:
        """See `Rows.values`."""
        return map_rows(function, self.x, chunk=chunk), self.weight

    def reweigh(self, weigh: Callable[[Batch], Array]) -> Self:
        """See `Rows.reweigh`."""
        return dataclasses.replace(self, weight=weigh(self.like))

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        """See `Rows.map`."""
        return dataclasses.replace(self, x=function(self.x))

    def _select(self, condition: Condition) -> Self:
        return self.take(np.flatnonzero(condition(self.label)))

    def take(self, index: np.ndarray) -> Self:
        """The rows with these numbers."""
        x, label, weight = (leaf[index] for leaf in (self.x, self.label, self.weight))
        return dataclasses.replace(self, x=x, label=label, weight=weight)

    def on_host(self) -> Iterator[Block]:
        """All rows as one block."""
        yield self.x, self.label

    def blocks(self, chunk: int, *, parts: int = 1) -> Iterator[tuple[np.ndarray, int]]:
        """See `Rows.blocks`.

        Few rows make one block, padded with zeros to 256 or 8, 64, ... times as many, and to whole
        chunks, so that sets of similar size share a program. Many rows make blocks that fit the
        cache while they are copied.
        """
        row_bytes = 4 * math.prod(self.shape)
        most = max(1, _BLOCK_BYTES // max(1, chunk * row_bytes)) * chunk
        share = min(most, max(1, -(-len(self.x) // (parts * chunk))) * chunk)
        padded = 256 << 3 * max(0, -(-((share - 1).bit_length() - 8) // 3))
        size = min(most, -(-padded // chunk) * chunk)
        for start in range(0, max(1, len(self.x)), share):
            block = np.ascontiguousarray(self.x[start : start + share], np.float32)
            count = len(block)
            if count < size:
                block = np.concatenate([block, np.zeros((size - count, *self.shape), np.float32)])
            yield block, count

    def pieces(self) -> Iterator["ArrayRows"]:
        """These rows."""
        yield self

    def padded(self, size: int, sharding: Any = None) -> "ArrayRows":
        """The rows on the device, or with ``sharding``, padded to ``size`` rows."""
        leaves = [pad_rows(leaf, size) for leaf in (self.x, self.label, self.weight)]
        x, label, weight = jax.device_put(leaves, sharding)
        return ArrayRows(x, label, weight, np.int32(len(self.x)))


@dataclasses.dataclass(frozen=True)
class Stream(Rows):
    """Rows in chunks, read again in every pass. Made by `jaxad.data.stream`.

    Iteration yields every chunk as `ArrayRows` on the device, with ``rows`` rows each; the last one
    is padded. A thread reads, checks and sends the next chunk while the current one is in use, so
    at most two chunks are on the device and a few on the host.

    Attributes:
      read: called with a preferred block size, returns a fresh iterator of blocks ``(x, label)`` of
        any size.
      row_shape: the shape of one row.
      rows: rows per chunk.
      columns: names of the features, or None.
      once: whether the source can be read only once.
      transform: function that is applied to every block on the host, or None.
      weigh: function that computes the weights ``[rows]`` of a chunk, or None for weights of 1.
      fewest: if the last chunk had fewer rows than this, it and the last batch before it share
        theirs equally.
      batch: rows of the batches that chunks are cut into; None: a chunk is a batch.
      sharding: sharding of the chunks, or None.

    Example:
      >>> from jaxad import data
      >>> stream = data.stream(np.ones((1000, 4)), rows=256)
      >>> len(list(stream.on_host())), stream.shape
      (4, (4,))
    """

    read: Callable[[int], Iterator[Block]]
    row_shape: tuple[int, ...]
    rows: int
    columns: tuple[str, ...] | None = None
    once: bool = False
    transform: Callable[[np.ndarray], np.ndarray] | None = None
    weigh: Callable[[Batch], Array] | None = None
    fewest: int = 1
    batch: int | None = None
    sharding: Any = None

    resident = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.row_shape

    @property
    def like(self) -> Batch:
        """The shapes and types of a chunk."""
        count = (self.rows,)
        kinds = (count + self.shape, jnp.float32), (count, jnp.int32), (count, jnp.float32)
        leaves: Any = [jax.ShapeDtypeStruct(*kind) for kind in kinds]
        return Batch(*leaves)

    @property
    def identity(self) -> Block:
        """The first chunk."""
        return next(self.on_host())

    def __iter__(self) -> Iterator[ArrayRows]:
        """One pass over the chunks, on the device."""
        return _read_ahead(self._on_device(*block) for block in self.on_host())

    def on_host(self) -> Iterator[Block]:
        """One pass over the chunks; the last may have fewer rows.

        Raises:
          ValueError: rows are invalid; the message names their range, counted from 0.
        """
        return _evened(_recut(self._checked(), self.rows), self.fewest, self.batch or self.rows)

    def fold(
        self, step: Callable[[Carry, Batch], Carry], carry: Carry, *, chunk: int, fewest: int = 1
    ) -> Carry:
        """See `Rows.fold`."""

        @jax.jit
        def jaxad_fold(carry, rows):
            return rows.fold(step, carry, chunk=chunk, fewest=fewest)

        if self.sharding is not None:  # a carry that lay elsewhere first would compile twice
            everywhere = NamedSharding(self.sharding.mesh, PartitionSpec())
            carry = jax.device_put(carry, everywhere)
        chunks = self.in_multiples_of(chunk)
        for rows in dataclasses.replace(chunks, fewest=fewest, batch=chunk):
            # Without waiting, chunks would queue up in memory.
            carry = jax.block_until_ready(jaxad_fold(carry, rows))
        return carry

    def values(
        self, function: Callable[[Array], Array], *, chunk: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Rows.values`."""

        @jax.jit
        def jaxad_values(x):
            return map_rows(function, x, chunk=chunk)

        chunks = self.in_multiples_of(chunk)
        pairs = [(np.asarray(jaxad_values(c.x)), np.asarray(c.weight)) for c in chunks]
        computed, weight = zip(*pairs, strict=True)
        return np.concatenate(computed), np.concatenate(weight)

    def reweigh(self, weigh: Callable[[Batch], Array]) -> Self:
        """See `Rows.reweigh`."""
        first = self.weigh
        if first is None:
            return dataclasses.replace(self, weigh=weigh)
        both = lambda batch: weigh(batch._replace(weight=first(batch)))  # noqa: E731
        return dataclasses.replace(self, weigh=both)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        """See `Rows.map`."""
        first = self.transform
        both = function if first is None else lambda x: function(first(x))
        return dataclasses.replace(self, transform=both)

    def with_channel(self) -> Self:
        """Grey images ``[H, W]`` with a channel axis, ``[H, W, 1]``."""
        return dataclasses.replace(self.map(lambda x: x[..., None]), row_shape=(*self.shape, 1))

    def _select(self, condition: Condition) -> Self:
        def read(size: int) -> Iterator[Block]:
            for x, label in self.read(size):
                kept = condition(label)
                yield x[kept], label[kept]

        return dataclasses.replace(self, read=read)

    def blocks(self, chunk: int, *, parts: int = 1) -> Iterator[tuple[Array, int]]:
        """See `Rows.blocks`; the blocks are the stream's chunks."""
        del parts
        for rows in self.in_multiples_of(chunk):
            yield rows.x, int(rows.count)

    def pieces(self) -> Iterator[ArrayRows]:
        """The chunks; a last one below half size joins the previous one."""
        # Copies, because a source may reuse its array.
        copies = ((np.array(x), np.array(label)) for x, label in self.on_host())
        held = next(copies)
        for block in copies:
            if len(block[0]) < self.rows // 2:  # only the last one can be so short
                held = join_blocks([held, block])
            else:
                yield unweighted(*held)
                held = block
        yield unweighted(*held)

    def in_multiples_of(self, size: int) -> Self:
        """The same rows with the chunk size rounded up to a multiple of ``size``."""
        return dataclasses.replace(self, rows=-(-self.rows // size) * size)

    def _checked(self) -> Iterator[Block]:
        start = 0
        for x, label in self.read(self.rows):
            if not len(x):
                continue
            try:
                _check_block(x, label, start, self.columns)
                x = x if self.transform is None else self.transform(x)
                if x.shape[1:] != self.shape:
                    raise ValueError(f"have shape {x.shape[1:]}, the first row {self.shape}")
            except ValueError as error:
                raise ValueError(f"rows {start} to {start + len(x) - 1}: {error}") from error
            yield x, label
            start += len(x)
        if not start:
            raise ValueError(
                "the source has no rows: give it at least one, and where it is a function let it "
                "return a fresh iterator at each call"
            )

    def _on_device(self, x: np.ndarray, label: np.ndarray) -> ArrayRows:
        rows = unweighted(np.asarray(x, np.float32), np.asarray(label, np.int32))
        rows = rows.padded(self.rows, self.sharding)
        return rows if self.weigh is None else rows.reweigh(self.weigh)


def unweighted(x: np.ndarray, label: np.ndarray) -> ArrayRows:
    """Rows of weight 1, with their types unchanged.

    Example:
      >>> unweighted(np.ones((2, 3)), np.zeros(2, np.int32)).weight.tolist()
      [1.0, 1.0]
    """
    return ArrayRows(x, label, np.ones(len(x), np.float32))


def as_rows(x: Any, label: Any = None, weight: Any = None) -> Any:
    """Rows as float32 arrays on the host; `Rows` are returned unchanged.

    Args:
      x: ``[N, ...]``.
      label: ``[N]`` +1 known normal, -1 known anomaly, 0 unlabelled; None: all 0. For a
        population also ``[P, N]``.
      weight: ``[N]`` weight of each row; None: all 1. For a population also ``[P, N]``.

    Raises:
      ValueError: there are no rows, or labels or weights have a wrong shape.

    Example:
      >>> as_rows([[1.0, 2.0], [3.0, 4.0]]).shape
      (2,)
    """
    if isinstance(x, Rows):
        if label is not None or weight is not None:
            raise ValueError("label and weight go with an array; these rows have their own")
        return x
    x = np.asarray(x, np.float32)
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"rows of shape {x.shape}: need [N, ...] with at least one row")
    label = np.zeros(len(x), np.int32) if label is None else np.asarray(label, np.int32)
    weight = np.ones(len(x), np.float32) if weight is None else np.asarray(weight, np.float32)
    for name, values in (("label", label), ("weight", weight)):
        if values.shape[-1:] != (len(x),) or values.ndim > 2:
            raise ValueError(f"{name} has shape {values.shape}, the rows need {(len(x),)}")
    return ArrayRows(x, label, weight)


def bucket(count: int) -> int:
    """The padded size for ``count`` rows: two sizes per octave, eight above 65,536 rows.

    Data sets of similar size thus share a compiled program. At most a third (above 65,536: a ninth)
    of the rows is padding.

    Example:
      >>> [bucket(n) for n in (1, 300, 4000, 100_000)]
      [256, 384, 4096, 106496]
    """
    if count <= 256:
        return 256
    octave = (count - 1).bit_length() - 1
    step = 1 << (octave - (1 if count <= 65_536 else 3))
    return -(-count // step) * step


def batch_bounds(number: Any, size: int, count: Any, fewest: int) -> tuple[Any, Any]:
    """Where a batch begins and ends, if ``count`` rows in order are cut into batches of ``size``.

    Only the last batch can be smaller. If it had fewer than ``fewest`` rows, the last two batches
    share theirs equally.

    Args:
      number: the batch, counted from 0; may be traced.
      size: rows of a batch.
      count: rows; may be traced.
      fewest: rows that a batch needs, at least 1.

    Returns:
      The first row, and the row after the last one.

    Example:
      >>> [[int(row) for row in batch_bounds(i, 4, 9, 2)] for i in range(3)]
      [[0, 4], [4, 7], [7, 9]]
    """
    begin, end = number * size, jnp.minimum(number * size + size, count)
    if fewest == 1:
        return begin, end
    last, left = (count - 1) // size, (count - 1) % size + 1
    shares, cut = (left < fewest) & (last > 0), count - (size + left) // 2
    begin = jnp.where(shares & (number == last), cut, begin)
    return begin, jnp.where(shares & (number == last - 1), cut, end)


def pad_rows(values: Any, size: int) -> np.ndarray:
    """``values`` ``[N, ...]`` on the host, padded to ``[size, ...]``.

    Rows are padded with copies of the first one, because a network or a loss may not be finite at
    a row of zeros; labels and weights ``[N]`` with 0.

    Example:
      >>> pad_rows(np.array([[2.0], [3.0]]), 4).ravel().tolist()
      [2.0, 3.0, 2.0, 2.0]
    """
    whole = np.zeros((size, *values.shape[1:]), values.dtype)
    whole[: len(values)] = values
    if values.ndim > 1:
        whole[len(values) :] = values[:1]
    return whole


def map_rows(
    function: Callable[[Array], Array], x: Array, *, chunk: int, count: Array | None = None
) -> Array:
    """Apply a row-wise function ``[chunk, ...] -> [chunk, ...]`` to ``x`` ``[N, ...]``.

    Args:
      function: the function.
      x: the rows.
      chunk: rows at a time.
      count: number of leading rows to compute, may be traced; the outputs of further chunks are 0.

    Example:
      >>> map_rows(lambda x: x.sum(axis=1), jnp.ones((5, 3)), chunk=2).tolist()
      [3.0, 3.0, 3.0, 3.0, 3.0]
    """
    total = len(x)
    chunk = min(chunk, total)
    output = jax.eval_shape(function, jax.ShapeDtypeStruct((chunk, *x.shape[1:]), x.dtype))
    start = jnp.zeros((total, *output.shape[1:]), output.dtype)

    def body(i, done):
        begin = jnp.minimum(i * chunk, total - chunk)
        values = function(lax.dynamic_slice_in_dim(x, begin, chunk))
        return lax.dynamic_update_slice_in_dim(done, values, begin, 0)

    wanted = total if count is None else count
    return lax.fori_loop(0, (wanted + chunk - 1) // chunk, body, start)


def join_blocks(blocks: list[Block]) -> Block:
    """Concatenate blocks; a single block is not copied.

    Example:
      >>> one = np.ones((2, 3)), np.zeros(2)
      >>> [part.shape for part in join_blocks([one, one])]
      [(4, 3), (4,)]
    """
    if len(blocks) == 1:
        return blocks[0]
    x, label = zip(*blocks, strict=True)
    return np.concatenate(x), np.concatenate(label)


def _read_ahead(items: Iterator[ArrayRows]) -> Iterator[ArrayRows]:
    """Yield items while a thread prepares the next one."""
    with ThreadPoolExecutor(1, thread_name_prefix="jaxad-stream") as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item


def _recut(blocks: Iterator[Block], size: int) -> Iterator[Block]:
    """The same rows in blocks of ``size``; the last may be shorter."""
    held: list[Block] = []
    missing = size
    for x, label in blocks:
        while len(x):
            held.append((x[:missing], label[:missing]))
            x, label = x[missing:], label[missing:]
            missing -= len(held[-1][0])
            if not missing:
                yield join_blocks(held)
                held, missing = [], size
    if held:
        yield join_blocks(held)


def _evened(blocks: Iterator[Block], fewest: int, batch: int) -> Iterator[Block]:
    """The same blocks, but a last one of too few rows shares those of the last batch before it.

    So the batches are those of all rows in one block; see `batch_bounds`.
    """
    if fewest == 1:
        yield from blocks
        return
    # A copy, because a source may reuse its array while it is held.
    copies = ((np.array(x), np.array(label)) for x, label in blocks)
    held = next(copies)
    for block in copies:
        if len(block[0]) < fewest:  # only the last one can be so short
            x, label = join_blocks([held, block])
            cut = len(x) - (min(batch, len(held[0])) + len(block[0])) // 2
            yield x[:cut], label[:cut]
            held = x[cut:], label[cut:]
        else:
            yield held
            held = block
    yield held


def _check_block(
    x: np.ndarray, label: np.ndarray, start: int, columns: tuple[str, ...] | None
) -> None:
    if x.dtype.kind not in "biuf":
        raise ValueError(f"have type {x.dtype}, not numbers: encode them as numbers")
    if label.shape != (len(x),):
        raise ValueError(f"have labels of shape {label.shape}: give each of {len(x)} rows one")
    if found := first_nonfinite(x):
        column = f", column {found.index[1]}" if x.ndim == 2 else ""
        name = f" ({columns[found.index[1]]!r})" if column and columns else ""
        raise ValueError(
            f"contain {found.kind}: first at row {start + found.index[0]}{column}{name}, "
            f"{found.rows} of {len(x)} rows have NaN or infinite values: replace them or drop "
            "these rows"
        )
    known = np.isin(label, (-1, 0, 1)) & (label.dtype != bool)
    if not known.all():
        row = int(np.argmin(known))
        raise ValueError(
            f"the label of row {start + row} is {label[row].item()!r}: labels are +1 known normal, "
            "-1 known anomaly, 0 unlabelled"
        )
