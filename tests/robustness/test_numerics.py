"""The numerical audit: formulas and exact passes against references of more digits.

Every function is computed in float32 (what works in numpy: in float64) and by an independent
formula in float64 (in extended precision), for inputs of many magnitudes and condition numbers.

An error is measured in units that its inputs explain: how far the reference moves when every input
is off by one unit in its last place, with random signs, plus one such unit of the result. An error
of a few units is the best that a formula can do. A formula that cancels, such as a variance by the
mean of squares, has an error of thousands or more. `bound` is the most that is allowed.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import DETECTORS, KEY, PLANTED, RECIPE, fresh
from scipy.special import softmax
from scipy.stats import ortho_group

from jaxad import data, losses, networks, thresholds, training
from jaxad.estimators import ensemble
from jaxad.estimators.scaling import fit_scaler
from jaxad.fleet import scaling as fleet_scaling
from jaxad.losses import (
    contrastive,
    diffusion_time,
    hypersphere,
    mixture,
    reconstruction,
    sad,
    score_matching,
    transformation,
)
from jaxad.objectives.kurtosis import trimmed_kurtosis
from jaxad.training import diagnostics

MAGNITUDES = (1e-8, 1e-4, 1.0, 1e4, 1e8)
CONDITIONS = (1.0, 1e2, 1e4, 1e6, 1e8)
_WELL = 100  # the largest condition number of results whose relative errors are stated
TINY = float(np.finfo(np.float32).tiny)
F = np.float32


class Case(NamedTuple):
    """One function of the audit.

    Attributes:
      draw: ``(rng, magnitude, condition)`` to a tuple of inputs.
      function: from these inputs to an array.
      reference: the same of float64 inputs, by another formula.
      bound: the largest error allowed, in units that the inputs explain.
      scale: of the inputs, the magnitude to whose last digit a result is good at best, beside its
        own; for formulas that trade digits for speed, as their docstrings say.
      compiled: whether to compile the function.
      magnitudes: those of its inputs.
      seeds: inputs drawn for each magnitude and condition.
    """

    draw: Callable[..., tuple]
    function: Callable
    reference: Callable
    bound: float = 8
    scale: Callable[..., Any] | None = None
    compiled: bool = True
    magnitudes: tuple[float, ...] = MAGNITUDES
    seeds: int = 2


class Found(NamedTuple):
    """The worst errors over a grid."""

    relative: float  # of results whose condition number is at most 100
    units: float
    at: str  # magnitude and condition of the worst in units


def audit(case: Case, dtype: Any = np.float32) -> Found:
    """Run a case over the grid, with its floating inputs in a type."""
    function = jax.jit(case.function) if case.compiled else case.function
    found = Found(0, 0, "")
    for magnitude in case.magnitudes:
        for condition in CONDITIONS:
            for seed in range(case.seeds):
                rng = np.random.default_rng([seed, *np.float64([magnitude, condition]).view("u4")])
                inputs = case.draw(rng, magnitude, condition)
                inputs = tuple(
                    a.astype(dtype) if getattr(a, "dtype", 0) == np.float32 else a for a in inputs
                )
                relative, units = _errors(case, function, inputs, rng)
                at = f"magnitude {magnitude:.0e}, condition {condition:.0e}"
                found = found._replace(relative=max(found.relative, relative))
                if units > found.units:
                    found = found._replace(units=units, at=at)
    return found


def _errors(case: Case, function: Callable, inputs: tuple, rng: Any) -> tuple[float, float]:
    """The worst relative error of results that are well conditioned, and that of all in units."""
    single = all(a.dtype != np.float64 for a in map(np.asarray, inputs))
    unit = np.finfo(np.float32 if single else np.float64).eps
    wide: Any = np.float64 if single else np.longdouble

    def reference(scatter: bool) -> np.ndarray:
        given = []
        for a in map(np.asarray, inputs):
            if a.dtype.kind == "f":
                a = a.astype(wide)
                a = a * (1 + unit * rng.choice([-1, 1], a.shape)) if scatter else a
            given.append(a)
        return np.asarray(case.reference(*given), wide)

    actual, exact = np.asarray(function(*inputs)), reference(False)
    assert actual.shape == exact.shape
    assert np.isfinite(actual).all(), actual
    error = np.abs(actual - exact)
    moved = functools.reduce(np.maximum, [np.abs(reference(True) - exact) for _ in range(6)])
    size = np.abs(exact)
    if case.scale is not None:
        moved = moved + unit * np.asarray(case.scale(*inputs), wide)
    # Results of denormal size count as 0: processors and formulas may flush them.
    floor = TINY if single else 1e-300
    units = error / (moved + unit * size + floor)
    # Other results have no digits that could be right.
    counted = (size > floor) & (moved < _WELL * unit * size)
    relative = np.where(counted, error / np.where(counted, size, 1), 0)
    return float(relative.max()), float(units.max())


# What is drawn. All of it is float32, which float64 holds exactly.


def near(rng, magnitude, condition, shape=(24, 6)):
    """Numbers of a magnitude that differ by one part in ``condition``."""
    return (magnitude * (1 + rng.normal(size=shape) / condition)).astype(F)


def stretched(rng, magnitude, condition, shape=(24, 6)):
    """Rows whose singular values fall from ``magnitude`` to one ``condition``-th of it."""
    axes = np.geomspace(1, 1 / condition, shape[1])
    turn = ortho_group.rvs(shape[1], random_state=rng)
    return (magnitude * rng.normal(size=shape) * axes @ turn).astype(F)


def positive(rng, magnitude, condition, shape=(48,)):
    """Positive numbers spread over ``condition``, around a magnitude."""
    return (magnitude * condition ** rng.uniform(-0.5, 0.5, shape)).astype(F)


def weights(rng, n):
    """Weights of rows, some of them 0."""
    return (rng.uniform(0.1, 3, n) * (rng.random(n) > 0.2)).astype(F)


def small(rng):
    """A number that is no float32 by nature, such as 0.1."""
    return F(rng.uniform(0.05, 0.5))


def logsumexp(x, axis):
    """In any precision, extended included."""
    most = x.max(axis, keepdims=True)
    return np.log(np.exp(x - most).sum(axis)) + most.squeeze(axis)


def log_one_minus_exp(h):
    return np.where(h < 0.7, np.log(-np.expm1(-np.minimum(h, 1))), np.log1p(-np.exp(-h)))


def huber(d, delta):
    return delta**2 * np.expm1(np.log1p(d / delta**2) / 2)


def hsc(d, label, delta, epsilon):
    return np.where(label < 0, -log_one_minus_exp(huber(d + epsilon, delta)), huber(d, delta))


def quantile(values, weight, q):
    """The mean of a step function over an interval of length 1, by its definition."""
    order = np.argsort(values)
    values, weight = values[order][weight[order] > 0], weight[order][weight[order] > 0]
    ends = np.cumsum(weight)
    start = max(q * (ends[-1] - 1), 0)
    stop = min(start + 1, ends[-1])
    parts = np.minimum(ends, stop) - np.maximum(ends - weight, start)
    # Only the value at the start and the next one count.
    first = int(np.argmax(ends > start))
    share = parts[first] if first + 1 < len(values) else 1
    return share * values[first] + (1 - share) * values[min(first + 1, len(values) - 1)]


def moments(z, gamma, weight):
    """Count, mean and scatter, flat."""
    mass = gamma * weight[:, None]
    count = mass.sum(0)
    mean = (mass.T @ z) / count[:, None]
    apart = z[None] - mean[:, None]
    scatter = np.einsum("bk,kbi,kbj->kij", mass, apart, apart)
    return np.concatenate([count, mean.ravel(), scatter.ravel()])


def flat(found):
    return jnp.concatenate([jnp.ravel(part) for part in found])


def responsibilities(rng, rows, components=2):
    return softmax(rng.normal(size=(rows, components)), 1).astype(F)


def energy(z, gamma, weight, jitter):
    """Energies of all rows under their own mixture, with its floors."""
    share = (gamma * weight[:, None]).sum(0)
    logs = []
    for k, total in enumerate(share):
        mass = gamma[:, k] * weight / total
        apart = z - mass @ z
        covariance = (mass[:, None] * apart).T @ apart
        ridge = jitter * np.trace(covariance) / len(covariance) + 1e-10
        covariance = np.asarray(covariance + ridge * np.eye(len(covariance)), np.float64)
        value, vector = np.linalg.eigh(covariance)
        square = ((apart @ vector) ** 2 / value).sum(1)
        constant = np.log(value).sum() + len(value) * math.log(2 * math.pi)
        logs.append(np.log(total / share.sum()) - 0.5 * (square + constant))
    return -logsumexp(np.asarray(logs), axis=0)


def penalty(z, gamma, weight, jitter):
    total = 0
    for k in range(gamma.shape[1]):
        mass = gamma[:, k] * weight / (gamma[:, k] * weight).sum()
        variance = mass @ (z - mass @ z) ** 2
        total = total + (1 / (variance + jitter * variance.mean() + 1e-10)).sum()
    return total


def fitted(z, gamma, weight, jitter):
    return mixture.fit(mixture.moments(z, gamma, weight), jitter=jitter)


def drawn_mixture(make):
    def draw(rng, magnitude, condition):
        z = make(rng, magnitude, condition)
        return z, responsibilities(rng, len(z)), weights(rng, len(z)), F(1e-3)

    return draw


def cosines(a, b):
    unit = [v / np.sqrt((v**2).sum(-1, keepdims=True)) for v in (a, b)]
    return np.einsum("bml,bkl->bmk", *unit)


def softplus(x):
    return np.logaddexp(x, 0)


def not_own(logits):
    """The logits ``[..., M, M]`` of other classes, ``[..., M, M - 1]``."""
    m = logits.shape[-1]
    return logits[..., ~np.eye(m, dtype=bool)].reshape(*logits.shape[:-1], m - 1)


def own(logits):
    return np.diagonal(logits, axis1=-2, axis2=-1)


def confusion(logits):
    """``-log softmax`` of the own classes ``[B, M]``, without the difference of logarithms."""
    return softplus(logsumexp(not_own(logits) - own(logits)[..., None], axis=-1))


def internal(f, g, temperature):
    return confusion(cosines(f, g) / temperature).mean(-1)


def deterministic(views, original, temperature):
    others = cosines(views, views) / temperature
    to_original = cosines(views, original[:, None])[..., 0] / temperature
    return softplus(logsumexp(not_own(others) - to_original[..., None], axis=-1)).sum(-1)


def draw_latents(rng, magnitude, condition):
    """Latent vectors that are alike, and as many that are not, of one magnitude."""
    f = near(rng, magnitude, condition, (8, 5, 6)) * rng.choice([-1, 1], (8, 5, 6))
    g = (f + magnitude * rng.normal(size=f.shape) / condition).astype(F)
    g[4:] = magnitude * rng.normal(size=g[4:].shape)
    return f.astype(F), g, F(0.1)


def draw_views(rng, magnitude, condition):
    f, g, temperature = draw_latents(rng, magnitude, condition)
    return f, g[:, 0], temperature


def draw_sure(rng, magnitude, condition):
    """Logits of a sure classifier: the own class leads by up to ``log(condition)``."""
    logits = magnitude * rng.normal(size=(16, 5, 5))
    lead = math.log(condition) * rng.uniform(0, 1, (16, 5))
    at = np.arange(5)
    logits[:, at, at] = logits.max(-1) + lead
    return (logits.astype(F),)


def draw_bins(rng, magnitude, condition):
    (logits,) = draw_sure(rng, magnitude, condition)
    return logits[:, 0], np.zeros(16, np.int32)


def bin_entropy(logits, bin):
    others = logits[:, 1:] - logits[:, :1]
    return softplus(logsumexp(others, axis=1))


def bin_score(logits):
    """The first bin does not count for the mean, and the last one not for its complement."""
    place = np.arange(1, logits.shape[1]).astype(logits.dtype)
    return logsumexp(logits[:, 1:] + np.log(place), axis=1) - logsumexp(
        logits[:, :-1] + np.log(place[::-1]), axis=1
    )


def draw_centres(rng, magnitude, condition):
    """Latent vectors ``[B, M, L]`` around centres of classes, one ``condition``-th apart."""
    centres = (magnitude * rng.normal(size=(5, 6))).astype(F)
    z = centres + magnitude * rng.normal(size=(16, 5, 6)) / condition
    return z.astype(F), centres


def distances(z, centres):
    return ((z[:, :, None] - centres[None, None]) ** 2).sum(-1)


def spread_of_centres(z, centres):
    """What `squared_distances` promises: its digits are those of the largest square."""
    origin = centres.mean(0, dtype=np.float64)
    return 2 * ((z - origin) ** 2).sum(-1)[..., None] + 2 * ((centres - origin) ** 2).sum(-1)


def draw_distances(rng, magnitude, condition):
    """Squared distances ``[B, M, M]``, those to the own class close to the others."""
    return (near(rng, magnitude, condition, (16, 5, 5)),)


def triplet(distance, margin):
    return np.maximum(own(distance) + margin - not_own(distance).min(-1), 0).mean(-1)


def goad_score(distance, epsilon):
    return confusion(-np.maximum(distance, epsilon)).sum(-1)


def draw_fused(rng, magnitude, condition):
    z, centres = draw_centres(rng, magnitude, condition)
    return z, centres, (rng.normal(size=(6, 5)) / magnitude).astype(F), F(1), F(0.1)


def fused(z, centres, head, margin, weight):
    return weight * triplet(distances(z, centres), margin) + confusion(z @ head).mean(-1)


def fused_digits(z, centres, head, margin, weight):
    """The digits of its logits and distances: it is a loss, which training takes slopes of."""
    return np.abs(z @ head).max((1, 2)) + weight * spread_of_centres(z, centres).max((1, 2))


def squares(x, r):
    return ((x - r) ** 2).sum(1)


def relative_euclidean(x, r):
    return np.sqrt(squares(x, r) / (x**2).sum(1))


def cosine(x, r):
    return (x * r).sum(1) / np.sqrt((x**2).sum(1)) / np.sqrt((r**2).sum(1))


def draw_reconstructed(rng, magnitude, condition):
    x = (magnitude * rng.normal(size=(24, 6))).astype(F)
    return x, (x * (1 + rng.normal(size=x.shape) / condition)).astype(F)


def levels(first, last):
    beta = first + (last - first) * np.arange(400) / 399
    return np.sqrt(-np.expm1(np.cumsum(np.log1p(-beta))))


def on_chunks(reduce):
    """A function of all rows, in chunks: `Rows.fold` compiled, as in training."""

    def run(x, *others):
        rows = training.as_rows(np.zeros((len(x), *x.shape[1:]), F)).padded(len(x))
        return reduce(rows.__class__(x, rows.label, jnp.ones(len(x)), rows.count), *others)

    return run


def in_stream(reduce):
    """A function of all rows, in chunks: as a stream that is read in blocks."""

    def run(x, *others):
        return reduce(data.stream(list(np.array_split(x, 7)), rows=512), *others)

    return run


def mean_of(rows):
    return rows.mean(lambda x: x, chunk=512)


def normalised(rows):
    """The exact statistics of a batch norm, mean and variance, flat."""
    network = _Normalised()
    running = {"BatchNorm_0": {"mean": jnp.zeros(4), "variance": jnp.ones(4)}}
    found = networks.calibrate(network, {}, running, rows, chunk=512)["BatchNorm_0"]
    return jnp.concatenate([found["mean"], found["variance"]])


class _Normalised(networks.MLP):
    """Batch norm alone."""

    widths: tuple[int, ...] = ()

    @networks.modules.nn.compact
    def __call__(self, x, *, train=False, weight=None):
        return networks.BatchNorm()(x, train=train, weight=weight)


def mixture_of(rows):
    """Count, mean and scatter over chunks, as DAGMM merges them; one component."""

    def add(carry, batch):
        one = jnp.ones((len(batch.x), 1))
        return mixture.merge_moments(carry, mixture.moments(batch.x, one, batch.weight))

    return flat(rows.fold(add, mixture.empty_moments(1, 4), chunk=512))


def all_moments(x):
    return moments(x, np.ones((len(x), 1)), np.ones(len(x)))


def many(rng, magnitude, condition):
    return (near(rng, magnitude, condition, (5000, 4)),)


def mean_and_variance(x):
    return np.concatenate([x.mean(0), x.var(0)])


def kurtoses(share):
    def run(rows):
        return trimmed_kurtosis(rows, share=share, chunk=512)

    return run


def kurtosis_of(x):
    apart = x - x.mean(0)
    second = (apart**2).mean(0)
    flat = np.ptp(x, axis=0) == 0
    return np.where(flat, 3, (apart**4).mean(0) / np.where(flat, 1, second**2))


def draw_z(rng, magnitude, condition):
    return near(rng, magnitude, condition), weights(rng, 24)


def collapse(z, weight):
    share = (weight / weight.sum())[:, None]
    apart = z - (share * z).sum(0)
    return np.sqrt((share * apart**2).sum() / (share * z**2).sum())


def rank_of(z, weight):
    share = weight / weight.sum()
    apart = np.sqrt(share)[:, None] * (z - share @ z)
    value = np.linalg.svd(np.asarray(apart / np.abs(apart).max(), np.float64))[1] ** 2
    value = value[value > 0] / value.sum()
    return np.exp(-(value * np.log(value)).sum())


def scaled(name):
    """The scaler of rows in blocks, and what it makes of them."""

    def run(x):
        blocks = [x] if name == "robust" else np.array_split(x, 7)
        return fit_scaler(name, blocks, x.shape[1:])(x)

    return run


def standard(x):
    deviation = x.std(0)
    return (x - x.mean(0)) / np.where(deviation > 0, deviation, 1)


def minmax(x):
    span = np.ptp(x, axis=0)
    return (x - x.min(0)) / np.where(span > TINY, span, 1)


def robust(x):
    low, middle, high = (quantile_of(x, q) for q in (0.25, 0.5, 0.75))
    return (x - middle) / np.where(high > low, high - low, 1)


def quantile_of(x, q):
    """Along the first axis, interpolated; numpy's own rounds extended precision."""
    ordered, place = np.sort(x, 0), q * (len(x) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(x) - 1)] - ordered[low])


