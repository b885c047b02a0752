"""What a user waits for: the first fit in a fresh process, then a second one on other data.

It imports `jaxad` in the call alone, since the import is measured too.
"""

import time
from typing import Any

import numpy as np


def measure(
    detector: str, rows: int, features: int, cache: str | None = None, **options: Any
) -> dict[str, float]:
    """Import, fit, then fit other data of similar size with another seed and learning rate.

    Args:
      detector: a class of `jaxad`.
      rows: to fit.
      features: of a row.
      cache: folder of the persistent compilation cache, or None.
      **options: of the detector; what is not given is 10 epochs of a single model.

    Returns:
      Wall seconds of the import and both fits, and of what each fit compiled.
    """
    start = time.perf_counter()
    import jaxad
    from jaxad import training

    if cache is not None:
        training.compilation_cache(cache)
    result = {"import_seconds": time.perf_counter() - start}
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    for name, count, seed, rate in (("first", rows, 0, 1e-4), ("second", rows - 77, 1, 3e-4)):
        x = np.random.default_rng(seed).normal(size=(count, features))
        model = getattr(jaxad, detector)(
            **{"epochs": 10, "learning_rate": rate, "random_state": seed, "n_members": 1} | options
        )
        labels = [-1] * 40 + [0] * (count - 40) if detector == "DeepSAD" else None
        start = time.perf_counter()
        model.fit(x, labels)
        result[f"{name}_seconds"] = time.perf_counter() - start
        result[f"{name}_compile_seconds"] = model.compile_seconds_
    return result
