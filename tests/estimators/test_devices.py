"""The argument ``device``: where a detector trains and scores."""

import pickle

import jax
import numpy as np
import pytest
from cases import fresh
from fleets import fitted, made
from sklearn.base import clone

import jaxad
from jaxad import study, training
from jaxad.training import mesh as mesh_of
from jaxad.training import sets


def devices_of(detector):
    return {d for leaf in jax.tree.leaves(detector.params_) for d in leaf.devices()}


@pytest.mark.parametrize("members", [1, 2])
def test_a_detector_works_on_its_device(rows, members):
    detector = fresh("DeepSVDD", epochs=1, n_members=members, device="cpu:2").fit(rows)
    assert devices_of(detector) == {jax.devices()[2]}
    elsewhere = fresh("DeepSVDD", epochs=1, n_members=members, device="cpu").fit(rows)
    np.testing.assert_array_equal(detector.anomaly_score(rows), elsewhere.anomaly_score(rows))


def test_a_detector_with_a_device_is_cloned_and_pickled(rows):
    detector = fresh("DeepSVDD", epochs=1, device="cpu:1")
    assert clone(detector).device == "cpu:1"
    detector.fit(rows)
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.anomaly_score(rows), detector.anomaly_score(rows))


@pytest.fixture
def called(monkeypatch):
    """The meshes, and the devices, of the calls for sets of rows."""
    seen, original = set(), sets.device_call

    def told(program, kind, mesh, vectorised):
        seen.add((mesh, *mesh_of.used_devices()))
        return original(program, kind, mesh, vectorised)

    monkeypatch.setattr(sets, "device_call", told)
    return seen


def test_each_of_many_detectors_works_on_its_device(rows):
    """Those of different devices are no population; a mesh is used instead of them."""
    names = ["cpu:1", "cpu:1", "cpu:2"]
    many = [
        fresh("DeepSVDD", epochs=1, n_members=1, device=name, random_state=seed)
        for seed, name in enumerate(names)
    ]
    jaxad.fit_many(many, rows)
    assert [str(*devices_of(detector)) for detector in many] == [
        str(jax.devices()[n]) for n in (1, 1, 2)
    ]
    shared = jaxad.fit_many(list(map(clone, many)), rows, mesh=training.make_mesh(2))
    for one, other in zip(many, shared, strict=True):
        np.testing.assert_allclose(one.anomaly_score(rows), other.anomaly_score(rows), rtol=1e-4)


def test_the_models_of_a_calibration_work_on_the_device(rows):
    detector = fresh("DeepSVDD", epochs=1, n_members=1, device="cpu:1").fit(rows)
    detector.calibrate(rows, method="cross", folds=2)
    for model in detector.calibration_.models:
        assert {leaf.device for leaf in jax.tree.leaves(model.params)} == {jax.devices()[1]}


def test_a_fleet_works_on_its_device(called):
    fleet = fitted(settings={"n_members": 1, "device": "cpu:1"})
    fleet.score(made())
    assert called == {(None, jax.devices()[1])}
    assert devices_of(fleet["m0"]) == devices_of(fleet.global_) == {jax.devices()[1]}


def test_a_comparison_works_on_the_devices_of_its_detectors(called, rows):
    first, second = (
        fresh("DeepSVDD", epochs=1, n_members=1, device=name) for name in ("cpu:1", "cpu:2")
    )
    given = {"set": (rows, np.arange(len(rows)) < 60)}
    study.compare({"a": first, "b": second}, given, 1, setting="one_class_random")
    assert called == {(None, jax.devices()[1]), (None, jax.devices()[2])}


def test_a_file_does_not_name_the_device(rows, tmp_path):
    detector = fresh("DeepSVDD", epochs=1, device="cpu:1").fit(rows)
    detector.save(tmp_path / "detector")
    loaded = jaxad.load(tmp_path / "detector")
    assert loaded.device is None
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))


@pytest.mark.parametrize(
    ("device", "kind", "message"),
    [
        ("tpu", ValueError, "device='tpu': JAX finds no such device here, only .*cpu:0"),
        ("cpu:4", ValueError, "device='cpu:4': JAX finds no such device here, only .*cpu:3"),
        ("cpu:-1", ValueError, "device='cpu:-1': JAX finds no such device here"),
        (0, TypeError, "device=0 is neither None"),
        (jax.devices()[1], TypeError, "cannot be copied .* such as 'cpu:1'"),
    ],
)
def test_a_device_that_is_not_there(rows, device, kind, message):
    with pytest.raises(kind, match=message):
        fresh("DeepSVDD", device=device).fit(rows)
