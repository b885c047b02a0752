"""The runner of mutants: copies the repository, breaks the copy, and runs the tests there."""

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from tests.mutants.mutant import Mutant

CAUGHT, BY_SUITE, HANGS = "caught", "caught by the suite", "hangs"
EQUIVALENT, SURVIVED_ROOM, SURVIVED = "equivalent", "survived its room", "survived"
NOTICED = (CAUGHT, BY_SUITE, HANGS)
NO_END = "no end"  # in place of the test that catches a mutant, if the tests do not end
CRASH = "crash"  # likewise, if they end pytest

_NOT_COPIED = (
    *(".git", ".venv", ".versions", ".hypothesis", "__pycache__", "*_cache", "*.egg-info"),
    *("site", "build", "dist"),
)
_QUIETLY = ("-q", "--tb=no", "-rfE", "-p", "no:cacheprovider")
_ROOM_OPTIONS = (
    *("-p", "no:xdist", "-o", "addopts=", "-m", "not full"),
    *("--import-mode=importlib", "--doctest-modules"),
)
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS, signal.SIGILL)
# It compares the list of mutants with the code, so it would notice each of them.
_LIST_TEST = "tests/robustness/test_mutants.py"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How mutants are run.

    Attributes:
      root: the repository.
      room_only: whether to leave out the whole suite for those that survive their room.
      room_seconds: the longest time of a path of a room; tests that take longer hang.
      suite_seconds: the longest time of the whole suite.
    """

    root: Path
    room_only: bool = False
    room_seconds: float = 1200
    suite_seconds: float = 7200


class Results:
    """The outcomes in a file, a JSON line for each mutant, written as they come."""

    def __init__(self, path: Path, root: Path):
        self._path, self._root, self._lock = path, root, threading.Lock()
        self.lines: dict[str, dict[str, Any]] = {}
        for text in path.read_text().splitlines() if path.exists() else ():
            with contextlib.suppress(json.JSONDecodeError):  # the last line of a killed run
                line = json.loads(text)
                self.lines[line["mutant"]] = line

    def add(self, mutant: Mutant, area: str, outcome: str, **more: Any) -> dict[str, Any]:
        """Keep an outcome."""
        line = {"mutant": mutant.name, "area": area, "breaks": mutant.breaks, "outcome": outcome}
        line |= more
        line["rests_on"] = self._rests_on(mutant, line)
        with self._lock:
            self.lines[mutant.name] = line
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        return line

    def known(self, mutant: Mutant, room_only: bool) -> bool:
        """Whether the outcome is known and rests on tests that are still the same."""
        line = self.lines.get(mutant.name)
        if line is None or (line["outcome"] == SURVIVED_ROOM and not room_only):
            return False
        return line["rests_on"] == self._rests_on(mutant, line)

    def rewrite(self, names: Sequence[str]) -> None:
        """Write the file anew, with the lines of these mutants alone and in this order."""
        with self._lock:
            self.lines = {name: self.lines[name] for name in names if name in self.lines}
            text = "".join(json.dumps(line) + "\n" for line in self.lines.values())
            self._path.write_text(text)

    def _rests_on(self, mutant: Mutant, line: Mapping[str, Any]) -> str:
        """A hash of the test file that caught a mutant; of a whole room that did not."""
        paths = mutant.room
        if line["outcome"] in (CAUGHT, BY_SUITE) and line["by"] != CRASH:
            paths = (line["by"].partition("::")[0],)
        found = hashlib.sha256(repr((mutant.room, mutant.equivalent)).encode())
        for path in paths:
            place = self._root / path.partition("::")[0]
            for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                found.update(file.read_bytes() if file.exists() else b"none")
        return found.hexdigest()[:8]


class Workshop:
    """A copy of the repository in which mutants are made, one at a time."""

    def __init__(self, folder: Path, settings: Settings):
        self._folder, self._settings = folder / "copy", settings
        shutil.copytree(
            settings.root, self._folder, ignore=shutil.ignore_patterns(*_NOT_COPIED), symlinks=True
        )

    def outcome(self, mutant: Mutant) -> dict[str, Any]:
        """What the tests say of a mutant: ``outcome``, and if it is noticed ``by`` which test."""
        with self._applied(mutant):
            for path in mutant.room:  # one after the other: pytest would sort them
                if by := self._failing(["-x", *_ROOM_OPTIONS, path], self._settings.room_seconds):
                    return {"outcome": HANGS if by[0] == NO_END else CAUGHT, "by": by[0]}
            if self._settings.room_only:
                return {"outcome": SURVIVED_ROOM}
            whole = ["-x", f"--ignore={_LIST_TEST}"]
            if by := self._failing(whole, self._settings.suite_seconds):
                return {"outcome": HANGS if by[0] == NO_END else BY_SUITE, "by": by[0]}
            return {"outcome": SURVIVED}

    def failing(self, tests: Sequence[str]) -> list[str]:
        """Which of these tests fail without a mutant."""
        return self._failing([*_ROOM_OPTIONS, *tests], self._settings.suite_seconds)

    @contextlib.contextmanager
    def _applied(self, mutant: Mutant) -> Iterator[None]:
        path = self._folder / mutant.file
        source = path.read_text()
        # A mutant of the same length in the same second would be taken for what was compiled.
        compiled = Path(importlib.util.cache_from_source(str(path)))
        path.write_text(mutant.applied(source))
        compiled.unlink(missing_ok=True)
        try:
            yield
        finally:
            path.write_text(source)
            compiled.unlink(missing_ok=True)

    def _failing(self, options: Sequence[str], seconds: float) -> list[str]:
        """The failing tests of a run of pytest; `NO_END` if it took too long."""
        with subprocess.Popen(
            [sys.executable, "-m", "pytest", *_QUIETLY, *options],
            cwd=self._folder,
            env=os.environ | {"PYTHONPATH": str(self._folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that processes that tests start end with it
        ) as process:
            try:
                said, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                return [NO_END]
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        found = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)
        if process.returncode and not found:
            if -process.returncode in _CRASHES or "INTERNALERROR" in said:
                return [CRASH]
            raise RuntimeError(f"pytest ended with {process.returncode}, no test failed:\n{said}")
        return found


def run(
    areas: Mapping[str, Sequence[Mutant]],
    results: Results,
    settings: Settings,
    *,
    only: str = "",
    again: bool = False,
    jobs: int = 1,
) -> None:
    """Run the mutants that match ``only`` and whose outcome is not known, and confirm catches.

    Args:
      areas: all mutants, by area.
      results: where outcomes are kept.
      settings: how to run them.
      only: a regular expression; it is searched in area, file, description and name.
      again: whether to run those with a known outcome, too.
      jobs: how many to run at a time, each in a copy of its own.
    """
    wanted = [
        (area, mutant)
        for area, mutants in areas.items()
        for mutant in mutants
        if re.search(only, f"{area} {mutant.file} {mutant.breaks} {mutant.name}")
        and (again or not results.known(mutant, settings.room_only))
    ]
    left, lock = iter(enumerate(wanted, 1)), threading.Lock()

    def work(folder: Path) -> None:
        workshop = Workshop(folder, settings)
        while True:
            with lock:
                found = next(left, None)
            if found is None:
                return
            number, (area, mutant) = found
            if mutant.equivalent:
                results.add(mutant, area, EQUIVALENT, why=mutant.equivalent)
                continue
            began = monotonic()
            line = results.add(
                mutant, area, **workshop.outcome(mutant), seconds=round(monotonic() - began)
            )
            told = f"{number}/{len(wanted)} {area}: {mutant.breaks}: {line['outcome']}"
            print(told, line.get("by", ""), flush=True)

    with contextlib.ExitStack() as stack:
        folders = [
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-")))
            for _ in range(max(1, min(jobs, len(wanted))))
        ]
        failures: list[BaseException] = []

        def guarded(folder: Path) -> None:
            try:
                work(folder)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(f,)) for f in folders[1:]]
        for thread in threads:
            thread.start()
        guarded(folders[0])
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        _confirm(results, Workshop(folders[0] / "clean", settings))
    results.rewrite([mutant.name for mutants in areas.values() for mutant in mutants])


def _confirm(results: Results, workshop: Workshop) -> None:
    """Check that tests that caught a mutant pass without one; forget the catches of the others."""
    new = [
        line
        for line in results.lines.values()
        if line["outcome"] in (CAUGHT, BY_SUITE)
        and not line.get("confirmed")
        and line["by"] != CRASH
    ]
    if not new:
        return
    print("Running the tests that caught a mutant on the unchanged code", flush=True)
    broken = set(workshop.failing(sorted({line["by"] for line in new})))
    if broken & {CRASH, NO_END}:
        raise RuntimeError("the tests that caught a mutant do not end on the unchanged code")
    for line in new:
        if line["by"] in broken:
            print(f"{line['by']} fails on the unchanged code, too: its catches do not count")
            del results.lines[line["mutant"]]
        else:
            line["confirmed"] = True


def table(areas: Mapping[str, Sequence[Mutant]], results: Results) -> str:
    """How many were caught, by area, and which ones survived or are equivalent."""
    row = "{:28}{:>8}{:>12}{:>10}{:>9}{:>7}".format
    text = [row("area", "caught", "equivalent", "survived", "not run", "total")]
    counts = {area: _counts(mutants, results) for area, mutants in areas.items()}
    text += [row(area, *count) for area, count in counts.items()]
    text.append(row("all", *map(sum, zip(*counts.values(), strict=True))))
    found = results.lines.values()
    waiting = [r for r in found if r["outcome"] in (CAUGHT, BY_SUITE) and not r.get("confirmed")]
    if waiting:
        text.append(f"{len(waiting)} catches wait for their test to pass on the unchanged code")
    for area, mutants in areas.items():
        for mutant in mutants:
            line = results.lines.get(mutant.name, {})
            if line.get("outcome") in (SURVIVED, SURVIVED_ROOM):
                text.append(f"{line['outcome']}: {area}, {mutant.file}: {mutant.breaks}")
            if line.get("outcome") == EQUIVALENT:
                text.append(f"equivalent: {area}, {mutant.file}: {mutant.breaks}: {line['why']}")
    return "\n".join(text)


def _counts(mutants: Iterable[Mutant], results: Results) -> tuple[int, int, int, int, int]:
    """Caught, equivalent, survived, not run and all; what rests on other tests is not run."""
    found = [
        results.lines[mutant.name]["outcome"] if results.known(mutant, room_only=True) else None
        for mutant in mutants
    ]
    caught = sum(outcome in NOTICED for outcome in found)
    survived = sum(outcome in (SURVIVED, SURVIVED_ROOM) for outcome in found)
    return caught, found.count(EQUIVALENT), survived, found.count(None), len(found)
