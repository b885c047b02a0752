"""How much of a wall time was compilation, and how often it happened."""

import time
from dataclasses import dataclass, field

import jax

_TRACE = "/jax/core/compile/jaxpr_trace_duration"
_LOWER = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILE = "/jax/core/compile/backend_compile_duration"


@dataclass
class Stopwatch:
    """Measures a ``with`` block: wall seconds, and those spent tracing and compiling.

    Attributes:
      compilations: programs compiled inside the block.
      compile_seconds: tracing, lowering and compiling them.
      run_seconds: the rest of the wall time.
    """

    compilations: int = 0
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    _start: float = field(default=0.0, repr=False)
    _trace: float = field(default=0.0, repr=False)

    def __enter__(self):
        """Start."""
        _listen()
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


def _listen() -> None:
    global _listening
    if not _listening:
        jax.monitoring.register_event_duration_secs_listener(_on_event)
        _listening = True


def _on_event(event: str, duration_secs: float, **kwargs: str | int) -> None:
    del kwargs
    for stopwatch in _running:
        stopwatch._record(event, duration_secs)
