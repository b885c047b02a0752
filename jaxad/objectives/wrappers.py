"""Wrappers: objectives that change how another objective is trained.

A wrapper is an objective itself, so wrappers nest, as in ``Trimmed(Denoised(objective, 0.1), 0.2,
0.99)``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from jaxad.checks import AT_LEAST_ZERO, Interval
from jaxad.losses import hypersphere
from jaxad.objectives.base import BaseObjective, check_numbers
from jaxad.rows import Rows, map_rows
from jaxad.typing import Array, Batch, Key, Objective, Params, Stats

_BELOW_ONE = Interval(0, 1)


class Wrapper(BaseObjective):
    """Base class of wrappers: by default an objective that does what ``objective`` does.

    The parameters are those of ``objective``, and the statistics are its statistics and perhaps
    entries of the wrapper. A wrapper has all public attributes of ``objective``, such as
    ``transform`` or ``encoder``. A subclass overrides what it changes.

    Attributes:
      objective: the wrapped objective. Its numbers are leaves of the wrapper, too.

    Example:
      >>> from jaxad import networks, objectives
      >>> class Doubled(objectives.Wrapper):
      ...     def loss(self, params, stats, batch, key):
      ...         values, stats = self.objective.loss(params, stats, batch, key)
      ...         return 2 * values, stats
      >>> Doubled(objectives.deep_svdd(networks.MLP((16, 8)))).encoder.widths
      (16, 8)
    """

    objective: Any

    def __getattr__(self, name: str) -> Any:
        """An attribute of ``objective`` that the wrapper does not have itself."""
        if name == "contributions" and type(self).score is not Wrapper.score:
            raise AttributeError(f"{type(self).__name__} has a score of its own")
        # Private names are not delegated: copies and pickles look for some before any field is set.
        if not name.startswith("_") and name != "objective" and hasattr(self.objective, name):
            return getattr(self.objective, name)
        raise AttributeError(f"neither {type(self).__name__} nor what it wraps has {name!r}")

    @property
    def chunk(self) -> int:
        """Rows at a time in exact passes and scoring."""
        return self.objective.chunk

    @property
    def uses_labels(self) -> bool:
        """Whether the loss depends on labels."""
        return getattr(self.objective, "uses_labels", False)

    @property
    def takes_padding(self) -> bool:
        """False: what a wrapper draws for columns may reach those of padding."""
        return False

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Make parameters and statistics for rows shaped like ``x`` ``[B, ...]``."""
        params, stats = self.objective.init(key, x)
        return params, stats | self._entries(params, stats)

    @property
    def from_encoder(self) -> Callable[..., tuple[Params, Stats]]:
        """Parameters and statistics around an encoder's, if ``objective`` makes them."""
        begin = self.objective.from_encoder

        def from_encoder(params: Params, batch_stats: Any, x: Array) -> tuple[Params, Stats]:
            params, stats = begin(params, batch_stats, x)
            return params, stats | self._entries(params, stats)

        return from_encoder

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The loss of each row ``[B]``, and the updated statistics."""
        return self.objective.loss(params, stats, batch, key)

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Prepare ``objective``."""
        return _fit(self.objective, "prepare", params, stats, rows)

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Finish ``objective``."""
        return _fit(self.objective, "finish", params, stats, rows)

    def pool(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Add what couples the rows of a batch in ``objective``."""
        return _fit(self.objective, "pool", params, stats, rows)

    def fewest_rows(self, stats: Stats) -> int:
        """Rows that a batch of ``objective`` needs."""
        needed = getattr(self.objective, "fewest_rows", None)
        return 1 if needed is None else needed(stats)

    def diagnose(self, params: Params, stats: Stats, rows: Rows) -> dict[str, Array]:
        """Diagnostics of ``objective``'s own."""
        needed = getattr(self.objective, "diagnose", None)
        return {} if needed is None else needed(params, stats, rows)

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Anomaly scores ``[B]``."""
        return self.objective.score(params, stats, x)

    def _entries(self, params: Params, stats: Stats) -> Stats:
        """The wrapper's entries of the statistics, initially."""
        del params, stats
        return {}


