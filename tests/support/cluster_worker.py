"""Fleets on a cluster of this machine, for `test_partitions`: ``dask | ray``.

In the first fit, the first process that trains is killed; ``DEAD`` is the file that says so.
"""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from partitioned import FEATURES, Dying, fleet_of, same_fleets, table_of

TABLE = table_of().rename_axis("row").reset_index()
CUTS = [0, 700, 700, 1000, len(TABLE)]  # one partition is empty


def parts_of(table):
    return [table[a:b] for a, b in zip(CUTS, CUTS[1:], strict=False)]


def check(frame_of, scored):
    """Compare with one process; ``scored(result)`` brings rows back in the table's order."""
    table, frame = TABLE, frame_of(TABLE)
    new = lambda **options: fleet_of(Dying, columns=FEATURES, **options)  # noqa: E731
    whole, fleet = new().fit(table), new().fit(frame)
    assert Path(os.environ["DEAD"]).exists(), "no process was killed"
    same_fleets(fleet, whole, table)

    found = scored(fleet.score(frame))
    for name, values in whole.score(table).items():
        assert (found[name].to_numpy() == values.to_numpy()).all(), name
    assert (scored(fleet.predict(frame))["prediction"].to_numpy() == whole.predict(table)).all()

    # Rows of known groups, of too few rows, and of a group that is new.
    later = table.assign(machine=table["machine"].replace({"b": "new"}))[table["row"] % 3 > 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        same_fleets(fleet.update(frame_of(later)), whole.update(later), table)

    broken = table.assign(heat=np.where(table["row"] == 710, np.nan, table["heat"]))
    key = broken["machine"][710]
    fails(new().fit, frame_of(broken), f"partition 2: group {key!r}, row 10, column 'heat' is NaN")
    fails(new(group="site").fit, frame, "no column 'site'")
    fails(lambda f: new().fit(f, checkpoints="folder"), frame, "checkpoints are for tables that")
    fails(fleet.recalibrate, frame, "first: frame.")


def fails(function, frame, message):
    with pytest.raises((ValueError, TypeError), match=message):
        function(frame)


def on_dask():
    import dask
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    def frame_of(table):
        return dd.from_map(lambda part: part, parts_of(table), meta=table[:0])

    def scored(frame):
        index = frame.compute()
        assert index.index.tolist() == TABLE.index.tolist()
        return index if isinstance(index, pd.DataFrame) else index.to_frame()

    with dask.config.set(scheduler="threads"):
        same_fleets(fleet_of(columns=FEATURES).fit(frame_of(TABLE)), whole_of(), TABLE)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster):
        check(frame_of, scored)


def whole_of():
    return fleet_of(columns=FEATURES).fit(TABLE)


def on_ray():
    import ray

    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000
    )
    ray.data.DataContext.get_current().enable_progress_bars = False

    def frame_of(table):
        return ray.data.from_pandas(parts_of(table))

    def scored(data):
        return data.to_pandas().sort_values("row")

    check(frame_of, scored)
    ray.shutdown()


if __name__ == "__main__":
    os.environ["DRIVER"] = str(os.getpid())
    {"dask": on_dask, "ray": on_ray}[sys.argv[1]]()
    print("equal")
