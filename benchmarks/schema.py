"""Results as JSON: rows of measured values and everything needed to read them later."""

import json
import math
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import environment

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Row:
    """One detector on one data set.

    Attributes:
      dataset: what was measured on.
      detector: what was measured.
      metrics: name -> one value per seed, or per repetition for times. NaN: no value.
      details: settings and counts that belong to this row alone.
      missing: why nothing could be measured, or None.
    """

    dataset: str
    detector: str
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    missing: str | None = None


@dataclass(frozen=True)
class Record:
    """A suite's rows with their circumstances; what one JSON file holds."""

    suite: str
    rows: Sequence[Row]
    seeds: Sequence[int]
    config: Mapping[str, Any]
    threads: int | None
    started: str
    finished: str
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    commit: Mapping[str, Any]


class Begun(NamedTuple):
    """When a run began, and on which code: the checkout may have changed by its end."""

    time: str
    commit: Mapping[str, Any]


def begin() -> Begun:
    """Note time and commit; call it before anything is measured."""
    return Begun(_now(), environment.commit())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def record(
    suite: str,
    rows: Sequence[Row],
    *,
    seeds: Sequence[int],
    config: Mapping[str, Any],
    threads: int | None,
    begun: Begun,
) -> Record:
    """Put rows together with the versions and the machine of this process, finished now."""
    return Record(
        suite=suite,
        rows=rows,
        seeds=seeds,
        config=config,
        threads=threads,
        started=begun.time,
        finished=_now(),
        versions=environment.versions(),
        machine=environment.machine(),
        commit=begun.commit,
    )


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of the values that are not NaN; NaN where undefined."""
    known = [v for v in values if not math.isnan(v)]
    mean = statistics.fmean(known) if known else math.nan
    return mean, statistics.stdev(known) if len(known) > 1 else math.nan


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _row_to_json(row: Row) -> dict[str, Any]:
    metrics = {}
    for name, values in row.metrics.items():
        mean, std = mean_std(values)
        metrics[name] = {
            "values": [_number(v) for v in values],
            "mean": _number(mean),
            "std": _number(std),
        }
    return {
        "dataset": row.dataset,
        "detector": row.detector,
        "metrics": metrics,
        "details": dict(row.details),
        "missing": row.missing,
    }


def _row_from_json(data: Mapping[str, Any]) -> Row:
    metrics = {
        name: [math.nan if v is None else v for v in metric["values"]]
        for name, metric in data["metrics"].items()
    }
    return Row(data["dataset"], data["detector"], metrics, data["details"], data["missing"])


def write(path: Path, result: Record) -> None:
    """Write a record; a reader sees the old file or the whole new one, never a part."""
    data = {"schema_version": SCHEMA_VERSION} | vars(result)
    data["rows"] = [_row_to_json(row) for row in result.rows]
    text = json.dumps(data, indent=1, allow_nan=False)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text + "\n")
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path: Path) -> Record:
    """Read a record.

    Raises:
      ValueError: the file is of another schema version.
    """
    data = json.loads(path.read_text())
    found = data.pop("schema_version", None)
    if found != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {found}, this code reads {SCHEMA_VERSION}: "
            "run the suite again, or read it with the commit it names"
        )
    return Record(**data | {"rows": [_row_from_json(row) for row in data["rows"]]})
