"""Diagnostics: further records of every epoch, measured inside the compiled run.

A recipe asks for them by name. They are measured at the end of an epoch, in evaluation mode, on a
fixed `sample` of the rows that are trained on; of a stream, on one of its first chunk, since the
others are not kept. Statistics that scoring needs, such as a mixture or a radius, are fitted to the
sample first, as they are to all rows at the end of a run. So the figures are those of the model
that the run would return if it ended there, without a best epoch to restore, on fewer rows.

* ``gradient_norm``: for each layer ``gradient_norm/LAYER``, the Euclidean norm of the gradient of
  its parameters before weight decay and clipping; the mean over the epoch's finite steps. LAYER is
  the layer's path in the parameters.
* ``scores``: ``scores_05``, ``scores_50`` and ``scores_95``, `quantiles` of the scores.
* ``collapse``: the `collapse_index` of the latent vectors, for objectives with a ``transform``.
* ``effective_rank``: the `effective_rank` of the latent vectors, for objectives with a
  ``transform``.
* What the objective's ``diagnose`` returns, such as ``radius`` for Deep SVDD with a soft boundary
  and ``occupation`` for DAGMM; ``[K]`` values are recorded as ``occupation_0``, ...
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.precision import in_single_precision
from jaxad.rows import ArrayRows, map_rows
from jaxad.typing import Array, Params, Stats

SAMPLE = 512  # most rows that diagnostics look at
QUANTILES = {"05": 0.05, "50": 0.5, "95": 0.95}
LATENT = ("collapse", "effective_rank")
GENERAL = ("gradient_norm", "scores", *LATENT)


class Norms(NamedTuple):
    """Norms of the gradient in the current epoch.

    Attributes:
      total: by layer, the sum over all finite steps.
      steps: the number of these steps.
    """

    total: dict[str, Array]
    steps: Array


def is_wanted(name: str, diagnostics: str | tuple[str, ...]) -> bool:
    """Whether a recipe's ``diagnostics`` ask for one that every objective can give."""
    return diagnostics == "all" or name in diagnostics


def available(objective: Any, row: tuple[int, ...]) -> tuple[str, ...]:
    """The names of the diagnostics that an objective can give for rows of a shape.

    Example:
      >>> from jaxad import networks, objectives
      >>> available(objectives.deep_svdd(networks.MLP((16, 8))), (5,))
      ('gradient_norm', 'scores', 'collapse', 'effective_rank')
    """
    return _available(jax.tree.structure(objective), tuple(row))


@cache
@in_single_precision
def _available(structure: Any, row: tuple[int, ...]) -> tuple[str, ...]:
    objective = jax.tree.unflatten(structure, [np.float32(1)] * structure.num_leaves)
    names = [n for n in GENERAL if n not in LATENT or hasattr(objective, "transform")]
    if hasattr(objective, "diagnose"):

        def own(x: Array) -> dict[str, Array]:
            rows = ArrayRows(x, jnp.zeros(len(x), jnp.int32), jnp.ones(len(x)))
            return objective.diagnose(*objective.init(jax.random.key(0), x), rows)

        names += jax.eval_shape(own, jax.ShapeDtypeStruct((1, *row), jnp.float32))
    return tuple(names)


def check_diagnostics(objective: Any, recipe: Any, row: tuple[int, ...]) -> None:
    """Raise an error if a recipe asks for a diagnostic that the objective cannot give.

    Args:
      objective: the objective; its numbers may have an axis over members.
      recipe: the recipe, checked.
      row: the shape of a row.

    Raises:
      ValueError: names the diagnostic and those that the objective can give.
    """
    if not recipe.diagnostics or recipe.diagnostics == "all":
        return
    known = available(objective, row)
    missing = [name for name in recipe.diagnostics if name not in known]
    if missing:
        raise ValueError(
            f"diagnostics={recipe.diagnostics!r}: this {type(objective).__name__} cannot give "
            f"{', '.join(map(repr, missing))}: choose some of {', '.join(map(repr, known))} as a "
            "tuple, or 'all'"
        )


