"""The device on which a detector trains and scores."""

import contextlib
from typing import Any

import jax


def check_device(name: str, value: Any) -> Any:
    """Raise an error unless ``value`` is None, or the kind and number of a device there is.

    Raises:
      TypeError: it is something else, such as a ``jax.Device``, which cannot be copied.
      ValueError: there is no such device; the message lists those there are.
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
        raise TypeError(
            f"{name}={value!r} cannot be copied or pickled with the detector: name the device by "
            f"its kind and number, such as '{value.platform}:{value.id}'"
        )
    if not isinstance(value, str) or not value:
        raise TypeError(
            f"{name}={value!r} is neither None, nor a kind of device such as 'cpu' or 'gpu', nor "
            "one with a number, such as 'cpu:1'"
        )
    kind, _, number = value.partition(":")
    try:
        return dict(enumerate(jax.local_devices(backend=kind)))[int(number or 0)]
    except (RuntimeError, ValueError, KeyError):
        there = sorted({*map(str, jax.devices()), *map(str, jax.devices("cpu"))})
        raise ValueError(
            f"{name}={value!r}: JAX finds no such device here, only {', '.join(there)}: choose "
            "'cpu', or install the jax of your accelerator, such as pip install 'jax[cuda13]'"
        ) from None
