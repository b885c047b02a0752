"""Rows of a data set larger than memory, in chunks of one size; the next is read ahead."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.typing import Array, Batch

Block = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Stream:
    """Rows in chunks, read anew for every pass over them. `jaxad.data.stream` makes it.

    Iterating gives a `Batch` on the device for each chunk, all of ``rows`` rows: the last one is
    filled up with rows of weight 0. A thread reads, checks and sends the next chunk while the
    current one is in use, so at most two are on the device and a few on the host.

    Attributes:
      read: called with a wish for a number of rows; a fresh iterator of blocks ``(x, label)`` of
        any length.
      shape: that of one row.
      rows: per chunk.
      columns: names of the features, where known.
      once: whether it can be read only once.
      transform: applied to the rows of each block on the host, or None.
      weigh: the rows' weights ``[rows]`` of a chunk on the device, or None: 1.
      sharding: how a chunk lies on the devices, or None.
    """

    read: Callable[[int], Iterator[Block]]
    shape: tuple[int, ...]
    rows: int
    columns: tuple[str, ...] | None = None
    once: bool = False
    transform: Callable[[np.ndarray], np.ndarray] | None = None
    weigh: Callable[[Batch], Array] | None = None
    sharding: Any = None

    def __iter__(self) -> Iterator[Batch]:
        """One pass over the chunks, on the device."""
        return _ahead(self._on_device(*block) for block in self.on_host())

    def on_host(self) -> Iterator[Block]:
        """One pass over the chunks as numpy arrays ``(x, label)``; the last may be shorter.

        Raises:
          ValueError: rows that cannot be used; the message names their range, counted from 0.
        """
        return _recut(self._checked(), self.rows)

    @property
    def like(self) -> Batch:
        """Shapes and types of a chunk."""
        count = (self.rows,)
        kinds = (count + self.shape, jnp.float32), (count, jnp.int32), (count, jnp.float32)
        leaves: Any = [jax.ShapeDtypeStruct(*kind) for kind in kinds]
        return Batch(*leaves)

    def cut(self, multiple: int) -> "Stream":
        """The same rows in chunks whose size ``multiple`` divides, no smaller than before."""
        return dataclasses.replace(self, rows=-(-self.rows // multiple) * multiple)

    def map(self, function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> "Stream":
        """The rows after a row-wise function of numpy arrays, which makes rows of ``shape``."""
        first = self.transform
        both = function if first is None else lambda x: function(first(x))
        return dataclasses.replace(self, transform=both, shape=shape)

    def _checked(self) -> Iterator[Block]:
        start = 0
        for x, label in self.read(self.rows):
            if not len(x):
                continue
            try:
                _check(x, label, start, self.columns)
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

    def _on_device(self, x: np.ndarray, label: np.ndarray) -> Batch:
        def padded(values, dtype):
            whole = np.zeros((self.rows, *values.shape[1:]), dtype)
            whole[: len(values)] = values
            return jax.device_put(whole, self.sharding)

        weight = padded(np.ones(len(x)), np.float32)
        batch = Batch(padded(x, np.float32), padded(label, np.int32), weight)
        return batch if self.weigh is None else batch._replace(weight=self.weigh(batch))


def _ahead(items: Iterator[Batch]) -> Iterator[Batch]:
    """The same items, each of them made in a thread while the one before is in use."""
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


def join_blocks(blocks: list[Block]) -> Block:
    """Several blocks as one; one alone is not copied."""
    if len(blocks) == 1:
        return blocks[0]
    x, label = zip(*blocks, strict=True)
    return np.concatenate(x), np.concatenate(label)


def _check(x: np.ndarray, label: np.ndarray, start: int, columns: tuple[str, ...] | None) -> None:
    if x.dtype.kind not in "biuf":
        raise ValueError(f"have type {x.dtype}, not numbers: encode them as numbers")
    if label.shape != (len(x),):
        raise ValueError(f"have labels of shape {label.shape}: give each of {len(x)} rows one")
    finite = np.isfinite(x)
    if not finite.all():
        index = np.unravel_index(int(np.argmin(finite)), finite.shape)
        column = f", column {index[1]}" if x.ndim == 2 else ""
        name = f" ({columns[index[1]]!r})" if column and columns else ""
        affected = int((~finite).reshape(len(x), -1).any(axis=1).sum())
        raise ValueError(
            f"contain {'NaN' if np.isnan(x[index]) else 'infinity'}: first at row "
            f"{start + index[0]}{column}{name}, {affected} of {len(x)} rows have NaN or infinite "
            "values: replace them or drop these rows"
        )
    known = np.isin(label, (-1, 0, 1)) & (label.dtype != bool)
    if not known.all():
        row = int(np.argmin(known))
        raise ValueError(
            f"the label of row {start + row} is {label[row].item()!r}: labels are +1 known normal, "
            "-1 known anomaly, 0 unlabelled"
        )
