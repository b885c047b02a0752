"""Checkpoints: a killed run resumes from the last one and ends with the same result."""

import dataclasses
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxad.persistence import made_from
from jaxad.rows import Rows
from jaxad.training.hosts import broadcast, gather_arrays, on_host
from jaxad.training.recipe import Recipe
from jaxad.training.snapshots import Snapshot, Snapshots, require_orbax, size_of
from jaxad.training.trees import described, digest, layout, named, renamed
from jaxad.typing import Key

BACKENDS = ("auto", "file", "orbax")
FORMAT = 2  # of checkpoints; format 1 was not recorded
_KIND = "checkpoint"
_MAX_LISTED = 1000  # longer arrays appear in a fingerprint as their digest
_MAX_CALL_SECONDS = 0.25  # checkpoints wait for the end of a compiled call


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Where and how often a run is saved.

    A folder belongs to one run. Repeating the call resumes from the newest undamaged checkpoint;
    a finished run returns the same result at once. The repeated call may ask for more epochs. It
    calls the callbacks before it trains on, so that a rule that ended the run ends it again.

    Attributes:
      folder: created if missing. All processes of a run must see it.
      every: seconds between checkpoints; 0 saves after every epoch. The end is always saved.
      keep: number of checkpoints to keep.
      backend: ``"file"`` writes one file. ``"orbax"`` writes a file, and a folder in which every
        process stores its part of the state; it needs ``pip install 'jaxad[orbax]'``. ``"auto"``
        is orbax if several processes are one run, else a file.

    Raises:
      ValueError: an attribute out of range.

    Example:
      >>> import jax, numpy as np, tempfile
      >>> from jaxad import networks, objectives, training
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> objective = objectives.deep_svdd(networks.MLP((16, 8)))
      >>> run = objective, training.Recipe(epochs=5), jax.random.key(0), x
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     one = training.fit(*run, checkpoints=training.Checkpoints(folder, every=10.0))
      ...     same = training.fit(*run, checkpoints=folder)
      >>> bool((one.history["loss"] == same.history["loss"]).all())
      True
    """

    folder: str | os.PathLike
    every: float = 60.0
    keep: int = 2
    backend: str = "auto"

    def __post_init__(self):
        """Check the attributes."""
        if not self.every >= 0:
            raise ValueError(f"every={self.every!r} is not a number of seconds, at least 0")
        if not isinstance(self.keep, int) or self.keep < 1:
            raise ValueError(f"keep={self.keep!r} is not a positive whole number")
        if self.backend not in BACKENDS:
            raise ValueError(f"backend={self.backend!r} is unknown: choose one of {BACKENDS}")

    @staticmethod
    def of(given: Any) -> "Checkpoints | None":
        """Checkpoints in the folder ``given``; `Checkpoints` and None are returned unchanged."""
        return given if isinstance(given, Checkpoints | None) else Checkpoints(given)

    def within(self, name: str) -> "Checkpoints":
        """The same settings in the subfolder ``name``, for one of several runs."""
        return dataclasses.replace(self, folder=Path(self.folder) / name)


class Saver:
    """Saves one run, and finds its earlier checkpoints.

    Args:
      checkpoints: where and how often to save.
      run: the run's `fingerprint`.
      epochs: epochs of the whole run, a number or ``[P]``.
      joined: whether several processes are this run.

    Raises:
      ValueError: the folder holds another run, one that has done more epochs, or a file that is
        whole but no checkpoint.
    """

    def __init__(
        self, checkpoints: Checkpoints, run: dict[str, Any], epochs: Any, *, joined: bool = False
    ):
        self._every, self._run, self._joined = checkpoints.every, run, joined
        self._snapshots = Snapshots(
            Path(checkpoints.folder).absolute(),
            checkpoints.keep,
            orbax=_uses_orbax(checkpoints.backend, joined),
            joined=joined,
        )
        self._found = self._snapshots.newest()
        if any(self._snapshots.folder.glob("member-*/epochs-*.safetensors")):
            raise ValueError(self._other_version(self._snapshots.folder))
        self._saved = None
        if self._found is not None:
            self._check(self._found, np.ravel(epochs))
            self._saved = self._found.arrays["epoch"]
        self._last = time.monotonic()

    @property
    def max_seconds(self) -> float:
        """Longest time of one compiled call, in seconds."""
        return min(_MAX_CALL_SECONDS, self._every)

    def resume(self, state: Any) -> tuple[Any, dict[str, np.ndarray]]:
        """The saved state and history; without a checkpoint ``state`` and an empty history.

        Args:
          state: the run's state before the first step. The saved state must have the same shapes
            and goes to the same devices.

        Raises:
          ValueError: the saved state has other shapes, or lacks an array.
          OSError: there is not enough space for a checkpoint.
        """
        leaves = named(state)
        self._snapshots.clear()
        if self._found is None:
            self._snapshots.check_space(size_of(leaves))
            return state, {}
        found, self._found = self._found, None
        if found.metadata["layout"] != layout(leaves):
            raise ValueError(
                f"{found.path} is of this run, but its arrays have other shapes: go on with as "
                "many devices and with the version of jaxad that it was begun with, or begin "
                "again in another folder"
            )
        with made_from(found.path, _KIND):
            resumed = renamed(state, self._snapshots.read(found, leaves))
            if layout(named(resumed)) != layout(leaves):
                raise ValueError("its arrays have other shapes than it says")
            return resumed, dict(found.arrays["history"])

    def due(self) -> bool:
        """Whether a checkpoint is due, the same on every process."""
        # A clock that was set back must not put off the next checkpoint.
        due = not 0 <= time.monotonic() - self._last < self._every
        return bool(broadcast(due)) if self._joined else due

    def save(self, state: Any, history: dict[str, np.ndarray]) -> None:
        """Save the state and history, unless a checkpoint of these epochs exists.

        Raises:
          OSError: there is not enough space; earlier checkpoints are unchanged.
        """
        epoch = np.array(on_host(state.epoch))  # a copy: the state will be overwritten
        if self._saved is None or not np.array_equal(epoch, self._saved):
            leaves = named(state)
            self._snapshots.write(
                int(np.sum(epoch, dtype=np.int64)),  # increases until every member has ended
                leaves,
                {"epoch": epoch, "history": history},
                {"format": FORMAT, "run": self._run, "layout": layout(leaves)},
            )
            self._saved = epoch
        self._last = time.monotonic()

    @staticmethod
    def _other_version(path: Path) -> str:
        return (
            f"{path} was written by another version of jaxad, whose runs this version cannot go "
            "on from: finish the run with that version, or begin again in another folder"
        )

    def _check(self, found: Snapshot, epochs: np.ndarray) -> None:
        folder = self._snapshots.folder
        if found.metadata.get("format", 1) != FORMAT:
            raise ValueError(self._other_version(found.path))
        with made_from(found.path, _KIND):
            differing = differences(found.metadata["run"], self._run)
        if differing:
            raise ValueError(
                f"{folder} holds checkpoints of another run: {'; '.join(differing[:5])}. Give "
                "another folder, or delete this one to begin again"
            )
        with made_from(found.path, _KIND):
            _ = found.metadata["layout"], found.arrays["history"]
            done = np.ravel(found.arrays["epoch"])[: len(epochs)]
            longer = done > epochs
        if longer.any():
            at = int(np.argmax(longer))
            raise ValueError(
                f"{folder} holds a run that has done {done[at]} epochs, more than "
                f"recipe.epochs={epochs[at]:g}: ask for at least as many, or give another folder"
            )


def open_saver(
    checkpoints: Any,
    objective: Any,
    recipe: Recipe,
    key: Key,
    *,
    joined: bool,
    **data: Any,
) -> Saver | None:
    """The `Saver` of a run, or None without checkpoints; the arguments are `fingerprint`'s."""
    settings = Checkpoints.of(checkpoints)
    if settings is None:
        return None
    run = fingerprint(objective, recipe, key, joined=joined, **data)
    return Saver(settings, run, recipe.epochs, joined=joined)


