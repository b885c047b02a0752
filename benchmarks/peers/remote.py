"""A published peer in a process of its own, driven from here."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.peers import PeerError, environment

ROOT = Path(__file__).parents[2]


class Remote:
    """A worker of `benchmarks.peers.published`, alive while its ``with`` block is.

    Raises:
      PeerError: there is no environment of the peers, or the worker failed; with the reason.
    """

    def __init__(self, folder: Path | None = None):
        self._python = environment.python(folder)

    def __enter__(self) -> Self:
        """Start the process."""
        self._files = tempfile.TemporaryDirectory(prefix="jaxad-peers-")
        self._process = subprocess.Popen(
            [self._python, "-m", "benchmarks.peers.published"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._files.cleanup()

    def make(self, detector: str, x: np.ndarray, new: np.ndarray, label: Any = None, **settings):
        """Make a detector of `benchmarks.peers.published`; returns the seconds of import and all.

        Args:
          detector: its name there.
          x: rows to fit.
          new: rows to score.
          label: 1 for known anomalies, else 0; None for detectors that take none.
          **settings: ``widths``, ``batch_size``, ``epochs``, ``learning_rate`` and, for GOAD,
            ``transforms`` and ``mapped``.
        """
        files = {"rows": x, "new": new}
        if label is not None:
            files["label"] = np.asarray(label, np.int64)
        paths = {}
        for name, array in files.items():
            paths[name] = str(Path(self._files.name) / f"{name}.npy")
            np.save(paths[name], array)
        return self._ask(do="make", detector=detector, **paths, **settings)["seconds"]

    def fit(self) -> float:
        """Fit it again; returns its seconds."""
        return self._ask(do="fit")["seconds"]

    def score(self) -> float:
        """Score the new rows; returns its seconds."""
        return self._ask(do="score")["seconds"]

    def versions(self) -> dict[str, str]:
        """Of the packages there."""
        return self._ask(do="versions")["result"]

    def _ask(self, **command: Any) -> dict[str, Any]:
        try:
            print(json.dumps(command), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()  # pyright: ignore[reportOptionalMemberAccess]
        except (OSError, ValueError) as error:  # a broken or closed pipe
            raise PeerError(f"the peers' process ended: {error}") from error
        if not line:
            raise PeerError(f"the peers' process ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer
