"""Diagnostics of detectors and fleets: in `history_`, in files, and in incremental training."""

import numpy as np
import pytest
from cases import DETECTORS, fresh
from fleets import fitted, made

import jaxad
from jaxad import data, plotting, training

QUANTILES = ["scores_05", "scores_50", "scores_95"]


@pytest.mark.full
@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_keep_their_diagnostics_in_files(name, rows, tmp_path):
    detector = fresh(name, diagnostics="all", n_members=2).fit(rows)
    for record in (*QUANTILES, "collapse", "effective_rank"):
        assert detector.history_[record].shape == (2, 3)
    scores = np.quantile(detector.member_scores(rows), 0.5, axis=1, method="inverted_cdf")
    np.testing.assert_allclose(detector.history_["scores_50"][:, -1], scores, rtol=1e-3)
    detector.save(tmp_path / "saved")
    loaded = jaxad.load(tmp_path / "saved")
    assert loaded.diagnostics == "all"
    assert loaded.history_.keys() == detector.history_.keys()
    for record, values in detector.history_.items():
        np.testing.assert_array_equal(loaded.history_[record], values)
    assert len(plotting.diagnostics(loaded.history_).axes) >= 4


def test_names_survive_a_file(rows, tmp_path):
    detector = fresh("DeepSVDD", diagnostics=("scores",)).fit(rows)
    detector.save(tmp_path / "saved")
    loaded = jaxad.load(tmp_path / "saved")
    assert loaded.diagnostics == ("scores",)
    assert loaded.fit(rows).history_.keys() == detector.history_.keys()


def test_each_call_of_partial_fit_adds_an_epoch(rows):
    """Names that come or go later are NaN where they were not asked for."""
    detector = fresh("DeepSVDD", diagnostics=("scores",))
    detector.partial_fit(data.stream(rows, rows=150))
    detector.set_params(diagnostics=("collapse",)).partial_fit(rows)
    for record in QUANTILES:
        assert np.isnan(detector.history_[record]).tolist() == [False, False, True]
    assert np.isnan(detector.history_["collapse"]).tolist() == [True, True, False]
    assert np.isfinite(detector.history_["loss"]).all()


def test_bad_names_are_refused_before_the_pretraining(rows):
    detector = fresh("DeepSVDD", diagnostics=("radius",), pretrain_epochs=2)
    with training.Stopwatch() as watch:
        with pytest.raises(ValueError, match="cannot give 'radius': choose some of .*'collapse'"):
            detector.fit(rows)
        with pytest.raises(TypeError, match="diagnostics='scores' is not a tuple of names"):
            fresh("DAGMM", diagnostics="scores").fit(rows)
    assert watch.compilations == 0
    detector.set_params(objective="soft-boundary").fit(rows)
    assert "radius" in detector.history_
    assert "radius" not in detector.pretrain_history_


def test_bad_names_are_refused_by_a_fleet_before_anything_is_compiled():
    with training.Stopwatch() as watch:
        with pytest.raises(ValueError, match="cannot give 'radius': choose some of .*'collapse'"):
            fitted(settings=(("diagnostics", ("radius",)),))
    assert watch.compilations == 0


@pytest.mark.full
def test_the_groups_of_a_fleet_have_diagnostics(tmp_path):
    frame, settings = made(), {"diagnostics": ("scores", "gradient_norm"), "n_members": 2}
    fleet = fitted(frame, settings=tuple(settings.items()))
    fleet.save(tmp_path / "fleet")
    for one in (fleet, jaxad.load(tmp_path / "fleet")):
        group = one["m2"]
        assert group.history_["scores_50"].shape == (2, 3)
        assert np.isfinite(group.history_["gradient_norm/encoder/Dense_0"]).all()
