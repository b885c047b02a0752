"""Several processes of one run on this machine, which talk over its loopback address alone."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.speed.worker import free_address as free_address

ROOT = Path(__file__).parents[2]


def run_alone(code: str, **variables: str) -> str:
    """Run Python code in a process of its own; see `run_together`."""
    (said,) = run_together([[sys.executable, "-c", code]], variables)
    return said


def run_together(
    commands: Sequence[Sequence[str]], variables: Mapping[str, str], *, timeout: float = 600
) -> list[str]:
    """Run commands at once, from this checkout, and wait for all; none is left behind.

    Args:
      commands: one for each process.
      variables: set in their environment beside this process's own.
      timeout: seconds.

    Returns:
      What each printed to standard output.

    Raises:
      RuntimeError: one of them failed; with what all of them said.
      subprocess.TimeoutExpired: they took too long.
    """
    started = []
    try:
        for command in commands:
            started.append(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=os.environ | dict(variables),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        said = [process.communicate(timeout=timeout) for process in started]
        if any(process.returncode for process in started):
            told = "\n".join(f"process {i}:\n{out}{err}" for i, (out, err) in enumerate(said))
            raise RuntimeError(f"processes that run together failed:\n{told}")
        return [out for out, _ in said]
    finally:
        for process in started:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                pipe.close()
