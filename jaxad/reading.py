"""Errors of libraries that read files, as one error that names the file."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def reading(path: Any, kind: str) -> Iterator[None]:
    """Raise a ValueError that names the file for whatever a library makes of its contents.

    Libraries raise dozens of errors for damaged files, some of them no ValueError. What is no fault
    of the contents stays as it is: a missing library, too little memory, warnings made errors, and
    errors of the system such as a missing file or a lacking permission.

    Args:
      path: the file.
      kind: what it should be, such as "a CSV file".

    Example:
      >>> with reading("rows.csv", "a CSV file"):
      ...     {}["a"]
      Traceback (most recent call last):
      ValueError: rows.csv cannot be read as a CSV file (KeyError: 'a'): it is damaged or ...
    """
    try:
        yield
    except (ImportError, MemoryError, Warning):
        raise
    except Exception as error:
        # Libraries raise an OSError without a number for contents, the system one with a number.
        if isinstance(error, OSError) and error.errno is not None:
            if error.filename is not None:
                raise
            raise OSError(error.errno, error.strerror, str(path)) from error
        said = " ".join(str(error).split())
        said = said if len(said) <= 300 else f"{said[:300]}..."
        raise ValueError(
            f"{path} cannot be read as {kind} ({type(error).__name__}: {said}): it is damaged or "
            "of another kind; give another copy, or write it again"
        ) from error
