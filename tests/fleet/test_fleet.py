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
