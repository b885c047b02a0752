"""Compilation: measure its time and count, and cache compiled programs on disk."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache as jax_cache

_TRACE = "/jax/core/compile/jaxpr_trace_duration"
_LOWER = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILE = "/jax/core/compile/backend_compile_duration"


@dataclass
class Stopwatch:
    """Splits the wall time of a ``with`` block into compiling and running.

    Attributes:
      compilations: programs compiled inside the block.
      compile_seconds: seconds spent tracing, lowering and compiling them.
      run_seconds: the rest of the wall time, in seconds.

    Example:
      >>> import jax
      >>> from jaxad import training
      >>> with training.Stopwatch() as watch:
      ...     _ = jax.jit(lambda x: x + 3)(1.0)
      >>> watch.compilations
      1
    """

    compilations: int = 0
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    _start: float = field(default=0.0, repr=False)
    _trace: float = field(default=0.0, repr=False)
    _thread: int = field(default=0, repr=False)

    def __enter__(self):
        """Start."""
        _listen()
        self._thread = threading.get_ident()
        _running.append(self)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_):
        """Stop."""
        _running.remove(self)
        self.run_seconds = time.perf_counter() - self._start - self.compile_seconds

    def _record(self, event: str, seconds: float) -> None:
        if event == _TRACE:
            self._trace = seconds  # traces nest: the last before lowering is the outermost
        elif event == _LOWER:
            self.compile_seconds += self._trace + seconds
            self._trace = 0.0
        elif event == _COMPILE:
            self.compilations += 1
            self.compile_seconds += seconds


_running: list[Stopwatch] = []
_listening = False
_here = threading.local()  # .owner: the thread on whose behalf this one compiles


@contextlib.contextmanager
def counting_for(owner: int) -> Iterator[None]:
    """What this thread compiles counts for the stopwatches of the thread ``owner``."""
    _here.owner = owner
    try:
        yield
    finally:
        del _here.owner


def _listen() -> None:
    global _listening
    if not _listening:
        jax.monitoring.register_event_duration_secs_listener(_on_event)
        _listening = True


def _on_event(event: str, duration_secs: float, **kwargs: str | int) -> None:
    del kwargs
    # A thread that fits does not count what others compile for themselves.
    thread = getattr(_here, "owner", threading.get_ident())
    for stopwatch in [s for s in _running if s._thread == thread]:
        stopwatch._record(event, duration_secs)


def compilation_cache(folder: str | os.PathLike[str] | None) -> None:
    """Cache compiled programs in a folder, from which later processes load them.

    A first fit then takes a fraction of a second. The cache depends on the versions of jax and
    jaxlib and on the machine, and grows until you delete it. Its programs are executed, so use a
    folder that nobody else can write to.

    Args:
      folder: created if missing; None turns the cache off.

    Raises:
      ValueError: the folder cannot be created or written to.

    Example:
      >>> import tempfile
      >>> from jaxad import training
      >>> with tempfile.TemporaryDirectory() as folder:  # yours would stay
      ...     training.compilation_cache(folder)
      ...     training.compilation_cache(None)
    """
    if folder is not None:
        path = Path(folder).expanduser().resolve()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"folder={str(folder)!r} cannot be made: {error.strerror}") from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise ValueError(f"folder={str(folder)!r} cannot be written to")
        folder = str(path)
        # Small programs are cached, too: together they are most of a fit's compilation.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_compilation_cache_dir", folder)
    jax_cache.reset_cache()  # without it a process that has compiled before ignores the change