class Trimmed(Wrapper):
    """Train without the rows of each batch that lose most: they may be anomalies.

    A slow teacher judges. It is the exponential moving average of the parameters and running
    statistics, ``stats["teacher"]``, and evaluates the loss of every row without dropout and noise.
    The ``share`` of rows with the highest losses gets weight 0 in the batch. The loss is the mean
    over the others, and batch norm, mixtures and radii see the others only. Rows whose label is
    known are never trimmed.

    The exact statistics leave out rows, too: they are fitted to all rows, which are then scored,
    and fitted again without the ``share`` of rows that score highest.

    Attributes:
      objective: any objective.
      share: leaf in [0, 1), the share of rows, or of their weight, that is left out: of N rows
        ``share * N``, rounded. With 0 the result is that of ``objective``, to the bit unless the
        compiler fuses its formulas differently, as those of `DAGMM`.
      decay: leaf in [0, 1), the share of the old average that a step keeps. With 0 the current
        parameters judge.

    Raises:
      ValueError: a number is out of range.

    Source: K-DSM (arXiv 2605.06955) trims 20 % of each batch by a teacher with decay 0.999.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives, training
      >>> objective = objectives.Trimmed(objectives.deep_svdd(networks.MLP((16, 8))), 0.1, 0.99)
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> result = training.fit(objective, training.Recipe(epochs=2), jax.random.key(0), x)
      >>> sorted(result.stats)
      ['batch_stats', 'centre', 'radius', 'teacher']
    """

    share: Any
    decay: Any

    @property
    def takes_padding(self) -> bool:
        """Whether ``objective`` can train on rows with columns of padding."""
        return getattr(self.objective, "takes_padding", False)

    def __post_init__(self):
        """Check the numbers."""
        check_numbers(self, share=_BELOW_ONE, decay=_BELOW_ONE)

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The loss of each row ``[B]``; 0 for trimmed rows, and larger for the others.

        The weighted mean over the batch is the weighted mean of the objective over the kept rows.
        """
        teacher = self._averaged(params, stats)
        judged = self._judge(teacher, stats, batch)
        kept = jnp.where(_are_highest(judged, batch, self.share), 0, batch.weight)
        values, new = self.objective.loss(params, stats, batch._replace(weight=kept), key)
        whole, left = jnp.sum(batch.weight), jnp.sum(kept)  # equal sums may be rounded differently
        scale = jnp.where(self.share > 0, whole / jnp.maximum(left, 1e-12), 1)
        values = jnp.where(kept > 0, scale * values, 0)
        return values, stats if key is None else stats | new | {"teacher": teacher}

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Prepare ``objective`` from the rows that score low initially; the teacher starts anew."""
        stats = _fit(self.objective, "prepare", params, stats, rows)
        ready = _fit(self.objective, "finish", params, stats, rows)
        kept = self._without_highest(params, ready, rows)
        stats = _fit(self.objective, "prepare", params, stats, kept)
        return stats | {"teacher": _like(stats["teacher"], _model(params, stats))}

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Finish ``objective`` with the rows that score low by the final parameters."""
        ready = _fit(self.objective, "finish", params, stats, rows)
        kept = self._without_highest(params, ready, rows)
        return _fit(self.objective, "finish", params, stats, kept)

    def pool(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Add what couples the rows of a batch in ``objective``, also for the teacher."""
        teacher = self._averaged(params, stats)
        seen = stats | {"batch_stats": teacher["batch_stats"]}
        judging = _fit(self.objective, "pool", teacher["params"], seen, rows)
        added = {name: value for name, value in judging.items() if name not in stats}
        stats = _fit(self.objective, "pool", params, stats, rows)
        return stats | {"pooled_teacher": added}

    def _entries(self, params: Params, stats: Stats) -> Stats:
        return {"teacher": _model(params, stats)}

    def _averaged(self, params: Params, stats: Stats) -> Stats:
        """The teacher after this step."""
        current = _like(stats["teacher"], lax.stop_gradient(_model(params, stats)))
        keep = self.decay
        return jax.tree.map(
            lambda old, new: keep * old + (1 - keep) * new, stats["teacher"], current
        )

    def _judge(self, teacher: Stats, stats: Stats, batch: Batch) -> Array:
        """The teacher's loss of each row ``[B]``, by which rows are trimmed."""
        stats = stats | {"batch_stats": teacher["batch_stats"]} | stats.get("pooled_teacher", {})
        return self.objective.loss(teacher["params"], stats, batch, None)[0]

    def _without_highest(self, params: Params, stats: Stats, rows: Rows) -> Rows:
        """The rows, where the ``share`` of unlabelled rows with the highest scores weighs 0."""

        def score(x):
            return self.objective.score(params, stats, x)

        scores, weight = rows.reweigh(_unlabelled).values(score, chunk=self.chunk)
        limit = _limit(scores, weight, self.share)

        @jax.jit  # a stream calls it for every chunk
        def jaxad_weigh(batch):
            high = map_rows(score, batch.x, chunk=self.chunk) > limit
            return jnp.where(high & (batch.label == 0), 0, batch.weight)

        return rows.reweigh(jaxad_weigh)


