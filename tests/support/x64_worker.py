"""What runs with and without 64-bit types for `test_dtypes`: ``FOLDER OTHER``, in x64 mode."""

import sys
import warnings
from pathlib import Path

import fleets
import jax
import jax.numpy as jnp
import numpy as np
from cases import DETECTORS, KEYS, OF_AN_OBJECTIVE, PLANTED, RECIPE
from sklearn.base import clone

import jaxad
from jaxad import data, objectives, training

ENSEMBLES = DETECTORS | {"ObjectiveDetector": OF_AN_OBJECTIVE}


def table():
    """Rows in float64, and labels: few known anomalies and known normals."""
    rows = np.random.default_rng(0).normal(size=(160, 5))
    rows[:8] *= 4
    label = np.zeros(160, np.int32)
    label[:8], label[8:16] = -1, 1
    return rows, label


def used(detector, x, folder, name):
    """What a fitted detector says of rows, by each of its methods."""
    detector.save(folder / name)
    detector.calibrate(x[40:])
    found = {
        "score": detector.anomaly_score(x),
        "threshold": detector.set_threshold(contamination=0.2).threshold_,
        "prediction": detector.predict(x),
        "p-value": detector.p_value(x),
        "spread": detector.score_spread(x),
        "explanation": detector.explain(x[:2]),
    }
    return {f"{name}, {what}": value for what, value in found.items()}


def results(folder):
    """Results of all detectors, ways of training and files, by name."""
    rows, label = table()
    x = jnp.asarray(rows) if jax.config.jax_enable_x64 else rows  # an application's own arrays
    found = {}
    for name, case in ENSEMBLES.items():
        detector = clone(case).set_params(epochs=2, n_members=2, validation_fraction=0.2)
        given = (x, label) if name == "DeepSAD" else (x,)
        found |= used(detector.fit(*given), x, folder, name)
    single = clone(DETECTORS["AutoEncoder"]).fit(data.stream(rows, rows=64))
    found["stream"] = single.anomaly_score(x)
    found["partial_fit"] = single.partial_fit(x[:40]).anomaly_score(x)
    single.export(folder / "program")
    program = jaxad.load_exported(folder / "program")
    found["exported"] = program.anomaly_score(rows)
    objective = objectives.Trimmed(PLANTED["dagmm"], 0.1, 0.9)
    wide = np.tile(rows, 3)[:, :12]
    population = training.fit_population(objective, RECIPE, KEYS[:2], wide)
    model = objective, population.params, population.stats
    found["population"] = training.score_population(*model, wide)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cannot be promised")
        fleet = fleets.small("DAGMM").fit(fleets.made((60, 70)))
    fleet.save(folder / "fleet")
    found["fleet"] = fleet.score(fleets.made((60, 70)))["score"].to_numpy()
    return found


def read(folder):
    """Scores of the detectors and the fleet that `results` has saved."""
    rows, _ = table()
    found = {f"{n}, score": jaxad.load(folder / n).anomaly_score(rows) for n in ENSEMBLES}
    fleet = jaxad.load(folder / "fleet")
    return found | {"fleet": fleet.score(fleets.made((60, 70)))["score"].to_numpy()}


if __name__ == "__main__":
    own, other = map(Path, sys.argv[1:])
    assert jax.config.jax_enable_x64
    np.savez(own / "results.npz", **results(own))
    np.savez(own / "read.npz", **read(other))
    assert jnp.ones(1).dtype == jnp.float64  # the mode of the process is as it was
