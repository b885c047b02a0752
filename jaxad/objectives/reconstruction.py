"""Autoencoders: reconstruct normal rows and score by the reconstruction error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad import networks
from jaxad.losses import reconstruction as losses
from jaxad.objectives.base import BaseObjective, real
from jaxad.objectives.variants import call_loss, check_loss
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats

AVAILABLE = ("x", "reconstruction", "z")


def mean_squared_error(x: Array, reconstruction: Array) -> Array:
    """Squared error of each row ``[B]``, averaged over its entries.

    Example:
      >>> import jax.numpy as jnp
      >>> mean_squared_error(jnp.array([[1.0, 3.0]]), jnp.array([[0.0, 0.0]])).tolist()
      [5.0]
    """
    return losses.squared_error(x, reconstruction, reduction="mean")


def sum_squared_error(x: Array, reconstruction: Array) -> Array:
    """Squared error of each row ``[B]``, summed over its entries.

    Example:
      >>> import jax.numpy as jnp
      >>> sum_squared_error(jnp.array([[1.0, 3.0]]), jnp.array([[0.0, 0.0]])).tolist()
      [10.0]
    """
    return losses.squared_error(x, reconstruction, reduction="sum")


def autoencoder(
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    loss: Callable[..., Array] = mean_squared_error,
    noise: Any = None,
    chunk: int = 1024,
    **numbers: Any,
) -> Reconstruction:
    """An autoencoder; its reconstruction loss is also the score.

    Args:
      encoder: ``[B, ...] -> [B, L]``.
      decoder: ``[B, L] -> [B, ...]``, the shape of the input.
      loss: returns ``[B]``; its arguments are any of ``x``, ``reconstruction`` and ``z``, matched
        by name. Deep SVDD's pretraining sums over pixels (`sum_squared_error`) and Deep SAD's
        averages, so the same weight decay acts differently.
      noise: standard deviation of Gaussian noise added to the input in training (a denoising
        autoencoder, Vincent et al. 2008), or None. The target stays clean.
      chunk: rows at a time in exact passes and scoring.
      **numbers: further arguments of the loss.

    Raises:
      TypeError: the loss has an argument that is neither available nor given.

    Example:
      >>> from jaxad import networks, objectives
      >>> objectives.autoencoder(networks.MLP((16, 2)), networks.MLP((16, 5)), noise=0.1).noise
      0.1
    """
    check_loss(loss, AVAILABLE, numbers)
    return Reconstruction(encoder, decoder, loss, numbers, noise, chunk)


class Reconstruction(BaseObjective):
    """An encoder, a decoder and a reconstruction loss. Made by `autoencoder`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxad import networks, objectives
      >>> objective = objectives.autoencoder(networks.MLP((16, 2)), networks.MLP((16, 5)))
      >>> params, stats = objective.init(jax.random.key(0), jnp.ones((4, 5)))
      >>> objective.reconstruct(params, stats, jnp.ones((4, 5))).shape
      (4, 5)
    """

    encoder: nn.Module = struct.field(pytree_node=False)
    decoder: nn.Module = struct.field(pytree_node=False)
    function: Callable[..., Array] = struct.field(pytree_node=False)
    numbers: dict[str, Any]
    noise: Any
    chunk: int = struct.field(pytree_node=False)

    @property
    def network(self) -> nn.Module:
        """Encoder and decoder as one network."""
        return networks.EncoderDecoder(self.encoder, self.decoder)

    @property
    def takes_padding(self) -> bool:
        """Whether it can train on rows with columns of padding, which another loss may count."""
        return self.function in (mean_squared_error, sum_squared_error)

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise both networks."""
        params, batch_stats = networks.init(self.network, key, x)
        return params, {"batch_stats": batch_stats}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The loss of each row."""
        x = clean = networks.lay_features_first(batch.x)
        if key is not None and self.noise is not None:
            noise_key, key = jax.random.split(key)
            drawn = jax.random.normal(noise_key, x.shape, x.dtype)
            x = x + self.noise * real(stats, drawn)
        (output, z), batch_stats = networks.apply(
            self.network, params, stats["batch_stats"], x, weight=batch.weight, key=key
        )
        return self._values(clean, real(stats, output), z), stats | {"batch_stats": batch_stats}

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm."""
        batch_stats = networks.calibrate(
            self.network, params, stats["batch_stats"], rows, chunk=self.chunk
        )
        return stats | {"batch_stats": batch_stats}

    finish = prepare

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """The loss of each row."""
        (output, z), _ = networks.apply(self.network, params, stats["batch_stats"], x)
        return self._values(x, real(stats, output), z)

    def reconstruct(self, params: Params, stats: Stats, x: Array) -> Array:
        """Reconstructions of ``x``, in its shape."""
        return real(stats, networks.apply(self.network, params, stats["batch_stats"], x)[0][0])

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """Latent vectors ``[B, L]``."""
        return networks.apply(self.network, params, stats["batch_stats"], x)[0][1]

    @property
    def contributions(self) -> Callable[[Params, Stats, Array], Array]:
        """The parts ``[B, ...]`` of the score that each entry adds, if it is a squared error."""
        if self.function not in (mean_squared_error, sum_squared_error):
            raise AttributeError("only squared errors are sums over the entries of a row")
        mean = self.function is mean_squared_error

        def contributions(params: Params, stats: Stats, x: Array) -> Array:
            error = jnp.square(x - self.reconstruct(params, stats, x))
            return error / x[0].size if mean else error

        return contributions

    def _values(self, x: Array, output: Array, z: Array) -> Array:
        return call_loss(self.function, {"x": x, "reconstruction": output, "z": z}, self.numbers)


def encoder_of(params: Params, stats: Stats) -> tuple[Params, Any]:
    """Parameters and running statistics of an encoder, for `Hypersphere.from_encoder`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxad import networks, objectives
      >>> objective = objectives.autoencoder(networks.MLP((16, 2)), networks.MLP((16, 5)))
      >>> params, batch_stats = encoder_of(*objective.init(jax.random.key(0), jnp.ones((4, 5))))
      >>> networks.count_parameters(params), batch_stats
      (112, {})
    """
    return params["encoder"], stats["batch_stats"].get("encoder", {})
