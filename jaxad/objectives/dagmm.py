"""DAGMM (Zong et al., "Deep Autoencoding Gaussian Mixture Model", ICLR 2018)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxad import networks
from jaxad.layout import store_features_first
from jaxad.losses import mixture, reconstruction
from jaxad.objectives.base import BaseObjective, real
from jaxad.objectives.variants import call_loss, check_loss
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats

AVAILABLE = (
    *("error", "energy", "penalty", "z", "x", "reconstruction", "responsibilities"),
    *("lambda_energy", "lambda_covariance"),
)


class DAGMM(BaseObjective):
    """An autoencoder with a Gaussian mixture of its latents and errors; the score is the energy.

    A row's features ``z`` are its latent vector, its relative Euclidean error, and the cosine
    between the row and its reconstruction. The estimation network maps them to responsibilities,
    and the responsibilities' moments over a batch give the mixture. The loss is reconstruction +
    ``lambda_energy`` * energy + ``lambda_covariance`` * sum of inverse variances (equation 7).
    Scores use the mixture of all training rows, fitted exactly with the final weights.

    Attributes:
      encoder: ``[B, D] -> [B, L]``.
      decoder: ``[B, L] -> [B, D]``.
      estimator: ``[B, L + 2] -> [B, K]`` logits.
      lambda_energy: leaf, 0.1 in the paper.
      lambda_covariance: leaf, 0.005 in the paper.
      jitter: leaf, added to the variances relative to their mean.
      reduction: ``"sum"`` of squared errors over features as in the paper, or ``"mean"`` as in
        several implementations, which divides the reconstruction's weight by D.
      chunk: rows at a time in exact passes and scoring.
      function: the loss, or None for the paper's. Its arguments are any of ``error`` ``[B]``,
        ``energy`` ``[B]``, ``penalty`` (the sum of inverse variances), ``z`` ``[B, L + 2]``,
        ``x``, ``reconstruction``, ``responsibilities`` ``[B, K]``, ``lambda_energy``,
        ``lambda_covariance`` and its ``numbers``, matched by name; it returns ``[B]``.
      numbers: leaves, further arguments of ``function``.

    Example:
      >>> from jaxad import networks, objectives
      >>> encoder, decoder = networks.MLP((16, 2)), networks.MLP((16, 6))
      >>> objectives.DAGMM(encoder, decoder, networks.MLP((10, 4))).lambda_energy
      0.1
    """

    encoder: nn.Module = struct.field(pytree_node=False)
    decoder: nn.Module = struct.field(pytree_node=False)
    estimator: nn.Module = struct.field(pytree_node=False)
    lambda_energy: Any = 0.1
    lambda_covariance: Any = 0.005
    jitter: Any = 1e-3
    reduction: str = struct.field(pytree_node=False, default="sum")
    chunk: int = struct.field(pytree_node=False, default=512)
    function: Callable[..., Array] | None = struct.field(pytree_node=False, default=None)
    numbers: dict[str, Any] = struct.field(default_factory=dict)

    def __post_init__(self):
        """Check the loss."""
        if self.function is not None:
            # Names only: a pytree is also made with leaves that are traced, or no numbers at all.
            check_loss(self.function, AVAILABLE, dict.fromkeys(self.numbers, 0.0))

    @property
    def autoencoder(self) -> nn.Module:
        """Encoder and decoder as one network."""
        return networks.EncoderDecoder(self.encoder, self.decoder)

    @property
    def scoring_chunk(self) -> int:
        """Rows at a time in scoring on a CPU: its narrow layers are slower in smaller chunks."""
        return self.chunk

    @property
    def takes_padding(self) -> bool:
        """Whether it can train on rows with columns of padding; their mean would count them."""
        return self.reduction == "sum" and self.function is None

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise the three networks; `finish` fits the mixture."""
        first, second = jax.random.split(key)
        params, running = networks.init(self.autoencoder, first, x)
        (output, latent), _ = networks.apply(self.autoencoder, params, running, x[:1])
        _, z = self._error_and_features(x[:1], output, latent)
        estimator, estimator_running = networks.init(self.estimator, second, z)
        logits, _ = networks.apply(self.estimator, estimator, estimator_running, z)
        empty = mixture.fit(mixture.empty_moments(logits.shape[1], z.shape[1]))
        return params | {"estimator": estimator}, {
            "batch_stats": running | {"estimator": estimator_running},
            "mixture": empty._asdict(),
        }

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """Reconstruction, energy under the batch's own mixture, and covariance penalty."""
        x = networks.lay_features_first(batch.x)
        output, error, z, gamma, batch_stats = self._forward(params, stats, x, batch.weight, key)
        if pooled := stats.get("pooled_mixture"):
            own = mixture.Mixture(**pooled)
        else:
            own = mixture.fit(mixture.moments(z, gamma, batch.weight), jitter=self.jitter)
        energy, penalty = mixture.energy(z, own), mixture.covariance_penalty(own)
        if self.function is None:
            values = error + self.lambda_energy * energy + self.lambda_covariance * penalty
        else:
            found = error, energy, penalty, z, x, output, gamma
            given = dict(zip(AVAILABLE, found, strict=False)) | {
                "lambda_energy": self.lambda_energy,
                "lambda_covariance": self.lambda_covariance,
            }
            values = call_loss(self.function, given, self.numbers)
        return values, stats | {"batch_stats": batch_stats}

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Calibrate batch norm and fit the mixture of all rows."""
        running = stats["batch_stats"]
        pair = {k: v for k, v in running.items() if k != "estimator"}
        pair = networks.calibrate(
            self.autoencoder, _without_estimator(params), pair, rows, chunk=self.chunk
        )
        stats = stats | {"batch_stats": running | pair}
        return stats | {"mixture": self._mixture(params, stats, rows)}

    def pool(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Add the mixture of all validation rows, in place of each batch's."""
        return stats | {"pooled_mixture": self._mixture(params, stats, rows)}

    def fewest_rows(self, stats: Stats) -> int:
        """One row more than the mixture has dimensions: fewer have a singular covariance."""
        return stats["mixture"]["mean"].shape[-1] + 1

    def _mixture(self, params: Params, stats: Stats, rows: Rows) -> dict[str, Array]:
        def add(moments, batch):
            _, _, z, gamma, _ = self._forward(params, stats, batch.x, None, None)
            return mixture.merge_moments(moments, mixture.moments(z, gamma, batch.weight))

        components, latent = stats["mixture"]["mean"].shape
        empty = mixture.empty_moments(components, latent)
        found = rows.fold(add, empty, chunk=self.chunk)
        return mixture.fit(found, jitter=self.jitter)._asdict()

    def diagnose(self, params: Params, stats: Stats, rows: Rows) -> dict[str, Array]:
        """The ``occupation`` ``[K]``: the mean responsibility of each component; its sum is 1."""

        def responsibilities(x):
            return self._forward(params, stats, x, None, None)[3]

        return {"occupation": rows.mean(responsibilities, chunk=self.chunk)}

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Energy under the training set's mixture (equation 6)."""
        z = self.transform(params, stats, x)
        return mixture.energy(z, mixture.Mixture(**stats["mixture"]))

    def transform(self, params: Params, stats: Stats, x: Array) -> Array:
        """The features ``[B, L + 2]``: latent vector, relative error, cosine."""
        return self._forward(params, stats, store_features_first(x), None, None)[2]

    def reconstruct(self, params: Params, stats: Stats, x: Array) -> Array:
        """Reconstructions of ``x``, in its shape."""
        return self._forward(params, stats, x, None, None)[0]

    def _forward(self, params, stats, x, weight, key):
        first, second = (None, None) if key is None else jax.random.split(key)
        running = stats["batch_stats"]
        pair = {k: v for k, v in running.items() if k != "estimator"}
        (output, latent), pair = networks.apply(
            self.autoencoder, _without_estimator(params), pair, x, weight=weight, key=first
        )
        output = real(stats, output)
        error, z = self._error_and_features(x, output, latent)
        logits, estimator = networks.apply(
            self.estimator,
            params["estimator"],
            running["estimator"],
            z,
            weight=weight,
            key=second,
        )
        return output, error, z, jax.nn.softmax(logits), pair | {"estimator": estimator}

    def _error_and_features(self, x, output, latent):
        error, z = reconstruction.error_and_features(x, output, reduction=self.reduction)
        return error, jnp.concatenate([latent.T, z.T]).T  # joined in the layout of activations


def _without_estimator(params: Params) -> Params:
    return {k: v for k, v in params.items() if k != "estimator"}
