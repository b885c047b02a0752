"""The table of detectors: suites, files and documentation draw from it."""

DETECTORS: dict[str, type] = {}


def register(detector: type) -> None:
    """Enter a detector class by its name; `jaxad.estimators.Detector` does so by itself."""
    DETECTORS[name_of(detector)] = detector


def name_of(detector: type) -> str:
    """The name that stands in files: that of the class, outside of jaxad with its module."""
    if detector.__module__.startswith("jaxad."):
        return detector.__name__
    return f"{detector.__module__}.{detector.__qualname__}"


def detector_named(name: str) -> type:
    """The class of this name.

    Raises:
      LookupError: there is none; the message says how to make it known.
    """
    if name in DETECTORS:
        return DETECTORS[name]
    module = str(name).rpartition(".")[0]
    remedy = f"import {module} first" if module else f"this jaxad knows {sorted(DETECTORS)}"
    raise LookupError(f"holds a {name!r}, which is not known here: {remedy}")
