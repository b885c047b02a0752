"""The methods at the papers' settings and at common sizes: here and as PyTorch loops."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.record import environment
from benchmarks.record.products import ONE_THREAD
from benchmarks.speed.worker import Worker
from jaxad import networks, objectives, training

# Method -> what makes its objective.
OBJECTIVES: dict[str, Callable[..., Any]] = {
    "deep_svdd": objectives.deep_svdd,
    "deep_sad": objectives.deep_sad,
    "autoencoder": objectives.autoencoder,
    "dagmm": objectives.DAGMM,
    "goad": objectives.goad,
    "k_dsm": objectives.k_dsm,
    "dte_c": objectives.dte_c,
    "icl": objectives.icl,
}
METHODS = tuple(OBJECTIVES)
SIZED = METHODS[:5]  # those measured at common sizes, too


def counted(number: int, noun: str) -> str:
    """``1 core``, ``2 cores``."""
    return f"{number} {noun}{'s' * (number > 1)}"


@dataclass(frozen=True)
class Case:
    """A method at one setting. Row counts are multiples of the batch size, so all batches are full.

    Attributes:
      method: in `METHODS`.
      objective: trained here.
      widths: of the encoder (Deep SVDD, Deep SAD, autoencoder, DAGMM), the trunk (GOAD), the hidden
        layers (K-DSM, DTE-C) or both networks (ICL).
      features, rows: of the made data.
      batch_size, epochs: of a timed run.
      options: of the method's network in `benchmarks.peers.pytorch`.
    """

    method: str
    objective: Any
    widths: tuple[int, ...]
    features: int
    rows: int
    batch_size: int
    epochs: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Steps of a timed run."""
        return self.epochs * -(-self.rows // self.batch_size)

    def data(self, rows: int | None = None) -> np.ndarray:
        """Standard normal rows ``[rows, features]``."""
        shape = (self.rows if rows is None else rows, self.features)
        return np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def label(self) -> np.ndarray:
        """``[rows]``: one row in a hundred a known anomaly (-1), one a known normal (+1)."""
        label = np.zeros(self.rows, np.int32)
        label[::100], label[1::100] = -1, 1
        return label

    def training_rows(self) -> Any:
        """All rows, with labels if the method uses them."""
        return training.as_rows(self.data(), self.label() if self.method == "deep_sad" else None)

    @property
    def recipe(self) -> training.Recipe:
        """The recipe of a timed run."""
        return training.Recipe(epochs=self.epochs, batch_size=self.batch_size, learning_rate=1e-4)

    def trainer(self) -> Callable[[], training.Result]:
        """A function that trains one model, from host rows to trained weights."""
        return partial(
            training.fit, self.objective, self.recipe, jax.random.key(0), self.training_rows()
        )

    def population(self, members: int) -> Callable[[], Any]:
        """A function that trains a population of ``members``."""
        keys = jax.random.split(jax.random.key(0), members)
        return partial(
            training.fit_population, self.objective, self.recipe, keys, self.training_rows()
        )


def if_torch(make: Callable[[], Mapping], failures: dict[str, str]) -> Mapping[str, Callable]:
    """The PyTorch variants that ``make`` returns; none without torch: ``failures`` has why."""
    try:
        return make()
    except ImportError as error:
        failures["pytorch"] = str(error)
        return {}


def loops(case: Case, *, compiled: bool) -> dict[str, Callable[[int], None]]:
    """The method's PyTorch loops by name; a loop is called with its number of threads.

    An `ImportError` without torch says how to get it.
    """
    from benchmarks.peers.pytorch import by_hand, methods, torch

    train = methods.METHODS[case.method].train
    rows = [torch.from_numpy(case.data())]
    if case.method == "deep_sad":
        rows.append(torch.from_numpy(case.label()))
    sizes = {"epochs": case.epochs, "batch_size": case.batch_size, "learning_rate": 1e-4}

    def run(train: Callable, threads: int) -> None:
        torch.set_num_threads(threads)
        train(*rows, **sizes, **case.options)[1].tolist()

    made = {"pytorch autograd, eager": partial(run, train)}
    if compiled:
        made["pytorch autograd, compiled"] = partial(run, partial(train, compile=True))
    if case.method == "deep_svdd":
        made["pytorch by hand"] = partial(run, by_hand.train)
    return made


def _mlp(widths: Sequence[int], activation: str, **options: Any) -> Any:
    return networks.MLP(tuple(widths), activation=activation, use_bias=True, **options)


def make(method: str, widths: tuple[int, ...], features: int, **sizes: Any) -> Case:
    """A case; ``sizes`` are the other fields, and ``transforms`` and ``mapped`` of GOAD."""
    options: dict[str, Any] = {"widths": widths}
    mirrored = (*widths[-2::-1], features)
    if method == "autoencoder":
        arguments: tuple = _mlp(widths, "relu"), _mlp(mirrored, "relu")
    elif method == "dagmm":
        estimator = _mlp((10, 4), "tanh", dropout=0.5)
        arguments = _mlp(widths, "tanh"), _mlp(mirrored, "tanh"), estimator
        options = {"hidden": widths[:-1], "latent": widths[-1]}
    elif method == "k_dsm":
        arguments = (_mlp((*widths, features), "leaky_relu"),)
    elif method == "dte_c":
        arguments = (_mlp((*widths, 7), "relu", dropout=0.5),)
    elif method == "icl":
        arguments = networks.MLP(widths), networks.MLP(widths)
    else:
        arguments = (networks.MLP(widths),)
    maps = {}
    if method == "goad":
        options |= {key: sizes.pop(key) for key in ("transforms", "mapped")}
        maps = {"n_transforms": options["transforms"], "transform_dim": options["mapped"]}
    objective = OBJECTIVES[method](*arguments, **maps)
    return Case(method, objective, widths, features, options=options, **sizes)


def papers(method: str) -> dict[str, Case]:
    """The method at its paper's settings, or at our own if the paper has only images.

    DTE-C and ICL have our smaller networks, too; K-DSM has them alone.
    """
    usual = {"features": 30, "rows": 20_480, "batch_size": 128, "epochs": 6}
    usual |= {"widths": (128, 64, 32)}
    dagmm = {"features": 118, "rows": 10_240, "batch_size": 1024, "epochs": 20}
    dagmm |= {"widths": (60, 30, 10, 1)}
    kdd = {"transforms": 64, "mapped": 64, "features": 118, "rows": 1024, "epochs": 6}
    thyroid = {"transforms": 256, "mapped": 32, "features": 6, "rows": 960, "epochs": 3}
    dtec = {"features": 30, "rows": 4096, "batch_size": 64, "epochs": 4}
    icl = {"batch_size": 128, "epochs": 3}
    found: dict[str, dict[str, dict[str, Any]]] = {
        "deep_svdd": {"Deep SVDD 30-128-64-32": usual},
        "deep_sad": {"Deep SAD 30-128-64-32": usual},
        "autoencoder": {"autoencoder 30-128-64-32": usual},
        "dagmm": {"DAGMM KDD": dagmm},
        "goad": {
            "GOAD KDD": kdd | {"batch_size": 64, "widths": (32,) * 5},
            "GOAD thyroid": thyroid | {"batch_size": 64, "widths": (8,)},
        },
        "k_dsm": {"K-DSM 30-64-64": usual | {"widths": (64, 64)}},
        "dte_c": {
            "DTE-C 30-256-512-256": dtec | {"widths": (256, 512, 256)},
            "DTE-C 30-64-64": dtec | {"widths": (64, 64)},
        },
        "icl": {
            "ICL 30-200-400-200": icl | {"features": 30, "rows": 512, "widths": (200, 400, 200)},
            "ICL 6-32-16": icl | {"features": 6, "rows": 4096, "widths": (32, 16)},
        },
    }
    return {name: make(method, **how) for name, how in found[method].items()}


# Name -> rows in a batch, width of the first layer, rows. One thing at a time is changed.
SIZES: dict[str, tuple[int, int, int]] = {
    "batch 32": (32, 64, 20_480),
    "batch 128": (128, 64, 20_480),
    "batch 1024": (1024, 64, 20_480),
    "width 16": (128, 16, 20_480),
    "width 256": (128, 256, 20_480),
    "4k rows": (128, 64, 4096),
    "500k rows": (1024, 64, 499_712),
}


def sized(method: str, size: str, steps: int) -> Case:
    """The method at a common size, 32 features, for about ``steps`` steps and at least an epoch."""
    batch_size, width, rows = SIZES[size]
    sizes = {"rows": rows, "batch_size": batch_size}
    sizes["epochs"] = max(1, round(steps * batch_size / rows))
    widths = (width, width // 2)
    if method == "dagmm":  # whose mixture is of a few dimensions
        widths = (*widths, 4)
    if method == "goad":
        sizes |= {"transforms": 8, "mapped": 16}
    return make(method, widths, 32, **sizes)


def scorer(case: Case) -> Callable[[Sequence[Any]], np.ndarray]:
    """Our scoring function, of a model trained for one epoch."""
    few = training.as_rows(case.data()[:2000])
    done = training.fit(case.objective, training.Recipe(epochs=1), jax.random.key(0), few)
    return partial(training.score, case.objective, done.params, done.stats)


class OneCore(Worker):
    """A process that trains and scores with cases of `papers`, on one core from its start.

    XLA then has one thread. In a process that is confined later it has one for each core there was
    before, and these threads wait for each other.
    """

    def __init__(self):
        cores = environment.usable_cores()[-1:]
        super().__init__("benchmarks.speed.methods", variables=ONE_THREAD, cores=cores)

    def variant(self, name: str, case: Case, scored: int | None = None) -> Callable[[], object]:
        """A function that trains a model there, or scores so many rows, and waits for it."""
        sizes = {key: getattr(case, key) for key in ("rows", "batch_size", "epochs")}
        self.call("prepare", method=case.method, name=name, scored=scored, **sizes)
        return partial(self.call, "run_prepared", name=name)


_prepared: dict[str, Callable[[], object]] = {}  # in that process, by the case's name


def prepare(method: str, name: str, scored: int | None, **sizes: int) -> None:
    """Make a case of other ``sizes`` and its rows, for `run_prepared`."""
    case = replace(papers(method)[name], **sizes)
    _prepared[name] = case.trainer() if scored is None else partial(scorer(case), case.data(scored))


def run_prepared(name: str) -> None:
    """Train a model of the case, or score its rows."""
    _prepared[name]()
