"""Fleets beyond one machine: fits on partitions equal those on the whole table."""

import importlib.util
import pickle
import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from partitioned import fleet_of, same_fleets, table_of
from processes import ROOT, run_together

import jaxad
from jaxad import persistence
from jaxad.fleet import fit_partition, survey_partition
from jaxad.fleet.routing import route


@pytest.fixture(scope="module")
def table():
    return table_of()


@pytest.fixture(scope="module")
def whole(table):
    """The fleet of one process."""
    return fleet_of().fit(table)


def groupwise(table, count):
    """Partitions of whole groups, each with its rows in the table's order."""
    codes = pd.factorize(table["machine"])[0]
    return [table[codes % count == i] for i in range(count)]


def fitted(parts, fleet=None):
    fleet = fleet_of() if fleet is None else fleet
    surveys = [survey_partition(part, fleet) for part in parts]
    begun = fleet.begin(surveys[::-1])
    return fleet.merge([fit_partition(part, begun) for part in parts])


@pytest.mark.parametrize("count", [1, 3, 13])
def test_partitions_equal_the_whole(table, whole, count):
    parts = groupwise(table, count)
    fleet = fitted(parts)
    same_fleets(fleet, whole, table)
    for part in parts:
        pd.testing.assert_frame_equal(fleet.score(part), whole.score(table).loc[part.index])


def test_every_step_may_run_in_another_process(table, whole):
    """With the fleet and the frames pickled on the way, and merged in any order."""
    carried = lambda thing: pickle.loads(pickle.dumps(thing))  # noqa: E731
    parts, fleet = groupwise(table, 4), fleet_of()
    surveys = [carried(survey_partition(part, carried(fleet))) for part in parts]
    begun = carried(fleet_of().begin(pd.concat(surveys[2:] + surveys[:2])))
    models = [carried(fit_partition(part, carried(begun))) for part in parts]
    same_fleets(carried(begun).merge(pd.concat(models[::-1])), whole, table)


def test_partitions_may_be_iterators_of_frames_or_without_rows(table, whole):
    """As Spark's ``mapInPandas`` gives them."""
    parts = [[part[:100], part[100:100], part[100:]] for part in groupwise(table, 2)]
    fleet = fleet_of()
    surveys = [survey_partition(iter(part), fleet) for part in [*parts, [], [table[:0]]]]
    assert [frame["groups"].tolist() for frame in surveys] == [[7], [6], [], []]
    begun = fleet.begin(surveys)
    models = [fit_partition(iter(part), begun) for part in [[table[:0]], *parts, []]]
    assert [frame["groups"].tolist() for frame in models] == [[], [7], [6], []]
    same_fleets(fleet.merge(models), whole, table)


@pytest.mark.full
@pytest.mark.parametrize(
    ("detector", "options"),
    [
        (jaxad.DeepSAD(n_members=2, hidden=(8,), latent_dim=4, epochs=2), {"label": "known"}),
        (jaxad.DAGMM(epochs=2), {"start": "random", "group": ["machine", "side"]}),
    ],
)
def test_other_detectors_labels_and_several_columns(table, detector, options):
    table = table.assign(known=np.where(table.index % 50 == 7, -1, 0), side=table["machine"] != "b")
    table = table if "label" in options else table.drop(columns="known")
    table = table if "group" in options else table.drop(columns="side")
    make = lambda: fleet_of(detector=detector, **options)  # noqa: E731
    same_fleets(fitted(groupwise(table, 3), make()), make().fit(table), table)


def test_a_group_in_two_partitions_is_named(table):
    fleet = fleet_of()
    parts = [table[table["machine"] == "a"][:50], table[table["machine"] == "a"][50:]]
    with pytest.raises(ValueError, match="group 'a' is in several partitions: give each"):
        fleet.begin([survey_partition(part, fleet) for part in parts])


def test_a_survey_that_has_a_group_twice_is_damaged(table):
    (data,) = survey_partition(table, fleet_of()).survey
    arrays, metadata = persistence.loads(data)
    metadata["keys"][1] = metadata["keys"][0]
    changed = pd.DataFrame({"survey": [persistence.dumps(arrays, metadata)]})
    with pytest.raises(jaxad.FileFormatError, match="it has a group twice"):
        fleet_of().begin([changed])


def test_columns_must_be_those_of_the_other_partitions(table):
    fleet = fleet_of()
    one, two = groupwise(table, 2)
    renamed = two.rename(columns={"heat": "cold"})
    with pytest.raises(ValueError, match="partitions have different features.*'heat'.*'cold'"):
        fleet.begin([survey_partition(part, fleet) for part in (one, renamed)])
    fleet.begin([survey_partition(part, fleet) for part in (one, two)])
    with pytest.raises(ValueError, match="no column 'heat'"):
        fit_partition(renamed, fleet)


def test_partitions_of_another_fit_or_a_missing_one_are_refused(table):
    parts = groupwise(table, 3)
    fleet, other = fleet_of(), fleet_of(random_state=1)
    for one in (fleet, other):
        one.begin([survey_partition(part, one) for part in parts])
    models = [fit_partition(part, fleet) for part in parts]
    with pytest.raises(ValueError, match="trained for another fit: call fit_partition with"):
        other.merge(models)
    with pytest.raises(ValueError, match=r"models has 9 groups .* but 13 groups with \d+ rows"):
        fleet.merge(models[:2])
    with pytest.raises(ValueError, match="group '.' is in several partitions: give each"):
        fleet.merge([*models, models[0]])
    fleet.merge(models)


