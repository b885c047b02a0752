"""What each of two joined processes runs for `test_checkpoint`: ``ADDRESS PROCESS FOLDER``."""

import os
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxad import training
from jaxad.training import Checkpoints

address, process, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
training.join_hosts(address, processes=2, process=process, timeout=60)

from cases import KEYS, OBJECTIVES, RECIPE  # noqa: E402  (uses JAX)

rows = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
own_devices = training.make_mesh(devices=jax.local_devices())


def fit(where=folder / "run", backend="auto", every=60.0, recipe=RECIPE, mesh=None):
    """By members, which are shared out among the processes unless the mesh is one's own."""
    checkpoints = where and Checkpoints(where, backend=backend, every=every)
    objective = OBJECTIVES["soft_boundary"]
    return training.fit_population(
        objective, recipe, KEYS, rows, mesh=mesh, checkpoints=checkpoints
    )


def refused(kind, message, **given):
    with pytest.raises(kind, match=message):
        fit(**given)


whole = fit(where=None)
fit(every=0, recipe=RECIPE.replace(epochs=2))
resumed = fit(every=0)
pairs = [(r.params, r.stats, r.history) for r in (resumed, whole)]
for one, other in zip(*map(jax.tree.leaves, pairs), strict=True):
    assert np.asarray(one).tobytes() == np.asarray(other).tobytes()

refused(ValueError, "with 2 processes use backend='orbax'", backend="file")
refused(ValueError, "process 1 has another checkpoints", where=folder / str(process))
refused(ValueError, "for the other processes.*'file'", backend="orbax", mesh=own_devices)

# One path, but on each its own disk.
if process == 0:
    shutil.copytree(folder / "run", folder / "own-0")
(folder / f"own-{process}").mkdir(exist_ok=True)
os.chdir(folder / f"own-{process}")
refused(RuntimeError, "give a folder on a disk that they share", where=".")
