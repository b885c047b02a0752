"""Deep SAD on card fraud: learning from the frauds that are known.

Reads Kaggle's creditcard.csv, all 30 features, standardised by the training rows. 30% of the rows
are the test; of the others 20% choose the threshold of the highest F1. The known frauds of the
training rows are pushed away from the centre with eta 1.5, all other rows count as unlabelled.
--known 0.1 labels only a tenth of the frauds; the rest pollute the training rows unseen.
--forest adds a random forest on the same labels: with many of them it is hard to beat.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from jaxad import DeepSAD, labels_from_anomalies, plotting, thresholds


def example(arguments: argparse.Namespace) -> None:
    """Split, fit, choose the threshold, and report the test rows once."""
    table, is_fraud = common.read_csv(arguments.csv, "Class", common.CARD_COLUMNS)
    x, y = table.to_numpy(), is_fraud.to_numpy()
    seed = arguments.seed
    rest, test = train_test_split(np.arange(len(x)), test_size=0.3, stratify=y, random_state=seed)
    train, valid = train_test_split(rest, test_size=0.2, stratify=y[rest], random_state=seed)
    known = np.random.default_rng(seed).random(len(train)) < arguments.known
    label = labels_from_anomalies(y[train], known)
    print(
        f"train {len(train)} rows, {(label < 0).sum()} of {y[train].sum()} frauds known; "
        f"validation {len(valid)} with {y[valid].sum()}; test {len(test)} with {y[test].sum()}"
    )
    detector = DeepSAD(
        eta=1.5,
        pretrain_epochs=arguments.pretrain_epochs,
        pretrain_learning_rate=1e-3,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        batch_size=32,
        n_members=1,
        random_state=seed,
    )
    detector.fit(x[train], label)
    scorers = {
        "untrained": DeepSAD(random_state=seed, epochs=0, n_members=1)
        .fit(x[train], label)
        .anomaly_score,
        "Deep SAD": detector.anomaly_score,
    }
    if arguments.forest:
        forest = RandomForestClassifier(random_state=seed).fit(x[train], label < 0)
        scorers = {"random forest": lambda rows: forest.predict_proba(rows)[:, 1]} | scorers
    for name, score_of in scorers.items():
        threshold = thresholds.best_f_beta(score_of(x[valid]), y[valid])
        score = score_of(x[test])
        common.report(f"{name}, test", score, y[test], threshold)
    detector.threshold_ = threshold
    detector.save(arguments.out / "deep_sad.safetensors")
    curves = {"training": detector.history_}
    if arguments.pretrain_epochs:
        curves["pretraining (reconstruction)"] = detector.pretrain_history_
    common.save_pictures(
        arguments.out,
        loss_curves=plotting.loss_curves(curves, title="Deep SAD on card fraud"),
        score_histogram=plotting.score_histogram(
            score, y[test], detector.threshold_, title="Deep SAD on card fraud: test rows"
        ),
        latent_scatter=plotting.latent_scatter(
            detector.transform(x[test]),
            y[test],
            detector.stats_["centre"],
            title="Deep SAD on card fraud: latent space",
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = common.parser("card_fraud_deep_sad", __doc__)
    parser.add_argument("--csv", type=Path, required=True, help="Kaggle's creditcard.csv")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--pretrain-epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--known", type=float, default=1.0, help="share of training frauds known")
    parser.add_argument("--forest", action="store_true", help="fit a random forest as well")
    return common.run(parser, argv, example)


if __name__ == "__main__":
    raise SystemExit(main())
