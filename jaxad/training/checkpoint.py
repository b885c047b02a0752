"""Checkpoints: a killed run goes on from the last one and ends as if it had not been killed."""

import dataclasses
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxad.rows import Rows
from jaxad.training.hosts import agreed, of_each, on_host
from jaxad.training.recipe import Recipe
from jaxad.training.snapshots import Snapshot, Snapshots, require_orbax, size_of
from jaxad.training.trees import described, digest, layout, named, renamed
from jaxad.typing import Key

BACKENDS = ("auto", "file", "orbax")
FORMAT = 2  # of a checkpoint; 1 had no number
_MOST = 1000  # numbers of one leaf that a fingerprint holds; more become a digest
_LOOK = 0.25  # seconds a compiled call may take, so that a checkpoint is not long overdue


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Where and how often a run is saved.

    A folder belongs to one run. The same call again goes on from the newest undamaged checkpoint;
    if the run had ended, the call returns the same result at once. It may ask for more epochs than
    before.

    Attributes:
      folder: made if it does not exist. All processes of a run must see it.
      every: seconds between checkpoints; 0: after every epoch. The end of a run is always saved.
      keep: how many checkpoints are kept.
      backend: ``"file"``: a checkpoint is one file. ``"orbax"``: it is a file and a folder into
        which every process writes its own part of the state; needs ``pip install
        'jaxad[orbax]'``. ``"auto"``: orbax if several processes are one run, else a file.

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
        """Checkpoints from a folder; checkpoints and None are returned as they are."""
        return given if isinstance(given, Checkpoints | None) else Checkpoints(given)

    def within(self, name: str) -> "Checkpoints":
        """The same settings in a subfolder, for one of several runs."""
        return dataclasses.replace(self, folder=Path(self.folder) / name)


class Saver:
    """Saves one run, and finds its earlier checkpoints.

    Args:
      checkpoints: where and how often.
      run: the run's `fingerprint`.
      epochs: the number of epochs at the end, or ``[P]`` of them.
      joined: whether several processes are this run.

    Raises:
      ValueError: the folder holds another run, or one of more epochs.
    """

    def __init__(
        self, checkpoints: Checkpoints, run: dict[str, Any], epochs: Any, *, joined: bool = False
    ):
        self._every, self._run, self._joined = checkpoints.every, run, joined
        self._snapshots = Snapshots(
            Path(checkpoints.folder).absolute(),
            checkpoints.keep,
            orbax=_by_orbax(checkpoints.backend, joined),
            joined=joined,
        )
        self._found = self._snapshots.newest()
        self._saved = None
        if self._found is not None:
            self._saved = self._found.arrays["epoch"]
            self._check(self._found, np.ravel(epochs))
        self._last = time.monotonic()

    @property
    def pause(self) -> float:
        """How many seconds a compiled call may take."""
        return min(_LOOK, self._every)

    def resume(self, state: Any) -> tuple[Any, dict[str, np.ndarray]]:
        """The saved state and history, or ``state`` and no history.

        Args:
          state: the run's state before the first step. The saved state must have its shapes and
            is put on its devices.

        Raises:
          ValueError: the saved state has other shapes.
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
        values = self._snapshots.read(found, leaves)
        return renamed(state, values), found.arrays["history"]

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        due = time.monotonic() - self._last >= self._every
        return bool(agreed(due)) if self._joined else due

    def save(self, state: Any, history: dict[str, np.ndarray]) -> None:
        """Save, unless this state already is.

        Raises:
          OSError: there is not enough space; the checkpoints before are as they were.
        """
        epoch = np.array(on_host(state.epoch))  # a copy: the state will be overwritten
        if self._saved is None or not np.array_equal(epoch, self._saved):
            leaves = named(state)
            self._snapshots.write(
                int(np.sum(epoch, dtype=np.int64)),  # of a population: of all members together
                leaves,
                {"epoch": epoch, "history": history},
                {"format": FORMAT, "run": self._run, "layout": layout(leaves)},
            )
            self._saved = epoch
        self._last = time.monotonic()

    def _check(self, found: Snapshot, epochs: np.ndarray) -> None:
        folder = self._snapshots.folder
        if found.metadata.get("format", 1) != FORMAT:
            raise ValueError(
                f"{found.path} was written by another version of jaxad, whose runs this version "
                "cannot go on from: finish the run with that version, or begin again in another "
                "folder"
            )
        differing = differences(found.metadata["run"], self._run)
        if differing:
            raise ValueError(
                f"{folder} holds checkpoints of another run: {'; '.join(differing[:5])}. Give "
                "another folder, or delete this one to begin again"
            )
        done = np.ravel(found.arrays["epoch"])[: len(epochs)]
        if (done > epochs).any():
            at = int(np.argmax(done > epochs))
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
    """The `Saver` of a run, or None without checkpoints; arguments as of `fingerprint`."""
    settings = Checkpoints.of(checkpoints)
    if settings is None:
        return None
    run = fingerprint(objective, recipe, key, joined=joined, **data)
    return Saver(settings, run, recipe.epochs, joined=joined)


def fingerprint(
    objective: Any, recipe: Any, key: Key, *, joined: bool = False, **data: Any
) -> dict[str, Any]:
    """What makes a run the one it is: names and values, as JSON holds them.

    Two runs with equal structure, numbers, key and rows have equal fingerprints. ``recipe.epochs``
    is left out, since a longer run can go on from a shorter one. A function counts by its name, so
    two lambdas look the same.

    Args:
      objective: what for.
      recipe: how.
      key: the run's typed key, or keys ``[P]``.
      joined: whether several processes are one run, each with data of its own.
      **data: rows, and trees of arrays (initial parameters); their SHA-256 counts.

    Example:
      >>> import jax
      >>> from jaxad import training
      >>> found = fingerprint(None, training.Recipe(patience=3), jax.random.key(0))
      >>> found["recipe.patience"], found["key"]
      (3, [0, 0])
    """
    run = _describe("objective", objective) | _describe("recipe", recipe)
    run.pop("recipe.epochs", None)
    run["key"] = np.asarray(jax.random.key_data(key)).tolist()
    run["key's kind"] = str(jax.random.key_impl(key))
    trees = {k: v.identity if isinstance(v, Rows) else v for k, v in data.items()}
    digests = {name: digest(tree) for name, tree in trees.items()}
    return run | (_of_all(digests) if joined else digests)


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The differences between two fingerprints, in words."""
    found = []
    for name in saved | now:
        one, other = (str(run.get(name, "absent")) for run in (saved, now))
        if one != other:
            short = max(len(one), len(other)) < 60
            found.append(f"{name} was {one}, is {other}" if short else f"not the same {name}")
    return found


def _describe(name: str, value: Any) -> dict[str, Any]:
    """Every choice and number in ``value``, by its path."""
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
    if values.size > _MOST or values.dtype.kind not in "fiub":
        return digest(values)
    if values.dtype == np.float32:  # in its own few digits instead of those of a float64
        return [float(str(v)) for v in values.ravel()] if values.ndim else float(str(values))
    return values.tolist()


def _of_all(digests: dict[str, str]) -> dict[str, str]:
    """Digests of the data of all processes together, by name."""
    own = [np.frombuffer(bytes.fromhex(one), np.uint8) for one in digests.values()]
    all_parts = np.ascontiguousarray(np.moveaxis(of_each(np.stack(own)), 0, 1))
    return {
        name: hashlib.sha256(parts).hexdigest()
        for name, parts in zip(digests, all_parts, strict=True)
    }


def _by_orbax(backend: str, joined: bool) -> bool:
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
