"""The tables of the folder ``configs``: one file a table, one entry a published row."""

import hashlib
import inspect
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import jaxad
from benchmarks.quality.detectors import CLASS_NAMES
from benchmarks.quality.paper_protocols import GIVEN, PROTOCOLS
from benchmarks.settings import OptionError, check_known
from jaxad.data import NAMES

FOLDER = Path(__file__).parents[2] / "configs"
TABLES = tuple(path.stem for path in sorted(FOLDER.glob("*.toml")))
CERTAINTIES = {
    "confirmed": "",
    "third party": "†",
    "from memory": "*",
}
METRICS = {"auroc": "AUROC", "f1": "F1", "average_precision": "AP"}
REFERENCES = ("knn_mean", "knn_5th", "isolation_forest", "random_forest")


@dataclass(frozen=True)
class Published:
    """A published figure, in %.

    Attributes:
      mean: over the runs.
      certainty: of the mean, one of `CERTAINTIES`: read in the paper, quoted by a third party, or
        recalled and not verified.
      source: where it stands.
      std: standard deviation, where one is given.
      std_certainty: of ``std``; None: that of the mean.
      std_over: ``"runs"``: over runs of one experiment; ``"classes"``: over experiments with other
        classes, which says nothing of how near another mean should be.
    """

    mean: float
    certainty: str
    source: str
    std: float | None = None
    std_certainty: str | None = None
    std_over: str = "runs"


@dataclass(frozen=True, eq=False)
class PaperRow:
    """A published row: what to measure, and the figure to expect.

    Attributes:
      name: what its line is called.
      dataset: one of `jaxad.data.NAMES`.
      detector: the name of an estimator of `jaxad`.
      protocol: one of `PROTOCOLS`.
      metric: one of `METRICS`.
      seeds: how many experiments.
      effort: epochs in per cent of the paper's, of pretraining too; milestones move with them.
      preset: a paper's own settings, for estimators that have ``paper``.
      arguments: of the estimator.
      split: arguments of the protocol.
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
class Group:
    """The mean of several rows, where it was published."""

    published: Published | None = None
    rerun: Published | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A file of the folder.

    Attributes:
      name: the file's, without its ending.
      title: the table's heading.
      command: what measures it.
      rows: in the file's order.
      groups: published means of groups, by the group's name.
      group_sizes: how many rows the file has of each group; ``rows`` may be some of them.
      note: what a reader has to know.
      sha256: of the file.
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
    """Read and check a table.

    Raises:
      OptionError: not TOML, an unknown key or value (the message names it and the valid ones), or
        one that is missing.
    """
    path = folder / f"{name}.toml"
    content = path.read_bytes()
    try:
        entries = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
        groups={
            key: _made(Group, f"{path.name}, group {key!r}", entry) for key, entry in groups.items()
        },
        group_sizes=Counter(row.group for row in found),
        note=head.get("about", ""),
        sha256=hashlib.sha256(content).hexdigest(),
    )


_HEAD = ("title", "command", "about")
_FIGURES = ("published", "rerun")
# Entry -> its valid values.
_VALID = {
    "dataset": NAMES,
    "protocol": PROTOCOLS,
    "metric": METRICS,
    "detector": CLASS_NAMES,
    "references": REFERENCES,
    "certainty": CERTAINTIES,
    "std_certainty": CERTAINTIES,
    "std_over": ("runs", "classes"),
}


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
    options = list(inspect.signature(PROTOCOLS[row.protocol]).parameters)
    check_known(f"split option of {where}", list(row.split), options[GIVEN:])
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
        values = entry.get(key, ())
        check_known(f"{key} of {where}", [values] if isinstance(values, str) else values, [*valid])
    figures = {
        key: _made(Published, f"{key} of {where}", entry[key]) for key in _FIGURES if key in entry
    }
    return kind(**{**entry, **figures})


def _require(where: str, entry: Mapping[str, Any], required: Sequence[str]) -> None:
    missing = [key for key in required if key not in entry]
    if missing:
        raise OptionError(f"{where}: {', '.join(missing)} is missing")
