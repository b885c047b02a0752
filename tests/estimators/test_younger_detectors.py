"""TCCM and K-DSM as detectors: what is theirs alone."""

import numpy as np
import pytest
from cases import fresh

import jaxad
from jaxad.estimators import prepare


def test_arguments_reach_the_objective(rows):
    numbers = {"noise_scale": 0.40625, "kurtosis_slope": 0.28125, "draws": 7}
    made = prepare.plan(fresh("KDSM", **numbers, hidden=(9, 3)), rows, None).objective
    assert (made.scale, made.slope, made.draws) == (0.40625, 0.28125, 7)
    assert made.network.widths == (9, 3, 5)
    made = prepare.plan(fresh("TCCM", hidden=(9, 3), dtype="bfloat16"), rows, None).objective
    assert (made.network.widths, made.network.dtype) == ((9, 3, 5), "bfloat16")


def test_reconstructions_have_the_units_of_the_rows(rows):
    shifted = 100 + 7 * rows
    detector = fresh("TCCM", hidden=(32,), epochs=30, learning_rate=1e-2).fit(shifted)
    found = detector.reconstruct(shifted)
    assert np.abs(found.mean(0) - shifted.mean(0)).max() < 2
    scaled = (found - shifted) / shifted.std(0)
    np.testing.assert_allclose(
        np.square(scaled).sum(1), detector.anomaly_score(shifted), rtol=1e-2, atol=1e-3
    )


@pytest.mark.parametrize("kind", [jaxad.TCCM, jaxad.KDSM])
def test_images_are_refused(kind):
    with pytest.raises(ValueError, match="X has shape"):
        kind(epochs=1).fit(np.zeros((4, 8, 8)))


def test_the_noise_has_the_limits_of_the_objective(rows):
    for scale in (0.1, 3.0):
        detector = jaxad.KDSM(epochs=0, n_members=1, noise_scale=scale, kurtosis_slope=0.0)
        np.testing.assert_allclose(detector.fit(rows).stats_["noise_scale"], scale, rtol=1e-6)
    with pytest.raises(ValueError, match=r"noise_scale=0\.01"):
        jaxad.KDSM(noise_scale=0.01).fit(rows)