class LOE(Wrapper):
    """Latent outlier exposure: the most suspicious rows of each batch are trained as anomalies.

    Every unlabelled row has two losses: as normal, and as a known anomaly. The ``share`` of rows
    where the first exceeds the second most are taken as anomalies. Their loss is that of an anomaly
    or, if ``soft``, half the sum of both. Rows whose label is known keep it.

    Attributes:
      objective: an objective whose loss depends on labels, such as `deep_sad`.
      share: leaf in [0, 1), the share of anomalies among the rows, known or guessed.
      soft: whether suspicious rows count half as anomalies and half as normal.

    Raises:
      TypeError: the objective's loss does not depend on labels, or it is trimmed inside.
      ValueError: the share is out of range.

    Source: Qiu et al., "Latent Outlier Exposure for Anomaly Detection with Contaminated Data", ICML
    2022; the hard loss is LOE-H, the soft one LOE-S.

    Example:
      >>> from jaxad import losses, networks, objectives
      >>> objectives.LOE(objectives.deep_sad(networks.MLP((16, 8))), 0.1).share
      0.1
      >>> classifier = losses.hypersphere.classifier
      >>> sphere = objectives.deep_sad(networks.MLP((16, 8)), loss=classifier)
      >>> objectives.LOE(sphere, 0.1, soft=True).uses_labels
      True
    """

    share: Any
    soft: bool = struct.field(pytree_node=False, default=False)

    @property
    def takes_padding(self) -> bool:
        """Whether ``objective`` can train on rows with columns of padding."""
        return getattr(self.objective, "takes_padding", False)

    def __post_init__(self):
        """Check the share and the objective."""
        check_numbers(self, share=_BELOW_ONE)
        if hasattr(self.objective, "loss") and not self.uses_labels:
            raise TypeError(
                f"objective={type(self.objective).__name__}: its loss does not depend on labels, "
                "but LOE trains suspicious rows as known anomalies: use objectives.deep_sad(...), "
                "or deep_sad(..., loss=losses.hypersphere.classifier)"
            )
        inner = self.objective
        while isinstance(inner, Wrapper):
            if isinstance(inner, Trimmed):
                raise TypeError("LOE cannot choose among trimmed rows: use Trimmed(LOE(...), ...)")
            inner = inner.objective

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The loss of each row ``[B]``, and the updated statistics."""

        def loss(label):
            return self.objective.loss(params, stats, batch._replace(label=label), key)

        # Only the label is mapped, so the network is applied once.
        anomalous = jnp.where(batch.label == 0, -1, batch.label)
        both = jnp.stack([batch.label, anomalous])
        (normal, anomaly), stats = jax.vmap(loss, out_axes=(0, None))(both)
        suspicious = _are_highest(normal - anomaly, batch, self.share)
        instead = (normal + anomaly) / 2 if self.soft else anomaly
        return jnp.where(suspicious, instead, normal), stats


class Denoised(Wrapper):
    """Train on noisy rows; exact statistics and scores see the rows as they are.

    The objective sees noisy rows only. The target of an autoencoder is therefore noisy, too; it is
    clean with ``autoencoder(noise=...)``.

    Attributes:
      objective: any objective.
      noise: leaf of at least 0, the standard deviation of Gaussian noise added to the inputs.

    Raises:
      ValueError: the noise is negative.

    Source: Bishop, "Training with Noise is Equivalent to Tikhonov Regularization", 1995.

    Example:
      >>> from jaxad import networks, objectives
      >>> objectives.Denoised(objectives.deep_svdd(networks.MLP((16, 8))), 0.1).noise
      0.1
    """

    noise: Any

    def __post_init__(self):
        """Check the noise."""
        check_numbers(self, noise=AT_LEAST_ZERO)

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The loss of each noisy row ``[B]``, and the updated statistics."""
        if key is not None:
            noise_key, key = jax.random.split(key)
            noise = jax.random.normal(noise_key, batch.x.shape, batch.x.dtype)
            batch = batch._replace(x=batch.x + self.noise * noise)
        return self.objective.loss(params, stats, batch, key)


