"""The detectors that suites measure: one table for all of them."""

import jaxad

# Name in suites -> estimator.
DETECTORS: dict[str, type] = {
    "deep_svdd": jaxad.DeepSVDD,
    "deep_sad": jaxad.DeepSAD,
    "dagmm": jaxad.DAGMM,
    "goad": jaxad.GOAD,
    "autoencoder": jaxad.AutoEncoder,
}
CLASS_NAMES = tuple(kind.__name__ for kind in DETECTORS.values())
# Those that learn from known anomalies.
WITH_LABELS = ("deep_sad",)