def draw_scores(rng, magnitude, condition):
    return (near(rng, magnitude, condition, (3, 400)).astype(np.float64),)


def combined(rule):
    def run(scores):
        return ensemble.combine(ensemble.fit_combination(rule, scores), scores)

    return run


def by_z(scores):
    apart = scores - scores.mean(1, keepdims=True)
    spread = np.sqrt((apart**2).mean(1, keepdims=True))
    return (apart / np.where(spread > 0, spread, 1)).mean(0)


def by_rank(scores):
    """The share of scores below, ties counted half; fewer scores than knots are exact."""
    below = (scores[:, None, :] < scores[:, :, None]).mean(2)
    ties = (scores[:, None, :] == scores[:, :, None]).mean(2)
    return (below + ties / 2).mean(0)


def group_moments(x):
    found = fleet_scaling.moments(x, np.array([0, 100, 101, len(x)]))
    return np.concatenate([found.mean, found.variance])


def moments_of_groups(x):
    parts = x[:100], x[100:101], x[101:]
    return np.concatenate([[p.mean(0) for p in parts], [p.var(0) for p in parts]])


def at(draw, *numbers):
    """``draw`` with further inputs."""
    return lambda *setting: (*draw(*setting), *map(F, numbers))


STREAM: dict[str, Any] = {"compiled": False, "magnitudes": (1e4,), "seeds": 1}  # each pass compiles
CASES = {
    "hypersphere.squared_distance": Case(
        lambda *a: (near(*a), near(*a, (6,))),
        hypersphere.squared_distance,
        lambda z, c: ((z - c) ** 2).sum(1),
    ),
    "hypersphere.one_class": Case(
        lambda *a: (positive(*a),), hypersphere.one_class, lambda d: d, bound=0
    ),
    "hypersphere.soft_boundary": Case(
        lambda rng, m, k: (near(rng, m, k, (48,)), F(math.sqrt(m)), small(rng)),
        lambda d, r, nu: hypersphere.soft_boundary(d, r, nu=nu),
        lambda d, r, nu: r**2 + np.maximum(d - r**2, 0) / nu,
    ),
    **{
        f"hypersphere.power {exponent}": Case(
            at(lambda *a: (positive(*a),), exponent),
            lambda d, p: hypersphere.power(d, exponent=p),
            lambda d, p: d**p,
        )
        for exponent in (0.5, 1.7)
    },
    "hypersphere.pseudo_huber": Case(
        lambda rng, m, k: (positive(rng, m, k), small(rng)),
        lambda d, delta: hypersphere.pseudo_huber(d, delta=delta),
        huber,
    ),
    "hypersphere.classifier": Case(
        at(lambda *a: (positive(*a), np.tile(np.int32([-1, 0, 1]), 16)), 1, 1e-6),
        lambda d, y, delta, e: hypersphere.classifier(d, y, delta=delta, epsilon=e),
        hsc,
    ),
    "hypersphere.centre": Case(
        draw_z,
        hypersphere.centre,
        lambda z, w: w @ z / w.sum(),
    ),
    "hypersphere.weighted_quantile": Case(
        lambda rng, m, k: (near(rng, m, k, (300,)), weights(rng, 300), small(rng)),
        hypersphere.weighted_quantile,
        quantile,
    ),
    "hypersphere.radius": Case(
        lambda rng, m, k: (positive(rng, m, k, (300,)), weights(rng, 300), small(rng)),
        lambda d, w, nu: hypersphere.radius(d, w, nu=nu),
        lambda d, w, nu: quantile(np.sqrt(d), w, 1 - nu),
        bound=16,
    ),
    "hypersphere.safe_sqrt": Case(lambda *a: (positive(*a),), hypersphere.safe_sqrt, np.sqrt),
    "sad.labelled_exponent": Case(
        at(lambda *a: (positive(*a), np.tile(np.int32([-1, 0, 1]), 16)), 1.3, 1e-6),
        lambda d, y, eta, e: sad.labelled_exponent(d, y, eta=eta, epsilon=e),
        lambda d, y, eta, e: np.where(y, eta * (d + e) ** np.where(y < 0, -1.0, 1.0), d),
    ),
    **{
        f"mixture.moments, {name}": Case(
            lambda *a, make=make: drawn_mixture(make)(*a)[:3],
            lambda *a: flat(mixture.moments(*a)),
            moments,
        )
        for name, make in (("offset", near), ("stretched", stretched))
    },
    "mixture.merge_moments": Case(
        lambda *a: drawn_mixture(near)(*a)[:3],
        lambda z, g, w: flat(
            mixture.merge_moments(
                mixture.moments(z[:9], g[:9], w[:9]), mixture.moments(z[9:], g[9:], w[9:])
            )
        ),
        moments,
    ),
    **{
        f"mixture.energy, {name}": Case(
            drawn_mixture(make),
            lambda z, g, w, j: mixture.energy(z, fitted(z, g, w, j)),
            energy,
            bound=256,  # a factor of the covariance, whose condition the ridge limits to thousands
        )
        for name, make in (("offset", near), ("stretched", stretched))
    },
    "mixture.covariance_penalty": Case(
        drawn_mixture(stretched),
        lambda *a: mixture.covariance_penalty(fitted(*a)),
        penalty,
    ),
    **{
        f"reconstruction.squared_error, {how}": Case(
            draw_reconstructed,
            functools.partial(reconstruction.squared_error, reduction=how),
            lambda x, r, how=how: squares(x, r) / (6 if how == "mean" else 1),
        )
        for how in ("sum", "mean")
    },
    "reconstruction.relative_euclidean": Case(
        draw_reconstructed, reconstruction.relative_euclidean, relative_euclidean
    ),
    "reconstruction.cosine": Case(draw_reconstructed, reconstruction.cosine, cosine),
    "reconstruction.features": Case(
        draw_reconstructed,
        reconstruction.features,
        lambda x, r: np.stack([relative_euclidean(x, r), cosine(x, r)], 1),
    ),
    "contrastive.internal": Case(
        draw_latents, lambda f, g, t: contrastive.internal(f, g, temperature=t), internal
    ),
    "contrastive.internal, some shown": Case(
        draw_latents,
        lambda f, g, t: contrastive.internal(
            f, g, temperature=t, shown=jnp.asarray([1, 1, 1, 0, 0], f.dtype)
        ),
        lambda f, g, t: internal(f[:, :3], g[:, :3], t),
    ),
    "contrastive.deterministic": Case(
        draw_views, lambda f, g, t: contrastive.deterministic(f, g, temperature=t), deterministic
    ),
    "diffusion_time.noise_levels": Case(
        lambda rng, m, k: (F(1e-4 * small(rng)), F(0.1 * small(rng))),
        lambda first, last: diffusion_time.noise_levels(400, first=first, last=last),
        levels,
    ),
    "diffusion_time.cross_entropy": Case(draw_bins, diffusion_time.cross_entropy, bin_entropy),
    "diffusion_time.score": Case(
        lambda *a: draw_bins(*a)[:1],
        diffusion_time.score,
        bin_score,
        scale=lambda logits: 1,  # a log-odds, whose digits near 0 are those of 1
    ),
    "score_matching.denoising": Case(
        lambda rng, m, k: (near(rng, -m, k), near(rng, m, k)),
        score_matching.denoising,
        lambda s, e: ((s + e) ** 2).sum(1) / 2,
    ),
    "score_matching.noise_scale": Case(
        lambda rng, m, k: (positive(rng, 3, k), small(rng), small(rng), F(0.1), F(3)),
        lambda k, s, slope, low, high: score_matching.noise_scale(
            k, scale=s, slope=slope, minimum=low, maximum=high
        ),
        lambda k, s, slope, low, high: np.clip(s * (1 + slope * (k - 3)), low, high),
    ),
    "transformation.class_centres": Case(
        lambda rng, m, k: (near(rng, m, k, (24, 5, 6)), weights(rng, 24)),
        transformation.class_centres,
        lambda z, w: np.einsum("b,bml->ml", w, z) / w.sum(),
    ),
    "transformation.squared_distances": Case(
        draw_centres, transformation.squared_distances, distances, scale=spread_of_centres
    ),
    "transformation.triplet_centre": Case(
        at(draw_distances, 1),
        lambda d, margin: transformation.triplet_centre(d, margin=margin),
        triplet,
    ),
    "transformation.cross_entropy": Case(
        draw_sure, transformation.cross_entropy, lambda logits: confusion(logits).mean(-1)
    ),
    "transformation.score": Case(
        at(draw_distances, 1e-6),
        lambda d, e: transformation.score(d, epsilon=e),
        goad_score,
    ),
    "GOAD's score of latent vectors": Case(
        at(draw_centres, 1e-6),
        lambda z, c, e: transformation.score(transformation.squared_distances(z, c), epsilon=e),
        lambda z, c, e: goad_score(distances(z, c), e),
        magnitudes=(1e-8, 1e-4, 1.0),  # beyond, all probabilities are 0 or 1
    ),
    "transformation.fused_loss": Case(
        draw_fused,
        lambda z, c, head, margin, weight: transformation.fused_loss(
            z, c, head, margin=margin, triplet_weight=weight
        ),
        fused,
        scale=fused_digits,
    ),
    "mean of all rows": Case(many, on_chunks(mean_of), lambda x: x.mean(0)),
    "mean of a stream": Case(many, in_stream(mean_of), lambda x: x.mean(0), **STREAM),
    "batch norm of all rows": Case(
        many,
        on_chunks(normalised),
        mean_and_variance,
        bound=16,  # of long sums of squares
    ),
    "batch norm of a stream": Case(many, in_stream(normalised), mean_and_variance, **STREAM),
    "mixture of all rows": Case(many, on_chunks(mixture_of), all_moments),
    "mixture of a stream": Case(many, in_stream(mixture_of), all_moments, **STREAM),
    "kurtosis of all rows": Case(many, on_chunks(kurtoses(0)), kurtosis_of),
    "kurtosis of a stream": Case(many, in_stream(kurtoses(0)), kurtosis_of, **STREAM),
    "diagnostics.collapse_index": Case(draw_z, diagnostics.collapse_index, collapse),
    "diagnostics.effective_rank": Case(
        lambda rng, m, k: (stretched(rng, m, k), weights(rng, 24)),
        diagnostics.effective_rank,
        rank_of,
        bound=64,  # eigenvalues of a product of the rows with themselves
    ),
    **{
        f"scaler, {name}": Case(many, scaled(name), formula, compiled=False)
        for name, formula in (("standard", standard), ("minmax", minmax), ("robust", robust))
    },
    "ensemble by z": Case(draw_scores, combined("z"), by_z, compiled=False),
    "ensemble by rank": Case(draw_scores, combined("rank"), by_rank, compiled=False),
    "thresholds.quantile": Case(
        lambda *a: (draw_scores(*a)[0][0],),
        lambda scores: thresholds.quantile(scores, 0.9),
        lambda scores: quantile_of(scores, np.longdouble(0.9)),
        compiled=False,
    ),
    "moments of a fleet's groups": Case(many, group_moments, moments_of_groups, compiled=False),
}
# Formulas that the audit has mended, and the distance.
QUICK = (
    "hypersphere.squared_distance",
    "mixture.moments, offset",
    "contrastive.internal",
    "diffusion_time.cross_entropy",
    "diffusion_time.score",
    "mean of all rows",
)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.full) for n in CASES]
)
def test_errors_are_those_that_the_inputs_explain(name, record_property):
    found = audit(CASES[name])
    record_property("worst relative error", f"{found.relative:.1e}")
    record_property("worst error in explained units", round(found.units, 2))
    record_property("at", found.at)
    record_property("bound", CASES[name].bound)
    assert found.units <= CASES[name].bound, found


