"""What a user waits for: the first fit in a fresh process, then a second one on other data.

``python -m benchmarks.first_fit`` prints one JSON object; the speed suite runs it in processes of
its own, since a process compiles only once.
"""

import json
import time

import numpy as np


def measure(rows: int = 4000, features: int = 6, epochs: int = 10) -> dict[str, float]:
    """Import, fit, then fit other data of similar size with another seed and learning rate.

    Returns:
      Wall seconds of the import and both fits, and the programs each fit compiled.
    """
    start = time.perf_counter()
    import jax

    import jaxad

    result = {"import_seconds": time.perf_counter() - start}
    compiled = []

    def listen(event: str, *_: object, **__: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    for name, count, seed, rate in (("first", rows, 0, 1e-4), ("second", rows - 77, 1, 3e-4)):
        x = np.random.default_rng(seed).normal(size=(count, features))
        model = jaxad.DeepSVDD(epochs=epochs, learning_rate=rate, random_state=seed, n_members=1)
        compiled.clear()
        start = time.perf_counter()
        model.fit(x)
        result[f"{name}_seconds"] = time.perf_counter() - start
        result[f"{name}_compilations"] = len(compiled)
    return result


if __name__ == "__main__":
    print(json.dumps(measure()))