def fingerprint(
    objective: Any, recipe: Any, key: Key, *, joined: bool = False, **data: Any
) -> dict[str, Any]:
    """Names and values, ready for JSON, that identify a run.

    Runs with equal structure, numbers, key and rows have equal fingerprints. ``recipe.epochs`` is
    left out, because a longer run can resume a shorter one. Functions are compared by name, so two
    lambdas are equal.

    Args:
      objective: the objective.
      recipe: the recipe.
      key: the run's typed key, or keys ``[P]``.
      joined: whether several processes, each with its own data, are one run.
      **data: rows, and trees of arrays such as initial parameters; compared by SHA-256.

    Example:
      >>> import jax
      >>> from jaxad import training
      >>> found = fingerprint(None, training.Recipe(patience=3), jax.random.key(0))
      >>> found["recipe.patience"], found["key"]
      (3, [0, 0])
    """
    run = _describe("objective", objective) | _describe("recipe", recipe)
    run.pop("recipe.epochs", None)
    if not getattr(recipe, "diagnostics", ()):  # which earlier versions did not have
        run.pop("recipe.diagnostics", None)
    run["key"] = np.asarray(jax.random.key_data(key)).tolist()
    run["key's kind"] = str(jax.random.key_impl(key))
    trees = {k: v.identity if isinstance(v, Rows) else v for k, v in data.items()}
    digests = {name: digest(tree) for name, tree in trees.items()}
    return run | (_across_processes(digests) if joined else digests)


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Sentences that describe how two fingerprints differ."""
    found = []
    for name in saved | now:
        one, other = (str(run.get(name, "absent")) for run in (saved, now))
        if one != other:
            short = max(len(one), len(other)) < 60
            found.append(f"{name} was {one}, is {other}" if short else f"not the same {name}")
    return found


def _describe(name: str, value: Any) -> dict[str, Any]:
    """All settings in ``value``, by their paths."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        below = {f".{f.name}": getattr(value, f.name) for f in dataclasses.fields(value)}
    elif isinstance(value, dict):
        below = {f"[{k!r}]": v for k, v in value.items()}
    elif isinstance(value, list | tuple):
        below = {f"[{i}]": v for i, v in enumerate(value)}
    elif isinstance(value, bool | int | str | None):
        return {name: value}
    elif isinstance(value, float | np.ndarray | np.generic | jax.Array):
        return {name: _numbers(np.asarray(value))}
    else:
        return {name: described(value)}
    found = {name: type(value).__qualname__}
    for path, part in below.items():
        found |= _describe(name + path, part)
    return found


