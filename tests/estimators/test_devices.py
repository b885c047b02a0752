"""The argument ``device``: where a detector trains and scores."""

import pickle

import jax
import numpy as np
import pytest
from cases import fresh
from sklearn.base import clone

import jaxad


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
