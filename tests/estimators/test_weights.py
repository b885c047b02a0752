"""``sample_weight``: rows of weight 0 are absent, and others count as often as they weigh."""

import numpy as np
import pytest
from cases import DETECTORS, fresh

import jaxad
from jaxad import data

LABELS = np.resize([0, 0, 1, -1], 300)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_row_of_weight_0_changes_nothing(name, rows):
    weight = np.ones(300)
    weight[::5] = 0
    kept = weight > 0
    changed = rows.copy()
    changed[~kept] = 1e6
    y = LABELS if name == "DeepSAD" else None
    one = fresh(name).fit(changed, y, sample_weight=weight)
    other = fresh(name).fit(rows[kept], None if y is None else y[kept])
    np.testing.assert_array_equal(one.anomaly_score(rows), other.anomaly_score(rows))
    assert one.threshold_ == other.threshold_


def test_the_scale_of_the_weights_does_not_matter(rows):
    plain = fresh("DeepSVDD").fit(rows)
    same = fresh("DeepSVDD").fit(rows, sample_weight=[1e-30] * 300)
    np.testing.assert_array_equal(same.anomaly_score(rows), plain.anomaly_score(rows))
    assert same.threshold_ == plain.threshold_


def test_weights_count_in_scaler_and_statistics_as_repeated_rows_do(rows):
    weight = np.resize([1, 3], 300)
    how = {"epochs": 0, "n_members": 1}
    weighted = fresh("DeepSVDD", **how).fit(rows, sample_weight=weight)
    repeated = fresh("DeepSVDD", **how).fit(np.repeat(rows, weight, axis=0))
    plain = fresh("DeepSVDD", **how).fit(rows)
    for one, other in ((weighted.scaler_, repeated.scaler_),):
        np.testing.assert_allclose(one.shift, other.shift, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(one.scale, other.scale, rtol=1e-6)
    centre = weighted.stats_["centre"]
    np.testing.assert_allclose(centre, repeated.stats_["centre"], rtol=1e-4, atol=1e-5)
    assert np.abs(centre - plain.stats_["centre"]).max() > 1e-3


def test_weights_count_in_the_loss_and_the_threshold(rows):
    """All weight on rows of one kind: they alone are reconstructed, and make the threshold."""
    weight = np.where(rows[:, 0] > 0, 1.0, 1e-6)
    detector = fresh("AutoEncoder", epochs=2, n_members=1).fit(rows, sample_weight=weight)
    heavy = detector.anomaly_score(rows)[weight == 1]
    assert (heavy > detector.threshold_).mean() == pytest.approx(0.1, abs=0.01)
    plain = fresh("AutoEncoder", epochs=2, n_members=1).fit(rows)
    assert not np.array_equal(plain.history_["loss"], detector.history_["loss"])


def test_validation_fraction_takes_weights_along(rows):
    weight = np.ones(300)
    weight[:30] = 0
    how = {"validation_fraction": 0.3, "epochs": 1}
    one = fresh("DeepSVDD", **how).fit(rows, sample_weight=weight)
    other = fresh("DeepSVDD", **how).fit(rows[30:])
    assert one.threshold_ == other.threshold_


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(299), r"sample_weight has shape \(299,\), but X has 300 rows"),
        (np.ones((300, 1)), r"sample_weight has shape \(300, 1\)"),
        (np.r_[np.ones(299), -1], r"sample_weight\[299\]=-1.0 is not a finite number"),
        (np.r_[np.nan, np.ones(299)], r"sample_weight\[0\]=nan"),
        (np.zeros(300), "sample_weight is zero for every row"),
        (np.r_[1, np.zeros(299)], "has 1 positive weights: at least 2"),
        (["heavy"] * 300, "is not an array of numbers"),
    ],
)
def test_wrong_weights(rows, weight, message):
    detector = fresh("DeepSVDD").fit(rows)
    before = dict(vars(detector))
    with pytest.raises(ValueError, match=message):
        detector.fit(rows, sample_weight=weight)
    assert vars(detector) == before


def test_streams_have_no_weights(rows):
    with pytest.raises(ValueError, match="sample_weight is given beside a stream"):
        jaxad.DeepSVDD().fit(data.stream(rows), sample_weight=np.ones(300))
