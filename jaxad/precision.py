"""Single precision, also in programs that have enabled 64-bit types."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax

_F = TypeVar("_F", bound=Callable)


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
        with jax.enable_x64(False):
            return function(*arguments, **options)

    return single  # pyright: ignore[reportReturnType]
