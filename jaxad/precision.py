"""Single precision, also in programs that have enabled 64-bit types."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import jax

_F = TypeVar("_F", bound=Callable)
_switched_off = ContextVar("_switched_off", default=False)  # by `in_single_precision`


def in_single_precision(function: _F) -> _F:
    """Run ``function`` with 64-bit types off, as if ``jax_enable_x64`` had not been set.

    All of jaxad's training and scoring is in float32. The setting of the process stays as it is.

    Example:
      >>> import jax.numpy as jnp
      >>> @in_single_precision
      ... def zeros():
      ...     return jnp.zeros(2)
      >>> with jax.enable_x64(True):
      ...     jnp.zeros(2).dtype, zeros().dtype
      (dtype('float64'), dtype('float32'))
    """

    @wraps(function)
    def single(*arguments: Any, **options: Any) -> Any:
        if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            return function(*arguments, **options)
        token = _switched_off.set(True)
        try:
            with jax.enable_x64(False):
                return function(*arguments, **options)
        finally:
            _switched_off.reset(token)

    return single  # pyright: ignore[reportReturnType]


@contextmanager
def as_called() -> Iterator[None]:
    """Within `in_single_precision`: types as where that was called, for functions of the user.

    Example:
      >>> import jax.numpy as jnp
      >>> @in_single_precision
      ... def zeros():
      ...     with as_called():
      ...         return jnp.zeros(2)
      >>> with jax.enable_x64(True):
      ...     zeros().dtype
      dtype('float64')
      >>> zeros().dtype
      dtype('float32')
    """
    if not _switched_off.get():
        yield
        return
    with jax.enable_x64(True):
        yield
