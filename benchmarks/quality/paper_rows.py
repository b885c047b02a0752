"""The tables of the folder ``configs``, and the experiments that their protocols make of sets.

A file is a table, an entry in it a published row.
"""

import hashlib
import inspect
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import jaxad
from benchmarks.quality.detectors import CLASS_NAMES
from benchmarks.settings import OptionError, check_known
from jaxad import data
from jaxad.data import Dataset

FOLDER = Path(__file__).parents[2] / "configs"
TABLES = tuple(path.stem for path in sorted(FOLDER.glob("*.toml")))
CERTAINTIES = {"confirmed": "", "third party": "†", "from memory": "*"}  # and their marks
METRICS = {"auroc": "AUROC", "f1": "F1", "average_precision": "AP"}
REFERENCES = ("knn_mean", "knn_5th", "isolation_forest", "random_forest")


@dataclass(frozen=True)
class Published:
    """A published figure, in %, and where it stands.

    Its certainty, and that of ``std`` (None: the same), is one of `CERTAINTIES`: read in the paper,
    quoted by a third party, or recalled and not verified. A deviation ``std_over="classes"``, over
    experiments with other classes, says nothing of how near another mean should be.
    """

    mean: float
    certainty: str
    source: str
    std: float | None = None
    std_certainty: str | None = None
    std_over: str = "runs"


@dataclass(frozen=True)
class Group:
    """The mean of several rows, where it was published."""

    published: Published | None = None
    rerun: Published | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class PaperRow:
    """A published row: what to measure, and the figure to expect.

    Attributes:
      name: of its line.
      dataset, detector: one of `jaxad.data.NAMES`, and an estimator of `jaxad`.
      protocol, metric: one of `PROTOCOLS` and of `METRICS`.
      seeds: how many experiments.
      effort: epochs in per cent of the paper's, of pretraining too; milestones move with them.
      preset: a paper's own settings, for estimators that have ``paper``.
      arguments, split: of the estimator and of the protocol.
      references: which of `REFERENCES` stand beside it.
      group: rows of one group are averaged.
      published: what the paper reports; None where it reports nothing for this row alone.
      rerun: what another published run of the same method reports.
      note: what else explains the figure.
    """

    name: str
    dataset: str
    detector: str
    protocol: str
    metric: str
    seeds: int
    effort: int = 100
    preset: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    split: Mapping[str, Any] = field(default_factory=dict)
    references: Sequence[str] = ("knn_mean", "knn_5th", "isolation_forest")
    group: str = ""
    published: Published | None = None
    rerun: Published | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A file of the folder.

    ``command`` measures it, ``note`` has what a reader must know. ``group_sizes`` says how many
    rows the file has of each group, of which ``rows`` may be some.
    """

    name: str
    title: str
    command: str
    rows: Sequence[PaperRow]
    groups: Mapping[str, Group]
    group_sizes: Mapping[str, int]
    note: str
    sha256: str


def read(name: str, folder: Path = FOLDER) -> Table:
    """Read and check a table; an `OptionError` names what is wrong and the valid values."""
    path = folder / f"{name}.toml"
    content = path.read_bytes()
    try:
        entries = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{path} is not TOML: {error}") from error
    head = {key: entries.pop(key) for key in _HEAD if key in entries}
    rows, groups = entries.pop("row", []), entries.pop("group_means", {})
    known = *_HEAD, "row", "group_means", *(f.name for f in fields(PaperRow))
    check_known(f"key of {path.name}", list(entries), known)
    _require(path.name, head, ("title", "command"))
    found = [_row(path.name, _joined(entries, row)) for row in rows]
    return Table(
        name=name,
        title=head["title"],
        command=head["command"],
        rows=found,
        groups={k: _made(Group, f"{path.name}, group {k!r}", v) for k, v in groups.items()},
        group_sizes=Counter(row.group for row in found),
        note=head.get("about", ""),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _joined(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A row's entries over the shared ones at the top of the file.

    Published figures stay the row's own; only their certainty and source may be shared.
    """
    joined = {**shared, **own}
    for key in ("arguments", "split", *_FIGURES):
        if isinstance(own.get(key, {}), dict) and isinstance(shared.get(key, {}), dict):
            joined[key] = {**shared.get(key, {}), **own.get(key, {})}
    return {k: v for k, v in joined.items() if k not in _FIGURES or k in own}


