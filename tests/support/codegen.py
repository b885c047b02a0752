"""Optimised code, switched off in `conftest`, for tests that would otherwise run for long."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def optimised() -> Iterator[None]:
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", True)
