"""Labels of Deep SAD are never misread in silence."""

import warnings

import numpy as np
import pandas as pd
import pytest
from cases import OF_AN_OBJECTIVE, fresh
from sklearn.base import clone

import jaxad
from jaxad import data

MARKS = np.arange(120) % 10 == 0


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32)


@pytest.mark.defect
@pytest.mark.parametrize("detector", ["DeepSAD", "ObjectiveDetector"])
def test_marks_of_0_and_1_are_an_error(detector, table):
    detector = fresh("DeepSAD") if detector == "DeepSAD" else clone(OF_AN_OBJECTIVE)
    for method in (detector.fit, detector.partial_fit):
        with pytest.raises(ValueError, match=r"no -1.*jaxad\.labels_from_anomalies\(y\)"):
            method(table, MARKS.astype(int))
    assert not hasattr(detector, "params_")
    detector.fit(table, jaxad.labels_from_anomalies(MARKS))
    if isinstance(detector, jaxad.DeepSAD):
        with pytest.raises(ValueError, match="no -1"):
            detector.fit(data.stream(table, label=MARKS.astype(int)))
        detector.partial_fit(table[:20], np.arange(20) % 2)  # anomalies came before


@pytest.mark.parametrize(
    ("y", "meaning"),
    [
        (None, "no row has a label"),
        (np.zeros(120), "no row"),
        (np.ones(120), r"known normal \(\+1\)"),
    ],
)
def test_labels_without_anomalies_are_told(y, meaning, table):
    with pytest.warns(jaxad.LabelWarning, match=f"{meaning}.*or use DeepSVDD"):
        fresh("DeepSAD").fit(table, y)


def test_labels_that_are_understood_are_silent(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh("DeepSAD").fit(table, -MARKS.astype(int))
        fresh("DeepSAD").fit(table, 1 - 2 * MARKS.astype(int))
        clone(OF_AN_OBJECTIVE).fit(table)


def test_a_fold_may_lack_the_anomalies(table):
    y = np.where(np.arange(120) < 2, -1, np.arange(120) % 2)
    options = {"seeds": 1, "progress": False, "folds": 2}
    found = jaxad.sweep(fresh("DeepSAD"), {}, table, y, is_anomaly=y < 0, **options)
    assert len(found) == 2
    with pytest.raises(ValueError, match="no -1"):
        jaxad.sweep(fresh("DeepSAD"), {}, table, abs(y), is_anomaly=y < 0, **options)


def test_a_group_of_a_fleet_may_lack_the_anomalies(table):
    """Even if none is among the rows that are drawn for the global model."""
    frame = pd.DataFrame(table, columns=list("abcde")).assign(
        machine=np.arange(120) % 3, label=np.arange(120) // 3 % 2
    )
    fleet = jaxad.Fleet(
        fresh("DeepSAD"),
        "machine",
        label="label",
        min_rows=20,
        false_alarm_rate=0.2,
        random_state=0,
    )
    with pytest.raises(ValueError, match="no -1"):
        fleet.fit(frame)
    frame.loc[[0, 3], "label"] = -1
    assert (fleet.fit(frame).groups_.source == "own").all()
    parts = [part for _, part in frame.groupby("machine")]
    surveys = [jaxad.fleet.survey_partition(part, clone(fleet)) for part in parts]
    assert surveys
    clone(fleet).begin(surveys)
    with pytest.raises(ValueError, match="no -1"):
        clone(fleet).begin(surveys[1:])


@pytest.mark.defect
def test_marks_are_an_error_of_every_method_that_takes_labels(table):
    y, marks = jaxad.labels_from_anomalies(MARKS), MARKS.astype(int)
    detector = fresh("DeepSAD", epochs=1).fit(table, y)
    calls = (
        lambda: fresh("DeepSAD").fit(table, y, validation=(table, marks)),
        lambda: detector.calibrate(table, marks, method="cross", folds=2),
        lambda: jaxad.fit_many(
            [fresh("DeepSVDD"), fresh("DeepSAD")], table, marks, subsets=[range(60), range(60)]
        ),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"no -1.*labels_from_anomalies"):
            call()
