"""How often p-values raise false alarms, by each method of calibration.

Each draw is a new data set of normal rows. "split" trains on half of them and calibrates on the
other half; "cross" and "jackknife+" train and calibrate on all of them. Then 1,000 new normal rows
get p-values: the share of at most a level is that draw's rate of false alarms, which should be the
level on average. 1,000 anomalies, normal rows with one of six columns moved by four standard
deviations, show what each method finds. Every row has six columns, three of them noisy copies.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxad import DeepSVDD

LEVELS = (0.01, 0.05, 0.1)
METHODS = ("split", "cross", "jackknife+")
NEW = 1000  # rows


def normal_rows(count: int, rng: np.random.Generator) -> np.ndarray:
    """Normal rows ``[count, 6]``."""
    causes = rng.normal(size=(count, 3))
    return np.hstack([causes, causes + 0.5 * rng.normal(size=(count, 3))])


def calibrated(method: str, rows: np.ndarray, seed: int, options: dict[str, int]) -> DeepSVDD:
    """A small detector, fitted to and calibrated on normal rows."""
    sizes = {"hidden": (8,), "latent_dim": 4, "epochs": 2, "batch_size": 50, "n_members": 1}
    detector = DeepSVDD(**sizes, learning_rate=1e-3, random_state=seed)
    if method == "split":
        train, held_out = np.split(rows, [len(rows) // 2])
        return detector.fit(train).calibrate(held_out)
    return detector.fit(rows).calibrate(rows, method=method, **options)


def rates(method: str, draw: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Shares of p-values of at most each level, of new normal rows and of anomalies."""
    rng = np.random.default_rng([arguments.seed, draw])
    rows, normal, anomalies = (normal_rows(n, rng) for n in (arguments.rows, NEW, NEW))
    anomalies[np.arange(NEW), rng.integers(6, size=NEW)] += rng.choice([-4, 4], NEW)
    options = {"folds": arguments.folds, "bootstraps": arguments.bootstraps}
    detector = calibrated(method, rows, draw, options)
    p = np.split(detector.p_value(np.concatenate([normal, anomalies])), 2)
    pairs = list(zip(("alarms", "found"), p, strict=True))
    return {f"{name} {a:g}": (values <= a).mean() for name, values in pairs for a in LEVELS}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each method over all draws, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python docs/examples/p_values.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--draws", type=int, default=1000, help="data sets, default 1000")
    parser.add_argument("--rows", type=int, default=200, help="normal rows of each, default 200")
    parser.add_argument("--folds", type=int, default=10, help="of cross, default 10")
    parser.add_argument("--bootstraps", type=int, default=30, help="of jackknife+, default 30")
    parser.add_argument("--seed", type=int, default=0, help="of the data")
    arguments = parser.parse_args(argv)
    print(f"{arguments.draws} draws of {arguments.rows} normal rows, mean ± standard deviation")
    print("| method | p ≤ | false alarms | anomalies found |")
    print("|---|---|---|---|")
    for method in METHODS:
        table = pd.DataFrame([rates(method, draw, arguments) for draw in range(arguments.draws)])
        mean, spread = 100 * table.mean(), 100 * table.std()
        for a in LEVELS:
            alarms, found = (
                f"{mean[f'{name} {a:g}']:.2f} ± {spread[f'{name} {a:g}']:.2f} %"
                for name in ("alarms", "found")
            )
            print(f"| {method} | {a:.0%} | {alarms} | {found} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
