"""Threads: members of a population, and blocks of rows, share the cores of a CPU."""

import contextlib
import multiprocessing
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import jax
import joblib
from joblib.parallel import get_active_backend

from jaxad.checks import Whole
from jaxad.training.compilation import counting_for, owner

VARIABLE = "JAXAD_THREADS"
CHECK = Whole()

Item = TypeVar("Item")
Value = TypeVar("Value")

_lock = threading.Lock()
_busy = 0  # threads at work in this process
_here = threading.local()  # .works: whether this thread is one of them; .among_others
_warned: set[int] = set()  # numbers of threads that were too many

# Settings of JAX that its context managers change in the calling thread only.
_CONTEXTS: dict[str, Callable[[Any], contextlib.AbstractContextManager]] = {
    "jax_enable_x64": jax.enable_x64,
    "jax_default_matmul_precision": jax.default_matmul_precision,
    "jax_debug_nans": jax.debug_nans,
    "jax_disable_jit": jax.disable_jit,
    "jax_default_device": jax.default_device,
}


def thread_count(threads: int | None = None) -> int:
    """The number of threads that a population or scoring may use now.

    At most one for each core that this process may use, as scheduler, control group and joblib's
    ``LOKY_MAX_CPU_COUNT`` have it, less the cores on which such threads are at work already.

    Args:
      threads: at most this many; None: as many as the environment variable ``JAXAD_THREADS`` says,
        or one in a process that another started (by joblib, multiprocessing or concurrent.futures),
        in joblib's threads and within `among_others`, because the neighbours have the other cores;
        else all.

    Raises:
      ValueError: ``threads`` or the variable is not a positive whole number.

    Example:
      >>> thread_count(1)
      1
    """
    wanted, name = threads, "threads"
    if wanted is None:
        wanted, name = _from_environment(), VARIABLE
    check_threads(threads)
    if wanted == 1 or getattr(_here, "works", False) or (wanted is None and _has_neighbours()):
        return 1
    cores = joblib.cpu_count()
    if wanted is not None and wanted > cores and wanted not in _warned:
        _warned.add(wanted)
        warnings.warn(
            f"{name}={wanted}: this process may use {cores} core(s), so {cores} thread(s) work",
            RuntimeWarning,
            stacklevel=2,
        )
    return max(1, min(wanted or cores, cores - _busy))


def check_threads(threads: int | None) -> None:
    """Raise an error unless ``threads`` is None or a positive whole number."""
    if threads is not None:
        CHECK("threads", threads)


def each(
    function: Callable[[Item], Value], items: Iterable[Item], threads: int | None = None
) -> list[Value]:
    """The values of a function for all items, computed by at most ``threads`` threads.

    After an error no further call begins, and it is raised when those that have begun are done. An
    interrupt (Ctrl-C) does not wait for them.
    """
    with _workers(threads) as pool:
        if pool is None:
            return list(map(function, items))
        work = with_settings(function)
        calls = [pool.submit(work, item) for item in items]
        done, _ = wait(calls, return_when=FIRST_EXCEPTION)
        for call in done:
            call.result()
        return [call.result() for call in calls]


def in_order(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    threads: int | None = None,
    *,
    ahead: int,
) -> Generator[Value, None, None]:
    """`each`, one value after the other; at most ``ahead`` items a thread are read in advance.

    Closing the iterator ends the threads.
    """
    with _workers(threads) as pool:
        if pool is None:
            yield from map(function, items)
            return
        work, waiting = with_settings(function), deque[Future]()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead * pool._max_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def _workers(threads: int | None) -> Iterator[ThreadPoolExecutor | None]:
    """A pool of threads, or None for the calling thread alone.

    At its end no further call begins, and those that have begun are finished. After an interrupt
    they are left to themselves.
    """
    global _busy
    with _lock:
        count = thread_count(threads)
        added = count if count > 1 else 0
        _busy += added
    try:
        if not added:
            yield None
            return
        pool = ThreadPoolExecutor(count, thread_name_prefix="jaxad", initializer=_mark)
        waits = True
        try:
            yield pool
        except KeyboardInterrupt:
            waits = False
            raise
        finally:
            pool.shutdown(wait=waits, cancel_futures=True)
    finally:
        with _lock:
            _busy -= added


def _mark() -> None:
    _here.works = True


def with_settings(function: Callable[..., Value]) -> Callable[..., Value]:
    """The function for another thread, with this one's settings of JAX and its stopwatches."""
    compiles_for = owner()
    settings = {name: getattr(jax.config, name) for name in _CONTEXTS}

    def work(*items: Any) -> Value:
        with counting_for(compiles_for), contextlib.ExitStack() as stack:
            for name, value in settings.items():
                if getattr(jax.config, name) != value:
                    stack.enter_context(_CONTEXTS[name](value))
            return function(*items)

    return work


@contextlib.contextmanager
def among_others() -> Iterator[None]:
    """Within it, this thread is one of several tasks that some engine runs beside each other."""
    before, _here.among_others = getattr(_here, "among_others", False), True
    try:
        yield
    finally:
        _here.among_others = before


def _has_neighbours() -> bool:
    """Whether this thread or process is one of several that another one started."""
    if getattr(_here, "among_others", False):
        return True
    backend: Any = get_active_backend()[0]
    return backend.nesting_level > 0 or multiprocessing.parent_process() is not None


def _from_environment() -> int | None:
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and int(given)):
        raise ValueError(
            f"the environment variable {VARIABLE}={given!r} is not a positive whole number: set it "
            "to a number of threads, or unset it to use all cores"
        )
    return int(given)


def _forget() -> None:
    """In a forked process, which has none of the threads."""
    global _busy, _lock
    _busy, _lock = 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
