"""Published numbers beside what explains them: each with its cause, and without it.

A claim is something that public code does and that its method does not ask for. For each set it
has the published number, the one that is measured here with the cause, and the one without. Where
the first two agree and the third does not, the number is the cause's and not the method's.

The published numbers are the one-class table of Livernoche et al. (ICLR 2024). Where no table of
numbers by set was at hand, a cause is measured with and without alone.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

import jaxad
from benchmarks.quality import adbench, reference_numbers, references
from benchmarks.record import environment, tables
from benchmarks.record.rows import Row, part_name
from benchmarks.record.store import Part
from benchmarks.settings import OptionError
from jaxad import data, networks, objectives
from jaxad.data import CARDS, Card, Split
from jaxad.rows import Rows
from jaxad.typing import Array, Batch, Key, Params, Stats

DESCRIPTION = "published numbers beside what explains them, with and without it"

Scores = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # of train, test and a seed
Pair = tuple[float, float]  # with the cause, and without


class Claim(NamedTuple):
    """Something that public code does.

    Attributes:
      cause: what that is, in a phrase.
      method: whose published numbers it explains, by the names of `reference_numbers.one_class`;
        None: no table of them by set was at hand.
      measure: called with the rows, the marks, a seed and the set's name.
      concerns: whether a set, by its card, is one of its sets.
    """

    cause: str
    method: str | None
    measure: Callable[[np.ndarray, np.ndarray, int, str], Pair]
    concerns: Callable[[Card], bool]


def _auroc(x: np.ndarray, anomaly: np.ndarray, split: Split, scores: Scores, seed: int) -> float:
    """AUROC of the scores of test rows; rows are standardised by the training rows."""
    scaler = StandardScaler().fit(x[split.train])
    train, test = (np.asarray(scaler.transform(x[part]), np.float32) for part in split)
    return float(roc_auc_score(anomaly[split.test], scores(train, test, seed)))


def _in_file_order(anomaly: np.ndarray, seed: int) -> Split:
    """The split of the published table."""
    return data.split(anomaly, "one_class_file_order", reference_numbers.seed_of_split(seed))


def _at_random(anomaly: np.ndarray, seed: int) -> Split:
    return data.split(anomaly, "one_class_random", seed)


def _compared(
    with_cause: Scores, without: Scores, split: Callable[[np.ndarray, int], Split] = _in_file_order
) -> Callable[[np.ndarray, np.ndarray, int, str], Pair]:
    """Two ways to score the same split."""

    def measure(x: np.ndarray, anomaly: np.ndarray, seed: int, name: str) -> Pair:
        del name
        rows = split(anomaly, seed)
        one, other = (_auroc(x, anomaly, rows, s, seed) for s in (with_cause, without))
        return one, other

    return measure


def _scores(kind: Callable[..., Any], **options: Any) -> Scores:
    """Scores of one network on rows that are standardised already."""

    def scores(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        detector = kind(n_members=1, scaler="none", random_state=seed, **options)
        return detector.fit(train).anomaly_score(test)

    return scores


# Rows are split in the order of the file, small sets after resampling, and a normal is relabelled.


def _nearest(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Distance to the fifth nearest training row."""
    del seed
    return references.FifthNeighbour().fit(train).anomaly_score(test)


def _by_split(x: np.ndarray, anomaly: np.ndarray, seed: int, name: str) -> Pair:
    """By the rule of the published table, and on random halves."""
    del name
    splits = _in_file_order(anomaly, seed), _at_random(anomaly, seed)
    one, other = (_auroc(x, anomaly, split, _nearest, seed) for split in splits)
    return one, other


