"""GOAD on KDD'99, or on a CSV of your own: how much the scaler decides, curves, the best weights.

Without --csv it reads kdd/kdd_cup_dagmm.npz in the folder JAXAD_DATA names (118 columns; as in the
paper the attacks, four fifths of the rows, count as normal). With --csv and --label it reads a
table of numbers whose label column is 1 for an anomaly.

Half of the normal rows train; a tenth of them is held out to stop and to restore the best epoch.
The other half and all anomalies are divided: a fifth chooses the threshold of the highest F1, the
rest is the test. Read F1 on KDD beside the untrained copy: an untrained network nearly solves KDD.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from jaxad import GOAD, load, plotting, thresholds
from jaxad import data as datasets


def data(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[N, D]`` and which are anomalies; at most ``--rows`` of them, drawn at random."""
    if arguments.csv:
        table, labels = common.read_csv(arguments.csv, arguments.label)
        x, is_anomaly = table.to_numpy(), labels.to_numpy()
    else:
        try:
            kdd = datasets.load("kddcup99_dagmm", download=False)
        except FileNotFoundError as error:
            raise common.InputError(
                f"set JAXAD_DATA, or name a table with --csv and --label: {error}"
            ) from error
        x, is_anomaly = kdd.x, kdd.is_anomaly
    kept = np.random.default_rng(arguments.seed).permutation(len(x))[: arguments.rows]
    return x[kept], is_anomaly[kept]


def example(arguments: argparse.Namespace) -> None:
    """Fit once for each scaler, and report the test rows."""
    x, is_anomaly = data(arguments)
    rng = np.random.default_rng(arguments.seed)
    normal = rng.permutation(np.flatnonzero(~is_anomaly))
    train, rest = np.split(normal, [len(normal) // 2])
    rest = np.concatenate([rest, np.flatnonzero(is_anomaly)])
    valid, test = train_test_split(
        rest, train_size=0.2, stratify=is_anomaly[rest], random_state=arguments.seed
    )
    print(
        f"train {len(train)} normal rows of {x.shape[1]} features; validation {len(valid)}, "
        f"test {len(test)} with {is_anomaly[test].sum()} anomalies"
    )
    pictures, histories = {}, {}
    for scaler in arguments.scaler:
        detector = GOAD(
            epochs=arguments.epochs,
            reconstruction_weight=arguments.reconstruction_weight,
            scaler=scaler,
            validation_fraction=0.1,
            patience=5,
            n_members=1,
            random_state=arguments.seed,
        )
        untrained = GOAD(**(detector.get_params() | {"epochs": 0})).fit(x[train])
        detector.fit(x[train])
        for name, fitted in (("untrained", untrained), ("GOAD", detector)):
            score = fitted.anomaly_score(x[valid])
            fitted.threshold_ = thresholds.best_f_beta(score, is_anomaly[valid])
            score = fitted.anomaly_score(x[test])
            common.report(f"{scaler}, {name}", score, is_anomaly[test], fitted.threshold_)
        oracle = thresholds.quantile(score, 1 - is_anomaly[test].mean())
        path = arguments.out / f"goad_{scaler}.safetensors"
        detector.save(path)
        np.testing.assert_array_equal(load(path).anomaly_score(x[test]), score)
        print(
            f"  F1 at the paper's threshold, which knows the share of anomalies in the test rows: "
            f"{f1_score(is_anomaly[test], score > oracle):.3f}\n"
            f"  {len(detector.history_['loss'])} epochs, weights of epoch "
            f"{detector.best_epoch_ + 1} kept in {path.name}, which loads to the same scores"
        )
        histories[scaler] = detector.history_
        pictures[f"scores_{scaler}"] = plotting.score_histogram(
            score, is_anomaly[test], detector.threshold_, title=f"GOAD, {scaler} scaler: test rows"
        )
    curves = plotting.loss_curves(histories, title="GOAD")
    common.save_pictures(arguments.out, loss_curves=curves, **pictures)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = common.parser("goad_kdd", __doc__)
    parser.add_argument("--csv", type=Path, help="a table of your own")
    parser.add_argument("--label", default="label", help="its column of 0 and 1")
    parser.add_argument("--rows", type=int, default=20_000, help="at most so many, default 20000")
    parser.add_argument(
        "--scaler", nargs="+", choices=("standard", "minmax"), default=["standard", "minmax"]
    )
    parser.add_argument("--epochs", type=int, default=25, help="at most")
    parser.add_argument("--reconstruction-weight", type=float, default=0.0, help="0: plain GOAD")
    return common.run(parser, argv, example)


if __name__ == "__main__":
    raise SystemExit(main())
