"""GOAD: classify which view of a row is shown; rows whose views are confused are anomalous.

Bergman & Hoshen, "Classification-Based Anomaly Detection for General Data", ICLR 2020; for images
with the transforms of Golan & El-Yaniv, "Deep Anomaly Detection Using Geometric Transformations",
NeurIPS 2018.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad import networks
from jaxad.losses import reconstruction, transformation
from jaxad.objectives.base import BaseObjective
from jaxad.objectives.variants import call_loss, check_loss
from jaxad.objectives.views import GeometricViews, LinearMaps, Views
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats

AVAILABLE = ("z", "centres", "logits", "margin", "triplet_weight")


class ViewClassifier(BaseObjective):
    """A classifier of M views of a row; rows whose views it confuses are anomalous.

    Made by `goad` and `image_goad`. A shared network maps view m to ``z_m``. The loss is the
    cross-entropy of a linear head that predicts m, plus ``triplet_weight`` times the triplet-centre
    loss. Scoring uses class centres: the exact means of ``z_m`` over the training rows with the
    final weights. No array has size N x M or B x M x M x L.

    Attributes:
      trunk: ``[B, ...] -> [B, L]``, shared by all views.
      views: makes the views of a row.
      margin, triplet_weight, epsilon: leaves, see `goad`.
      function: the loss, or None for the papers'. Its arguments are any of ``z`` ``[B, M, L]``,
        ``centres`` ``[M, L]`` of the batch, ``logits`` ``[B, M, M]``, ``margin``,
        ``triplet_weight`` and its ``numbers``, matched by name; it returns ``[B]``.
      numbers: leaves, further arguments of ``function``.

    Example:
      >>> from jaxad import networks, objectives
      >>> objective = objectives.goad(networks.MLP((16, 8)), n_transforms=4, transform_dim=3)
      >>> params, stats = objective.init(jax.random.key(0), jnp.ones((6, 5)))
      >>> objective.score(params, stats, jnp.ones((6, 5))).shape
      (6,)
    """

    trunk: nn.Module = struct.field(pytree_node=False)
    views: Views
    margin: Any
    triplet_weight: Any
    epsilon: Any
    function: Callable[..., Array] | None = struct.field(pytree_node=False, default=None)
    numbers: dict[str, Any] = struct.field(default_factory=dict)

    @property
    def chunk(self) -> int:
        """Rows at a time in exact passes, see `Views`."""
        return self.views.chunk

    @property
    def scoring_chunk(self) -> int:
        """Rows at a time in scoring on a CPU."""
        return getattr(self.views, "scoring_chunk", self.views.chunk)

    @property
    def takes_padding(self) -> bool:
        """Whether it can train on rows with columns of padding."""
        return isinstance(self.views, LinearMaps)

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Draw the views and initialise trunk and head; `finish` sets the centres."""
        view_key, trunk_key, head_key = jax.random.split(key, 3)
        params, stats = _init(self.trunk, self.views, view_key, trunk_key, x)
        z, _ = _encode(self.trunk, self.views, params, stats, x[:1])
        head, _ = networks.init(networks.Dense(self.views.count), head_key, z[0])
        return params | {"head": head}, stats | {"centres": jnp.zeros_like(z[0])}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """Cross-entropy plus triplet-centre loss, with the class centres of the batch."""
        z, running = _encode(self.trunk, self.views, params, stats, batch.x, batch.weight, key)
        centres, head = stats.get("pooled_centres"), params["head"]["kernel"]
        if centres is None:
            centres = transformation.class_centres(z, batch.weight)
        weights = {"margin": self.margin, "triplet_weight": self.triplet_weight}
        if self.function is None:
            values = transformation.fused_loss(z, centres, head, **weights)
        else:
            given = {"z": z, "centres": centres, "logits": z @ head} | weights
            values = call_loss(self.function, given, self.numbers)
        return values, stats | {"batch_stats": stats["batch_stats"] | {"trunk": running}}

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm and set the class centres."""
        stats = _calibrate(self.trunk, self.views, params, stats, rows)
        return stats | {"centres": self._centres(params, stats, rows)}

    def pool(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Add the class centres of all validation rows, in place of each batch's."""
        return stats | {"pooled_centres": self._centres(params, stats, rows)}

    def fewest_rows(self, stats: Stats) -> int:
        """One: batch normalisation sees M views of a row."""
        del stats
        return 1

    def _centres(self, params: Params, stats: Stats, rows: Rows) -> Array:
        def encode(x):
            return _encode(self.trunk, self.views, params, stats, x)[0]

        return rows.mean(encode, chunk=self.chunk)

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Sum over m of ``-log p(m | z_m)``; p is the softmax of ``-max(distance^2, epsilon)``."""
        z, _ = _encode(self.trunk, self.views, params, stats, x)
        distances = transformation.squared_distances(z, stats["centres"])
        return transformation.score(distances, epsilon=self.epsilon)

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """The latent vectors of all views, ``[B, M * L]``."""
        z, _ = _encode(self.trunk, self.views, params, stats, x)
        return z.reshape(len(z), -1)


def goad(
    trunk: nn.Module,
    *,
    n_transforms: int = 32,
    transform_dim: int = 32,
    margin: Any = 1.0,
    triplet_weight: Any = 0.1,
    epsilon: Any = 1e-6,
    map_scale: Any = 1.0,
    map_offset: Any = 1.0,
    loss: Callable[..., Array] | None = None,
    **numbers: Any,
) -> ViewClassifier:
    """GOAD for tables: classify which of M random affine maps of a row is shown.

    Args:
      trunk: ``[B, r] -> [B, L]``. It must not be linear: on standardised rows, a linear network
        without biases has every class centre at 0 and all scores are equal.
      n_transforms: M, at least 2.
      transform_dim: r, the length of a mapped row.
      margin: margin of the triplet-centre loss, in squared distance.
      triplet_weight: the paper's lambda.
      epsilon: the smallest squared distance in the score's probabilities.
      map_scale: standard deviation of the maps' entries; 1 in the paper.
      map_offset: standard deviation of the maps' offsets, see `LinearMaps`.
      loss: a loss of your own, see `ViewClassifier`.
      **numbers: numbers of that loss.

    Raises:
      TypeError: the loss has an argument that is neither available nor given.

    Example:
      >>> from jaxad import networks, objectives
      >>> objectives.goad(networks.MLP((16, 8)), n_transforms=8).views.count
      8
    """
    maps = LinearMaps(n_transforms, transform_dim, map_scale, map_offset)
    if loss is not None:
        check_loss(loss, AVAILABLE, numbers)
    return ViewClassifier(trunk, maps, margin, triplet_weight, epsilon, loss, numbers)


def image_goad(
    trunk: nn.Module,
    *,
    shift: int | None = None,
    margin: Any = 1.0,
    triplet_weight: Any = 0.1,
    epsilon: Any = 1e-6,
    chunk: int = 16,
    loss: Callable[..., Array] | None = None,
    **numbers: Any,
) -> ViewClassifier:
    """GOAD for images: classify which of 72 geometric transforms of an image is shown.

    An image is flipped or not, shifted by ``-shift``, 0 or ``shift`` pixels in both directions, and
    rotated by 0, 90, 180 or 270 degrees. The network sees 72 B images for a batch of B.

    Args:
      trunk: ``[B, H, W, C] -> [B, L]``; `jaxad.networks.WideResNet` in the paper. Pixels in [0, 1]
        are scaled to [-1, 1] for it.
      shift: shift in pixels; None is a quarter of the side, as in the paper (8 of 32).
      margin, triplet_weight, epsilon: see `goad`.
      chunk: rows at a time in exact passes; scoring takes one at a time.
      loss: a loss of your own, see `ViewClassifier`.
      **numbers: numbers of that loss.

    Raises:
      TypeError: the loss has an argument that is neither available nor given.
      ValueError: raised by ``init`` if images are not square or the shift is too large for them.

    Example:
      >>> import jax
      >>> from jaxad import networks, objectives
      >>> objective = objectives.image_goad(networks.WideResNet(depth=10, width=1))
      >>> _, stats = objective.init(jax.random.key(0), jax.numpy.zeros((1, 8, 8, 1)))
      >>> stats["centres"].shape
      (72, 64)
    """
    if loss is not None:
        check_loss(loss, AVAILABLE, numbers)
    views = GeometricViews(shift, chunk)
    return ViewClassifier(trunk, views, margin, triplet_weight, epsilon, loss, numbers)


class MapReconstruction(BaseObjective):
    """Reconstruct every mapped row from its latent vector; each map has its own decoder.

    Combine it by `Compound` with a `goad` of the same trunk: the two share trunk and maps.

    Attributes:
      trunk: ``[B, r] -> [B, L]``.
      decoder: ``[B, L] -> [B, r]``, copied for each of the M maps.
      n_transforms, transform_dim, map_scale, map_offset: see `goad`; the last two are leaves.

    Example:
      >>> from jaxad import networks, objectives
      >>> trunk, decoder = networks.MLP((16, 8)), networks.MLP((32,))
      >>> parts = objectives.goad(trunk), objectives.MapReconstruction(trunk, decoder)
      >>> objective = objectives.Compound(parts, weights=(1.0, 0.1))
    """

    trunk: nn.Module = struct.field(pytree_node=False)
    decoder: nn.Module = struct.field(pytree_node=False)
    n_transforms: int = struct.field(pytree_node=False, default=32)
    transform_dim: int = struct.field(pytree_node=False, default=32)
    map_scale: Any = 1.0
    map_offset: Any = 1.0

    @property
    def chunk(self) -> int:
        """Rows at a time, see `Views`."""
        return self._maps.chunk

    @property
    def takes_padding(self) -> bool:
        """Whether it can train on rows with columns of padding."""
        return True

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Draw the maps and initialise the trunk and M decoders."""
        map_key, trunk_key, decoder_key = jax.random.split(key, 3)
        params, stats = _init(self.trunk, self._maps, map_key, trunk_key, x)
        z, _ = _encode(self.trunk, self._maps, params, stats, x[:1])
        keys = jax.random.split(decoder_key, self.n_transforms)
        decoders, running = jax.vmap(lambda k: networks.init(self.decoder, k, z[0]))(keys)
        stats["batch_stats"]["decoders"] = running
        return params | {"decoders": decoders}, stats

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """Mean squared error ``[B]`` of the mapped rows, averaged over the maps."""
        z, trunk = _encode(self.trunk, self._maps, params, stats, batch.x, batch.weight, key)
        values, decoders = self._errors(params, stats, batch.x, z, batch.weight, key)
        running = stats["batch_stats"] | {"trunk": trunk, "decoders": decoders}
        return values, stats | {"batch_stats": running}

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate the trunk's batch norm."""
        return _calibrate(self.trunk, self._maps, params, stats, rows)

    finish = prepare

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Mean squared error ``[B]`` of the mapped rows, averaged over the maps."""
        z, _ = _encode(self.trunk, self._maps, params, stats, x)
        return self._errors(params, stats, x, z, None, None)[0]

    @property
    def _maps(self) -> LinearMaps:
        numbers = self.map_scale, self.map_offset
        return LinearMaps(self.n_transforms, self.transform_dim, *numbers)

    def _errors(self, params, stats, x, z, weight, key):
        def decode(decoder, running, z):
            return networks.apply(self.decoder, decoder, running, z, weight=weight, key=key)

        output, running = jax.vmap(decode, (0, 0, 1), (1, 0))(
            params["decoders"], stats["batch_stats"]["decoders"], z
        )
        mapped = self._maps(stats, x)
        return reconstruction.squared_error(mapped, output, reduction="mean"), running


def _init(
    trunk: nn.Module, views: Views, view_key: Key, trunk_key: Key, x: Array
) -> tuple[Params, Stats]:
    stats = views.init(view_key, x)
    params, running = networks.init(trunk, trunk_key, views(stats, x[:1])[0])
    return {"trunk": params}, stats | {"batch_stats": {"trunk": running}}


def _encode(
    trunk: nn.Module,
    views: Views,
    params: Params,
    stats: Stats,
    x: Array,
    weight: Array | None = None,
    key: Key | None = None,
) -> tuple[Array, Any]:
    """Latent vectors ``[B, M, L]`` and the trunk's running statistics."""
    seen = views(stats, x)
    z, running = networks.apply(
        trunk,
        params["trunk"],
        stats["batch_stats"]["trunk"],
        seen.reshape(-1, *seen.shape[2:]),
        weight=None if weight is None else jnp.repeat(weight, views.count),
        key=key,
    )
    return z.reshape(len(x), views.count, -1), running


def _calibrate(trunk: nn.Module, views: Views, params: Params, stats: Stats, rows: Rows) -> Stats:
    running = networks.calibrate(
        trunk,
        params["trunk"],
        stats["batch_stats"]["trunk"],
        rows,
        chunk=views.chunk,
        views=lambda x: views(stats, x),
    )
    return stats | {"batch_stats": stats["batch_stats"] | {"trunk": running}}