# The formulas of `jaxad.losses`, but for what is float32 by definition or, in the reference, needs
# eigenvalues.
FORMULAS = [
    name
    for name in CASES
    if name.split(".")[0] in vars(losses)
    and not name.startswith(("mixture.energy", "diffusion_time.noise_levels"))
]


@pytest.mark.full
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_take_float64_where_64_bit_types_are_enabled(name, record_property):
    case = CASES[name]._replace(seeds=1, magnitudes=(1e-4, 1e4))
    with jax.enable_x64(True):
        found = audit(case, np.float64)
    record_property("worst relative error", f"{found.relative:.1e}")
    record_property("worst error in explained units", round(found.units, 2))
    record_property("bound", case.bound)
    assert found.units <= case.bound, found


@pytest.mark.full
@pytest.mark.parametrize("name", PLANTED)
def test_scores_of_whole_models_agree_with_float64(name, record_property):
    """The model's own program in float64 is the reference; `CASES` has each formula by itself."""
    x = np.random.default_rng(0).normal(size=(256, 12)).astype(F)
    x[-64:] *= np.geomspace(1, 1e4, 64, dtype=F)[:, None]  # ever farther away
    objective = PLANTED[name]
    result = training.fit(objective, RECIPE.replace(epochs=2), KEY, x[:192])
    model = result.params, result.stats
    found = np.asarray(jax.jit(objective.score)(*model, x), np.float64)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (*model, x))
        expected = jax.jit(objective.score)(*wide)
        assert expected.dtype == jnp.float64
    expected = np.asarray(expected)
    size = np.abs(expected) + np.median(np.abs(expected))  # some scores change their sign
    worst = float((np.abs(found - expected) / size).max())
    bound = 1e-3 if name == "goad" else 1e-5  # differences of squared distances, far away
    record_property("worst relative error", f"{worst:.1e}")
    record_property("bound", bound)
    assert worst <= bound


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:the contributions of .* Their sums are right")
@pytest.mark.parametrize("name", DETECTORS)
def test_contributions_sum_to_the_score(name, record_property):
    """Integrated gradients are complete, far from the training rows, too."""
    x = np.random.default_rng(0).normal(size=(200, 5))
    detector = fresh(name, combine="mean").fit(x)
    rows = x[:9] * np.geomspace(1, 1e4, 9)[:, None]
    values, base = detector.explain(rows, method="integrated_gradients", return_base=True)
    score = detector.anomaly_score(rows)
    worst = float((np.abs(values.sum(1) + base - score) / np.abs(score)).max())
    record_property("worst relative error", f"{worst:.1e}")
    record_property("bound", 1e-6)
    assert worst <= 1e-6
