"""A detector for each service of KDD'99, against one for all of them.

Needs kdd/kddcup.data_10_percent.gz in the folder JAXAD_DATA names. Half of each service's normal
connections train, at most 2,000; the test is the other half, at most 2,000, and the attacks on the
service. What is normal for mail is not for http, so each service gets its own scaler, network and
threshold. The pooled detector is trained on the same rows, and knows the service as columns.
"""

import argparse
from collections.abc import Sequence

import common
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from jaxad import DeepSVDD, Fleet, plotting
from jaxad import data as datasets

LEAST = 20  # attacks on a service, to be tested


def data() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Connections with their ``service`` and ``is_attack``, and the columns of services."""
    try:
        kdd = datasets.load("kddcup99", download=False)
    except FileNotFoundError as error:
        raise common.InputError(f"set JAXAD_DATA: {error}") from error
    frame = pd.DataFrame(kdd.x.astype(np.float32), columns=list(kdd.features or ()))
    services = frame.filter(like="service=")
    frame = frame.drop(columns=services.columns)
    frame["service"] = services.idxmax(axis=1).str.removeprefix("service=")
    frame["is_attack"] = kdd.label != "normal."
    return frame, services


def chart(aurocs: pd.DataFrame) -> Figure:
    """AUROC of each service by both."""
    figure = Figure((7, 0.3 * len(aurocs) + 2.5), layout="constrained")
    axes = figure.subplots()
    for name, colour in zip(aurocs, ("#0072b2", "#999999"), strict=True):
        axes.plot(aurocs[name], aurocs.index, "o", color=colour, label=name)
    axes.set(xlabel="AUROC")
    axes.grid(axis="x", color="#eeeeee")
    axes.legend()
    return figure


def example(arguments: argparse.Namespace) -> None:
    """Fit both, and report every service."""
    frame, services = data()
    frame = frame.sample(frac=1, random_state=arguments.seed)
    place = frame.groupby(["service", "is_attack"]).cumcount()
    size = frame.groupby(["service", "is_attack"])["is_attack"].transform("size")
    first = place < np.minimum(size / 2, arguments.rows)
    train, rest = frame[first & ~frame["is_attack"]], frame[~first | frame["is_attack"]]
    rest = rest[rest.groupby(["service", "is_attack"]).cumcount() < arguments.rows]
    counts = rest.groupby("service")["is_attack"].agg(["sum", "size"])
    enough = (counts["sum"] >= LEAST) & (counts["size"] - counts["sum"] >= LEAST)
    test = rest[rest["service"].isin(counts.index[enough])]
    detector = DeepSVDD(epochs=arguments.epochs or "auto", n_members=1)
    fleet = Fleet(
        detector, "service", columns=list(frame.columns[:-2]), random_state=arguments.seed
    ).fit(train)
    scored = fleet.score(test)

    def columns(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[list(fleet.columns_)].join(services)

    pooled = DeepSVDD(**(detector.get_params() | {"random_state": arguments.seed}))
    score = pd.Series(pooled.fit(columns(train)).anomaly_score(columns(test)), test.index)
    aurocs = pd.DataFrame(
        {
            service: {
                "own models": roc_auc_score(rows["is_attack"], scored.loc[rows.index, "score"]),
                "one pooled model": roc_auc_score(rows["is_attack"], score[rows.index]),
            }
            for service, rows in test.groupby("service")
        }
    ).T
    shown = aurocs.assign(source=scored.groupby("service")["source"].first())
    print(shown.round(3).to_string())
    for name, values in aurocs.items():
        print(f"{name}: mean AUROC {values.mean():.3f} of {len(values)} services")
    normal = scored[~test["is_attack"]]
    print(f"normal connections flagged: {normal['is_anomaly'].mean():.1%}")
    common.save_pictures(
        arguments.out,
        services=chart(aurocs),
        alarm_rates=plotting.alarm_rates(fleet.groups_, fleet.false_alarm_rate),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = common.parser("fleet_kdd", __doc__)
    parser.add_argument("--rows", type=int, default=2000, help="of a service, default 2000")
    parser.add_argument("--epochs", type=int, help="passes over each service's connections")
    return common.run(parser, argv, example)


if __name__ == "__main__":
    raise SystemExit(main())
