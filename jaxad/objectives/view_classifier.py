"""GOAD: tell views of a row apart; a row whose views are confused is anomalous.

Bergman & Hoshen, "Classification-Based Anomaly Detection for General Data", ICLR 2020; for images
with the transforms of Golan & El-Yaniv, "Deep Anomaly Detection Using Geometric Transformations",
NeurIPS 2018.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad import networks
from jaxad.losses import reconstruction, transformation
from jaxad.objectives.base import BaseObjective
from jaxad.objectives.views import GeometricViews, LinearMaps, Views
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats


class ViewClassifier(BaseObjective):
    """Tell M views of a row apart; a row whose views are confused is anomalous.

    `goad` and `image_goad` make it. A shared network takes every view to ``z_m``; the loss is the
    cross-entropy of a linear head that names m, plus ``triplet_weight`` times the triplet-centre
    loss. The class centres of scoring are the exact means of ``z_m`` over the training rows with
    the final weights. Nothing of size N x M, and nothing of size B x M x M x L, is ever held.

    Attributes:
      trunk: ``[B, ...] -> [B, L]``, the same for every view.
      views: how a row is seen.
      margin: leaf, of the triplet-centre loss, in squared distance.
      triplet_weight: leaf, the paper's lambda.
      epsilon: leaf, least squared distance in the score's probabilities.
    """

    trunk: nn.Module = struct.field(pytree_node=False)
    views: Views
    margin: Any
    triplet_weight: Any
    epsilon: Any

    @property
    def chunk(self) -> int:
        """Rows at a time, see `Views`."""
        return self.views.chunk

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Draw the views and make trunk and head; `finish` sets the centres."""
        view_key, trunk_key, head_key = jax.random.split(key, 3)
        params, stats = _init(self.trunk, self.views, view_key, trunk_key, x)
        z, _ = _encode(self.trunk, self.views, params, stats, x[:1])
        head, _ = networks.init(networks.Dense(self.views.count), head_key, z[0])
        return params | {"head": head}, stats | {"centres": jnp.zeros_like(z[0])}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """Cross-entropy plus triplet-centre, with the batch's own class centres."""
        z, running = _encode(self.trunk, self.views, params, stats, batch.x, batch.weight, key)
        values = transformation.fused_loss(
            z,
            transformation.class_centres(z, batch.weight),
            params["head"]["kernel"],
            margin=self.margin,
            triplet_weight=self.triplet_weight,
        )
        return values, stats | {"batch_stats": stats["batch_stats"] | {"trunk": running}}

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm where there is any, and set the class centres."""
        stats = _calibrate(self.trunk, self.views, params, stats, rows)

        def encode(x):
            return _encode(self.trunk, self.views, params, stats, x)[0]

        return stats | {"centres": rows.mean(encode, chunk=self.chunk)}

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Sum over m of ``-log softmax(-max(squared distance, epsilon))`` of the own class."""
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
) -> ViewClassifier:
    """GOAD for tables: tell M random linear maps of a row apart.

    Args:
      trunk: ``[B, r] -> [B, L]``. It must not be linear: on standardised rows a linear network
        without biases has every class centre at 0, and all scores are equal.
      n_transforms: M, at least 2.
      transform_dim: r.
      margin: of the triplet-centre loss, in squared distance.
      triplet_weight: the paper's lambda.
      epsilon: least squared distance in the score's probabilities.
      map_scale: standard deviation of the maps' entries; 1 in the paper.
      map_offset: standard deviation of the maps' offsets, see `LinearMaps`.

    Example:
      >>> from jaxad import networks, objectives
      >>> objectives.goad(networks.MLP((16, 8)), n_transforms=8).views.count
      8
    """
    maps = LinearMaps(n_transforms, transform_dim, map_scale, map_offset)
    return ViewClassifier(trunk, maps, margin, triplet_weight, epsilon)


def image_goad(
    trunk: nn.Module,
    *,
    shift: int | None = None,
    margin: Any = 1.0,
    triplet_weight: Any = 0.1,
    epsilon: Any = 1e-6,
    chunk: int = 16,
) -> ViewClassifier:
    """GOAD for images: tell 72 geometric transforms of an image apart.

    An image is seen flipped or not, shifted by ``-shift``, 0 or ``shift`` pixels in both directions
    and turned by 0, 90, 180 or 270 degrees. A batch of B images is 72 B images to the network.

    Args:
      trunk: ``[B, H, W, C] -> [B, L]``, in the paper `jaxad.networks.WideResNet`. It gets pixels in
        [-1, 1] from rows in [0, 1].
      shift: pixels; None is a quarter of the side, the paper's 8 for 32.
      margin: of the triplet-centre loss, in squared distance.
      triplet_weight: the paper's lambda.
      epsilon: least squared distance in the score's probabilities.
      chunk: rows at a time in exact passes and scoring.

    Raises:
      ValueError: from ``init``, for images that are not square, or a shift that does not fit them.

    Example:
      >>> import jax
      >>> from jaxad import networks, objectives
      >>> objective = objectives.image_goad(networks.WideResNet(depth=10, width=1))
      >>> _, stats = objective.init(jax.random.key(0), jax.numpy.zeros((1, 8, 8, 1)))
      >>> stats["centres"].shape
      (72, 64)
    """
    views = GeometricViews(shift, chunk)
    return ViewClassifier(trunk, views, margin, triplet_weight, epsilon)


class MapReconstruction(BaseObjective):
    """Reconstruct every mapped row from its latent vector, by a decoder of its own.

    A part for `Compound` beside a `goad` with the same trunk: they share trunk and maps.

    Attributes:
      trunk: ``[B, r] -> [B, L]``.
      decoder: ``[B, L] -> [B, r]``; each of the M maps has its own copy.
      n_transforms: M.
      transform_dim: r.
      map_scale: leaf, see `goad`.
      map_offset: leaf, see `goad`.
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

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Draw the maps and make the trunk and M decoders."""
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
        """Mean squared error of the mapped rows, mean over the maps."""
        z, trunk = _encode(self.trunk, self._maps, params, stats, batch.x, batch.weight, key)
        values, decoders = self._errors(params, stats, batch.x, z, batch.weight, key)
        running = stats["batch_stats"] | {"trunk": trunk, "decoders": decoders}
        return values, stats | {"batch_stats": running}

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate the trunk's batch norm where there is any."""
        return _calibrate(self.trunk, self._maps, params, stats, rows)

    finish = prepare

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Mean squared error of the mapped rows, mean over the maps."""
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
