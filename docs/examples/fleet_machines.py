"""A fleet of made machines: fit, score a week later, update, save and load, pictures.

Every machine has its own level, spread and correlation of ten sensors; their numbers of readings
differ. In the later readings, the sensors of one machine go each their own way, although each stays
in its range, and one machine is new: the global model scores it, until `update` gives it a model.
"""

import argparse
from collections.abc import Sequence

import common
import numpy as np
import pandas as pd

from jaxad import DeepSVDD, Fleet, load, plotting

BROKEN, NEW = "machine 1", "machine new"


class Machines:
    """Machines with ten sensors, each its own mean, scale and correlation."""

    def __init__(self, names: Sequence[str], random: np.random.Generator):
        self._random = random
        self._mean = dict(zip(names, random.normal(0, 5, (len(names), 10)), strict=True))
        self._mix = dict(zip(names, random.normal(size=(len(names), 3, 10)), strict=True))

    def readings(self, name: str, count: int) -> pd.DataFrame:
        """So many normal readings of a machine."""
        noise = 0.3 * self._random.normal(size=(count, 10))
        x = self._mean[name] + self._random.normal(size=(count, 3)) @ self._mix[name] + noise
        frame = pd.DataFrame(x.astype(np.float32), columns=[f"sensor {i}" for i in range(10)])
        return frame.assign(machine=name)


def example(arguments: argparse.Namespace) -> None:
    """Fit, score, update, save, draw."""
    random = np.random.default_rng(arguments.seed)
    names = [f"machine {i}" for i in range(arguments.machines)]
    machines = Machines([*names, NEW], random)
    counts = random.integers(200, 1500, len(names))
    past = pd.concat(
        [machines.readings(name, n) for name, n in zip(names, counts, strict=True)]
    ).reset_index(drop=True)
    detector = DeepSVDD(epochs=arguments.epochs or "auto", n_members=1)
    fleet = Fleet(detector, group="machine", random_state=arguments.seed).fit(past)
    print(
        f"{len(fleet)} machines, {len(past):,} readings: {fleet.fit_seconds_:.1f} s, and "
        f"{fleet.compile_seconds_:.1f} s of compiling"
    )

    week = pd.concat([machines.readings(name, 300) for name in [*names, NEW]], ignore_index=True)
    broken = (week["machine"] == BROKEN) & (week.groupby("machine").cumcount() >= 200)
    sensors = list(fleet.columns_)
    week.loc[broken, sensors] = random.permuted(week.loc[broken, sensors].to_numpy(), axis=0)
    scored = fleet.score(week)
    for what, rows in (
        ("readings that are normal", ~broken & (scored["source"] == "own")),
        (f"{BROKEN}, its last 100 readings", broken),
        (f"{NEW}, by the global model", week["machine"] == NEW),
    ):
        print(f"{what:<36} flagged {scored.loc[rows, 'is_anomaly'].mean():.1%}")

    fleet.update(week[~broken])
    print(f"after update, {NEW} is scored by its {fleet.groups_.loc[NEW, 'source']} model")
    path = arguments.out / "fleet.safetensors"
    fleet.save(path)
    pd.testing.assert_frame_equal(load(path).score(week), fleet.score(week))
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, loads to the same scores")
    shown = fleet.score(week[week["machine"] == BROKEN])
    threshold = fleet.groups_.loc[BROKEN, "threshold"]
    common.save_pictures(
        arguments.out,
        alarm_rates=plotting.alarm_rates(fleet.groups_, fleet.false_alarm_rate),
        group_scores=plotting.group_scores(shown["score"], threshold, title=BROKEN),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = common.parser("fleet_machines", __doc__)
    parser.add_argument("--machines", type=int, default=100, help="default 100")
    parser.add_argument("--epochs", type=int, help="passes over each machine's readings")
    return common.run(parser, argv, example)


if __name__ == "__main__":
    raise SystemExit(main())
