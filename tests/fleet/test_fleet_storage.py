"""Fleets in files and copies, and the waves of a fit as checkpoints."""

import copy
import pickle

from fleets import fitted, made, same


def test_fitted_fleets_are_pickled_and_copied():
    fleet, frame = fitted(), made()
    for other in (pickle.loads(pickle.dumps(fleet)), copy.deepcopy(fleet)):
        assert same(other.score(frame), fleet.score(frame))
        assert same(other.groups_, fleet.groups_)
        assert other.drop(["m1"]).score(frame).source.ne(fleet.score(frame).source).any()
    assert "m1" in fleet