def _by_label(x: np.ndarray, anomaly: np.ndarray, seed: int, name: str) -> Pair:
    """MCM's split: of an odd number of normals, the last of the test is called an anomaly."""
    del seed, name
    normal = np.flatnonzero(~anomaly)
    train, rest = np.split(normal, [len(normal) // 2])
    test = np.concatenate([rest, np.flatnonzero(anomaly)])
    marks = anomaly.copy()
    if len(rest) > len(train):
        marks[rest[-1]] = True
    one, other = (_auroc(x, m, Split(train, test), _nearest, 0) for m in (marks, anomaly))
    return one, other


# A network that ends with a softmax, and a loss that begins with one.


class Rectified(nn.Module):
    """Linear layers with ReLU between, which begin as in PyTorch: weights and biases are uniform
    within one over the root of a layer's inputs.

    Attributes:
      widths: units of each layer.
      dropout: share of units dropped after hidden layers, the first excepted, as DTE-C has it.
    """

    widths: tuple[int, ...]
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, D]`` to ``[B, widths[-1]]``."""
        del weight
        for i, width in enumerate(self.widths):
            draw = _within(x.shape[-1] ** -0.5)
            x = nn.Dense(width, kernel_init=draw, bias_init=draw)(x)
            if i < len(self.widths) - 1:
                x = nn.Dropout(self.dropout if i else 0)(nn.relu(x), deterministic=not train)
        return x


def _within(limit: float) -> Callable[..., Array]:
    """Initial values that are uniform between ``-limit`` and ``limit``."""
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -limit, limit
    )


def dte_c(shape: tuple[int, ...], *, softmax_twice: bool) -> Any:
    """DTE-C with its authors' network."""
    del shape
    return objectives.dte_c(Rectified((256, 512, 256, 7), 0.5), softmax_twice=softmax_twice)


def _dte_c(softmax_twice: bool) -> Scores:
    return _scores(
        jaxad.ObjectiveDetector,
        make_objective=functools.partial(dte_c, softmax_twice=softmax_twice),
        epochs=400,
        batch_size=64,
        learning_rate=1e-4,
        weight_decay=5e-4,
    )


# A loss that is detached from the network.


def detached_dagmm(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Energies of the DAGMM of ADBench, DTE and their copies, which no gradient ever reaches.

    Their loss is made a new leaf of the graph, so that all parameters stay what they were: normal
    with deviation 0.02, biases included. The widths are D-60-30-10-1 and back, with tanh between;
    the mixture has four components. It is that of whole batches of 256 training rows, each around
    a mean of its own, and half of the hidden units that assign rows to components are dropped. The
    product of a Cholesky factor's diagonal, which is the root of the determinant, is taken for the
    determinant.
    """
    rng = np.random.default_rng(seed)
    widths = (train.shape[1], 60, 30, 10, 1)
    encoder, decoder = _layers(rng, widths), _layers(rng, widths[::-1])
    first, second = _layers(rng, (3, 10, 4))

    def latent(x: np.ndarray) -> np.ndarray:
        """The code, the relative distance to the reconstruction and its cosine, ``[B, 3]``."""
        code = _tanh_network(x, encoder)
        again = _tanh_network(code, decoder)
        size, size_again = (np.linalg.norm(v, axis=1) for v in (x, again))
        distance = np.linalg.norm(x - again, axis=1) / size
        cosine = np.sum(x * again, axis=1) / np.maximum(size * size_again, 1e-8)
        return np.column_stack([code, distance, cosine])

    def belonging(z: np.ndarray) -> np.ndarray:
        """How far rows belong to the components ``[B, 4]``."""
        hidden = np.tanh(z @ first[0] + first[1])
        hidden = np.where(rng.random(hidden.shape) < 0.5, hidden / 0.5, 0)
        odds = np.exp(hidden @ second[0] + second[1])
        return odds / odds.sum(axis=1, keepdims=True)

    batch, parts = 256, []
    for start in range(0, len(train) - batch + 1, batch):
        z = latent(train[start : start + batch])
        belongs = belonging(z)
        weight = belongs.sum(axis=0)
        mean = belongs.T @ z / weight[:, None]
        off = z[:, None] - mean
        scatter = np.einsum("bk,bki,bkj->kij", belongs, off, off)
        parts.append((weight, mean * weight[:, None], scatter))
    weight, mean, scatter = (np.sum(found, axis=0) for found in zip(*parts, strict=True))
    mean = mean / weight[:, None]
    covariance = scatter / weight[:, None, None] + 1e-12 * np.eye(3)
    off = latent(test)[:, None] - mean
    power = -0.5 * np.einsum("bki,kij,bkj->bk", off, np.linalg.inv(covariance), off)
    factor = np.linalg.cholesky(2 * np.pi * covariance)
    root = np.sqrt(factor.diagonal(axis1=1, axis2=2).prod(axis=1))
    return -np.log(np.sum(weight / weight.sum() * np.exp(power) / root, axis=1) + 1e-12)


def _layers(rng: np.random.Generator, widths: Sequence[int]) -> list[tuple[np.ndarray, ...]]:
    """Initial weights and biases of a network of the detached DAGMM."""
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return [(rng.normal(0, 0.02, pair), rng.normal(0, 0.02, pair[1])) for pair in pairs]


def _tanh_network(x: np.ndarray, layers: Sequence[tuple[np.ndarray, ...]]) -> np.ndarray:
    for weights, bias in layers[:-1]:
        x = np.tanh(x @ weights + bias)
    weights, bias = layers[-1]
    return x @ weights + bias


_TRAINED_DAGMM = _scores(
    jaxad.DAGMM,
    hidden=(60, 30, 10),
    latent_dim=1,
    epochs=200,
    batch_size=256,
    learning_rate=1e-4,
)


# A Deep SVDD that is drawn to 0, or that is not trained at all.


class Units(nn.Module):
    """PyOD's network for Deep SVDD: the units of both its layers, 64 and 32, with ReLU and without
    biases. Its initial weights are Keras's.
    """

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, D]`` to ``[B, 96]``."""
        del train, weight
        draw = nn.initializers.glorot_uniform()
        hidden = nn.relu(nn.Dense(64, use_bias=False, kernel_init=draw)(x))
        output = nn.relu(nn.Dense(32, use_bias=False, kernel_init=draw)(hidden))
        return jnp.concatenate([hidden, output], axis=1)


class Drawn(objectives.BaseObjective):
    """Deep SVDD of PyOD before 2.0.1: ``|z - c|^2 + pull (|hidden|^2 + |z|^2)``.

    The centre c is the mean output of a second network, which is not used again.

    Attributes:
      network: a `Units`.
      pull: leaf, 0.1 in PyOD, where it is called a regulariser of activities.
    """

    network: nn.Module = struct.field(pytree_node=False)
    pull: Any
    chunk: int = struct.field(pytree_node=False, default=1024)

    def init(self, key: Key, x: Array) -> tuple[Params, Stats]:
        """Initialise the network and the second one."""
        params, _ = networks.init(self.network, key, x)
        second, _ = networks.init(self.network, jax.random.fold_in(key, 1), x)
        return params, {"second": second, "centre": jnp.zeros(32)}

    def prepare(self, params: Params, stats: Stats, rows: Rows) -> Stats:
        """Set the centre; what is positive and small is raised to 0.1."""
        del params
        mean = rows.mean(lambda x: self._units(stats["second"], x)[:, 64:], chunk=self.chunk)
        return stats | {"centre": jnp.where((mean > 0) & (mean < 0.1), 0.1, mean)}

    def loss(
        self, params: Params, stats: Stats, batch: Batch, key: Key | None
    ) -> tuple[Array, Stats]:
        """The loss ``[B]``."""
        del key
        units = self._units(params, batch.x)
        pulled = self.pull * jnp.sum(jnp.square(units), axis=1)
        return _distance(units, stats) + pulled, stats

    def score(self, params: Params, stats: Stats, x: Array) -> Array:
        """Squared distances to the centre ``[B]``."""
        return _distance(self._units(params, x), stats)

    def _units(self, params: Params, x: Array) -> Array:
        return networks.apply(self.network, params, {}, x)[0]


def _distance(units: Array, stats: Stats) -> Array:
    return jnp.sum(jnp.square(units[:, 64:] - stats["centre"]), axis=1)


def drawn(shape: tuple[int, ...], *, pull: Any) -> Any:
    """Deep SVDD as PyOD had it before 2.0.1."""
    del shape
    return Drawn(Units(), pull)


_PYOD = {"epochs": 100, "batch_size": 32, "learning_rate": 1e-3}


def _drawn(pull: float) -> Scores:
    """A tenth of the training rows is held out and not used, as there."""
    make = functools.partial(drawn, pull=pull)
    trained = _scores(jaxad.ObjectiveDetector, make_objective=make, **_PYOD)

    def scores(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        kept = np.random.default_rng(seed).permutation(train)[: round(0.9 * len(train))]
        return trained(kept, test, seed)

    return scores


def untrained_deep_svdd(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Scores of PyOD 2.0.1 to 3.6.2, whose training lacks its backward pass.

    The squared norm of the output of the network as it was initialised: the centre is 0.
    """
    rng, size = np.random.default_rng(seed), train.shape[1]
    first = rng.uniform(-(size**-0.5), size**-0.5, (size, 64))
    second = rng.uniform(-0.125, 0.125, (64, 32))
    return np.sum(np.square(np.maximum(np.maximum(test @ first, 0) @ second, 0)), axis=1)


_TRAINED_DEEP_SVDD = _scores(jaxad.DeepSVDD, hidden=(64,), latent_dim=32, batch_norm=False, **_PYOD)


# Epochs by the name of a set.

EPOCHS = {
    "thyroid": 10,
    "cardio": 2000,
    "satellite": 10,
    "satimage-2": 5,
    "annthyroid": 2000,
    "breastw": 1,
    "Cardiotocography": 1,
    "glass": 200,
    "Hepatitis": 1,
    "Ionosphere": 10,
    "landsat": 6,
    "adbench_mnist": 500,
    "Pima": 5,
    "vertebral": 25,
    "WBC": 1,
    "wine": 20,
}
ONE_NUMBER = 100  # of epochs for all sets, the default of the code's class


class Timed(nn.Module):
    """TCCM's network as its authors run it, which sees the time as 64 sines and 64 cosines."""

    features: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False, weight: Array | None = None) -> Array:
        """Map ``[B, D + 1]``, whose last column is the time, to ``[B, D]``."""
        waves = x[:, -1:] * 10_000.0 ** (-jnp.arange(64) / 64)
        seen = jnp.concatenate([x[:, :-1], jnp.sin(waves), jnp.cos(waves)], axis=1)
        return Rectified((256, 256, self.features))(seen, train=train, weight=weight)


def tccm(shape: tuple[int, ...]) -> Any:
    """Contraction matching with its authors' network."""
    return objectives.tccm(Timed(*shape))


def _by_epochs(x: np.ndarray, anomaly: np.ndarray, seed: int, name: str) -> Pair:
    """TCCM with the epochs of its code for this set, and with one number of epochs for all."""
    one, other = (
        _scores(
            jaxad.ObjectiveDetector,
            make_objective=tccm,
            epochs=epochs,
            batch_size=512,
            learning_rate=5e-3,
        )
        for epochs in (EPOCHS[name], ONE_NUMBER)
    )
    return _compared(one, other, _at_random)(x, anomaly, seed, name)


def _goad(map_offset: float) -> Scores:
    return _scores(jaxad.GOAD, map_offset=map_offset)


def _at_most(rows: int) -> Callable[[Card], bool]:
    """Whether a set has no more rows, so that fits do not take long."""
    return lambda card: card.rows <= rows


_SMALL = 1000  # rows; sets of fewer are resampled to as many by the published table's rule
_IN_ORDER = 50_000  # rows of sets of more are drawn at random by it
CLAIMS: dict[str, Claim] = {
    "file_order": Claim(
        "the first half of the normal rows trains, in the order of the file",
        "knn_5th",
        _by_split,
        lambda card: _SMALL <= card.rows <= _IN_ORDER,
    ),
    "resampled": Claim(
        "sets below 1,000 rows are resampled to 1,000 before they are split",
        "knn_5th",
        _by_split,
        lambda card: card.rows < _SMALL,
    ),
    "second_softmax": Claim(
        "DTE-C's network ends with a softmax, and its loss begins with one",
        "DTE-C",
        _compared(_dte_c(True), _dte_c(False)),
        _at_most(4000),
    ),
    "drawn_to_zero": Claim(
        "Deep SVDD of PyOD before 2.0.1 adds the squares of all activities to its loss",
        "deep_svdd",
        _compared(_drawn(0.1), _drawn(0.0)),
        _at_most(10_000),
    ),
    "detached": Claim(
        "the loss of ADBench's DAGMM is detached from its network, which never changes",
        "dagmm",
        _compared(detached_dagmm, _TRAINED_DAGMM),
        _at_most(10_000),
    ),
    "no_backward": Claim(
        "PyOD 2.0.1 to 3.6.2 trains Deep SVDD without a backward pass",
        None,
        _compared(untrained_deep_svdd, _TRAINED_DEEP_SVDD, _at_random),
        _at_most(10_000),
    ),
    "epochs_by_name": Claim(
        "TCCM trains each set for a number of epochs that is kept by the set's name",
        None,
        _by_epochs,
        _at_most(10_000),
    ),
    "one_label": Claim(
        "MCM's test of an odd number of normal rows calls the last of them an anomaly",
        None,
        _by_label,
        lambda card: (card.rows - card.anomalies) % 2 == 1 and card.rows <= 10_000,
    ),
    "no_offsets": Claim(
        "GOAD maps standardised rows without offsets",
        "goad",
        _compared(_goad(0.0), _goad(1.0)),
        _at_most(10_000),
    ),
}
_PUBLISHED = tuple(dict.fromkeys(name for name, _ in reference_numbers.one_class().index))
DEFAULTS: dict[str, Any] = {"seeds": 5, "datasets": _PUBLISHED, "claims": tuple(CLAIMS)}
CHOICES = {"datasets": _PUBLISHED, "claims": tuple(CLAIMS)}


def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the default sets by those that need no download."""
    if tuple(settings["datasets"]) != _PUBLISHED:
        return dict(settings)
    there = adbench.available(adbench.SETS)
    return {**settings, "datasets": tuple(name for name in _PUBLISHED if name in there)}


def circumstances(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What runs into one folder must share; further claims may be added to it."""
    config = {name: settings[name] for name in ("seeds", "datasets")}
    return {"seeds": settings["seeds"], "config": config}


def parts(settings: Mapping[str, Any]) -> dict[str, Part]:
    """A part for each claim and set of its.

    Raises:
      OptionError: no claim concerns any of the sets.
    """
    chosen: dict[str, Part] = {
        part_name(name, claim): functools.partial(_measure, claim, name, settings["seeds"])
        for claim in settings["claims"]
        for name in settings["datasets"]
        if CLAIMS[claim].concerns(CARDS[name])
    }
    if not chosen:
        raise OptionError(
            f"none of the claims {', '.join(settings['claims'])} concerns any of the sets "
            f"{', '.join(settings['datasets'])}: name others with --claims or --datasets"
        )
    return chosen


def _measure(claim: str, name: str, seeds: int) -> list[Row]:
    """The figures of a set in %, one for each seed."""
    environment.drop_programs()
    one, metrics = CLAIMS[claim], {}
    try:
        x, anomaly = adbench.load(name)
        pairs = [one.measure(x, anomaly, seed, name) for seed in range(seeds)]
    except Exception as error:  # the other sets and claims are still worth measuring
        return [Row(name, claim, missing=f"{type(error).__name__}: {error}")]
    for i, label in enumerate(("with_cause", "without")):
        metrics[label] = [round(100 * pair[i], 2) for pair in pairs]
    if one.method is not None:
        metrics["published"] = [float(reference_numbers.one_class().auroc[name, one.method])]
    return [Row(name, claim, metrics)]


class Found(NamedTuple):
    """A claim's figures.

    Attributes:
      sets: number of sets.
      published: mean over them in % of AUROC; NaN if it is not known.
      with_cause: likewise.
      without: likewise.
      off_with: mean absolute difference of a set's published number to that with the cause.
      off_without: likewise to that without.
      explained: sets whose published number is within a point of that with the cause, and more than
        a point from that without.
    """

    sets: int
    published: float
    with_cause: float
    without: float
    off_with: float = math.nan
    off_without: float = math.nan
    explained: int = 0


def _measured(rows: Sequence[Row], claim: str) -> list[Row]:
    return [row for row in rows if row.detector == claim and row.metrics]


def found(rows: Sequence[Row], claim: str) -> Found | None:
    """The figures of a claim; None if it was not measured."""
    own = _measured(rows, claim)
    if not own:
        return None
    with_cause, without = (
        [fmean(row.metrics[name]) for row in own] for name in ("with_cause", "without")
    )
    means = fmean(with_cause), fmean(without)
    if "published" not in own[0].metrics:
        return Found(len(own), math.nan, *means)
    published = [row.metrics["published"][0] for row in own]
    off_with, off_without = (
        [abs(one - other) for one, other in zip(published, measured, strict=True)]
        for measured in (with_cause, without)
    )
    explained = sum(one <= 1 < other for one, other in zip(off_with, off_without, strict=True))
    off = fmean(off_with), fmean(off_without)
    return Found(len(own), fmean(published), *means, *off, explained)


_COLUMNS = (
    tables.Column("published", "published", tables.spread()),
    tables.Column("with it", "with_cause", tables.spread()),
    tables.Column("without it", "without", tables.spread()),
)
_HEADER = [
    *("what public code does", "sets", "published", "with it", "without it"),
    *("off with it", "off without", "explained"),
]


def _body(rows: Sequence[Row]) -> list[list[str]]:
    body = []
    for name, claim in CLAIMS.items():
        if figures := found(rows, name):
            told = not math.isnan(figures.published)
            shown = (*figures[1:4], figures.off_with, figures.off_without)
            body.append(
                [
                    claim.cause,
                    str(figures.sets),
                    *(tables.number(value, ".1f") for value in shown),
                    f"{figures.explained} of {figures.sets}" if told else "-",
                ]
            )
    return body


def text(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """The table of claims, and each with its sets."""
    shown = [
        f"AUROC in %, means of {settings['seeds']} seeds and of the sets of a claim. Off: the mean "
        "difference of a set's published number, whatever its sign.",
        tables.text(_HEADER, _body(rows), left=1, grouped=False),
    ]
    for name, claim in CLAIMS.items():
        if own := _measured(rows, name):
            body = [[row.dataset, *(column.cell(row) for column in _COLUMNS)] for row in own]
            header = ["set", *(column.title for column in _COLUMNS)]
            shown += [f"{name}: {claim.cause}", tables.text(header, body, left=1, grouped=False)]
    return "\n\n".join(filter(None, [*shown, tables.missing(rows)]))


def summary(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """Markdown for the report of results."""
    del settings
    return tables.markdown(_HEADER, _body(rows), left=1)
