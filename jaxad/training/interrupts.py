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
_SHARE = 1 / 16  # of the time waited so far, likewise
_SHORTEST = 1e-4


def until(done: Callable[[], bool]) -> None:
    """Wait until ``done()`` is true. Ctrl-C interrupts it."""
    began = time.perf_counter()
    while not done():
        waited = time.perf_counter() - began
        time.sleep(min(_LONGEST, max(_SHORTEST, _SHARE * waited)))


def ready(tree: Tree) -> Tree:
    """The tree, once all of its arrays are computed. Ctrl-C interrupts the waiting.

    Example:
      >>> import jax.numpy as jnp
      >>> float(ready({"x": jnp.ones(3)})["x"].sum())
      3.0
    """
    if _is_main():
        pending: list[Any] = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "is_ready")]
        until(lambda: all(leaf.is_ready() for leaf in pending))
    return jax.block_until_ready(tree)  # raises what the computation met


def in_thread(function: Callable[[], Value]) -> Value:
    """The value of a function, from another thread. Ctrl-C interrupts the waiting for it.

    The function runs to its end even then; the process waits for it before it exits. Threads other
    than the main one, to which Ctrl-C does not come, call the function themselves.
    """
    if not _is_main():
        return function()
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


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


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
    if not usual or not _is_main():
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
