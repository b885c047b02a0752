"""Ctrl-C: waiting that it interrupts at once, and blocks that it does not cut short.

Python raises `KeyboardInterrupt` only between its own instructions. A call that waits inside XLA,
for an array or for the compiler, would hold it back until the end. The functions here wait in
Python instead, and leave XLA to finish on its own.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

Value = TypeVar("Value")
Tree = TypeVar("Tree")

_LONGEST = 0.02  # seconds between two looks
_SHARE = 1 / 64  # of the time waited so far: the most that looking too late adds

_here = threading.local()  # .stop: an Event at which this thread stops waiting


class Stopped(Exception):
    """The thread for which this one works was interrupted, or met an error."""


def stop_at(event: threading.Event) -> None:
    """From now on, this thread raises `Stopped` instead of waiting once ``event`` is set."""
    _here.stop = event


def check() -> None:
    """Raise `Stopped` if this thread's event is set."""
    stop = getattr(_here, "stop", None)
    if stop is not None and stop.is_set():
        raise Stopped


def until(done: Callable[[], bool]) -> None:
    """Wait until ``done()`` is true. Ctrl-C interrupts it."""
    began = time.perf_counter()
    while not done():
        check()
        time.sleep(min(_LONGEST, _SHARE * (time.perf_counter() - began)))


def ready(tree: Tree) -> Tree:
    """The tree, once all of its arrays are computed. Ctrl-C interrupts the waiting.

    Example:
      >>> import jax.numpy as jnp
      >>> float(ready({"x": jnp.ones(3)})["x"].sum())
      3.0
    """
    pending: list[Any] = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "is_ready")]
    until(lambda: all(leaf.is_ready() for leaf in pending))
    return jax.block_until_ready(tree)  # raises what the computation met


def in_thread(function: Callable[[], Value]) -> Value:
    """The value of a function, computed by another thread. Ctrl-C interrupts the waiting for it.

    The function runs to its end even then; the process waits for it before it exits.
    """
    check()
    outcome: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    threading.Thread(target=run, name="jaxad-compile").start()
    until(lambda: bool(outcome))
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


class Deferred:
    """Whether Ctrl-C was pressed within `deferred`."""

    pressed = False


@contextlib.contextmanager
def deferred() -> Iterator[Deferred]:
    """Note the first Ctrl-C within the block instead of raising it; raise a second one at once.

    In other threads than the main one, and where the program handles Ctrl-C itself, the block is an
    ordinary one.

    Example:
      >>> import os, signal
      >>> with deferred() as interrupt:
      ...     os.kill(os.getpid(), signal.SIGINT)
      >>> interrupt.pressed
      True
    """
    found = Deferred()
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield found
        return

    def note(number: int, frame: Any) -> None:
        if found.pressed:
            signal.default_int_handler(number, frame)
        found.pressed = True

    signal.signal(signal.SIGINT, note)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
