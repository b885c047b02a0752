"""Round trips: how far scores of saved and exported detectors are from the detector's own.

Fits the five detectors and ensembles, saves and exports each, and scores 1, 7 and 1,000 new rows.
Prints the largest difference of each, divided by the largest score: 0 for a saved detector, about
1e-6 for an exported one. Needs ``pip install 'jaxad[onnx]'``.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

import jaxad

SIZES = (1, 7, 1000)
QUICK = {"epochs": 5, "random_state": 0}
DETECTORS = {
    "DeepSVDD": jaxad.DeepSVDD(n_members=1, **QUICK),
    "DeepSAD": jaxad.DeepSAD(n_members=1, **QUICK),
    "DAGMM": jaxad.DAGMM(n_members=1, **QUICK),
    "GOAD": jaxad.GOAD(n_members=1, **QUICK),
    "AutoEncoder": jaxad.AutoEncoder(n_members=1, **QUICK),
    "5 DeepSVDD, mean": jaxad.DeepSVDD(n_members=5, combine="mean", **QUICK),
    "5 DeepSVDD, z": jaxad.DeepSVDD(n_members=5, combine="z", **QUICK),
    "5 DeepSVDD, rank": jaxad.DeepSVDD(n_members=5, combine="rank", **QUICK),
    "5 DAGMM, rank": jaxad.DAGMM(n_members=5, **QUICK),
}


def differences(detector: jaxad.Detector, rows: np.ndarray, folder: Path) -> list[float]:
    """The largest relative difference of scores: saved, StableHLO, ONNX."""
    saved, program, onnx = (folder / f"detector.{end}" for end in ("save", "jaxad", "onnx"))
    detector.save(saved)
    detector.export(program)
    detector.export(onnx, format="onnx")
    session = onnxruntime.InferenceSession(onnx)
    ways = (
        jaxad.load(saved).anomaly_score,
        jaxad.load_exported(program).anomaly_score,
        lambda x: session.run(["score"], {"X": x})[0],
    )
    largest = np.abs(detector.anomaly_score(rows)).max()
    return [
        max(
            float(np.abs(score(rows[:size]) - detector.anomaly_score(rows[:size])).max() / largest)
            for size in SIZES
        )
        for score in ways
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python docs/examples/round_trips.py", description=__doc__
    )
    parser.add_argument("--only", nargs="*", default=[*DETECTORS], choices=[*DETECTORS])
    names = parser.parse_args(argv).only
    random = np.random.default_rng(0)
    mixing = random.normal(size=(4, 12))
    rows = random.normal(size=(2000, 4)) @ mixing + 0.3 * random.normal(size=(2000, 12))
    train, new = np.split(rows.astype(np.float32), 2)
    y = np.where(np.arange(len(train)) < 20, -1, 0)  # known anomalies, for Deep SAD
    print(f"Largest difference on {', '.join(map(str, SIZES))} rows, of the largest score")
    print(f"{'':<18} {'save':>9} {'StableHLO':>9} {'ONNX':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            found = differences(DETECTORS[name].fit(train, y), new, Path(folder))
            print(f"{name:<18} " + " ".join(f"{value:9.1e}" for value in found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