def test_steps_out_of_order_or_without_a_seed_are_refused(table):
    fleet = fleet_of()
    with pytest.raises(ValueError, match="call fleet.begin with the surveys"):
        fit_partition(table, fleet)
    with pytest.raises(ValueError, match="call fleet.begin with the surveys"):
        fleet.merge([])
    with pytest.raises(ValueError, match="surveys is empty"):
        fleet.begin([])
    with pytest.raises(ValueError, match="surveys: DataFrame is no frame with a column 'survey'"):
        fleet.begin(table)
    for seed in (None, np.random.default_rng(0)):
        with pytest.raises(ValueError, match=r"random_state=.*give a whole number"):
            survey_partition(table, fleet_of(random_state=seed))
        with pytest.raises(ValueError, match=r"random_state=.*give a whole number"):
            fleet_of(random_state=seed).begin([])


def test_an_earlier_fit_stays_until_the_merge(table, whole):
    fleet = fleet_of().fit(table[::2])
    before = fleet.score(table)
    fleet.begin([survey_partition(table, fleet)])
    pd.testing.assert_frame_equal(fleet.score(table), before)
    same_fleets(fleet.merge(fit_partition(table, fleet)), whole, table)


def test_pickles_hold_the_models_once_and_nothing_compiled(table, whole, tmp_path):
    path = tmp_path / "fleet.safetensors"
    whole.save(path)
    pickles = [pickle.dumps(fleet) for fleet in (whole, jaxad.load(path))]
    assert max(map(len, pickles)) < 1.5 * path.stat().st_size
    path.unlink()  # what is pickled needs no file
    for data in pickles:
        same_fleets(pickle.loads(data), whole, table)


def test_a_pickled_fleet_can_be_updated_and_saved(table, whole, tmp_path):
    fleet = pickle.loads(pickle.dumps(whole))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        fleet.update(table)
        again = pickle.loads(pickle.dumps(whole)).update(table)
    same_fleets(fleet, again, table)
    fleet.save(tmp_path / "fleet.safetensors")
    same_fleets(jaxad.load(tmp_path / "fleet.safetensors"), fleet, table)


class Here:
    """An engine that computes at once; a frame is a list of functions that return partitions."""

    def partitions(self, frame):
        return list(frame)

    def call(self, function, *args, parts=None):
        values = function(*(value() if callable(value) else value for value in args))
        return (lambda: values) if parts is None else [lambda one=one: one for one in values]

    def keep(self, handles):
        return handles

    def gather(self, handles):
        return [handle() for handle in handles]

    def share(self, fleet):
        return lambda: fleet


@pytest.mark.parametrize("seed", range(5))
def test_routes_keep_groups_whole_in_the_order_of_their_rows(seed):
    random = np.random.default_rng(seed)
    table = table_of(groups=random.integers(1, 26), seed=seed).assign(other="text")
    cuts = np.sort(random.integers(0, len(table), random.integers(0, 9)))
    ends = [0, *cuts.tolist(), len(table)]
    frame = [lambda a=a, b=b: table[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    fleet = fleet_of(columns=["heat", "load"])
    parts = [pd.concat(part()) for part in route(Here(), frame, fleet)]
    assert sum(map(len, parts)) == len(table)
    assert len(parts) <= len(frame)
    assert list(parts[0]) == ["machine", "heat", "load"]
    groups = [set(part["machine"]) for part in parts]
    assert sum(map(len, groups)) == table["machine"].nunique()
    share, largest = len(table) / len(frame), table["machine"].value_counts().max()
    assert max(map(len, parts)) <= share + largest
    for part, keys in zip(parts, groups, strict=True):
        for key in keys:
            rows = table[table["machine"] == key]
            assert part.index[part["machine"] == key].equals(rows.index)


def test_partitions_that_do_not_fit_together_are_named(table):
    one, two = table[:900], table[900:]
    renamed = two.rename(columns={"heat": "cold"})
    with pytest.raises(ValueError, match="partitions 0 and 2 have different features.*'cold'"):
        route(Here(), [lambda: one, lambda: one[:0], lambda: renamed], fleet_of())
    with pytest.raises(ValueError, match="the frame has no rows"):
        route(Here(), [lambda: one[:0]], fleet_of())
    rows = iter([two, two[1:]])
    with pytest.raises(ValueError, match="partition 1 has other rows than when .*: persist the"):
        route(Here(), [lambda: one, lambda: next(rows)], fleet_of())


def cluster(name, *arguments, **variables):
    """Run a script of ``tests/support``; it says "equal" if all that it compares is."""
    command = [sys.executable, str(ROOT / "tests" / "support" / name), *arguments]
    variables |= {"JAX_NUM_CPU_DEVICES": "1"}
    (said,) = run_together([command], variables, timeout=900)
    assert said.endswith("equal\n")


def needs(*modules):
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


@pytest.mark.full
@pytest.mark.slow
@needs("dask", "distributed")
def test_dask_equals_one_process_also_if_a_worker_is_killed(tmp_path):
    cluster("cluster_worker.py", "dask", DEAD=str(tmp_path / "dead"))


@pytest.mark.full
@pytest.mark.slow
@needs("ray")
def test_ray_equals_one_process_also_if_a_worker_is_killed(tmp_path):
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    cluster("cluster_worker.py", "ray", DEAD=str(tmp_path / "dead"), **quiet)


@pytest.mark.slow
@needs("pyspark")
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_spark_equals_one_process():
    cluster("spark_worker.py")
