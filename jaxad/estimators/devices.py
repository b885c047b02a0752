"""The device on which a detector trains and scores."""

import contextlib
from typing import Any

import jax


def check_device(name: str, value: Any) -> Any:
    """Raise an error unless ``value`` is None, the kind of a device there is, or a device.

    Raises:
      TypeError: it is something else.
      ValueError: there is no device of this kind; the message lists those there are.
    """
    if value is not None:
        _found(name, value)
    return value


def on_device(device: Any) -> contextlib.AbstractContextManager:
    """A context in which arrays are made, and programs run, on a device; None changes nothing."""
    if device is None:
        return contextlib.nullcontext()
    return jax.default_device(_found("device", device))


def _found(name: str, value: Any) -> Any:
    if isinstance(value, jax.Device):
        return value
    if not isinstance(value, str):
        raise TypeError(
            f"{name}={value!r} is neither None, nor a kind of device such as 'cpu' or 'gpu', nor a "
            "jax.Device such as jax.devices()[0]"
        )
    try:
        return jax.local_devices(backend=value)[0]
    except RuntimeError:
        there = sorted({*map(str, jax.devices()), *map(str, jax.devices("cpu"))})
        raise ValueError(
            f"{name}={value!r}: JAX finds no such device here, only {', '.join(there)}: choose "
            "'cpu', or install the jax of your accelerator, such as pip install 'jax[cuda13]'"
        ) from None
