"""Deep SVDD and Deep SAD: map normal rows close to a centre and score by the distance to it.

Ruff et al., "Deep One-Class Classification", ICML 2018, and "Deep Semi-Supervised Anomaly
Detection", ICLR 2020.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad import networks
from jaxad.losses import hypersphere, sad
from jaxad.objectives.base import BaseObjective
from jaxad.objectives.variants import call_loss, check_loss, takes
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats

AVAILABLE = ("distance", "nu", "label", "z", "centre")


class Hypersphere(BaseObjective):
    """A network, a fixed centre and a loss of the squared distances to it.

    Made by `deep_svdd` and `deep_sad`. Its statistics are the ``centre`` ``[L]`` and the
    ``radius``. The centre is the mean output over all rows before the first step, with coordinates
    near 0 moved away from 0. The radius is 0 for ``warm_up`` epochs, then the ``1 - nu`` quantile
    of each batch's distances, and finally of all rows' distances. Without ``radius`` it stays 0.

    Attributes:
      encoder: the network ``[B, ...] -> [B, L]``.
      function: the loss, which returns ``[B]``. Its arguments are any of ``distance`` ``[B]``
        (squared), ``radius``, ``nu``, ``label`` ``[B]``, ``z`` ``[B, L]`` and ``centre`` ``[L]``,
        matched by name.
      numbers: leaves, further arguments of the loss.
      nu, warm_up, minimum_centre: leaves, see `deep_svdd`.
      anomalies_in_centre: see `deep_sad`.
      chunk, radius: see `deep_svdd`.

    Example:
      >>> from jaxad import networks, objectives
      >>> objective = objectives.deep_svdd(networks.MLP((16, 8)))
      >>> _, stats = objective.init(jax.random.key(0), jnp.ones((4, 5)))
      >>> stats["centre"].shape
      (8,)
    """

    encoder: nn.Module = struct.field(pytree_node=False)
    function: Callable[..., Array] = struct.field(pytree_node=False)
    numbers: dict[str, Any]
    nu: Any
    warm_up: Any
    minimum_centre: Any
    anomalies_in_centre: bool = struct.field(pytree_node=False)
    chunk: int = struct.field(pytree_node=False)
    radius: bool = struct.field(pytree_node=False)

    @property
    def takes_padding(self) -> bool:
        """Whether it can train on rows with columns of padding."""
        return True

    @property
    def uses_labels(self) -> bool:
        """Whether the loss takes labels."""
        return takes(self.function, "label")

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise the encoder; `prepare` sets the centre."""
        return self.from_encoder(*networks.init(self.encoder, key, x), x)

    def from_encoder(self, params: Params, batch_stats: Any, x: Array) -> tuple[Params, Stats]:
        """Parameters and statistics around an encoder's, which may be pretrained."""
        z = jax.eval_shape(lambda: networks.apply(self.encoder, params, batch_stats, x[:1])[0])
        centre = jnp.zeros(z.shape[-1], z.dtype)
        return {"encoder": params}, {
            "batch_stats": {"encoder": batch_stats},
            "centre": centre,
            "radius": jnp.zeros((), z.dtype),
        }

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The loss of each row ``[B]``, and the statistics with the batch's radius."""
        z, batch_stats = networks.apply(
            self.encoder,
            params["encoder"],
            stats["batch_stats"]["encoder"],
            batch.x,
            weight=batch.weight,
            key=key,
        )
        distance = hypersphere.squared_distance(z, stats["centre"])
        values = call_loss(
            self.function,
            {
                "distance": distance,
                "radius": stats["radius"],
                "nu": self.nu,
                "label": batch.label,
                "z": z,
                "centre": stats["centre"],
            },
            self.numbers,
        )
        if key is None:
            return values, stats
        stats = stats | {"batch_stats": {"encoder": batch_stats}}
        if self.radius:
            radius = hypersphere.radius(distance, batch.weight, nu=self.nu)
            stats["radius"] = jnp.where(batch.epoch >= self.warm_up, radius, stats["radius"])
        return values, stats

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm and set the centre."""
        stats = self._calibrate(params, stats, rows)

        def transform(x):
            return self.transform(params, stats, x)

        mean = self._normals(rows).mean(transform, chunk=self.chunk)
        centre = hypersphere.away_from_zero(mean, minimum=self.minimum_centre)
        return stats | {"centre": centre, "radius": jnp.zeros_like(stats["radius"])}

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm and set the exact radius."""
        stats = self._calibrate(params, stats, rows)
        if not self.radius:
            return stats

        def distance_of(x):
            return hypersphere.squared_distance(self.transform(params, stats, x), stats["centre"])

        distance, weight = self._normals(rows).values(distance_of, chunk=self.chunk)
        return stats | {"radius": hypersphere.radius(distance, weight, nu=self.nu)}

    def diagnose(self, params: Params, stats: Stats, rows: Rows) -> dict[str, Array]:
        """The ``radius``, if there is one: the ``1 - nu`` quantile of the rows' distances."""
        del params, rows
        return {"radius": stats["radius"]} if self.radius else {}

    def _calibrate(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        running = networks.calibrate(
            self.encoder,
            params["encoder"],
            stats["batch_stats"]["encoder"],
            rows,
            chunk=self.chunk,
        )
        return stats | {"batch_stats": {"encoder": running}}

    def _normals(self, rows: Rows) -> Rows:
        """The rows that define centre and radius: known anomalies count only if asked for."""
        if self.anomalies_in_centre:
            return rows
        return rows.reweigh(lambda batch: jnp.where(batch.label < 0, 0, batch.weight))

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Squared distances ``d`` ``[B]``; with a radius ``d - R^2``."""
        z = self.transform(params, stats, x)
        distance = hypersphere.squared_distance(z, stats["centre"])
        if self.radius:
            return distance - jnp.square(stats["radius"])
        return distance

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """Latent vectors ``[B, L]``."""
        encoder, batch_stats = params["encoder"], stats["batch_stats"]["encoder"]
        return networks.apply(self.encoder, encoder, batch_stats, x)[0]


def deep_svdd(
    encoder: nn.Module,
    *,
    loss: Callable[..., Array] = hypersphere.one_class,
    radius: bool = False,
    nu: Any = 0.1,
    warm_up: Any = 10.0,
    minimum_centre: Any = 0.1,
    chunk: int = 2048,
    **numbers: Any,
) -> Hypersphere:
    """Deep SVDD: minimise the squared distance to a centre, which is also the score.

    The default loss is the one-class objective (equation 4). The soft boundary (equation 3) is
    ``loss=losses.hypersphere.soft_boundary, radius=True``, scored by ``d - R^2``. Any loss whose
    arguments are among ``distance``, ``radius``, ``nu``, ``label``, ``z``, ``centre`` and its own
    ``numbers`` can be used; new values of the numbers do not recompile.

    Args:
      encoder: a network without biases ``[B, ...] -> [B, L]``.
      loss: returns ``[B]``; see `Hypersphere` for its arguments.
      radius: whether to fit a radius, pass it to the loss and subtract its square from the score.
      nu: share of rows outside the ball, in (0, 1].
      warm_up: epochs before the radius moves (10 in the papers).
      minimum_centre: coordinates of the centre closer to 0 are moved to this distance from 0.
      chunk: rows at a time in exact passes and scoring.
      **numbers: further arguments of the loss.

    Raises:
      TypeError: the loss has an argument that is neither available nor given.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxad import networks, objectives
      >>> def pseudo_huber(distance, *, delta):
      ...     return delta**2 * (jnp.sqrt(1 + distance / delta**2) - 1)
      >>> objective = objectives.deep_svdd(networks.MLP((16, 8)), loss=pseudo_huber, delta=1.0)
      >>> objective.numbers
      {'delta': 1.0}
    """
    available = (*AVAILABLE, "radius") if radius else AVAILABLE
    check_loss(loss, available, numbers, needs={"radius": "radius=True"})
    return Hypersphere(
        encoder=encoder,
        function=loss,
        numbers=numbers,
        nu=nu,
        warm_up=warm_up,
        minimum_centre=minimum_centre,
        anomalies_in_centre=True,
        chunk=chunk,
        radius=radius,
    )


def deep_sad(
    encoder: nn.Module,
    *,
    loss: Callable[..., Array] = sad.labelled_exponent,
    minimum_centre: Any = 0.1,
    anomalies_in_centre: bool = False,
    chunk: int = 2048,
    **numbers: Any,
) -> Hypersphere:
    """Deep SAD: pull known normals to the centre and push known anomalies away from it.

    The loss of an unlabelled row is its squared distance ``d``; of a labelled row it is ``eta *
    (d + epsilon) ** label``. The score is ``d``. Without labels this is Deep SVDD.

    Args:
      encoder, loss, minimum_centre, chunk: see `deep_svdd`.
      anomalies_in_centre: whether known anomalies count for the centre, as in the paper's code.
      **numbers: further arguments of the loss: ``eta`` (1), ``epsilon`` (1e-6), ``exponent`` (1).

    Raises:
      TypeError: the loss has an argument that is neither available nor given.

    Example:
      >>> from jaxad import networks, objectives
      >>> objectives.deep_sad(networks.MLP((16, 8)), eta=2.0).numbers
      {'eta': 2.0, 'epsilon': 1e-06}
    """
    defaults = {"eta": 1.0, "epsilon": 1e-6} if loss is sad.labelled_exponent else {}
    numbers = defaults | numbers
    check_loss(loss, AVAILABLE, numbers)
    return Hypersphere(
        encoder=encoder,
        function=loss,
        numbers=numbers,
        nu=0.1,
        warm_up=0.0,
        minimum_centre=minimum_centre,
        anomalies_in_centre=anomalies_in_centre,
        chunk=chunk,
        radius=False,
    )
