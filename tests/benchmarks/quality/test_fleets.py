"""Made groups, and what the suite `fleet` says of alarms, a planted fall and few rows."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.quality import fleets
from benchmarks.quality.groups import GROUP, Groups, sizes

SETTINGS = {"groups": 3, "alarm_seeds": 1, "seeds": 1, "started_groups": 4}


@pytest.fixture
def made():
    return Groups.draw(5, 4, seed=0, alike=0.5)


def test_rows_of_groups_have_their_means_scales_and_correlations(made, rng):
    x = made.rows(3, 200_000, rng)
    assert x.dtype == np.float32
    unit = (x - made.mean[3]) / made.scale[3]
    np.testing.assert_allclose(unit.mean(0), 0, atol=0.02)
    mix = made.mix[3]
    expected = mix.T @ mix + np.diag(made.noise[3] ** 2)
    np.testing.assert_allclose(np.diag(expected), 1, rtol=1e-5)
    np.testing.assert_allclose(np.cov(unit.T), expected, atol=0.03)


def test_anomalies_differ_in_nothing_but_what_they_say(made, rng):
    broken = made.shuffled(3, 200_000, rng)
    unit = (broken - made.mean[3]) / made.scale[3]
    np.testing.assert_allclose(np.cov(unit.T), np.eye(4), atol=0.03)
    off = made.shifted(3, 100_000, np.random.default_rng(1))
    unit = (off - made.rows(3, 100_000, np.random.default_rng(1))) / made.scale[3]
    np.testing.assert_array_equal((np.abs(unit) > 1).sum(1), 2)
    np.testing.assert_allclose(np.abs(unit)[np.abs(unit) > 1], 2, rtol=1e-3)


def test_groups_that_are_wholly_alike_share_their_correlation():
    mix = Groups.draw(3, 4, seed=0, alike=1.0).mix
    np.testing.assert_array_equal(mix[0], mix[2])


def test_sizes_are_spread_on_a_logarithmic_scale(rng):
    found = sizes(100_000, 50, 2000, rng)
    assert (found.min(), found.max()) == (50, 2000)
    assert np.median(found) == pytest.approx(np.sqrt(50 * 2000), rel=0.02)


def test_the_fallen_store_stays_within_the_range_of_others():
    stores = fleets.Stores(seed=0)
    columns = list(stores.COLUMNS)
    fallen = stores.last.loc[stores.fallen, columns]
    assert len(fallen) == stores.READINGS
    group = stores.last.loc[stores.fallen, GROUP].unique().item()
    own = stores.rows.loc[stores.rows[GROUP] == group, columns]
    others = stores.rows.loc[stores.rows[GROUP] != group, columns]
    assert (fallen.max() < own.min()).all()
    assert (fallen.min() > others.quantile(0.01)).all()


def test_auroc_is_a_mean_over_groups():
    groups, scores = pd.Series([0, 0, 1, 1]), pd.Series([1.0, 2.0, 30.0, 20.0])
    assert fleets.mean_auroc(groups, scores, np.array([False, True, False, True])) == 0.5


@pytest.mark.full
@pytest.mark.slow
def test_own_models_find_what_the_pooled_one_misses():
    own, pooled, *targets = fleets.planted([0])
    assert own.metrics["recall"] == [1.0]
    assert pooled.metrics["recall"] == [0.0]
    assert pooled.metrics["p_value"][0] > 0.1 > 0.01 > own.metrics["p_value"][0]
    assert [row.details["met"] for row in targets] == [True, True]


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Fleet")
def test_alarms_and_few_rows_are_measured(monkeypatch):
    row, target = fleets.alarms("DeepSVDD", SETTINGS)
    assert row.detector == "DeepSVDD, 3 groups"
    assert 0 <= row.metrics["alarm_rate"][0] < 0.1
    assert target.details["met"] == (row.metrics["within"][0] >= 0.95)
    for name, value in (("STARTED", 2), ("PLENTY", 200), ("TESTED", 50)):
        monkeypatch.setattr(fleets, name, value)
    *rows, target = fleets.started("two columns off", SETTINGS)
    assert len(rows) == 4
    many, few, *_ = (row.metrics["auroc"][0] for row in rows)
    assert many > 0.6
    assert target.details["measured"].startswith(f"{100 * (many - few):.1f} points behind")


def test_without_kdd_the_reason_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path))
    row, target = fleets.started("KDD'99", SETTINGS)
    assert row.missing.startswith("set JAXAD_DATA: ")
    assert target.details["met"] is None
