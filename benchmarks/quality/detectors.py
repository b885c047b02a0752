"""The detectors that suites measure: those that have registered themselves with jaxad."""

import re

from jaxad.estimators import DETECTORS as REGISTERED
from jaxad.estimators import KDSM, TCCM, ObjectiveDetector

_ELSEWHERE = (KDSM, TCCM, ObjectiveDetector)  # the suite ``younger`` measures them


def _suite_name(kind: type) -> str:
    """The name in suites: words in lower case, as of the functions in `jaxad.objectives`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
    return "autoencoder" if words == "auto_encoder" else words


_FOUND = {_suite_name(kind): kind for kind in REGISTERED.values() if kind not in _ELSEWHERE}
_FIRST = ("deep_svdd", "deep_sad", "dagmm", "goad", "autoencoder")
# Name in suites -> estimator. A detector that was imported before is there, too.
DETECTORS: dict[str, type] = {name: _FOUND[name] for name in (*_FIRST, *_FOUND)}
CLASS_NAMES = tuple(kind.__name__ for kind in DETECTORS.values())
# Those that learn from known anomalies.
WITH_LABELS = ("deep_sad",)
