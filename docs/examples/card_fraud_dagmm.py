"""DAGMM on card fraud: nothing is fitted or chosen on the rows it is tested on.

Reads Kaggle's creditcard.csv (Time, V1 to V28, Amount, Class; 284,807 rows, 492 frauds). Time is
dropped and Amount z-scored by the training rows; the V columns are principal components already.
60% of the rows train, their frauds left out; 20% choose the threshold of the highest F1, and with
--search the hyper-parameters; 20% are the test. Dropout is on every layer, in training only.
Untrained, and beside an isolation forest, the numbers say what the training is worth.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from jaxad import DAGMM, plotting, thresholds, tune

SETTINGS: dict[str, Any] = {
    "hidden": (20, 10, 5),
    "latent_dim": 1,
    "n_components": 3,
    "lambda_energy": 0.1,
    "lambda_covariance": 0.01,
    "dropout": 0.4,
    "network_dropout": 0.4,
    "reduction": "mean",
    "batch_size": 1024,
    "learning_rate": 1e-4,
    "n_members": 1,
    "scaler": "none",
}


def space(trial: Any) -> dict[str, Any]:
    """The nine hyper-parameters of the search; ``trial`` is Optuna's."""
    widths = trial.suggest_categorical("hidden", ["20-10-5", "24-12-6", "16-8-4", "20-10"])
    return {
        "latent_dim": trial.suggest_categorical("latent_dim", [1, 2, 4, 8]),
        "network_dropout": trial.suggest_categorical("network_dropout", [0.0, 0.4]),
        "hidden": tuple(int(width) for width in widths.split("-")),
        "estimation_hidden": (trial.suggest_categorical("estimation_hidden", [10, 20]),),
        "lambda_energy": trial.suggest_float("lambda_energy", 0.01, 1, log=True),
        "lambda_covariance": trial.suggest_float("lambda_covariance", 1e-4, 0.1, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [256, 1024]),
        "epochs": trial.suggest_categorical("epochs", [10, 25, 50]),
    }


def pipeline(seed: int, **settings: Any) -> Pipeline:
    """Amount z-scored by the rows it is fitted on, the other columns as they are; then DAGMM."""
    scale = ColumnTransformer([("z", StandardScaler(), ["Amount"])], remainder="passthrough")
    detector = DAGMM(**(SETTINGS | settings), random_state=seed)
    return Pipeline([("scale", scale), ("dagmm", detector)])


def validated(model: Any, valid: pd.DataFrame, is_fraud: np.ndarray) -> tuple[float, float]:
    """The highest F1 on the validation rows, and its threshold."""
    score = -model.score_samples(valid)
    threshold = thresholds.best_f_beta(score, is_fraud)
    return float(f1_score(is_fraud, score > threshold)), threshold


def example(arguments: argparse.Namespace) -> None:
    """Split, fit or search, and report the test rows once."""
    table, is_fraud = common.read_csv(arguments.csv, "Class", common.CARD_COLUMNS)
    table, seed = table.drop(columns="Time"), arguments.seed
    options = {"test_size": 0.2, "random_state": seed}
    rest, test = train_test_split(np.arange(len(table)), stratify=is_fraud, **options)
    options["test_size"] = 0.25
    train, valid = train_test_split(rest, stratify=is_fraud.iloc[rest], **options)
    train = train[~is_fraud.iloc[train]]
    x_train, x_valid, x_test = (table.iloc[rows] for rows in (train, valid, test))
    y_valid, y_test = (is_fraud.to_numpy()[rows] for rows in (valid, test))
    print(
        f"train {len(train)} rows without fraud; validation {len(valid)} with {y_valid.sum()} "
        f"frauds; test {len(test)} with {y_test.sum()}"
    )
    settings = {"epochs": arguments.epochs}
    model = pipeline(seed, **settings).fit(x_train)
    f1 = validated(model, x_valid, y_valid)[0]
    if arguments.search:
        scale = model["scale"]
        scaled = scale.transform(x_valid)
        found = tune(
            DAGMM(**SETTINGS),
            space,
            scale.transform(x_train),
            validation=(scaled, y_valid),
            criterion=lambda detector: validated(detector, scaled, y_valid)[0],
            trials=arguments.search,
            random_state=seed,
        )
        if found.best_value_ > f1:
            settings, f1 = found.best_params_, found.best_value_
            model = Pipeline([("scale", scale), ("dagmm", found.best_detector_)])
    chosen = ", ".join(
        f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in settings.items()
    )
    print(f"validation F1 {f1:.3f}, the best of {1 + arguments.search} settings: {chosen}")

    untrained = pipeline(seed, **(settings | {"epochs": 0})).fit(x_train)
    forest = IsolationForest(random_state=seed).fit(x_train)
    for name, fitted in (("isolation forest", forest), ("untrained", untrained), ("DAGMM", model)):
        threshold = validated(fitted, x_valid, y_valid)[1]
        score = -fitted.score_samples(x_test)
        common.report(f"{name}, test", score, y_test, threshold)
    common.save_pictures(
        arguments.out,
        loss_curves=plotting.loss_curves(model["dagmm"].history_, title="DAGMM on card fraud"),
        score_histogram=plotting.score_histogram(
            score, y_test, threshold, title="DAGMM on card fraud: energy of the test rows"
        ),
        latent_scatter=plotting.latent_scatter(
            model.transform(x_test), y_test, title="DAGMM on card fraud: latent space"
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = common.parser("card_fraud_dagmm", __doc__)
    parser.add_argument("--csv", type=Path, required=True, help="Kaggle's creditcard.csv")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--search", type=int, default=0, metavar="N", help="N trials of Optuna too")
    return common.run(parser, argv, example)


if __name__ == "__main__":
    raise SystemExit(main())
