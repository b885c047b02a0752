"""Meshes, and batches that are sharded over devices."""

import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from cases import KEY, KEYS, OBJECTIVES, RECIPE, assert_alike, labelled

from jaxad import networks, objectives, training
from jaxad.training import engine, runners, sets
from jaxad.training.members import Member
from jaxad.training.mesh import across_data
from jaxad.training.programs import Program


def spy(monkeypatch):
    """Record over how many devices a batch is sharded when a step is traced."""
    parts = []

    def told(batch):
        shared = across_data(batch)
        assert "sharding_constraint" in str(jax.make_jaxpr(across_data)(batch))
        parts.append(jax.sharding.get_abstract_mesh().shape["data"])
        return shared

    monkeypatch.setattr(engine, "across_data", told)
    return parts


@pytest.mark.parametrize("name", OBJECTIVES)
def test_sharding_a_batch_does_not_change_the_result(name, rows, monkeypatch):
    """Losses that couple the rows of a batch keep their values, gradients and scores."""
    objective, mesh = OBJECTIVES[name], training.make_mesh(1, 4)
    one = training.fit(objective, RECIPE, KEY, labelled(rows))
    parts = spy(monkeypatch)
    shared = training.fit(objective, RECIPE, KEY, labelled(rows), mesh=mesh)
    assert set(parts) == {4}
    assert_alike(objective, shared, one, rows)


def test_both_axes_of_a_mesh_at_once(rows, monkeypatch):
    parts = spy(monkeypatch)
    objective = OBJECTIVES["dagmm"]
    mesh = training.make_mesh(2, 2)
    found = training.fit_population(objective, RECIPE, KEYS, rows, mesh=mesh)
    assert set(parts) == {2}
    assert_alike(objective, found.member(2), training.fit(objective, RECIPE, KEYS[2], rows), rows)


def test_a_mesh_larger_than_the_machine_is_refused():
    with pytest.raises(ValueError, match=r"population=3 times data=2 needs 6 devices, there are 4"):
        training.make_mesh(3, 2)
    with pytest.raises(ValueError, match="data=0"):
        training.make_mesh(1, 0)
    with pytest.raises(RuntimeError, match=r"use_cores\(2\) before"):
        training.use_cores(2)
    training.use_cores(4)  # as many as there are


def test_cores_become_devices_after_the_import():
    code = (
        "import jax, jaxad\n"
        "from jaxad import training\n"
        "training.use_cores(3)\n"
        "assert len(jax.devices()) == 3, jax.devices()\n"
        "assert training.make_mesh().shape['population'] == 3\n"
    )
    clean = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def on_gpu(monkeypatch):
    """Lets programs believe that they use a GPU; none may be compiled."""
    chosen = [SimpleNamespace(platform="gpu")]
    return lambda: monkeypatch.setattr("jaxad.training.mesh.used_devices", lambda **_: chosen)


def test_each_kind_of_device_has_programs_with_options_of_its_own(on_gpu):
    program = Program(lambda carry, member: carry, needs=())
    one, several = runners.OneModel(Member()), runners.OnDevices(Member(), Member(), 2, None)

    def calls():
        return [runner._call(program, np.zeros(2), ())[0] for runner in (one, several)]

    before = calls()
    assert all(call._options for call in before)
    assert calls() == before
    on_gpu()
    assert [call._options for call in calls()] == [{}, {}]


def test_the_number_of_sets_in_a_call_suits_the_device_in_use(on_gpu):
    objective = objectives.deep_svdd(networks.MLP((3,)))
    assert sets.side_by_side(objective, (5,), 256, None) == runners.SIDE_BY_SIDE
    on_gpu()
    assert sets.side_by_side(objective, (5,), 256, None) == 1024