def _row(file: str, entry: dict[str, Any]) -> PaperRow:
    where = f"{file}, row {entry.get('name', '?')!r}"
    row = _made(PaperRow, where, entry)
    detector = getattr(jaxad, row.detector)
    if row.preset and not hasattr(detector, "paper"):
        raise OptionError(f"{where}: {row.detector} has no preset: leave it out")
    check_known(f"argument of {where}", list(row.arguments), list(detector().get_params()))
    # A protocol's first arguments are the set, rows and seed.
    options = list(inspect.signature(PROTOCOLS[row.protocol]).parameters)
    check_known(f"split option of {where}", list(row.split), options[3:])
    for key in ("seeds", "effort"):
        if not isinstance(getattr(row, key), int) or getattr(row, key) < 1:
            raise OptionError(
                f"{where}: {key}={getattr(row, key)!r} must be a whole number, at least 1"
            )
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in row.arguments.items()}
    return replace(row, arguments=arguments)


def _made(kind: type, where: str, entry: Mapping[str, Any]) -> Any:
    """An entry of the file as a dataclass; keys, required keys and values are checked."""
    check_known(f"key of {where}", list(entry), [f.name for f in fields(kind)])
    given = (f.name for f in fields(kind) if f.default is f.default_factory is MISSING)
    _require(where, entry, tuple(given))
    for key, valid in _VALID.items():
        values = entry.get(key, [])
        check_known(f"{key} of {where}", values if isinstance(values, list) else [values], [*valid])
    figures = {
        key: _made(Published, f"{key} of {where}", entry[key]) for key in _FIGURES if key in entry
    }
    return kind(**{**entry, **figures})


def _require(where: str, entry: Mapping[str, Any], required: Sequence[str]) -> None:
    missing = [key for key in required if key not in entry]
    if missing:
        raise OptionError(f"{where}: {', '.join(missing)} is missing")


class Case(NamedTuple):
    """All that a detector sees of an experiment: no field says which test rows are anomalous.

    ``train`` ``[n]`` are the rows to fit on, with ``label`` ``[n]`` (+1, -1 and 0) for a detector
    that takes them, ``test`` ``[m]`` those to score. ``prepare`` is done to rows first, and fitted
    on training rows alone.
    """

    train: np.ndarray
    label: np.ndarray | None
    test: np.ndarray
    prepare: Callable[[np.ndarray], np.ndarray]


class Experiment(NamedTuple):
    """A case, and what measures its scores.

    ``flagged`` is how many test rows the published F1 flags, an **oracle's** choice: the share of
    anomalies that the paper gives for the set, or the count of those in the test. ``achieved`` are
    shares of known and polluting anomalies, where the set's few may lower them.
    """

    case: Case
    is_anomaly: np.ndarray
    flagged: int = 0
    achieved: data.Ratios | None = None


def one_class_images(
    dataset: Dataset, rows: np.ndarray, seed: int, *, normal: int, contrast: bool
) -> Experiment:
    """Deep SVDD's: one class trains, the whole test part is the test; no draw, so no seed."""
    del seed
    label, is_train = dataset.label[rows], dataset.is_train[rows]
    train, test = data.one_class(label, is_train, normal=normal)
    prepare = data.contrast_normalised if contrast else _as_is
    case = Case(rows[train], None, rows[test], prepare)
    return Experiment(case, label[test] != normal)


