"""Compilation: measure its time and count."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import jax

_TRACE = "/jax/core/compile/jaxpr_trace_duration"
_LOWER = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILE = "/jax/core/compile/backend_compile_duration"


@dataclass(eq=False)  # by identity: several threads look one up in a list
class Stopwatch:
    """Splits the wall time of a ``with`` block into compiling and running.

    Attributes:
      compilations: programs compiled inside the block, or loaded from a cache.
      compile_seconds: seconds spent tracing, lowering and compiling or loading them.
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
    _thread: int = field(default=0, repr=False)
    _spans: list[tuple[float, float]] = field(default_factory=list, repr=False)

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
        self.compile_seconds = sum(end - start for start, end in self._spans)
        elapsed = time.perf_counter() - self._start
        self.run_seconds = max(0.0, elapsed - self.compile_seconds)

    def _record(self, event: str, seconds: float) -> None:
        """Count the time of an event that ends now; traces nest, and threads compile at once."""
        if event not in (_TRACE, _LOWER, _COMPILE):
            return
        end = time.perf_counter()
        start = min(end, max(self._start, end - seconds))
        with _lock:
            self.compilations += event == _COMPILE
            while self._spans and self._spans[-1][1] >= start:
                start = min(start, self._spans.pop()[0])
            self._spans.append((start, end))


_running: list[Stopwatch] = []
_listening = False
_lock = threading.Lock()
_here = threading.local()  # .owner: the thread on whose behalf this one compiles


def owner() -> int:
    """The thread for whose stopwatches this one's compilations count."""
    return getattr(_here, "owner", threading.get_ident())


@contextlib.contextmanager
def counting_for(thread: int) -> Iterator[None]:
    """What this thread compiles counts for the stopwatches of the thread ``thread``."""
    before = owner()
    _here.owner = thread
    try:
        yield
    finally:
        _here.owner = before


def _listen() -> None:
    global _listening
    if not _listening:
        jax.monitoring.register_event_duration_secs_listener(_on_event)
        _listening = True


def _on_event(event: str, duration_secs: float, **kwargs: str | int) -> None:
    del kwargs
    # A thread that fits does not count what others compile for themselves.
    for stopwatch in [s for s in _running if s._thread == owner()]:
        stopwatch._record(event, duration_secs)
