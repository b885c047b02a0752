"""A process that lives long, for `test_long_run`: ``FITS CALLS``; it prints what it measured.

It fits detectors of ever other shapes, then scores odd numbers of rows with some of them.
"""

import gc
import json
import sys
import warnings
from pathlib import Path

import jax
import numpy as np

import jaxad
from jaxad import training
from jaxad.training import options

fits, calls = map(int, sys.argv[1:])
draw = np.random.default_rng(0)
kept, measured = [], []


def measure(done, compilations):
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    measured.append(
        {
            "done": done,
            "programs": len(options._programs),
            "executables": len(jax.local_devices()[0].client.live_executables()),
            "maps": Path("/proc/self/maps").read_bytes().count(b"\n"),
            "megabytes": pages * 4096 / 2**20,
            "compilations": compilations,
        }
    )
    print(measured[-1], file=sys.stderr, flush=True)


def detector(i):
    """Every tenth one is an ensemble, and every tenth one a boundary with pretraining."""
    given = {"hidden": (), "latent_dim": 2, "epochs": 2, "random_state": i}
    if i % 10 == 4:
        return jaxad.DeepSVDD(n_members=2, **given)
    if i % 10 == 9:
        return jaxad.DeepSVDD(objective="soft-boundary", n_members=1, pretrain_epochs=1, **given)
    return jaxad.AutoEncoder(n_members=1, **given)


warnings.simplefilter("ignore")  # of detectors that have learnt little
with training.Stopwatch() as watch:
    for i in range(fits):
        rows = draw.normal(size=(40 + 7 * i, 3 + i))
        fitted = detector(i).fit(rows)
        fitted.anomaly_score(rows[: 1 + i])
        if i >= fits - 10:
            kept.append(fitted)
        if (i + 1) % max(1, fits // 10) == 0:
            measure(i + 1, watch.compilations)
with training.Stopwatch() as watch:
    for i in range(calls):
        scorer = kept[i % len(kept)]
        size = int(draw.integers(1, 3000))
        scores = scorer.anomaly_score(draw.normal(size=(size, scorer.n_features_in_)))
        assert scores.shape == (size,)
        if (i + 1) % max(1, calls // 4) == 0:
            measure(fits + i + 1, watch.compilations)
print(json.dumps(measured))
