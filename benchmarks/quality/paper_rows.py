"""The tables of the folder ``configs``: one file a table, one entry a published row."""

import hashlib
import inspect
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
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
    check_known(
        f"key of {path.name}", list(entries), (*_HEAD, "row", "group_means", *_names(PaperRow))
    )
    _complete(path.name, head, _HEAD, ("title", "command"))
    found = [_row(path.name, _joined(entries, row)) for row in rows]
    return Table(
        name=name,
        title=head["title"],
        command=head["command"],
        rows=found,
        groups={key: _group(f"{path.name}, group {key!r}", entry) for key, entry in groups.items()},
        group_sizes=Counter(row.group for row in found),
        note=head.get("about", ""),
        sha256=hashlib.sha256(content).hexdigest(),
    )


_HEAD = ("title", "command", "about")


def _names(kind: type) -> list[str]:
    return [f.name for f in fields(kind)]


def _joined(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A row's entries over those that stand at the top of the file for all rows.

    What was published stays the row's own: only what is said of it may be shared.
    """
    joined = {**shared, **own}
    for key in ("arguments", "split", "published", "rerun"):
        if isinstance(own.get(key, {}), dict) and isinstance(shared.get(key, {}), dict):
            joined[key] = {**shared.get(key, {}), **own.get(key, {})}
    for key in ("published", "rerun"):
        if key not in own:
            joined.pop(key, None)
    return joined


def _row(file: str, entry: dict[str, Any]) -> PaperRow:
    where = f"{file}, row {entry.get('name', '?')!r}"
    required = ("name", "dataset", "detector", "protocol", "metric", "seeds")
    _complete(where, entry, _names(PaperRow), required)
    for key, valid in (
        ("dataset", NAMES),
        ("protocol", PROTOCOLS),
        ("metric", METRICS),
        ("detector", CLASS_NAMES),
    ):
        check_known(f"{key} of {where}", [entry[key]], list(valid))
    detector = getattr(jaxad, entry["detector"])
    if "preset" in entry and not hasattr(detector, "paper"):
        raise OptionError(f"{where}: {entry['detector']} has no preset: leave it out")
    arguments = list(detector().get_params())
    check_known(f"argument of {where}", list(entry["arguments"]), arguments)
    options = list(inspect.signature(PROTOCOLS[entry["protocol"]]).parameters)
    check_known(f"split option of {where}", list(entry["split"]), options[GIVEN:])
    check_known(f"reference of {where}", entry.get("references", ()), REFERENCES)
    for key in ("seeds", "effort"):
        if not isinstance(entry.get(key, 1), int) or entry.get(key, 1) < 1:
            raise OptionError(f"{where}: {key}={entry[key]!r} must be a whole number, at least 1")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["arguments"].items()}
    return PaperRow(**entry | {"arguments": arguments} | _figures(where, entry))


def _group(where: str, entry: dict[str, Any]) -> Group:
    _complete(where, entry, _names(Group), ())
    return Group(**entry | _figures(where, entry))


def _figures(where: str, entry: Mapping[str, Any]) -> dict[str, Published]:
    """The published figures of an entry, checked."""
    found = {}
    for key in ("published", "rerun"):
        if key not in entry:
            continue
        figure, place = entry[key], f"{key} of {where}"
        _complete(place, figure, _names(Published), ("mean", "certainty", "source"))
        said = [figure[k] for k in ("certainty", "std_certainty") if k in figure]
        check_known(f"certainty of {place}", said, list(CERTAINTIES))
        check_known(f"std_over of {place}", [figure.get("std_over", "runs")], ("runs", "classes"))
        found[key] = Published(**figure)
    return found


def _complete(
    where: str, entry: Mapping[str, Any], valid: Sequence[str], required: Sequence[str]
) -> None:
    check_known(f"key of {where}", list(entry), list(valid))
    missing = [key for key in required if key not in entry]
    if missing:
        raise OptionError(f"{where}: {', '.join(missing)} is missing")
