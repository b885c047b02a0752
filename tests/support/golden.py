"""Every detector trained in every way there is, to compare with what an earlier version made.

``python tests/support/golden.py`` writes ``tests/golden`` anew: scores and histories, and files of
models and checkpoints. Do that only where a change of results is meant, and say why in the commit.
"""

import json
import shutil
import sys
from pathlib import Path

if __name__ == "__main__":  # with the settings of the tests, which must come before jax
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import conftest as conftest

import bad_input  # noqa: E402
import numpy as np  # noqa: E402
from sklearn.base import clone  # noqa: E402

import jaxad  # noqa: E402
from jaxad import data  # noqa: E402

FOLDER = Path(__file__).parents[1] / "golden"
SMALL = {"hidden": (8,), "epochs": 4, "batch_size": 64, "n_members": 1, "random_state": 3}
DETECTORS = {
    "DeepSVDD": jaxad.DeepSVDD(latent_dim=4, learning_rate=1e-3, warm_up_epochs=1, **SMALL),
    "DeepSVDD soft": jaxad.DeepSVDD(
        latent_dim=4, objective="soft-boundary", warm_up_epochs=1, pretrain_epochs=2, **SMALL
    ),
    "DeepSAD": jaxad.DeepSAD(latent_dim=4, pretrain_epochs=2, learning_rate=1e-3, **SMALL),
    "DAGMM": jaxad.DAGMM(latent_dim=2, n_components=2, learning_rate=1e-3, **SMALL),
    "GOAD": jaxad.GOAD(latent_dim=4, n_transforms=4, transform_dim=6, **SMALL),
    "GOAD reconstruction": jaxad.GOAD(
        latent_dim=4, n_transforms=4, transform_dim=6, reconstruction_weight=0.5, **SMALL
    ),
    "AutoEncoder": jaxad.AutoEncoder(latent_dim=2, batch_norm=True, **SMALL),
}
WAYS = (
    "array",
    "watched",
    "stream",
    "ensemble",
    "stream ensemble",
    "partial_fit",
    "partial_fit ensemble",
    "resumed",
    "resumed ensemble",
    "resumed stream",
)
LABELLED = "DeepSAD"
# The tests train each detector in the main ways, and one in all.
MAIN = "array", "stream", "ensemble", "partial_fit", "resumed"
TESTED = [
    (name, way)
    for name in DETECTORS
    for way in (WAYS if name == "DeepSVDD soft" else MAIN)
    if name != "GOAD reconstruction" or way == "array"
]


def table():
    """``(rows [200, 5], labels [200])``."""
    x = np.random.default_rng(7).normal(size=(200, 5))
    x[:, 1] += x[:, 0]
    label = np.zeros(200, np.int32)
    label[::20], label[1::20] = -1, 1
    return x.astype(np.float32), label


def source(x, label):
    """The rows as a stream of uneven blocks."""
    cuts = [0, 70, 150, len(x)]
    blocks = [
        (x[a:b], label[a:b]) if label is not None else x[a:b]
        for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    return data.stream(blocks, rows=96)


def fitted(name, way, checkpoints=None):
    """The detector of this name, trained in this way."""
    x, label = table()
    label = label if name == LABELLED else None
    options = {}
    if "ensemble" in way:
        options["n_members"] = 3
    if way == "watched":
        options |= {"validation_fraction": 0.2, "patience": 2, "learning_rate": 1e-2}
    detector = clone(DETECTORS[name]).set_params(**options)
    if way.startswith("partial_fit"):
        for half in (slice(100), slice(100, None)):
            detector.partial_fit(x[half], None if label is None else label[half])
        return detector
    given = (source(x, label),) if "stream" in way else (x, label)
    if way.startswith("resumed"):
        detector.set_params(epochs=2).fit(*given, checkpoints=checkpoints)
        detector.set_params(epochs=4)
        return clone(detector).fit(*given, checkpoints=checkpoints)
    return detector.fit(*given)


def found(detector):
    """What is compared: scores of a few rows, the threshold, and the history."""
    x, _ = table()
    return {
        "score": detector.anomaly_score(x[:12] * 1.5).tolist(),
        "threshold": detector.threshold_,
        "history": {k: np.asarray(v, float).tolist() for k, v in detector.history_.items()},
    }


def model_file(name, way):
    """Where a detector that was saved is."""
    return FOLDER / "models" / f"{name} {way}.safetensors".replace(" ", "-").lower()


def checkpoints_folder(name, way):
    """Where the checkpoints of a run that is half done are."""
    return FOLDER / "checkpoints" / f"{name} {way}".replace(" ", "-").lower()


SAVED = "array", "ensemble"
KEPT = [
    ("DeepSVDD soft", "resumed"),
    ("AutoEncoder", "resumed ensemble"),
    ("DAGMM", "resumed stream"),
]


def write():
    """Write all of it."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "models").mkdir(parents=True)
    expected = {}
    for name in DETECTORS:
        for way in WAYS:
            folder = FOLDER / "temporary"
            detector = fitted(name, way, folder)
            shutil.rmtree(folder, ignore_errors=True)
            expected[f"{name}: {way}"] = found(detector)
            if way in SAVED:
                detector.save(model_file(name, way))
            print(name, way, file=sys.stderr)
    for name, way in KEPT:
        x, label = table()
        given = (source(x, None),) if "stream" in way else (x, label)
        options = {"n_members": 3} if "ensemble" in way else {}
        half = clone(DETECTORS[name]).set_params(epochs=2, **options)
        half.fit(*given, checkpoints=checkpoints_folder(name, way))
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in expected.items()]
    (FOLDER / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    errors = {case: bad_input.raised(case) for case in bad_input.CASES}
    (FOLDER / "errors.json").write_text(json.dumps(errors, indent=1) + "\n")


if __name__ == "__main__":
    write()
