"""The models of a fleet: stacked arrays, one entry a group."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


class Models(NamedTuple):
    """Trained models of M groups. All arrays have a leading axis ``[M]`` and are on the host.

    Attributes:
      keys: identifiers of the groups.
      arrays: ``params``, ``stats`` (leaves ``[M, P, ...]``), ``combination`` (``[M, P, ...]``),
        ``history`` (``[M, P, epochs]``, NaN after the last), ``scaler`` (``shift`` and ``scale``
        ``[M, D]``), ``facts`` (``rows`` to train on, ``updates``, and ``steps``, ``skipped`` and
        ``best_epoch`` ``[M, P]``), and ``unit``, the centre and spread of the scores of the rows
        trained on ``[M, 2]``.
      held_out: scores of each group's held-out rows, float32, ascending.
    """

    keys: list[tuple]
    arrays: dict[str, Any]
    held_out: list[np.ndarray]

    def take(self, index: Any) -> "Models":
        """The models with these numbers."""
        index = np.asarray(index, np.int64)
        arrays = jax.tree.map(lambda leaf: np.asarray(leaf[index]), self.arrays)
        return Models([self.keys[i] for i in index], arrays, [self.held_out[i] for i in index])

    @staticmethod
    def join(parts: Sequence["Models"]) -> "Models":
        """All models of the parts, one part after the other."""
        arrays = {
            name: jax.tree.map(
                lambda *leaves, name=name: _joined(leaves, _FILLS.get(name)),
                *(part.arrays[name] for part in parts),
            )
            for name in parts[0].arrays
        }
        return Models(
            [key for part in parts for key in part.keys],
            arrays,
            [scores for part in parts for scores in part.held_out],
        )


# Arrays whose last axis may differ in length between groups, and what fills it. Repeated knots of a
# distribution do not change its interpolation.
_FILLS = {
    "history": {"mode": "constant", "constant_values": np.nan},
    "combination": {"mode": "edge"},
}


def stack_combinations(combinations: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """How to combine members' scores, ``[M, P, ...]``, from one combination a group."""

    def stacked(*leaves: np.ndarray) -> np.ndarray:
        return _joined([leaf[None] for leaf in leaves], _FILLS["combination"])

    return jax.tree.map(stacked, *combinations)


def _joined(leaves: Sequence[np.ndarray], fill: dict[str, Any] | None) -> np.ndarray:
    longest = max(leaf.shape[-1] for leaf in leaves)
    if fill is not None and any(leaf.shape[-1] < longest for leaf in leaves):
        still = [(0, 0)] * (leaves[0].ndim - 1)
        pads = [[*still, (0, longest - leaf.shape[-1])] for leaf in leaves]
        leaves = [np.pad(leaf, pad, **fill) for leaf, pad in zip(leaves, pads, strict=True)]
    return np.concatenate(leaves)
