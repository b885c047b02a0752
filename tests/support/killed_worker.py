"""What is killed, and called again, for `test_checkpoint`: ``OUT [FOLDER SECONDS]``."""

import sys

import numpy as np
from cases import KEY, OBJECTIVES, RECIPE

from jaxad import persistence, training

out, *saved = sys.argv[1:]
checkpoints = training.Checkpoints(saved[0], every=float(saved[1])) if saved else None
rows = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
recipe = RECIPE.replace(epochs=400, patience=1000)
result = training.fit(OBJECTIVES["soft_boundary"], recipe, KEY, rows, checkpoints=checkpoints)
found = {"params": result.params, "stats": result.stats, "history": result.history}
persistence.write(out, found, {})
