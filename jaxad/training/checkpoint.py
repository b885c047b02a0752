"""Checkpoints: a run that was killed goes on from the last one and ends as if it had not been."""

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxad.training import sharded
from jaxad.training.fingerprint import differences, fingerprint
from jaxad.training.leaves import layout, named, renamed
from jaxad.training.processes import agreed, on_host
from jaxad.training.recipe import Recipe
from jaxad.training.snapshots import Snapshot, Snapshots, size_of
from jaxad.typing import Key

BACKENDS = ("auto", "file", "orbax")
FORMAT = 2  # of a checkpoint; 1 had no number
_LOOK = 0.25  # seconds a compiled call may take, so that a checkpoint is not long overdue


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Where and how often a run is saved.

    The folder is one run's: the same call again goes on from the newest whole checkpoint, and
    where the run had ended it ends at once with the same result. It may be given more epochs than
    before.

    Attributes:
      folder: made if it is not there. With several processes all must see it.
      every: seconds between checkpoints; 0: after every epoch. The end of a run is always saved.
      keep: how many are kept.
      backend: ``"file"``: one file each. ``"orbax"``: besides it a folder into which every process
        writes its own part of the state; needs ``pip install 'jaxad[orbax]'``. ``"auto"``: orbax
        where several processes are one run.

    Raises:
      ValueError: an attribute out of range.

    Example:
      >>> import jax, numpy as np, tempfile
      >>> from jaxad import networks, objectives, training
      >>> x = np.random.default_rng(0).normal(size=(200, 4))
      >>> objective = objectives.DeepSVDD(networks.MLP((16, 8)))
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
        """From themselves, a folder, or None."""
        return given if isinstance(given, Checkpoints | None) else Checkpoints(given)

    def within(self, name: str) -> "Checkpoints":
        """The same in a folder below, for one of several runs."""
        return dataclasses.replace(self, folder=Path(self.folder) / name)


class Saver:
    """Saves one run, and finds what was saved of it.

    Args:
      checkpoints: where and how often.
      run: the run's `fingerprint`.
      epochs: how many it is to have in the end, a number or ``[P]``.
      joined: whether several processes are this one run.

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
          state: the run's state before the first step. It tells the shapes, and the devices on
            which the saved state comes to lie.

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
        told = differences(found.metadata["run"], self._run)
        if told:
            raise ValueError(
                f"{folder} holds checkpoints of another run: {'; '.join(told[:5])}. Give another "
                "folder, or delete this one to begin again"
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
        sharded.require()
    return by_orbax
