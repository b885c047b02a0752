"""The environment of PyOD and DeepOD, apart from ours: DeepOD asks for a torch of 2022.

``python -m benchmarks.run peers [FOLDER]`` makes it. Suites look for it in ``JAXAD_PEERS``, else in
the folder that the command makes by default.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.worker import Worker, WorkerError

TORCH = "torch==2.13.0"
# What DeepOD imports besides what PyOD brings; its own pins are left aside.
DEEPOD_NEEDS = ("pandas", "tqdm")
MAKE = "python -m benchmarks.run peers"


def default_folder() -> Path:
    """``$JAXAD_PEERS``, or a folder in the user's cache."""
    given = os.environ.get("JAXAD_PEERS")
    return Path(given) if given else Path.home() / ".cache" / "jaxad" / "peers"


def python(folder: Path | None = None) -> Path:
    """The environment's python; the `WorkerError` without one says how to make it."""
    folder = folder or default_folder()
    path = _python(folder)
    if not path.exists() or not _finished(folder).exists():
        raise WorkerError(f"no environment of the peers in {folder}: {MAKE}")
    return path


def create(folder: Path, torch: str = TORCH) -> Path:
    """Make the environment and return its python. An earlier one in the folder is made anew.

    ``torch`` is what pip installs first. Nothing half-made is used; a `WorkerError` has pip's own
    last words.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        raise WorkerError(f"{folder} holds something else: give an empty or a new folder")
    _finished(folder).unlink(missing_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(_python(folder)), "-m", "pip", "install", "--quiet"]
    _run([*pip, torch])
    # Held where it is: what comes later may not bring another torch.
    ask = "from importlib.metadata import version; print(version('torch'))"
    held = folder / "torch.txt"
    held.write_text(f"torch=={_run([str(_python(folder)), '-c', ask]).strip()}\n")
    _run([*pip, "--constraint", str(held), "pyod", *DEEPOD_NEEDS])
    _run([*pip, "--no-deps", "deepod"])
    _run([str(_python(folder)), "-c", "import pyod.models.deep_svdd, deepod.models.tabular"])
    _finished(folder).touch()
    return _python(folder)


class Library(Worker):
    """A process in that environment, for one detector of `benchmarks.peers.libraries`."""

    def __init__(self, folder: Path | None = None):
        super().__init__("benchmarks.peers.libraries", python=python(folder))

    def make(
        self, detector: str, x: np.ndarray, new: np.ndarray, label: Any = None, **settings: Any
    ) -> float:
        """Make a detector of that name; returns the seconds, which include the import.

        ``x`` is to fit, ``new`` to score; ``label`` is 1 for known anomalies, else 0. ``settings``
        are ``widths``, ``batch_size``, ``epochs``, ``learning_rate`` and, for GOAD, ``transforms``
        and ``mapped``.
        """
        files = {"rows": x, "new": new}
        if label is not None:
            files["label"] = np.asarray(label, np.int64)
        with tempfile.TemporaryDirectory(prefix="jaxad-peers-") as folder:
            paths = {name: str(Path(folder) / f"{name}.npy") for name in files}
            for name, array in files.items():
                np.save(paths[name], array)
            return self.call("make", detector=detector, **paths, **settings).seconds


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _finished(folder: Path) -> Path:
    return folder / "finished"


def _run(command: Sequence[str]) -> str:
    print("+", " ".join(command), flush=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise WorkerError(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode:
        words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in words if line.lower().startswith("error")]
        last = (errors or words or ["no message"])[-1]
        raise WorkerError(f"{' '.join(command[1:])} failed: {last}")
    return done.stdout


def main(argv: Sequence[str]) -> int:
    """``peers [FOLDER] [--torch SPEC]``; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=MAKE, description="Make the environment that PyOD and DeepOD are measured in."
    )
    parser.add_argument("folder", nargs="?", type=Path, help=f"default: {default_folder()}")
    parser.add_argument("--torch", default=TORCH, metavar="SPEC", help=f"default: {TORCH}")
    arguments = parser.parse_args(argv)
    folder = (arguments.folder or default_folder()).resolve()
    create(folder, arguments.torch)
    print(f"peers: {folder}")
    if folder != default_folder().resolve():
        print(f"suites find it with JAXAD_PEERS={folder}")
    return 0
