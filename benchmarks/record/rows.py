"""Result files: measured rows, and everything needed to read them later.

A file has one JSON object a line. A header describes a run; the rows below it, up to the next
header, were measured in that run. A file that was merged, or continued on another commit, has
several headers.
"""

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.settings import OptionError
from jaxad import persistence

SCHEMA_VERSION = 2
FILE = "rows.jsonl"
OLD_FILE = "rows.json"  # of schema version 1
DIGITS, TIME_DIGITS = 4, 4  # significant ones that are stored


@dataclass(frozen=True)
class Row:
    """One detector on one data set.

    Attributes:
      dataset, detector: what was measured on, and what was measured.
      metrics: name -> one value per seed, or per repetition for times. NaN: no value.
      details: settings and counts that belong to this row alone.
      missing: why nothing could be measured, or None.
      part: the part of the suite that the row belongs to; empty: it is a part of its own.
    """

    dataset: str
    detector: str
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    missing: str | None = None
    part: str = ""

    @property
    def part_name(self) -> str:
        """The part of the suite that the row belongs to."""
        return self.part or part_name(self.dataset, self.detector, self.details.get("setting", ""))


def part_name(dataset: str, detector: str, setting: str = "") -> str:
    """The name of a part that is one row."""
    return f"{setting}: {dataset}, {detector}" if setting else f"{dataset}, {detector}"


@dataclass(frozen=True)
class Run:
    """The circumstances of a run, and its rows; times are ISO 8601.

    ``seeds`` are the most that a row has values of, ``threads`` the processor cores the run was
    confined to, and ``waiting`` the parts that an interrupted run did not reach. ``machine`` is
    what `environment.machine` and `products.rates` found; files written before 28 November 2026
    have only the processor's name, and no rates.
    """

    suite: str
    seeds: Sequence[int]
    config: Mapping[str, Any]
    threads: int | None
    started: str
    finished: str
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    commit: Mapping[str, Any]
    waiting: Sequence[str] = ()
    rows: Sequence[Row] = ()

    @property
    def platform(self) -> str:
        """The kind of device: ``cpu``, ``gpu``, ..."""
        return str(self.machine["devices"][0]).partition(":")[0]


@dataclass(frozen=True)
class Record:
    """The contents of a file: runs of one suite, the oldest first."""

    runs: Sequence[Run]

    @property
    def newest(self) -> Run:
        """The run that finished last."""
        return max(self.runs, key=lambda run: run.finished)

    @property
    def suite(self) -> str:
        """The suite that all runs are of."""
        return self.newest.suite

    @property
    def rows(self) -> list[Row]:
        """The rows of all runs."""
        return [row for run in self.runs for row in run.rows]


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of the values that are not NaN; NaN where undefined."""
    known = [v for v in values if not math.isnan(v)]
    mean = statistics.fmean(known) if known else math.nan
    return mean, statistics.stdev(known) if len(known) > 1 else math.nan


def in_short(values: Sequence[Any]) -> Any:
    """A single value if all are equal, else the list."""
    return values[0] if all(value == values[0] for value in values) else list(values)


def hash_of_all(hashes: Iterable[str]) -> str:
    """A short hash of several hashes, to tell the splits of two results apart."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def file_in(folder: Path) -> Path | None:
    """The result file in a folder, or None."""
    return next((p for p in (folder / FILE, folder / OLD_FILE) if p.is_file()), None)


def write(path: Path, record: Record) -> None:
    """Write a record; a reader sees the old file or the whole new one, never a part."""
    entries: list[Mapping[str, Any]] = []
    for run in record.runs:
        head = {key: value for key, value in vars(run).items() if key != "rows"}
        entries += [{"schema_version": SCHEMA_VERSION} | head, *map(_row_to_json, run.rows)]
    lines = [json.dumps(entry, allow_nan=False, separators=(",", ":")) for entry in entries]
    persistence.write_bytes(path, ["\n".join([*lines, ""]).encode()])


def _row_to_json(row: Row) -> dict[str, Any]:
    metrics = {}
    for name, values in row.metrics.items():
        digits = TIME_DIGITS if name.endswith("seconds") else DIGITS
        if row.missing or not all(map(math.isnan, values)):
            metrics[name] = [_short(v, digits) if math.isfinite(v) else None for v in values]
    line = vars(row) | {"metrics": metrics, "details": dict(row.details)}
    return {key: value for key, value in line.items() if value not in ({}, None, "")}


def _short(value: float, digits: int) -> float:
    """A number with few digits, whole if it can be, so that files stay small."""
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded


def read(path: Path) -> Record:
    """Read a result file, or the one in a folder; an `OptionError` says why it cannot be read."""
    file = file_in(path) if path.is_dir() else path
    if file is None or not file.is_file():
        raise OptionError(f"{path} is no results folder: it has no {FILE}")
    text = file.read_text()
    try:
        old = file.suffix == ".json"
        record = Record(_read_version_1(json.loads(text)) if old else _read(text.splitlines()))
        _ = record.suite, record.newest.platform
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise OptionError(f"{file} cannot be read: {error}") from error
    return record


def _read(lines: Iterable[str]) -> list[Run]:
    runs: list[Run] = []
    for line in lines:
        data = json.loads(line)
        if "schema_version" in data:
            _check_version(data.pop("schema_version"), SCHEMA_VERSION)
            runs.append(_run(data, []))
        else:
            metrics = {name: _values(values) for name, values in data.pop("metrics", {}).items()}
            runs[-1].rows.append(Row(**data, metrics=metrics))  # pyright: ignore
    return runs


def _run(header: Mapping[str, Any], rows: list[Row]) -> Run:
    machine = dict(header["machine"])
    if "processor" not in machine:
        machine["processor"] = {"name": machine.pop("cpu")}
    return Run(**{**header, "machine": machine}, rows=rows)


def _values(values: Sequence[float | None]) -> list[float]:
    return [math.nan if v is None else float(v) for v in values]


def _check_version(found: Any, known: int) -> None:
    if found != known:
        raise ValueError(
            f"schema version {found}, this code reads 1 and {SCHEMA_VERSION}: "
            "run the suite again, or read the file with the commit it names"
        )


def _read_version_1(data: dict[str, Any]) -> list[Run]:
    """Read schema version 1: one JSON object, metrics with their mean and deviation."""
    _check_version(data.pop("schema_version", None), 1)
    rows = []
    for row in data.pop("rows"):
        metrics = {name: _values(m["values"]) for name, m in row.pop("metrics").items()}
        part = row["details"].pop("part", "")
        if "microseconds_per_step" in metrics:  # the scaling suite's
            steps = 1e6 * metrics["seconds"][0] / metrics["microseconds_per_step"][0]
            row["details"]["units"] = round(steps)
        rows.append(Row(**row, metrics=metrics, part=part))
    return [_run(data, rows)]