class FeatureBag(Wrapper):
    """Train and score on a random part of the features; the others are 0.

    The features are drawn by `init`, and each member of a population draws its own. They are
    ``stats["mask"]``, 1 for features in the bag, in the shape of a row.

    Attributes:
      objective: any objective.
      share: leaf in (0, 1]. The bag has ``round(share * D)`` features, but at least one.

    Raises:
      ValueError: the share is out of range.

    Source: Lazarevic & Kumar, "Feature Bagging for Outlier Detection", KDD 2005, who draw the
    bag's size, too.

    Example:
      >>> import jax, numpy as np
      >>> from jaxad import networks, objectives
      >>> objective = objectives.FeatureBag(objectives.deep_svdd(networks.MLP((16, 8))), 0.5)
      >>> _, stats = objective.init(jax.random.key(0), np.zeros((1, 6)))
      >>> int(stats["mask"].sum())
      3
    """

    share: Any

    def __post_init__(self):
        """Check the share."""
        check_numbers(self, share=Interval(0, 1, "right"))

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Draw the bag, and initialise ``objective``."""
        mask_key, key = jax.random.split(key)
        row = x.shape[1:]
        features = int(np.prod(row))
        size = jnp.maximum(jnp.round(self.share * features), 1)
        mask = (jax.random.permutation(mask_key, features) < size).astype(jnp.float32).reshape(row)
        params, stats = self.objective.init(key, x * mask[None])
        return params, stats | {"mask": mask}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The loss of each row ``[B]``, and the updated statistics."""
        return self.objective.loss(params, stats, batch._replace(x=_seen(stats, batch.x)), key)

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Prepare ``objective`` from the bag."""
        return super().prepare(params, stats, rows.map(lambda x: _seen(stats, x)))

    def finish(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Finish ``objective`` with the bag."""
        return super().finish(params, stats, rows.map(lambda x: _seen(stats, x)))

    def pool(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Add what couples the rows of a batch in ``objective``, by the bag alone."""
        return super().pool(params, stats, rows.map(lambda x: _seen(stats, x)))

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Anomaly scores ``[B]``, by the bag alone."""
        return self.objective.score(params, stats, _seen(stats, x))

    def _entries(self, params: Params, stats: Stats) -> Stats:
        raise TypeError(
            "FeatureBag cannot start from a pretrained encoder, which has seen all features: train "
            "without pretraining"
        )

    # Properties, so that the wrapper has these methods only if `objective` has them.
    @property
    def transform(self) -> Callable[[Params, Stats, Array], Array]:
        """Latent vectors ``[B, L]``, by the bag alone."""
        transform = self.objective.transform
        return lambda params, stats, x: transform(params, stats, _seen(stats, x))

    @property
    def reconstruct(self) -> Callable[[Params, Stats, Array], Array]:
        """Reconstructions of ``x`` by the bag alone; other features are returned unchanged."""
        reconstruct = self.objective.reconstruct

        def reconstruct_bag(params: Params, stats: Stats, x: Array) -> Array:
            output = reconstruct(params, stats, _seen(stats, x))
            return jnp.where(stats["mask"][None] > 0, output, x)

        return reconstruct_bag

    @property
    def contributions(self) -> Callable[[Params, Stats, Array], Array]:
        """The parts ``[B, ...]`` of the score that each entry of the bag adds."""
        contributions = self.objective.contributions
        return lambda params, stats, x: contributions(params, stats, _seen(stats, x))


def _fit(objective: Objective, method: str, params: Params, stats: Stats, rows: Rows) -> Stats:
    """Call ``prepare`` or ``finish``, which are optional, and keep entries that they drop."""
    function = getattr(objective, method, None)
    return stats if function is None else stats | function(params, stats, rows)


def _seen(stats: Stats, x: Any) -> Any:
    """The rows ``x`` ``[B, ...]`` with features outside the bag at 0."""
    return x * stats["mask"][None]


def _model(params: Params, stats: Stats) -> Stats:
    """What a network needs to be applied."""
    return {"params": params, "batch_stats": stats.get("batch_stats", {})}


def _like(teacher: Stats, model: Stats) -> Stats:
    """The roles of a model that the teacher has: in a `Compound`, there are further ones."""

    def common(teacher: Any, model: Any) -> Any:
        return {role: model[role] for role in teacher} if isinstance(teacher, dict) else model

    return {name: common(teacher[name], model[name]) for name in teacher}


def _unlabelled(batch: Batch) -> Array:
    """The weights ``[B]``, where rows with a known label weigh 0."""
    return jnp.where(batch.label == 0, batch.weight, 0)


def _are_highest(values: Array, batch: Batch, share: Array) -> Array:
    """Whether rows are among the ``share`` of unlabelled rows with the highest values ``[B]``."""
    return (batch.label == 0) & (values > _limit(values, _unlabelled(batch), share))


@jax.jit
def _limit(values: Array, weight: Array, share: Array) -> Array:
    """The value that a ``share`` of the weight exceeds; infinite for ``share`` 0.

    Of N rows with equal weights ``share * N`` are above, rounded; ties and NaNs are not. The scale
    of the weights does not matter: the smallest becomes 2, because the quantile is the mean over an
    interval of length 1, which then includes no more than two rows.
    """
    least = jnp.min(jnp.where(weight > 0, weight, jnp.inf))
    limit = hypersphere.weighted_quantile(values, 2 * weight / least, 1 - share)
    # Programs may compute the row at the limit anew, with another rounding: it must not exceed it.
    return jnp.where(share > 0, limit + 1e-6 * jnp.abs(limit), jnp.inf)