def sample(rows: ArrayRows) -> ArrayRows:
    """At most `SAMPLE` of the rows that do not weigh 0, evenly spaced, padded with weight 0.

    The sample of a set does not depend on its padding.
    """
    counted = jnp.cumsum(rows.weight > 0)
    total, size = counted[-1], min(SAMPLE, len(rows.weight))
    place = jnp.arange(size)
    evenly = place * (total // size) + place * (total % size) // size  # place * total overflows
    wanted = jnp.where(total > size, evenly, place)
    at = jnp.minimum(jnp.searchsorted(counted, wanted + 1), len(rows.weight) - 1)
    weight = jnp.where(place < total, rows.weight[at], 0)
    return ArrayRows(rows.x[at], rows.label[at], weight, jnp.minimum(total, size))


def no_norms(params: Params) -> Norms:
    """The `Norms` before an epoch's first step."""
    zero = jnp.float32(0)
    return Norms({name: zero for name in _layers(params)}, zero)


def add_norms(norms: Norms | None, gradient: Params, finite: Array) -> Norms | None:
    """Add the gradient of a step, if it is finite; None stays None."""
    if norms is None:
        return None
    total = {
        name: norms.total[name] + jnp.where(finite, _norm(leaves), 0)
        for name, leaves in _layers(gradient).items()
    }
    return Norms(total, norms.steps + finite)


def mean_norms(norms: Norms | None) -> dict[str, Array]:
    """The records of an epoch's `Norms`, NaN without finite steps; nothing for None."""
    if norms is None:
        return {}
    return {f"gradient_norm/{name}": total / norms.steps for name, total in norms.total.items()}


def _layers(params: Params) -> dict[str, list[Array]]:
    """The arrays of each layer by its path; arrays in one dict are a layer, one outside is, too."""
    found: dict[str, list[Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        layer = path[:-1] or path
        found.setdefault(jax.tree_util.keystr(layer, simple=True, separator="/"), []).append(leaf)
    return found


def _norm(leaves: list[Array]) -> Array:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in leaves))


def measure(
    objective: Any,
    diagnostics: str | tuple[str, ...],
    params: Params,
    stats: Stats,
    rows: ArrayRows,
) -> dict[str, Array]:
    """The records of a model on a sample of rows, scalars by name.

    Args:
      objective: the objective.
      diagnostics: the recipe's; the gradient's norms are not among the result.
      params: the model's parameters.
      stats: its statistics, fitted to the sample.
      rows: from `sample`.
    """
    wanted = available(objective, rows.shape) if diagnostics == "all" else diagnostics
    record = {}

    def of_rows(method: str) -> Array:
        function = lambda x: getattr(objective, method)(params, stats, x)  # noqa: E731
        return map_rows(function, rows.x, chunk=objective.chunk, count=rows.count)

    if "scores" in wanted:
        values = quantiles(of_rows("score"), rows.weight, tuple(QUANTILES.values()))
        record |= {f"scores_{name}": values[i] for i, name in enumerate(QUANTILES)}
    if any(name in wanted for name in LATENT):
        z = of_rows("transform")
        measures = {"collapse": collapse_index, "effective_rank": effective_rank}
        record |= {n: measures[n](z, rows.weight) for n in LATENT if n in wanted}
    if set(wanted) - set(GENERAL):
        for name, value in objective.diagnose(params, stats, rows).items():
            if name in wanted:
                several = {f"{name}_{k}": v for k, v in enumerate(value)} if jnp.ndim(value) else {}
                record |= several or {name: value}
    return {name: jnp.asarray(value, jnp.float32) for name, value in record.items()}


def quantiles(values: Array, weight: Array, shares: tuple[float, ...]) -> Array:
    """The smallest values at or below which lie these shares of the weight, ``[len(shares)]``.

    It is ``numpy.quantile(values, shares, weights=weight, method="inverted_cdf")``.

    Args:
      values: ``[B]``.
      weight: ``[B]``; rows of weight 0 are ignored.
      shares: in (0, 1].

    Example:
      >>> values, weight = jnp.array([4.0, 1.0, 9.0, 2.0]), jnp.array([1.0, 1.0, 0.0, 1.0])
      >>> quantiles(values, weight, (0.5, 0.95)).tolist()
      [2.0, 4.0]
    """
    order = jnp.argsort(jnp.where(weight > 0, values, jnp.inf))
    below = jnp.cumsum(weight[order])
    at = jnp.searchsorted(below, jnp.asarray(shares, below.dtype) * below[-1])
    return values[order][jnp.minimum(at, len(values) - 1)]


def collapse_index(z: Array, weight: Array) -> Array:
    """How far latent vectors spread, relative to their length: near 0 if all rows map to one point.

    It is the root mean square distance of the vectors to their mean, divided by their root mean
    square length: 0 if all are the same, 1 if their mean is the origin. A good Deep SVDD has a
    small index, too, but a collapsed network's goes on to fall by orders of magnitude. It does not
    depend on the scale of the vectors.

    Our own definition. The standard deviation of normalised vectors, by which Chen & He, "Exploring
    Simple Siamese Representation Learning", CVPR 2021, section 4.1, watch for collapse, is close to
    it, but does not see differences in length.

    Args:
      z: ``[B, L]``; further axes are flattened.
      weight: ``[B]``; rows of weight 0 change nothing.

    Returns:
      A scalar in [0, 1].

    Example:
      >>> z = jnp.array([[3.0, 4.0], [3.0, 4.0], [3.0, -4.0]])
      >>> round(float(collapse_index(z, jnp.ones(3))), 3)
      0.754
      >>> float(collapse_index(z, jnp.array([1.0, 1.0, 0.0])))
      0.0
    """
    z, share = _live(z, weight)
    spread, length = _spread(z, share), jnp.sum(jnp.square(z), 1) @ share
    return jnp.sqrt(jnp.sum(jnp.square(spread)) / jnp.maximum(length, jnp.finfo(z.dtype).tiny))


def effective_rank(z: Array, weight: Array) -> Array:
    """The effective rank of the covariance of latent vectors: how many directions they use.

    It is ``exp(-sum p log p)`` with the covariance's eigenvalues ``p``, divided by their sum: L if
    all directions have the same variance, 1 if the vectors lie on a line.

    Source: Roy & Vetterli, "The Effective Rank: A Measure of Effective Dimensionality", EUSIPCO
    2007, definition 1.

    Args:
      z: ``[B, L]``; further axes are flattened.
      weight: ``[B]``; rows of weight 0 change nothing.

    Returns:
      A scalar in [1, min(B, L)]; 0 if all vectors are the same.

    Example:
      >>> corners = jnp.array([[1.0, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]])
      >>> round(float(effective_rank(corners, jnp.ones(4))), 3)
      2.0
    """
    z, share = _live(z, weight)
    spread = _spread(z, share)
    spread = spread / jnp.maximum(jnp.max(jnp.abs(spread)), jnp.finfo(z.dtype).tiny)
    # The other product of the same matrices has the same eigenvalues, except for zeros.
    few, many = (spread.T, spread) if z.shape[0] > z.shape[1] else (spread, spread.T)
    found = jnp.maximum(jnp.linalg.eigvalsh(jnp.matmul(few, many, precision="highest")), 0)
    total = jnp.sum(found)
    entropy = jnp.sum(jax.scipy.special.entr(found / jnp.where(total > 0, total, 1)))
    return jnp.where(total > 0, jnp.exp(entropy), total)


def _live(z: Array, weight: Array) -> tuple[Array, Array]:
    """Vectors ``[B, L]``, 0 where they weigh 0, and each row's share of the weight ``[B]``."""
    z = jnp.where((weight > 0)[:, None], z.reshape(len(z), -1), 0)
    return z, weight / jnp.maximum(jnp.sum(weight), 1e-12)


def _spread(z: Array, share: Array) -> Array:
    """A matrix ``S`` ``[B, L]`` such that ``S.T @ S`` is the covariance of the vectors."""
    mean = jnp.matmul(share, z, precision="highest")
    return jnp.sqrt(share)[:, None] * (z - mean)
