"""Types that every part of the package uses.

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
    """The rows that one step, or one chunk of a pass over all rows, sees.

    Attributes:
      x: ``[B, ...]`` inputs.
      label: ``[B]`` +1 known normal, -1 known anomaly, 0 unlabelled.
      weight: ``[B]`` how much each row counts. A padding row weighs 0 and changes nothing.
      epoch: scalar, the epoch that the batch is drawn in, counted from 0.

    Example:
      >>> import jax.numpy as jnp
      >>> Batch(jnp.ones((4, 5)), jnp.zeros(4, jnp.int32), jnp.ones(4)).x.shape
      (4, 5)
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

    An objective may have two more methods, which fit ``stats`` exactly from all rows, a
    `jaxad.rows.Rows` (rows that only pad weigh 0). They pass over the rows by its methods alone,
    so that the rows may be in memory or streamed:

    * ``prepare(params, stats, rows) -> stats``, before the first step: what training needs to
      start, such as the centre of Deep SVDD.
    * ``finish(params, stats, rows) -> stats``, after the last step: what scoring needs, with the
      final weights, such as the mixture of DAGMM.

    Two more matter only where the rows of a batch interact, as in a mixture of the batch or in
    batch normalisation:

    * ``pool(params, stats, rows) -> stats``, before a validation loss: statistics of all validation
      rows, which ``loss`` with ``key=None`` then uses instead of those of its batch.
    * ``fewest_rows(stats) -> int``: rows that a batch needs at least, from the shapes of ``stats``.
      A smaller last batch of an epoch shares the rows of the one before; a smaller ``batch_size``
      is an error.

    A further optional method, ``diagnose(params, stats, rows) -> dict``, returns diagnostics of its
    own, scalars or ``[K]`` by name, such as the radius of Deep SVDD. ``stats`` are those of
    ``finish`` for the same rows. See `jaxad.training.diagnostics`.

    A last optional method, ``contributions(params, stats, x) -> [B, ...]``, splits the score into
    one part for each entry of a row; the parts sum to the score. Without it, ``explain`` of a
    detector integrates gradients.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxad import networks, objectives
      >>> objective: Objective = objectives.deep_svdd(networks.MLP((16, 8)))
      >>> params, stats = objective.init(jax.random.key(0), jnp.ones((4, 5)))
      >>> objective.score(params, stats, jnp.ones((4, 5))).shape
      (4,)
    """

    @property
    def chunk(self) -> int:
        """Rows at a time in exact passes and scoring; the widest intermediate is about 1 MB."""
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

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Anomaly scores ``[B]``, higher = more anomalous. Row-wise: rows do not interact."""
        ...
