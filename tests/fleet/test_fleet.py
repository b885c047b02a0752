"""Fleets as users meet them: fit, score, explain, single groups, and bad input."""

import numpy as np
import pandas as pd
import pytest
from fleets import COLUMNS, fitted, made, same, small


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
