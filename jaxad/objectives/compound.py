"""Compound objectives: a weighted sum of several losses over shared networks."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxad.objectives.base import BaseObjective
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Objective, Params, Stats


class Compound(BaseObjective):
    """A weighted sum of objectives that share networks.

    Objectives keep their parameters by role (``encoder``, ``decoder``, ...). Parts with the same
    role share one network, which gets the gradients of all of them. A step is one compiled
    program, so common computations are done once.

    Attributes:
      parts: the objectives.
      weights: leaves, each part's weight in the loss.
      score_weights: leaves, each part's weight in the score; None uses ``weights``.

    Raises:
      ValueError: there are more or fewer weights than parts.

    Example:
      >>> from jaxad import networks, objectives
      >>> encoder, decoder = networks.MLP((16, 8)), networks.MLP((16, 4))
      >>> parts = objectives.deep_svdd(encoder), objectives.autoencoder(encoder, decoder)
      >>> objective = objectives.Compound(parts, weights=(1.0, 0.1))
    """

    parts: tuple[Objective, ...]
    weights: tuple[Any, ...]
    score_weights: tuple[Any, ...] | None = None

    def __post_init__(self):
        """Check the number of weights."""
        for name in ("weights", "score_weights"):
            given = getattr(self, name)
            if isinstance(given, tuple) and len(given) != len(self.parts):
                raise ValueError(f"{name}={given!r}: {len(self.parts)} parts need as many weights")

    @property
    def chunk(self) -> int:
        """The smallest chunk of the parts."""
        return min(part.chunk for part in self.parts)

    @property
    def takes_padding(self) -> bool:
        """Whether it can train on rows with columns of padding."""
        return all(getattr(part, "takes_padding", False) for part in self.parts)

    @property
    def uses_labels(self) -> bool:
        """Whether the loss of a part depends on labels."""
        return any(getattr(part, "uses_labels", False) for part in self.parts)

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise each part; a shared network comes from the first part that has it."""
        params: Params = {}
        stats: Stats = {"batch_stats": {}}
        for i, part in enumerate(self.parts):
            new, new_stats = part.init(jax.random.fold_in(key, i), x)
            params, stats = new | params, _unite(stats, new_stats)
        return params, stats

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The weighted sum of the parts' losses. All parts get the same key."""
        total, merged = jnp.zeros_like(batch.weight), stats
        for part, weight in zip(self.parts, self.weights, strict=True):
            values, new = part.loss(params, stats, batch, key)
            total = total + weight * values
            merged = _merge(stats, merged, new)
        return total, merged

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Prepare each part."""
        return self._exact("prepare", params, stats, rows)

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Finish each part."""
        return self._exact("finish", params, stats, rows)

    def pool(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Add what couples the rows of a batch in each part."""
        return self._exact("pool", params, stats, rows)

    def fewest_rows(self, stats: Stats) -> int:
        """The most that a part needs."""
        needed = (getattr(part, "fewest_rows", None) for part in self.parts)
        return max((function(stats) for function in needed if function), default=1)

    def diagnose(self, params: Params, stats: Stats, rows: Rows) -> dict[str, Array]:
        """The diagnostics of all parts; of two with one name, the first part's."""
        found: dict[str, Array] = {}
        for part in self.parts:
            diagnose = getattr(part, "diagnose", None)
            if diagnose is not None:
                found = diagnose(params, stats, rows) | found
        return found

    def _exact(self, method: str, params: Params, stats: Stats, rows: Rows) -> Stats:
        for part in self.parts:
            if hasattr(part, method):  # these methods are optional
                stats = getattr(part, method)(params, stats, rows)
        return stats

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """The weighted sum of the parts' scores."""
        weights = self.weights if self.score_weights is None else self.score_weights
        total = jnp.zeros(len(x))
        for part, weight in zip(self.parts, weights, strict=True):
            total = total + weight * part.score(params, stats, x)
        return total

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """Latent vectors ``[B, L]`` of the first part."""
        first: Any = self.parts[0]
        return first.transform(params, stats, x)


def _unite(first: Stats, second: Stats) -> Stats:
    """The entries of both, at every depth; those of ``first`` win."""
    nested = {
        name: _unite(first[name], second[name])
        for name in first.keys() & second.keys()
        if isinstance(first[name], dict)
    }
    return second | first | nested


def _merge(old: Stats, merged: Stats, new: Stats) -> Stats:
    """Copy the changes from ``old`` to ``new`` into ``merged``, which keeps its own changes."""
    result = dict(merged)
    for name, value in new.items():
        if isinstance(value, dict):
            result[name] = _merge(old[name], merged[name], value)
        elif value is not old[name] and merged[name] is old[name]:
            result[name] = value
    return result
