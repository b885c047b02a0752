"""A training run of one model and one of a population on the devices there are, timed.

``python -m benchmarks.scaled SETTINGS`` prints one JSON object; the scaling suite runs it in
processes of its own, since a process has one set of devices. SETTINGS is JSON: the arguments of
`measure`, and ``join``, those of `jaxad.training.join_hosts`.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxad import networks, objectives, training

FEATURES, WIDTHS = 30, (128, 64, 32)


def measure(
    rows: int,
    epochs: int,
    batch_size: int,
    member_epochs: int,
    member_batch_size: int,
    members: int,
    repeats: int,
) -> dict[str, dict[str, float]]:
    """Seconds of the first call, and the median of ``repeats`` more.

    Every process has its share of the rows of one model, and all rows of the population.
    """
    x = np.random.default_rng(0).normal(size=(rows, FEATURES)).astype(np.float32)
    own = np.array_split(x, jax.process_count())[jax.process_index()]
    objective = objectives.deep_svdd(networks.MLP(WIDTHS))

    key = jax.random.key(0)
    recipe = training.Recipe(epochs=epochs, batch_size=batch_size, learning_rate=1e-4)
    one = partial(training.fit, objective, recipe, key, own)
    mesh = training.make_mesh(1, jax.device_count()) if jax.device_count() > 1 else None
    keys = jax.random.split(key, members)
    recipe = training.Recipe(member_epochs, batch_size=member_batch_size, learning_rate=1e-4)
    many = partial(training.fit_population, objective, recipe, keys, x)
    return {
        "model": _timed(lambda: one(mesh=mesh), repeats),
        "population": _timed(many, repeats),
    }


def _timed(run: Callable[[], Any], repeats: int) -> dict[str, float]:
    seconds = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return {"first_seconds": seconds[0], "seconds": statistics.median(seconds[1:])}


def main(text: str) -> None:
    """Join the other processes where there are any, measure and print."""
    settings = json.loads(text)
    if join := settings.pop("join", None):
        training.join_hosts(**join)
    print(json.dumps(measure(**settings)))


if __name__ == "__main__":
    main(sys.argv[1])
