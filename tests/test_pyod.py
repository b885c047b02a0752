"""Detectors in PyOD, PyThresh and nonconform, the real packages."""

import numpy as np
import pytest
from cases import fresh
from sklearn.base import clone

import jaxad
from jaxad.pyod import as_pyod

TABLE = np.random.default_rng(0).normal(size=(120, 6))
TABLE[:5] += 6
OUTLIERS = [0, 1, 2, 3, 4]


def small(**options):
    return fresh("DeepSVDD", epochs=1, contamination=0.05, **options)


def test_a_detector_has_the_interface_of_pyod():
    pyod = pytest.importorskip("pyod.models.base")
    detector = small()
    found = as_pyod(detector).fit(TABLE)
    assert isinstance(found, pyod.BaseDetector)
    assert not hasattr(detector, "params_")
    score = small().fit(TABLE).anomaly_score(TABLE)
    np.testing.assert_array_equal(found.decision_scores_, score)
    np.testing.assert_array_equal(found.decision_function(TABLE), score)
    assert found.threshold_ == pytest.approx(found.detector_.threshold_)
    np.testing.assert_array_equal(found.labels_, score > found.threshold_)
    np.testing.assert_array_equal(found.predict(TABLE), found.labels_)
    for method in ("linear", "unify"):
        assert (found.predict_proba(TABLE, method=method).sum(axis=1) == 1).all()
    other = clone(found).set_params(detector__epochs=2, contamination=0.2).fit(TABLE)
    assert other.labels_.sum() == 24
    assert other.detector_.epochs == 2


def test_marks_of_known_anomalies_reach_detectors_with_labels():
    pytest.importorskip("pyod.models.base")
    y = np.arange(120) < 3
    found = as_pyod(fresh("DeepSAD", epochs=1, pretrain_epochs=0)).fit(TABLE, y.astype(int))
    expected = clone(found.detector).fit(TABLE, jaxad.labels_from_anomalies(y))
    np.testing.assert_array_equal(found.decision_scores_, expected.anomaly_score(TABLE))


def test_detectors_are_members_of_pyods_ensembles():
    lscp = pytest.importorskip("pyod.models.lscp")
    members = [as_pyod(small(random_state=seed)) for seed in (0, 1)]
    with pytest.warns(UserWarning, match="number of histogram bins"):
        found = lscp.LSCP(members, random_state=0, contamination=0.05).fit(TABLE[:80])
    assert found.labels_.sum() == 4


def test_detectors_are_bagged_and_combined_by_pyod():
    pytest.importorskip("combo")  # without it PyOD's combination cannot be imported
    from pyod.models import combination, feature_bagging
    from pyod.utils.utility import standardizer

    bagged = feature_bagging.FeatureBagging(
        as_pyod(small()), n_estimators=2, contamination=0.05, random_state=0
    ).fit(TABLE)
    seeds = {member.detector_.random_state for member in bagged.estimators_}
    assert len(seeds) == 2
    assert bagged.labels_[OUTLIERS].all()
    scores = small(n_members=4).fit(TABLE).member_scores(TABLE).T
    for combine in (combination.average, combination.maximization, combination.median):
        top = np.argsort(combine(standardizer(scores)))[-5:]
        assert sorted(top) == OUTLIERS


def test_pythresh_takes_scores_and_is_a_contamination_of_as_pyod():
    iqr = pytest.importorskip("pythresh.thresholds.iqr")
    score = small().fit(TABLE).anomaly_score(TABLE)
    labels = iqr.IQR().fit(score).labels_
    assert labels[OUTLIERS].all()
    found = as_pyod(small(), contamination=iqr.IQR()).fit(TABLE)
    np.testing.assert_array_equal(found.labels_, labels)
    np.testing.assert_array_equal(found.predict(TABLE), labels)


def test_nonconform_takes_detectors_as_they_are():
    nonconform = pytest.importorskip("nonconform")  # needs Python 3.12
    new = np.concatenate([np.random.default_rng(1).normal(size=(40, 6)), np.full((4, 6), 6.0)])
    options = {"strategy": nonconform.Split(n_calib=60), "seed": 0}
    detector = nonconform.ConformalDetector(
        small(), score_polarity="higher_is_normal", **options
    ).fit(TABLE[5:])
    p = detector.compute_p_values(new)
    np.testing.assert_allclose(p[-4:], 1 / 61)
    assert p[:40].mean() > 0.3


def test_what_as_pyod_cannot_take_is_named(monkeypatch):
    pytest.importorskip("pyod.models.base")
    with pytest.raises(TypeError, match="detector=3 is not a detector of jaxad"):
        as_pyod(3)
    with pytest.raises(ValueError, match="contamination must be in"):
        as_pyod(small(), contamination=0.7)
    monkeypatch.setattr("jaxad.pyod.BaseDetector", None)
    with pytest.raises(ImportError, match=r"as_pyod needs PyOD: pip install 'jaxad\[pyod\]'"):
        as_pyod(small())
