"""Validation rows, given or held out: they show how training goes, and make the threshold."""

import numpy as np
import pytest
from cases import fresh

from jaxad import data
from jaxad.estimators import prepare


def test_validation_rows_change_only_their_loss_and_the_threshold(rows):
    train, held = rows[:200], rows[200:] + 1
    plain = fresh("DeepSVDD", contamination=0.2).fit(train)
    checked = fresh("DeepSVDD", contamination=0.2).fit(train, validation=held)
    np.testing.assert_array_equal(checked.anomaly_score(rows), plain.anomaly_score(rows))
    np.testing.assert_array_equal(checked.history_["loss"], plain.history_["loss"])
    assert checked.history_["validation_loss"].shape == plain.history_["loss"].shape
    assert checked.threshold_ == np.quantile(checked.anomaly_score(held), 0.8)


def test_patience_watches_the_validation_rows(rows):
    options = {"epochs": 30, "patience": 1, "learning_rate": 1e-2, "n_members": 1}
    detector = fresh("DeepSVDD", **options).fit(rows, validation=rows[:50] * 3)
    loss = detector.history_["validation_loss"]
    assert detector.best_epoch_ == int(np.argmin(loss))
    assert len(loss) < 30


def test_labels_come_with_validation_rows(rows):
    labels = np.resize([0, -1], 100)
    options = {"epochs": 1, "n_members": 1}
    with_labels = fresh("DeepSAD", **options).fit(rows, validation=(rows[:100], labels))
    without = fresh("DeepSAD", **options).fit(rows, validation=rows[:100])
    one, other = (d.history_["validation_loss"][0] for d in (with_labels, without))
    assert one != other


def test_validation_rows_are_scaled_like_the_others(rows):
    """Of the same rows, and weights that hardly move, both losses are the same."""
    far = 50 * rows + 300
    options = {"noise": 0, "epochs": 1, "learning_rate": 1e-12, "n_members": 1}
    history = fresh("AutoEncoder", **options).fit(far, validation=far).history_
    np.testing.assert_allclose(history["validation_loss"], history["loss"], rtol=1e-4)


def test_another_seed_holds_out_other_rows(rows):
    detectors = [fresh("AutoEncoder", validation_fraction=0.5, random_state=s) for s in (0, 0, 1)]
    one, same, other = (prepare.plan(detector, rows, None).held_out for detector in detectors)
    assert one.tolist() == same.tolist()
    assert 30 < len(set(one) & set(other)) < 120


def test_a_stream_takes_validation_rows(rows):
    stream = data.stream(rows[:200], rows=128)
    detector = fresh("AutoEncoder", epochs=1, n_members=1).fit(stream, validation=rows[200:])
    assert detector.history_["validation_loss"].shape == (1,)
    assert detector.threshold_ == np.quantile(detector.anomaly_score(rows[200:]), 0.9)


def test_the_scaler_is_fitted_without_the_held_out_rows(rows):
    detector = fresh("AutoEncoder", epochs=1, validation_fraction=0.5).fit(rows)
    held = np.sort(np.random.default_rng(detector.random_state).permutation(300)[:150])
    changed = rows.copy()
    changed[held] += 100
    other = fresh("AutoEncoder", epochs=1, validation_fraction=0.5).fit(changed)
    np.testing.assert_array_equal(other.scaler_.shift, detector.scaler_.shift)
    np.testing.assert_array_equal(other.anomaly_score(rows), detector.anomaly_score(rows))
    assert other.threshold_ != detector.threshold_


@pytest.mark.parametrize(
    ("options", "validation", "message"),
    [
        ({}, np.zeros((3, 4)), "validation rows: X has 4 features"),
        ({}, np.full((3, 5), np.nan), "validation rows: Input X contains NaN"),
        ({}, (np.zeros((3, 5)), [0, 5, 0]), r"validation rows: y\[1\]=5"),
        ({}, (1, 2, 3), "tuple of 3 values"),
        ({}, data.stream(np.zeros((3, 5))), "validation rows are a stream"),
        ({"validation_fraction": 0.2}, np.zeros((3, 5)), "leave one of them out"),
    ],
)
def test_wrong_validation_rows(rows, options, validation, message):
    detector = fresh("DeepSAD").fit(rows).set_params(**options)
    before = dict(vars(detector))
    with pytest.raises(ValueError, match=message):
        detector.fit(rows[:, ::-1], validation=validation)
    assert vars(detector) == before
