"""Threads: members of a population, and blocks of rows, share the cores of a CPU."""

import contextlib
import multiprocessing
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import joblib
from joblib.parallel import get_active_backend

from jaxad.checks import Whole
from jaxad.training.compilation import counting_for

VARIABLE = "JAXAD_THREADS"
CHECK = Whole()

Item = TypeVar("Item")
Value = TypeVar("Value")

_lock = threading.Lock()
_busy = 0  # threads at work in this process
_here = threading.local()  # .works: whether this thread is one of them

# Settings of JAX that its context managers change in the calling thread only.
_CONTEXTS: dict[str, Callable[[Any], contextlib.AbstractContextManager]] = {
    "jax_enable_x64": jax.enable_x64,
    "jax_default_matmul_precision": jax.default_matmul_precision,
    "jax_debug_nans": jax.debug_nans,
    "jax_disable_jit": jax.disable_jit,
    "jax_default_device": jax.default_device,
}


def thread_count(threads: int | None = None) -> int:
    """The number of threads that populations and scoring may use now.

    One for each core that this process may use, as scheduler, control group and joblib's
    ``LOKY_MAX_CPU_COUNT`` have it, less those that are at work already; one inside a worker of
    joblib or of a pool of processes, because the other workers have the other cores.

    Args:
      threads: at most this many; None: the environment variable ``JAXAD_THREADS``, or all.

    Raises:
      ValueError: ``threads`` or the variable is not a positive whole number.

    Example:
      >>> thread_count(1)
      1
    """
    if threads is None:
        threads = _from_environment()
    else:
        CHECK("threads", threads)
    if threads == 1 or _is_worker():
        return 1
    cores = joblib.cpu_count()
    if threads is not None and threads > cores:
        warnings.warn(
            f"threads={threads}: this process may use {cores} core(s), so {cores} thread(s) work",
            RuntimeWarning,
            stacklevel=2,
        )
    return max(1, min(threads or cores, cores) - _busy)


def _is_worker() -> bool:
    """Whether this thread or process is one of several that work at the same time."""
    works = getattr(_here, "works", False) or multiprocessing.current_process().daemon
    backend: Any = get_active_backend()[0]
    return works or backend.nesting_level > 0


def _from_environment() -> int | None:
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    if not given.isdigit() or int(given) < 1:
        raise ValueError(
            f"the environment variable {VARIABLE}={given!r} is not a positive whole number: set it "
            "to a number of threads, or unset it to use all cores"
        )
    return int(given)


def each(
    function: Callable[[Item], Value], items: Iterable[Item], threads: int | None = None
) -> list[Value]:
    """The values of a function for all items, computed by at most ``threads`` threads.

    An error or an interrupt (Ctrl-C) is raised as soon as the calls that have begun are done.
    """
    return list(in_order(function, items, threads))


def in_order(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    threads: int | None = None,
    *,
    ahead: int | None = None,
) -> Iterator[Value]:
    """`each`, one value after the other; at most ``ahead`` items a thread are read in advance."""
    count = thread_count(threads)
    if count == 1:
        return map(function, items)
    return _by_threads(function, items, count, ahead and count * ahead)


def _by_threads(
    function: Callable[[Item], Value], items: Iterable[Item], count: int, ahead: int | None
) -> Iterator[Value]:
    owner, settings = threading.get_ident(), _settings()

    def work(item: Item) -> Value:
        with counting_for(owner), _as_set(settings):
            return function(item)

    with _workers(count) as pool:
        waiting: deque[Future] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if ahead is not None and len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def _workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; at its end, calls that have begun are finished and no other begins."""
    global _busy
    pool = ThreadPoolExecutor(count, thread_name_prefix="jaxad", initializer=_mark)
    with _lock:
        _busy += count
    try:
        yield pool
    finally:
        try:
            pool.shutdown(wait=True, cancel_futures=True)
        finally:
            with _lock:
                _busy -= count


def _mark() -> None:
    _here.works = True


def _settings() -> dict[str, Any]:
    return {name: getattr(jax.config, name) for name in _CONTEXTS}


@contextlib.contextmanager
def _as_set(settings: dict[str, Any]) -> Iterator[None]:
    """Repeat the caller's settings of JAX in a worker, as far as they differ there."""
    with contextlib.ExitStack() as stack:
        for name, value in settings.items():
            if getattr(jax.config, name) != value:
                stack.enter_context(_CONTEXTS[name](value))
        yield
