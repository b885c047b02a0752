"""Batches shared out among devices, and the meshes for it."""

import pytest
from small_objectives import KEY, KEYS, OBJECTIVES, RECIPE, assert_alike, labelled

from jaxad import training


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_shared_out_among_devices_is_one_batch(name, rows):
    """Losses that couple the rows of a batch have the same value, gradient and scores."""
    objective, mesh = OBJECTIVES[name], training.make_mesh(1, 4)
    one = training.fit(objective, RECIPE, KEY, labelled(rows))
    shared = training.fit(objective, RECIPE, KEY, labelled(rows), mesh=mesh)
    assert_alike(objective, shared, one, rows)


def test_both_axes_of_a_mesh_at_once(rows):
    objective = OBJECTIVES["dagmm"]
    mesh = training.make_mesh(2, 2)
    found = training.fit_population(objective, RECIPE, KEYS, rows, mesh=mesh)
    assert_alike(objective, found.member(2), training.fit(objective, RECIPE, KEYS[2], rows), rows)


def test_a_mesh_larger_than_the_machine_is_refused():
    with pytest.raises(ValueError, match=r"population=3 times data=2 needs 6 devices, there are 4"):
        training.make_mesh(3, 2)
    with pytest.raises(ValueError, match="data=0"):
        training.make_mesh(1, 0)
    with pytest.raises(RuntimeError, match=r"use_cores\(2\) before"):
        training.use_cores(2)
    training.use_cores(4)  # as many as there are
