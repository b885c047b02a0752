"""GOAD for tables (Bergman & Hoshen, "Classification-Based Anomaly Detection", ICLR 2020)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad import chunking, networks
from jaxad.losses import reconstruction, transformation
from jaxad.typing import Array, Batch, Key, Params, Stats


@struct.dataclass
class GOAD:
    """Tell M random linear maps of a row apart; a row whose maps are confused is anomalous.

    The maps ``[D, M, r]`` are drawn once from the key and kept in ``stats``. A shared network takes
    every mapped row to ``z_m``; the loss is the cross-entropy of a linear head that names m, plus
    ``triplet_weight`` times the triplet-centre loss. The class centres of scoring are the exact
    means of ``z_m`` over the training rows with the final weights. Nothing of size N x M, and
    nothing of size B x M x M x L, is ever held.

    Attributes:
      trunk: ``[B, r] -> [B, L]``, the same for every map. It must not be linear: on standardised
        rows a linear network without biases has every class centre at 0, and all scores are equal.
      n_transforms: M, at least 2.
      transform_dim: r.
      margin: leaf, of the triplet-centre loss, in squared distance.
      triplet_weight: leaf, the paper's lambda.
      epsilon: leaf, least squared distance in the score's probabilities.
      map_scale: leaf, standard deviation of the maps' entries; 1 in the paper.
    """

    trunk: nn.Module = struct.field(pytree_node=False)
    n_transforms: int = struct.field(pytree_node=False, default=32)
    transform_dim: int = struct.field(pytree_node=False, default=32)
    margin: Any = 1.0
    triplet_weight: Any = 0.1
    epsilon: Any = 1e-6
    map_scale: Any = 1.0

    @property
    def chunk(self) -> int:
        """Rows at a time so that ``[chunk, M, max(M, r)]`` stays in the cache."""
        return _chunk(self.n_transforms, self.transform_dim)

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Draw the maps and make trunk and head; the centres are set by `refresh`."""
        map_key, trunk_key, head_key = jax.random.split(key, 3)
        maps = _draw_maps(map_key, self.n_transforms, x.shape[1], self.transform_dim)
        trunk, running = networks.init(self.trunk, trunk_key, _mapped(x[:1], maps)[0])
        stats = {"batch_stats": {"trunk": running}, "maps": self.map_scale * maps}
        z, _ = _encode(self.trunk, {"trunk": trunk}, stats, x[:1], None, None)
        head, _ = networks.init(networks.Dense(self.n_transforms), head_key, z[0])
        stats["centres"] = jnp.zeros_like(z[0])
        return {"trunk": trunk, "head": head}, stats

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """Cross-entropy plus triplet-centre, with the batch's own class centres."""
        z, running = _encode(self.trunk, params, stats, batch.x, batch.weight, key)
        values = transformation.fused_loss(
            z,
            transformation.class_centres(z, batch.weight),
            params["head"]["kernel"],
            margin=self.margin,
            triplet_weight=self.triplet_weight,
        )
        return values, stats | {"batch_stats": stats["batch_stats"] | {"trunk": running}}

    def refresh(self, params: Params, stats: Stats, rows: Batch, *, first: Array) -> Stats:
        """Calibrate batch norm where there is any, and set the class centres."""
        del first
        stats = _calibrate(self.trunk, params, stats, rows, self.chunk)

        def encode(x):
            return _encode(self.trunk, params, stats, x, None, None)[0]

        return stats | {"centres": chunking.mean(encode, rows, chunk=self.chunk)}

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Sum over m of ``-log softmax(-max(squared distance, epsilon))`` of the own class."""
        z, _ = _encode(self.trunk, params, stats, x, None, None)
        distances = transformation.squared_distances(z, stats["centres"])
        return transformation.score(distances, epsilon=self.epsilon)

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """The latent vectors of all maps, ``[B, M * L]``."""
        z, _ = _encode(self.trunk, params, stats, x, None, None)
        return z.reshape(len(z), -1)


@struct.dataclass
class MapReconstruction:
    """Reconstruct every mapped row from its latent vector, by a decoder of its own.

    A part for `Compound` beside a `GOAD` with the same trunk: they share trunk and maps.

    Attributes:
      trunk: ``[B, r] -> [B, L]``.
      decoder: ``[B, L] -> [B, r]``; each of the M maps has its own copy.
      n_transforms: M.
      transform_dim: r.
      map_scale: leaf, see `GOAD`.
    """

    trunk: nn.Module = struct.field(pytree_node=False)
    decoder: nn.Module = struct.field(pytree_node=False)
    n_transforms: int = struct.field(pytree_node=False, default=32)
    transform_dim: int = struct.field(pytree_node=False, default=32)
    map_scale: Any = 1.0

    @property
    def chunk(self) -> int:
        """Rows at a time so that ``[chunk, M, max(M, r)]`` stays in the cache."""
        return _chunk(self.n_transforms, self.transform_dim)

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Draw the maps and make the trunk and M decoders."""
        map_key, trunk_key, decoder_key = jax.random.split(key, 3)
        maps = _draw_maps(map_key, self.n_transforms, x.shape[1], self.transform_dim)
        trunk, running = networks.init(self.trunk, trunk_key, _mapped(x[:1], maps)[0])
        stats = {"batch_stats": {"trunk": running}, "maps": self.map_scale * maps}
        z, _ = _encode(self.trunk, {"trunk": trunk}, stats, x[:1], None, None)
        keys = jax.random.split(decoder_key, self.n_transforms)
        decoders, running = jax.vmap(lambda k: networks.init(self.decoder, k, z[0]))(keys)
        stats["batch_stats"]["decoders"] = running
        return {"trunk": trunk, "decoders": decoders}, stats

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """Mean squared error of the mapped rows, mean over the maps."""
        z, trunk = _encode(self.trunk, params, stats, batch.x, batch.weight, key)
        values, decoders = self._errors(params, stats, batch.x, z, batch.weight, key)
        running = stats["batch_stats"] | {"trunk": trunk, "decoders": decoders}
        return values, stats | {"batch_stats": running}

    def refresh(self, params: Params, stats: Stats, rows: Batch, *, first: Array) -> Stats:
        """Calibrate the trunk's batch norm where there is any."""
        del first
        return _calibrate(self.trunk, params, stats, rows, self.chunk)

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Mean squared error of the mapped rows, mean over the maps."""
        z, _ = _encode(self.trunk, params, stats, x, None, None)
        return self._errors(params, stats, x, z, None, None)[0]

    def _errors(self, params, stats, x, z, weight, key):
        def decode(decoder, running, z):
            return networks.apply(self.decoder, decoder, running, z, weight=weight, key=key)

        output, running = jax.vmap(decode, (0, 0, 1), (1, 0))(
            params["decoders"], stats["batch_stats"]["decoders"], z
        )
        mapped = _mapped(x, stats["maps"])
        return reconstruction.squared_error(mapped, output, reduction="mean"), running


def _chunk(transforms: int, width: int) -> int:
    rows = 2**18 // (transforms * max(transforms, width))
    return 1 << max(0, rows.bit_length() - 1)


def _draw_maps(key: Key, transforms: int, inputs: int, outputs: int) -> Array:
    return jax.random.normal(key, (inputs, transforms, outputs))


def _mapped(x: Array, maps: Array) -> Array:
    """``[B, M, r]``, one product: the maps lie side by side."""
    return jnp.einsum("bd,dmr->bmr", x, maps)


def _encode(
    trunk: nn.Module,
    params: Params,
    stats: Stats,
    x: Array,
    weight: Array | None,
    key: Key | None,
) -> tuple[Array, Any]:
    """Latent vectors ``[B, M, L]`` and the trunk's running statistics."""
    mapped = _mapped(x, stats["maps"])
    rows, transforms, width = mapped.shape
    repeated = None if weight is None else jnp.repeat(weight, transforms)
    z, running = networks.apply(
        trunk,
        params["trunk"],
        stats["batch_stats"]["trunk"],
        mapped.reshape(rows * transforms, width),
        weight=repeated,
        key=key,
    )
    return z.reshape(rows, transforms, -1), running


def _calibrate(trunk: nn.Module, params: Params, stats: Stats, rows: Batch, chunk: int) -> Stats:
    running = stats["batch_stats"]["trunk"]
    running = networks.calibrate(
        trunk,
        params["trunk"],
        running,
        rows,
        chunk=chunk,
        views=lambda x: _mapped(x, stats["maps"]),
    )
    return stats | {"batch_stats": stats["batch_stats"] | {"trunk": running}}
