"""Dask and Ray, as far as a fleet needs them.

A handle stands for a value somewhere in a cluster. Both engines compute the value again if the
process that computes it dies.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pandas as pd

Handle = Any


class Engine(Protocol):
    """What runs functions where the partitions of a table are."""

    def partitions(self, frame: Any) -> list[Handle]:
        """The partitions of a frame, pandas frames, in their order."""
        ...

    def call(self, function: Callable, *args: Any, parts: int | None = None) -> Any:
        """A handle of ``function(*args)``; handles among the arguments stand for their values.

        With ``parts``, the function returns a list of so many values, and this a list of handles.
        """
        ...

    def keep(self, handles: Sequence[Handle]) -> list[Handle]:
        """The same values, which are computed once and stay in the cluster."""
        ...

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        """The values."""
        ...

    def share(self, fleet: Any) -> Handle:
        """A handle of a fleet as it is now, which goes to each process once."""
        ...

    def map(self, frame: Any, function: Callable, fleet: Any) -> Any:
        """``function(part, fleet)`` of every partition: a frame of the engine, computed lazily.

        The function also takes a part without rows.
        """
        ...


class Dask:
    """Dask: on the cluster of its client if there is one, else on its local scheduler."""

    def partitions(self, frame: Any) -> list[Handle]:
        """See `Engine`."""
        return frame.to_delayed()

    def call(self, function: Callable, *args: Any, parts: int | None = None) -> Any:
        """See `Engine`."""
        from dask.delayed import delayed

        handle = delayed(function, pure=False, nout=parts, traverse=False)(*args)
        return handle if parts is None else list(handle)

    def keep(self, handles: Sequence[Handle]) -> list[Handle]:
        """See `Engine`."""
        import dask.base

        return list(dask.base.persist(*handles))

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        """See `Engine`."""
        import dask.base

        return list(dask.base.compute(*handles))

    def share(self, fleet: Any) -> Handle:
        """See `Engine`. The scheduler keeps it, so that it outlives every worker."""
        from dask.delayed import delayed

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # it goes there once
            return self.keep([delayed(copy.copy(fleet), traverse=False)])[0]

    def map(self, frame: Any, function: Callable, fleet: Any) -> Any:
        """See `Engine`."""
        return frame.map_partitions(function, self.share(fleet), meta=function(frame._meta, fleet))


class Ray:
    """Ray, with its data sets."""

    def partitions(self, frame: Any) -> list[Handle]:
        """See `Engine`. Blocks are in the order of the data set's sources."""
        options = frame.context.execution_options
        before, options.preserve_order = options.preserve_order, True
        try:
            return frame.to_pandas_refs()
        finally:
            options.preserve_order = before

    def call(self, function: Callable, *args: Any, parts: int | None = None) -> Any:
        """See `Engine`."""
        import ray

        if parts == 1:
            return [self.call(_first, function, *args)]
        return ray.remote(function).options(num_returns=parts or 1).remote(*args)

    def keep(self, handles: Sequence[Handle]) -> list[Handle]:
        """See `Engine`."""
        return list(handles)

    def gather(self, handles: Sequence[Handle]) -> list[Any]:
        """See `Engine`."""
        import ray
        from ray.exceptions import RayTaskError

        try:
            return ray.get(list(handles))
        except RayTaskError as error:
            if isinstance(error.cause, ValueError | TypeError):
                raise error.cause from None
            raise

    def share(self, fleet: Any) -> Handle:
        """See `Engine`."""
        import ray

        return ray.put(fleet)

    def map(self, frame: Any, function: Callable, fleet: Any) -> Any:
        """See `Engine`. Rows keep their other columns, because they have no index."""
        options = {"function": function, "fleet": [self.share(fleet)], "features": fleet.columns_}
        return frame.map_batches(
            _on_batch, fn_kwargs=options, batch_format="pandas", batch_size=None
        )


def engine_of(frame: Any) -> Engine | None:
    """The engine of a Dask frame or of a Ray data set; None for all else. It imports neither."""
    classes = {(c.__module__.partition(".")[0], c.__name__) for c in type(frame).__mro__}
    if ("dask", "DataFrame") in classes:
        return Dask()
    return Ray() if ("ray", "Dataset") in classes else None


def _first(function: Callable, *args: Any) -> Any:
    return function(*args)[0]


def _on_batch(
    batch: pd.DataFrame, function: Callable, fleet: list[Handle], features: tuple[Any, ...]
) -> pd.DataFrame:
    import ray

    found = pd.DataFrame(function(batch, ray.get(fleet[0])))
    kept = [name for name in batch if name not in features and name not in found]
    return pd.concat([batch[kept], found], axis=1)
