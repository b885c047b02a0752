"""Forked processes: they lack JAX's threads, so that using JAX in them would hang."""

import os

_used = False  # whether this process has used JAX
_forked = False  # whether it was forked from one that had


def check_not_forked() -> None:
    """Raise an error in a process that was forked after jaxad had used JAX.

    Raises:
      RuntimeError: this is such a process.

    Example:
      >>> check_not_forked()
    """
    global _used
    if _forked:
        raise RuntimeError(
            "this process was forked after jaxad had used JAX, whose threads a fork does not copy, "
            "so that the call would hang. Start processes by "
            "multiprocessing.get_context('spawn'), as joblib does, or fork before the first fit or "
            "load"
        )
    _used = True


def _note() -> None:
    global _forked
    _forked = _used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
