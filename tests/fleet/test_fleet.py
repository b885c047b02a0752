"""Fleets as users meet them: fit, score, explain, single groups, and bad input."""

import copy

import numpy as np
import pandas as pd
import pytest
from fleets import fitted, made, same, small
from sklearn.exceptions import NotFittedError

from jaxad import training


@pytest.fixture(scope="module")
def fleet():
    """A fitted fleet that no test changes."""
    return fitted()


@pytest.fixture(scope="module")
def scored(fleet):
    return fleet.score(made())


def test_many_groups_of_one_row_are_all_scored_by_the_global_model():
    draw = np.random.default_rng(0).normal(size=(10_000, 3))
    frame = pd.DataFrame(draw, columns=list("abc")).assign(machine=np.arange(10_000))
    fleet = small()
    with pytest.warns(RuntimeWarning, match="all 10000 groups have fewer than min_rows=50") as told:
        fleet.fit(frame)
    assert len(told) == 1
    assert set(fleet.groups_.source) == {"global"}
    scored = fleet.score(frame)
    assert set(scored.source) == {"global"}
    assert 0.08 < scored.is_anomaly.mean() < 0.12


def test_with_unseen_raise_new_groups_are_named_and_only_update_takes_them():
    fleet, new = fitted(unseen="raise"), made(seed=1).replace("m1", "new")
    before = fleet.score(made())
    for method in (fleet.score, fleet.predict, fleet.explain, fleet.recalibrate):
        with pytest.raises(ValueError, match=r"1 groups, such as 'new', are not among the 6 that"):
            method(new)
    assert same(before, fleet.score(made()))
    assert set(fleet.update(new).score(new).query("machine == 'new'").source) == {"own"}


FRAME = made()


def with_value(value, column="b", row=7):
    frame = FRAME.astype({column: np.float64})
    frame.loc[row, column] = value
    return frame


BAD = {
    "no group column": ({}, FRAME.drop(columns="machine"), "group: the frame has no column 'mac"),
    "a group column named score": (
        {"group": "score"}, FRAME.rename(columns={"machine": "score"}),
        "the group column 'score' has the name of a column of the result: rename it",
    ),
    "unknown columns": ({"columns": ["a", "z"]}, FRAME, "columns: the frame has no column 'z'; it"),
    "text": ({}, FRAME.assign(city="x"), "'city' of the frame is not numeric.*OneHotEncoder"),
    "categories": (
        {}, FRAME.assign(city=pd.Categorical(FRAME.machine)), "'city'.*not numeric.*OneHotEncoder"
    ),
    "dates": ({}, FRAME.assign(day=pd.Timestamp("2026-01-01")), "'day'.*numbers of your choice"),
    "NaN": (
        {}, with_value(np.nan), r"group 'm\d', row 7, column 'b' is NaN \(1 of .*SimpleImputer"
    ),
    "infinity": ({}, with_value(-np.inf), "row 7, column 'b' is infinity .*replace infinite"),
    "huge values": ({}, with_value(1e300), r"group 'm\d', row 7, column 'b' is 1e\+300.*float32"),
    "no identifier": (
        {}, FRAME.assign(machine=FRAME.machine.where(FRAME.index != 3)), "no identifier in row 3"
    ),
    "one row": ({}, FRAME[:1], "1 rows, of which 1 can train the global model.*give more rows"),
    "no rows": ({}, FRAME[:0], "the frame has no rows"),
    "no detector": ({"detector": 3}, FRAME, r"detector=3 is no jaxad detector.*DeepSVDD\(\)"),
    "a network for images": (
        {"settings": {"network": "conv"}}, FRAME, "detector.network='conv' takes images"
    ),
    "validation": (
        {"settings": {"validation_fraction": 0.1}}, FRAME,
        "detector.validation_fraction=0.1: a fleet holds out rows of each group by itself",
    ),
    "a robust scaler": (
        {"settings": {"scaler": "robust"}}, FRAME, "scaler='robust'.*takes 'standard' or 'none'"
    ),
    "a detector's argument": ({"settings": {"epochs": -1}}, FRAME, "epochs=-1"),
    "rate 0": ({"false_alarm_rate": 0}, FRAME, r"false_alarm_rate=0 .*\(0, 1\)"),
    "rate 1": ({"false_alarm_rate": 1.0}, FRAME, r"false_alarm_rate=1.0 .*\(0, 1\)"),
    "rate of text": ({"false_alarm_rate": "few"}, FRAME, "false_alarm_rate='few'"),
    "min_rows": ({"min_rows": 0}, FRAME, "min_rows=0"),
    "unseen": ({"unseen": "drop"}, FRAME, "unseen='drop'.*'global'"),
    "start": ({"start": "warm"}, FRAME, "start='warm'.*'global'"),
    "threads": ({"threads": 0}, FRAME, "threads=0"),
    "verbose": ({"verbose": 2}, FRAME, "verbose=2"),
    "a seed of text": ({"random_state": "x"}, FRAME, "random_state='x'"),
    "other labels": ({"label": "y"}, FRAME.assign(y=2), r"=2 is not one of \(-1, 0, 1\)"),
    "no labels": ({"label": "y"}, FRAME, "label: the frame has no column 'y'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_before_anything_is_compiled(name):
    options, frame, message = BAD[name]
    fleet = small(**options)
    with training.Stopwatch() as watch, pytest.raises((TypeError, ValueError), match=message):
        fleet.fit(frame)
    assert watch.compilations == 0
    with pytest.raises(NotFittedError):
        fleet.score(FRAME)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop(columns="c"), "the frame has no column 'c'"),
        (FRAME.assign(z=1.0), "columns that the fleet was not fitted on: 'z'; drop them"),
        (with_value(np.nan), r"group 'm\d', row 7, column 'b' is NaN"),
        (with_value(1e300), r"group 'm\d', row 7, column 'b' is 1e\+300"),
        (FRAME.assign(a="x"), "'a' of the frame is not numeric"),
        (FRAME[:0], "has no rows"),
    ],
)
@pytest.mark.parametrize("method", ["score", "predict", "explain", "update", "recalibrate"])
def test_bad_rows_leave_a_fitted_fleet_as_it_is(method, frame, message, fleet, scored):
    with pytest.raises(ValueError, match=message):
        getattr(fleet, method)(frame)
    assert same(fleet.score(FRAME), scored)


def test_a_seed_is_needed_to_go_on_from_checkpoints(tmp_path):
    with pytest.raises(ValueError, match="random_state=None is another seed in every fit"):
        small(random_state=None).fit(FRAME, checkpoints=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_groups_are_named(fleet):
    with pytest.raises(KeyError, match="group 'm9' is not among the 6 of the fleet, such as 'm0'"):
        fleet["m9"]
    with pytest.raises(KeyError, match="group 'm9' is not among"):
        copy.deepcopy(fleet).drop(["m1", "m9"])
    with pytest.raises(TypeError, match=r"groups='m1' is text: give a list, \['m1'\]"):
        copy.deepcopy(fleet).drop("m1")
