"""Rows kept in a file as they are measured: an interrupted run goes on where it stopped."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import environment, schema
from benchmarks.options import OptionError, Options

Key = tuple[str, str, str]


def key(row: schema.Row) -> Key:
    """What tells a row from the others of its run: set, detector and setting."""
    return row.dataset, row.detector, row.details["setting"]


def circumstances(
    options: Options, config: Mapping[str, Any], seeds: Sequence[int]
) -> dict[str, Any]:
    """What a run must have in common with the one it continues."""
    return {
        "suite": options.suite,
        "seeds": list(seeds),
        "config": json.loads(json.dumps(dict(config))),
        "threads": options.threads,
    }


def earlier(path: Path, run: Mapping[str, Any]) -> schema.Record:
    """The record in a file, to be continued.

    Raises:
      OptionError: it cannot be read, or is of a run with other settings, seeds, threads or versions
        than ``run``, which has the keys of `circumstances`.
    """
    try:
        old = schema.read(path)
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{path} cannot be continued: {error}") from error
    run = {**run, "versions": environment.versions()}
    found, wanted = ({**r.pop("config"), **r} for r in ({k: vars(old)[k] for k in run}, run))
    differing = [k for k in found | wanted if found.get(k) != wanted.get(k)]
    before, now = found.get("sha256") or {}, wanted.get("sha256") or {}
    changed = [f"configs/{k}.toml" for k in before if before[k] != now.get(k, before[k])]
    if changed:
        raise OptionError(
            f"{path} holds rows of other contents of {', '.join(changed)}: give another --out"
        )
    if differing:
        name = differing[0]
        raise OptionError(
            f"{path} holds a run whose {name} is {found.get(name)!r}, not "
            f"{wanted.get(name)!r}: continue it as it was begun, or give another --out"
        )
    return old


class Kept:
    """The rows of a run, in a file that is whole after every one of them.

    Args:
      path: the file; the rows it holds already are taken over.
      options: the run's suite and threads.
      config: its settings; they must be those of the rows in the file.
      seeds: how many, the most that a row has.
      plan: the keys of all rows to come, which are written in this order.

    Raises:
      OptionError: the file is of a run with other settings, seeds, threads or versions.
    """

    def __init__(
        self,
        path: Path,
        options: Options,
        config: Mapping[str, Any],
        seeds: int,
        plan: Sequence[Key],
    ):
        self._path, self._plan = path, plan
        self._begun = schema.begin()
        self.commit = self._begun.commit
        self._run = circumstances(options, config, range(seeds))
        self._rows = {}
        if path.exists():
            self._take_over()

    @property
    def rows(self) -> list[schema.Row]:
        """The rows measured so far, in the order of the plan."""
        return [self._rows[k] for k in self._plan if k in self._rows]

    def __contains__(self, wanted: Key) -> bool:
        return wanted in self._rows

    def add(self, rows: Iterable[schema.Row]) -> None:
        """Keep more rows, on disk."""
        self._rows |= {key(row): row for row in rows}
        self._write()

    def _take_over(self) -> None:
        old = earlier(self._path, self._run)
        self._begun = self._begun._replace(time=old.started)
        if old.commit != self.commit:
            print(f"{self._path} goes on with another commit; every row names its own")
        # What could not be measured at all is tried again.
        self._rows = {key(row): row for row in old.rows if row.metrics}

    def _write(self) -> None:
        schema.write(self._path, schema.record(rows=self.rows, begun=self._begun, **self._run))
