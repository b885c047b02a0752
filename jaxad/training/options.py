"""Compiler options of single programs; the options of the whole process stay as they are."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxad.training import interrupts
from jaxad.training.forks import check_not_forked
from jaxad.training.kept import keep
from jaxad.training.threads import with_settings

# A program takes about a hundred memory maps, of which Linux gives a process 65,530; one that runs
# out of them crashes.
MOST_PROGRAMS = 256

# Passes of the compiler that cost small programs on a CPU more than they save. The first splits
# sums into trees, the second splits loops among cores.
_TREES, _PARALLEL = "tree_reduction_rewriter", "cpu-parallel-task-assigner"
_WIDE = {"xla_cpu_prefer_vector_width": "512"}
_UNKNOWN = re.compile("No such compile option: '(.*?)'")


def compiled(
    function: Callable,
    name: str,
    platform: str,
    *,
    optimised: bool = True,
    parallel: bool = False,
) -> Callable:
    """Compile a function, on a CPU with options for short steps.

    Args:
      function: the function; all arguments are arrays.
      name: the name that profiles show.
      platform: the kind of device that the function is for, see `mesh.platform`.
      optimised: whether the program's speed matters more than its compilation time.
      parallel: whether a CPU may split the program's loops among its cores.

    A process keeps the `MOST_PROGRAMS` programs that it used last, one for each structure and shape
    of the arguments; others are compiled again when they are needed.

    Returns:
      The compiled function. Before several threads call it, each calls its ``prepare`` with the
      same arguments: one thread compiles and the others wait, instead of all compiling.
    """
    function.__name__ = function.__qualname__ = keep(name)
    return _Compiled(function, _options(platform, optimised, parallel))


class _Program:
    """A function compiled for arguments of one structure and of one shape each."""

    def __init__(self, function: Callable, options: dict[str, str]):
        self._function = function
        self.prepared, self.preparing = False, threading.Lock()
        self.use(options)

    def use(self, options: dict[str, str]) -> None:
        """Compile with these options from now on."""

        @wraps(self._function)
        def alone(*arguments: Any) -> Any:
            return self._function(*arguments)

        # JAX forgets a program with the function it was made of, so each has one of its own.
        self.made = jax.jit(alone, compiler_options=options), options


# The programs that were used last, the newest at the end.
_programs: OrderedDict[Any, _Program] = OrderedDict()
_lock = threading.Lock()


class _Compiled:
    """A compiled function; options that another version of the compiler lacks are left out."""

    def __init__(self, function: Callable, options: dict[str, str]):
        self._function, self._options = function, options

    def __call__(self, *arguments: Any) -> Any:
        check_not_forked()
        return self._with_known_options(self._program(arguments), lambda made: made(*arguments))

    def shapes(self, *arguments: Any) -> Any:
        """The shapes and types of the result."""
        return jax.eval_shape(self._function, *arguments)

    def prepare(self, *arguments: Any) -> None:
        """Compile for arguments of these shapes, once. Ctrl-C interrupts it."""
        check_not_forked()
        program = self._program(arguments)
        if program.prepared:
            return
        with program.preparing:
            if not program.prepared:
                self._with_known_options(program, lambda made: _compile(made.lower(*arguments)))
            program.prepared = True

    def _program(self, arguments: Any) -> _Program:
        """The program for these arguments; beyond `MOST_PROGRAMS` it takes another one's place."""
        leaves, structure = jax.tree.flatten(arguments)
        key = self, structure, *((np.shape(leaf), leaf.dtype) for leaf in leaves)
        dropped = None  # it is freed once other threads may go on
        with _lock:
            program = _programs.get(key)
            if program is None:
                program = _programs[key] = _Program(self._function, self._options)
                if len(_programs) > MOST_PROGRAMS:
                    dropped = _programs.popitem(last=False)
            else:
                _programs.move_to_end(key)
        del dropped
        return program

    def _with_known_options(self, program: _Program, run: Callable) -> Any:
        """Run with the options that the compiler knows; what it does not know is found out here."""
        while True:
            made, options = program.made
            try:
                return run(made)
            except jax.errors.JaxRuntimeError as error:
                unknown = _UNKNOWN.search(str(error))
                if unknown is None or unknown[1] not in options:
                    raise
                self._options = {k: v for k, v in options.items() if k != unknown[1]}
                program.use(self._options)


def _compile(lowered: Any) -> None:
    interrupts.in_thread(with_settings(lowered.compile))


def _options(platform: str, optimised: bool, parallel: bool) -> dict[str, str]:
    if not optimised:
        return {"xla_backend_optimization_level": "0"}
    if platform != "cpu":
        return {}
    disabled = [_TREES] if parallel else [_TREES, _PARALLEL]
    return {"xla_disable_hlo_passes": ",".join(disabled)} | (_WIDE if _has_wide_vectors() else {})


@cache
def _has_wide_vectors() -> bool:
    """Whether the processor has vectors of 512 bits; False where the system does not tell."""
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
