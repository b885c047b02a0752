"""The types every part of the package speaks.

In shape descriptions B is rows in a batch, N rows in a data set, D inputs, L latent dimensions,
K mixture components, M transformations and P members of a population. ``...`` stands for the
shape of one row: ``D`` for a table, ``H, W, C`` for images.
"""

from typing import Any, NamedTuple, Protocol

import jax

Array = jax.Array
Key = jax.Array
PyTree = Any
Params = Any
Stats = dict[str, Any]


class Batch(NamedTuple):
    """Some rows of a data set: one step's batch, or the whole set.

    Attributes:
      x: ``[B, ...]`` inputs.
      label: ``[B]`` +1 known normal, -1 known anomaly, 0 unlabelled.
      weight: ``[B]`` how much each row counts. A padding row weighs 0 and changes nothing.
      epoch: scalar, the epoch the batch is drawn in, counted from 0.
    """

    x: Array
    label: Array
    weight: Array
    epoch: Any = 0.0


class Objective(Protocol):
    """What a network is trained for: the contract between a paper and the training engine.

    An objective is a ``flax.struct.dataclass``. Its numbers are leaves: traced, sweepable, perhaps
    with a leading population axis. Its structure (networks, choices) is static and hashed by value.

    ``stats`` holds everything that is fitted without a gradient, as a nested dict of arrays:
    ``stats["batch_stats"]`` the networks' running statistics, and what the method adds, for
    example the centre and radius of Deep SVDD.
    """

    @property
    def chunk(self) -> int:
        """Rows at a time in ``refresh`` and scoring; the widest intermediate is about 1 MB."""
        ...

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Make parameters and statistics for rows shaped like ``x`` ``[B, ...]``."""
        ...

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The values ``[B]`` whose weighted mean is minimised, and the updated statistics.

        ``key=None`` evaluates: running statistics, no dropout, no noise, ``stats`` unchanged.
        """
        ...

    def refresh(self, params: Params, stats: Stats, rows: Batch, *, first: Array) -> Stats:
        """Fit ``stats`` exactly from all ``rows`` (padding rows weigh 0), in chunks.

        Rows larger than memory come as a `jaxad.stream.Stream`, outside of any compiled program:
        an objective that passes over ``rows`` by `jaxad.chunking` alone takes them as well.
        Called once before the first step, when the scalar ``first`` is true, to set what training
        needs to start (the centre of Deep SVDD), and once after the last with the final weights.
        """
        ...

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Anomaly scores ``[B]``, higher = more anomalous. Row-wise: rows do not interact."""
        ...
