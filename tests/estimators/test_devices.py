"""The argument ``device``: where a detector trains and scores."""

import jax
import numpy as np
import pytest
from cases import fresh

import jaxad


@pytest.mark.parametrize("members", [1, 2])
def test_a_detector_works_on_its_device(rows, members):
    device = jax.devices()[2]
    detector = fresh("DeepSVDD", epochs=1, n_members=members, device=device).fit(rows)
    used = {d for leaf in jax.tree.leaves(detector.params_) for d in leaf.devices()}
    assert used == {device}
    elsewhere = fresh("DeepSVDD", epochs=1, n_members=members, device="cpu").fit(rows)
    np.testing.assert_array_equal(detector.anomaly_score(rows), elsewhere.anomaly_score(rows))


def test_a_file_does_not_name_the_device(rows, tmp_path):
    detector = fresh("DeepSVDD", epochs=1, device=jax.devices()[1]).fit(rows)
    detector.save(tmp_path / "detector")
    loaded = jaxad.load(tmp_path / "detector")
    assert loaded.device is None
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))


@pytest.mark.parametrize(
    ("device", "kind", "message"),
    [
        ("tpu", ValueError, "device='tpu': JAX finds no such device here, only .*cpu:0"),
        (0, TypeError, "device=0 is neither None"),
    ],
)
def test_a_device_that_is_not_there(rows, device, kind, message):
    with pytest.raises(kind, match=message):
        fresh("DeepSVDD", device=device).fit(rows)
