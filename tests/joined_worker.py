"""What each of two joined processes runs for `test_checkpoint`: ``ADDRESS PROCESS FOLDER``."""

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

from small_objectives import KEY, KEYS, OBJECTIVES, RECIPE  # noqa: E402  (uses JAX)

SOFT = OBJECTIVES["soft_boundary"]
rows = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
own = rows[:110] if process == 0 else rows[110:]
mesh = training.make_mesh(1, jax.device_count())
place = {"fit": mesh, "fit_population": training.make_mesh()}


def refused(kind, message, backend="auto", where=folder / "fit", **given):
    given = {"mesh": mesh, "checkpoints": Checkpoints(where, backend=backend)} | given
    with pytest.raises(kind, match=message):
        training.fit(SOFT, RECIPE, KEY, own, **given)


for fit, keys, data in (training.fit, KEY, own), (training.fit_population, KEYS, rows):
    name = fit.__name__
    whole = fit(SOFT, RECIPE, keys, data, mesh=place[name])
    given = {"mesh": place[name], "checkpoints": Checkpoints(folder / name, every=0)}
    fit(SOFT, RECIPE.replace(epochs=2), keys, data, **given)
    resumed = fit(SOFT, RECIPE, keys, data, **given)
    pairs = [(r.params, r.stats, r.history) for r in (resumed, whole)]
    for one, other in zip(*map(jax.tree.leaves, pairs), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), name

refused(ValueError, "with 2 processes use backend='orbax'", "file")
refused(ValueError, "process 1 has another checkpoints", where=folder / str(process))
refused(ValueError, "wait for the other processes.*backend='file'", "orbax", mesh=None)
alone = Checkpoints(folder / f"alone-{process}")
assert len(training.fit(SOFT, RECIPE, KEY, own, checkpoints=alone).history["loss"]) == 3

# A path of the same name on disks of their own.
if process == 0:
    shutil.copytree(folder / "fit", folder / "own-0")
(folder / f"own-{process}").mkdir(exist_ok=True)
monkey = pytest.MonkeyPatch()
monkey.chdir(folder / f"own-{process}")
refused(RuntimeError, "give a folder on a disk that they share", where=".")
