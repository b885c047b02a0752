"""Scores of rows by the models of their groups.

A *slot* is one model and a block of rows of one group. A compiled call computes a fixed number of
slots, so one program serves all groups, whatever their number of rows.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxad.estimators.devices import on_device
from jaxad.estimators.scaling import AffineScaler
from jaxad.fleet.tables import name_of
from jaxad.training import sets
from jaxad.training.threads import in_order
from jaxad.training.trees import part
from jaxad.typing import Params, Stats


class Request(NamedTuple):
    """Rows of a group to score.

    Attributes:
      model: number of the model.
      size: number of rows.
      rows: called with a slice of them, returns scaled rows ``[n, D]``, float32.
    """

    model: int
    size: int
    rows: Callable[[slice], np.ndarray]


class Scaled(NamedTuple):
    """Rows of a group, scaled when they are needed: the ``rows`` of a `Request`.

    Attributes:
      key: the group's identifier, for errors.
      scaler: its scaler.
      x: ``[n, D]`` rows.
    """

    key: tuple
    scaler: AffineScaler
    x: np.ndarray

    def __call__(self, rows: slice) -> np.ndarray:
        """Scale some of the rows.

        Raises:
          ValueError: a value is too far off for float32; the message names the group.
        """
        try:
            return self.scaler(self.x[rows])
        except ValueError as error:
            raise ValueError(f"group {name_of(self.key)}: {error}") from None


class Bank(NamedTuple):
    """Models to score by.

    Attributes:
      objective: the objective of a model, by its number.
      model: parameters and statistics of models by their numbers ``[S]`` and members ``[S]``.
      members: P.
      side_by_side: S, the slots of a call.
      mesh: the devices that share them, or None.
      device: where programs run if there is no mesh, as a detector's ``device``.
    """

    objective: Callable[[int], Any]
    model: Callable[[np.ndarray, np.ndarray], tuple[Params, Stats]]
    members: int
    side_by_side: int
    mesh: Mesh | None
    device: str | None

    def apply(
        self, method: str, requests: Sequence[Request], *, threads: int | None = None
    ) -> Iterator[np.ndarray]:
        """A row-wise method for each request and member, ``[P, n, ...]``, in their order."""
        slots = self.members * sum(-(-request.size // sets.SCORED) for request in requests)
        threads = threads if slots > self.side_by_side else 1
        calls = in_order(partial(self._compute, method), self._calls(requests), threads, ahead=4)
        values = (value for call in calls for value in call)
        for request in requests:
            blocks = -(-request.size // sets.SCORED)
            members = [[next(values) for _ in range(blocks)] for _ in range(self.members)]
            yield np.stack([np.concatenate(found) for found in members])

    def _calls(self, requests: Sequence[Request]) -> Iterator[list["_Slot"]]:
        held: list[_Slot] = []
        for slot in self._slots(requests):
            held.append(slot)
            if len(held) == self.side_by_side:
                yield held
                held = []
        if held:
            yield held

    def _slots(self, requests: Sequence[Request]) -> Iterator["_Slot"]:
        for request in requests:
            for member in range(self.members):
                for start in range(0, request.size, sets.SCORED):
                    stop = min(start + sets.SCORED, request.size)
                    yield _Slot(request, member, start, stop)

    def _compute(self, method: str, slots: list["_Slot"]) -> list[np.ndarray]:
        blocks = [slot.request.rows(slice(slot.start, slot.stop)) for slot in slots]
        x = np.zeros((self.side_by_side, sets.SCORED, blocks[0].shape[1]), np.float32)
        for place, block in zip(x, blocks, strict=False):
            place[: len(block)] = block
        filled = slots + [slots[-1]] * (self.side_by_side - len(slots))
        models = np.array([slot.request.model for slot in filled])
        members = np.array([slot.member for slot in filled])
        objectives = [self.objective(m) for m in models.tolist()]
        params, stats = self.model(models, members)
        with on_device(self.device):
            values = sets.apply_sets(method, objectives, params, stats, x, mesh=self.mesh)
        return [v[: len(block)] for v, block in zip(values, blocks, strict=False)]


class _Slot(NamedTuple):
    request: Request
    member: int
    start: int
    stop: int


def gathered(
    own: Any, shared: Any, models: np.ndarray, members: np.ndarray
) -> tuple[Params, Stats]:
    """Leaves ``[S, ...]`` of models by number, from leaves ``[M, P, ...]``.

    A negative number is the shared model, leaves ``[P, ...]``. Of arrays in a file, only what is
    wanted is read.
    """
    if (models >= 0).all():
        return jax.tree.map(lambda leaf: np.asarray(leaf[models, members]), own)
    if (models < 0).all():
        return part(shared, members)
    place = models >= 0

    def leaf(own: np.ndarray, shared: np.ndarray) -> np.ndarray:
        values = np.asarray(shared)[members]
        values[place] = own[models[place], members[place]]
        return values

    return jax.tree.map(leaf, own, shared)