def deep_sad_images(
    dataset: Dataset, rows: np.ndarray, seed: int, *, known: float, pollution: float = 0.0
) -> Experiment:
    """Deep SAD's: seed s has class s mod 10 normal, and the next but s div 10 known.

    Ten seeds are one experiment for each normal class, ninety all pairs of the paper.
    """
    label, is_train = dataset.label[rows], dataset.is_train[rows]
    classes = np.unique(label)
    normal = seed % len(classes)
    other = (normal + 1 + seed // len(classes) % (len(classes) - 1)) % len(classes)
    roles = {"normal": classes[normal], "known_classes": [classes[other]]}
    shares = {"known": known, "pollution": pollution}
    split = data.deep_sad_images(label, is_train, seed=seed, **roles, **shares)
    case = Case(rows[split.train], split.label, rows[split.test], _as_is)
    return Experiment(case, label[split.test] != classes[normal])


def deep_sad_table(
    dataset: Dataset,
    rows: np.ndarray,
    seed: int,
    *,
    known: float,
    pollution: float,
    min_max: bool = False,
) -> Experiment:
    """Deep SAD's for ODDS; ``min_max`` scales by the whole training part, as the paper's code."""
    marks = dataset.is_anomaly[rows]
    split = data.deep_sad_table(marks, known=known, pollution=pollution, seed=seed)
    prepare = _min_max(dataset.x[rows[split.part]]) if min_max else _as_is
    case = Case(rows[split.train], split.label, rows[split.test], prepare)
    return Experiment(case, marks[split.test], achieved=split.achieved)


def dagmm(
    dataset: Dataset,
    rows: np.ndarray,
    seed: int,
    *,
    anomaly_ratio: float,
    reverse: bool = False,
    min_max: bool = False,
) -> Experiment:
    """DAGMM's: normal rows of a random half train; F1 flags the set's share of anomalies.

    ``min_max`` scales by the training rows.
    """
    rows, marks = _roles(dataset, rows, seed, reverse)
    train, test = data.half_split(marks, seed)
    prepare = _min_max(dataset.x[rows[train]]) if min_max else _as_is
    case = Case(rows[train], None, rows[test], prepare)
    return Experiment(case, marks[test], round(anomaly_ratio * len(test)))


def goad(
    dataset: Dataset,
    rows: np.ndarray,
    seed: int,
    *,
    reverse: bool = False,
    continuous: bool = False,
) -> Experiment:
    """GOAD's: half of the normal rows train; F1 flags as many rows as the test has anomalies.

    ``continuous`` standardises the columns that hold more than 0 and 1, and only those.
    """
    rows, marks = _roles(dataset, rows, seed, reverse)
    train, test = data.half_normals(marks, seed)
    prepare = _standardised(dataset.x[rows[train]], dataset.continuous) if continuous else _as_is
    case = Case(rows[train], None, rows[test], prepare)
    return Experiment(case, marks[test], int(marks[test].sum()))


PROTOCOLS: Mapping[str, Callable[..., Experiment]] = {
    protocol.__name__: protocol
    for protocol in (one_class_images, deep_sad_images, deep_sad_table, dagmm, goad)
}


def _roles(
    dataset: Dataset, rows: np.ndarray, seed: int, reverse: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The rows, and which of them are anomalous; KDD-Rev's, if the roles are exchanged."""
    marks = dataset.is_anomaly[rows]
    if not reverse:
        return rows, marks
    exchanged = data.kdd_rev(marks, seed)
    return rows[exchanged.rows], exchanged.is_anomaly


def _as_is(x: np.ndarray) -> np.ndarray:
    return x


def _min_max(part: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    low, high = part.min(axis=0), part.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    return lambda x: (x - low) / span


def _standardised(part: np.ndarray, columns: Any) -> Callable[[np.ndarray], np.ndarray]:
    shift, scale = part.mean(axis=0), part.std(axis=0)
    shift, scale = np.where(columns, shift, 0), np.where(columns & (scale > 0), scale, 1)
    return lambda x: (x - shift) / scale


_HEAD = ("title", "command", "about")
_FIGURES = ("published", "rerun")
# Entry -> its valid values.
_VALID = {
    "dataset": data.NAMES,
    "protocol": PROTOCOLS,
    "metric": METRICS,
    "detector": CLASS_NAMES,
    "references": REFERENCES,
    "certainty": CERTAINTIES,
    "std_certainty": CERTAINTIES,
    "std_over": ("runs", "classes"),
}
