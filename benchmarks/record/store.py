"""A suite's results while it runs: on disk after every part, so that a run can be continued.

The same command with the same ``--out`` measures the parts that an interrupted run left.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tqdm import tqdm

from benchmarks.record import environment, products, rows
from benchmarks.record.rows import Record, Row, Run
from benchmarks.settings import OptionError, Options

Part = Callable[[], Iterable[Row]]


class ResultStore:
    """The rows of a run, in a file that is whole after every part.

    Args:
      options: the run's; a file in its folder is taken over.
      parts: name -> what measures it, in the order of the table. Rows are written in this order.
      seeds: the most that a row has values of.
      config: what a continued run must have in common besides versions and threads; None: the
        settings. An `OptionError` names what differs.
    """

    def __init__(
        self,
        options: Options,
        parts: Mapping[str, Part],
        *,
        seeds: int = 1,
        config: Mapping[str, Any] | None = None,
    ):
        self._out, self._parts = options.out, parts
        config = options.settings if config is None else config
        self._run = Run(
            suite=options.suite,
            seeds=list(range(seeds)),
            config=json.loads(json.dumps(dict(config))),
            threads=options.threads,
            started=_now(),
            finished="",
            versions=environment.versions(),
            machine={},  # known later: asking JAX takes hold of an accelerator's memory
            commit=environment.commit(),
        )
        self._measured: dict[str, list[Row]] = {}
        self._rates: Mapping[str, float] = {}
        self._earlier: list[Run] = []
        if rows.file_in(self._out):
            self._take_over()

    @property
    def rows(self) -> list[Row]:
        """The rows measured so far, in the order of the parts."""
        earlier = {part: rows for run in self._earlier for part, rows in _by_part(run).items()}
        found = earlier | self._measured
        return [row for part in self._parts for row in found.get(part, ())]

    @property
    def machines(self) -> list[Mapping[str, Any]]:
        """The machines of the rows so far, the newest last."""
        return [run.machine for run in (*self._earlier, self._run) if run.machine]

    def measure(self) -> list[Row]:
        """Measure the machine, and every part that has no rows yet; returns all rows."""
        done = {row.part_name for row in self.rows}
        left = [part for part in self._parts if part not in done]
        if left:
            self._rates = products.rates()
        with tqdm(total=len(self._parts), initial=len(done), unit="part") as bar:
            for part in left:
                bar.set_description(part)
                self._measured[part] = [
                    row if row.part_name == part else dataclasses.replace(row, part=part)
                    for row in self._parts[part]()
                ]
                self._write()
                bar.update()
        return self.rows

    def finish(self, text: str) -> None:
        """Write ``table.txt`` and print it; an `OptionError` if no part could be measured."""
        if not any(row.metrics for row in self.rows):
            reason = next((row.missing for row in self.rows if row.missing), "no parts")
            raise OptionError(f"nothing could be measured: {reason}")
        (self._out / "table.txt").write_text(f"{text.rstrip()}\n")
        print(f"\n{text.rstrip()}\n")

    def _take_over(self) -> None:
        old = rows.read(self._out)
        for run in old.runs:
            _check_same(self._out, run, self._run)
            # What could not be measured at all is tried again.
            kept = [rows for rows in _by_part(run).values() if any(row.metrics for row in rows)]
            run = dataclasses.replace(run, waiting=(), rows=[row for part in kept for row in part])
            here = run.machine["processor"] == environment.processor()
            if here and run.commit == self._run.commit:
                self._measured |= _by_part(run)
                self._run = dataclasses.replace(self._run, started=run.started, machine=run.machine)
            else:
                self._earlier.append(run)
                other = "commit" if here else "processor"
                print(f"{self._out} is continued with another {other}; each has its own header")

    def _write(self) -> None:
        if not any(row.metrics for row in self.rows):
            return  # nothing to continue from
        self._out.mkdir(parents=True, exist_ok=True)
        done = {row.part_name for row in self.rows}
        waiting = [part for part in self._parts if part not in done]
        own = [row for part in self._parts for row in self._measured.get(part, ())]
        machine = environment.machine() | {"product_gflops": self._rates}
        how = {"machine": machine, "finished": _now(), "waiting": waiting}
        self._run = dataclasses.replace(self._run, **how)
        run = dataclasses.replace(self._run, rows=own)
        rows.write(self._out / rows.FILE, Record([*self._earlier, run]))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _by_part(run: Run) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in run.rows:
        found.setdefault(row.part_name, []).append(row)
    return found


def _check_same(folder: Any, old: Run, new: Run) -> None:
    """Raise an `OptionError` if ``new`` may not continue ``old``."""
    names = ("suite", "seeds", "threads", "versions")
    found, wanted = ({**run.config, **{n: getattr(run, n) for n in names}} for run in (old, new))
    before, now = found.pop("sha256", {}), wanted.pop("sha256", {})
    changed = [f"configs/{k}.toml" for k in before if before[k] != now.get(k, before[k])]
    reasons = [f"rows of other contents of {', '.join(changed)}: "] if changed else []
    reasons += [
        f"a run whose {name} is {found.get(name)!r}, not {wanted.get(name)!r}: "
        "continue it as it was begun, or "
        for name in found | wanted
        if found.get(name) != wanted.get(name)
    ]
    reasons += ["a run of other tables: "] if before.keys() != now.keys() else []
    if reasons:
        raise OptionError(f"{folder} holds {reasons[0]}give another --out")


def newest(records: Sequence[Record]) -> Record:
    """Merge records of one suite: of rows that measure the same thing the newest stays.

    A row is not replaced by one of fewer seeds, epochs or rows of a set, nor by a missing one.
    """
    runs = sorted((run for record in records for run in record.runs), key=lambda r: r.finished)
    kept: dict[tuple, tuple[Run, Row]] = {}
    for run in runs:
        for row in run.rows:
            place = row.details.get("setting"), row.dataset, row.detector
            if place not in kept or _covers((run, row), kept[place]):
                kept[place] = run, row
    merged = [
        dataclasses.replace(run, rows=[row for owner, row in kept.values() if owner is run])
        for run in runs
    ]
    return Record([run for run in merged if run.rows])


def _covers(new: tuple[Run, Row], old: tuple[Run, Row]) -> bool:
    """Whether a newer row may replace an old one."""

    def work(run: Run, row: Row) -> list[float]:
        numbers = [row.details.get("seeds", len(run.seeds)), row.details.get("effort", 100)]
        limits = (run.config.get(name) for name in ("epochs", "max_rows"))
        return numbers + [v if isinstance(v, int) else math.inf for v in limits]

    if old[1].metrics and not new[1].metrics:
        return False
    return all(a >= b for a, b in zip(work(*new), work(*old), strict=True))
