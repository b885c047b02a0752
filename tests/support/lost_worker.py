"""One of two processes that train one model: ``ADDRESS PROCESS OUT FOLDER EPOCHS``.

`test_faults` kills one of them, and starts both again.
"""

import sys

import jax
import numpy as np

from jaxad import persistence, training

address, process, out, folder, epochs = sys.argv[1:]
training.join_hosts(address, processes=2, process=int(process), timeout=300)

from cases import KEY, OBJECTIVES, SHARED  # noqa: E402  (uses JAX)

rows = np.random.default_rng(int(process)).normal(size=(100 + int(process), 5)).astype(np.float32)
result = training.fit(
    *(OBJECTIVES["soft_boundary"], SHARED.replace(epochs=int(epochs)), KEY, rows),
    mesh=training.make_mesh(1, jax.device_count()),
    checkpoints=training.Checkpoints(folder, every=0),
)
found = {"params": result.params, "stats": result.stats, "history": result.history}
persistence.write(out, found, {})