def _numbers(values: np.ndarray) -> Any:
    if values.size > _MAX_LISTED or values.dtype.kind not in "fiub":
        return digest(values)
    if values.dtype == np.float32:  # as 0.1, not as the float64 0.10000000149
        return [float(str(v)) for v in values.ravel()] if values.ndim else float(str(values))
    return values.tolist()


def _across_processes(digests: dict[str, str]) -> dict[str, str]:
    """One digest per name over the data of all processes."""
    own = [np.frombuffer(bytes.fromhex(one), np.uint8) for one in digests.values()]
    all_parts = np.ascontiguousarray(np.moveaxis(gather_arrays(np.stack(own)), 0, 1))
    return {
        name: hashlib.sha256(parts).hexdigest()
        for name, parts in zip(digests, all_parts, strict=True)
    }


def _uses_orbax(backend: str, joined: bool) -> bool:
    if backend == "file" and joined:
        raise ValueError(
            "backend='file' would save one process's part of the state: with "
            f"{jax.process_count()} processes use backend='orbax'"
        )
    if backend == "orbax" and not joined and jax.process_count() > 1:
        raise ValueError(
            "backend='orbax' would wait for the other processes, which have no part in this run: "
            "use backend='file'"
        )
    by_orbax = joined if backend == "auto" else backend == "orbax"
    if by_orbax:
        require_orbax()
    return by_orbax
