"""What is killed, and called again, for `test_checkpoint`: ``FOLDER OUT WATCHED``.

Trains a run and then a population, and writes what came out. WATCHED, ``fit`` or
``fit_population``, is saved after every epoch; with ``nothing`` there are no checkpoints.
"""

import sys

import numpy as np
from small_objectives import KEY, KEYS, OBJECTIVES, RECIPE

from jaxad import persistence, training

folder, out, watched = sys.argv[1:]
rows = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
run = OBJECTIVES["soft_boundary"], RECIPE.replace(epochs=400)
found = {}
for fit, keys in (training.fit, KEY), (training.fit_population, KEYS):
    name = fit.__name__
    checkpoints = training.Checkpoints(f"{folder}/{name}", every=0 if name == watched else 60)
    given = {} if watched == "nothing" else {"checkpoints": checkpoints}
    result = fit(*run, keys, rows, **given)
    found[name] = {"params": result.params, "stats": result.stats, "history": result.history}
persistence.write(out, found, {})
