"""Processes of their own: for peaks of memory, first compilations, device counts, other Pythons.

``python -m benchmarks.speed.worker MODULE [CORE ...]`` reads a JSON object a line,
``{"do": FUNCTION, ...}``, calls that function of the module with the other entries, and answers
with a JSON object that has ``seconds`` and ``result``, or ``error``. It imports nothing of `jaxad`
by itself, and the module only once it is confined to the cores.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from benchmarks.record import environment

ROOT = Path(__file__).parents[2]


class WorkerError(RuntimeError):
    """A process failed or could not be started; the message is the reason a result gives."""


class Answer(NamedTuple):
    """What a call returned, and the seconds it took there."""

    result: Any
    seconds: float


class Worker:
    """A process that calls functions of a module, alive while its ``with`` block is.

    ``python`` is its interpreter (None: this one); ``variables`` are set in its environment beside
    this process's own, and left out where the value is None. The process stays on ``cores``
    from its start (None: on this one's), where the system can pin it. `call` and `receive` raise a
    `WorkerError` with what the function raised or the process said last.
    """

    def __init__(
        self,
        module: str,
        *,
        python: Path | None = None,
        variables: Mapping[str, str | None] | None = None,
        cores: Sequence[int] | None = None,
    ):
        command = [str(python or sys.executable), "-m", "benchmarks.speed.worker", module]
        self._command = [*command, *map(str, cores or ())]
        variables = os.environ | dict(variables or {})
        self._variables = {k: v for k, v in variables.items() if v is not None}

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def call(self, function: str, **arguments: Any) -> Answer:
        """Call a function and wait for what it returns."""
        self.send(function, **arguments)
        return self.receive()

    def send(self, function: str, **arguments: Any) -> None:
        """Start a call; `receive` waits for it."""
        try:
            print(json.dumps({"do": function, **arguments}), file=self._process.stdin, flush=True)
        except (OSError, ValueError) as error:  # a broken or closed pipe
            raise WorkerError(f"the process ended: {error}") from error

    def receive(self) -> Answer:
        """Wait for the call that was started."""
        line = self._process.stdout.readline()  # pyright: ignore[reportOptionalMemberAccess]
        if not line:
            status = self._process.wait()
            self._errors.seek(0)
            words = self._errors.read().strip().splitlines()[-1:]
            raise WorkerError(": ".join([f"the process ended with status {status}", *words]))
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return Answer(answer["result"], answer["seconds"])


def free_address() -> str:
    """``"127.0.0.1:port"`` with a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def first_fit(detector: str, rows: int, features: int, **options: Any) -> dict[str, float]:
    """Wall seconds of importing `jaxad`, of a fit, and of another on other rows, seed and rate.

    Without ``options`` it is 10 epochs of a single model. ``..._compile_seconds`` are what each fit
    compiled, or loaded from kept programs.
    """
    import numpy as np

    start = time.perf_counter()
    import jaxad

    model = getattr(jaxad, detector)
    result = {"import_seconds": time.perf_counter() - start}
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    for prefix, count, seed, rate in (("", rows, 0, 1e-4), ("later_", rows - 77, 1, 3e-4)):
        x = np.random.default_rng(seed).normal(size=(count, features))
        how = {"epochs": 10, "learning_rate": rate, "random_state": seed, "n_members": 1}
        fitted = model(**how | options)
        labels = [-1] * 40 + [0] * (count - 40) if detector == "DeepSAD" else None
        start = time.perf_counter()
        fitted.fit(x, labels)
        result[f"{prefix}seconds"] = time.perf_counter() - start
        result[f"{prefix}compile_seconds"] = fitted.compile_seconds_
    return result


def main(module: str, *cores: str) -> None:
    """Answer calls until the input ends."""
    if cores:
        environment.pin([int(core) for core in cores])
    # Libraries print; their output must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    loaded = importlib.import_module(module)
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        start = time.perf_counter()
        try:
            result = getattr(loaded, command.pop("do"))(**command)
            answer = {"seconds": time.perf_counter() - start, "result": result}
        except Exception as error:  # whatever a library raises is the result
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
