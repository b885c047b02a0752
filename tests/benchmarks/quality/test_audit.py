"""The audit of published numbers: each cause does what it says, and the suite runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY
from sklearn.metrics import roc_auc_score

from benchmarks import run
from benchmarks.quality import adbench, audit, reference_numbers
from benchmarks.record import rows as results
from jaxad import training
from jaxad.data import CARDS
from jaxad.typing import Batch

NAME = "Pima"


@pytest.fixture
def table(rng):
    """Rows and marks, the last 15 of them anomalies; 75 rows, or 60 normal ones."""
    x = rng.normal(size=(75, 4))
    x[60:] += rng.choice([-2.5, 2.5], size=(15, 4))
    return x, np.arange(75) >= 60


def test_every_claim_concerns_sets_and_every_set_has_epochs():
    published = [name for name, _ in reference_numbers.one_class().index]
    assert set(audit.EPOCHS) == set(published) <= set(CARDS)
    for claim in audit.CLAIMS.values():
        concerned = [name for name in published if claim.concerns(CARDS[name])]
        assert len(concerned) >= 6, claim.cause
        if claim.method is not None:
            assert (concerned[0], claim.method) in reference_numbers.one_class().index


@pytest.mark.parametrize("count", [75, 74])
def test_of_an_odd_number_of_normals_one_is_called_an_anomaly(table, count):
    x, anomaly = (part[75 - count :] for part in table)
    measured = audit.CLAIMS["one_label"].measure(x, anomaly, 0, NAME)
    normal = count - 15
    train, test = x[: normal // 2], x[normal // 2 :]
    split = audit.Split(np.arange(normal // 2), np.arange(normal // 2, count))
    score = audit._nearest(*_standardised(train, test), 0)
    marks = anomaly[split.test]
    assert measured[1] == pytest.approx(roc_auc_score(marks, score))
    if normal % 2:
        marks = np.where(np.arange(len(test)) == normal // 2, True, marks)
        assert measured[0] == pytest.approx(roc_auc_score(marks, score))
        assert measured[0] != measured[1]
    else:
        assert measured[0] == measured[1]


def _standardised(train, test):
    mean, spread = train.mean(0), train.std(0)
    return [((part - mean) / spread).astype(np.float32) for part in (train, test)]


def test_files_that_are_sorted_make_another_split_than_a_random_one(rng):
    """Later rows lie elsewhere, so the first half does not describe the second."""
    drift = np.linspace(0, 6, 1200)[:, None] + rng.normal(size=(1200, 3))
    x = np.concatenate([drift, 3 + rng.normal(size=(60, 3)) * 2])
    in_order, at_random = audit.CLAIMS["file_order"].measure(x, np.arange(1260) >= 1200, 0, NAME)
    assert in_order < at_random - 0.1


def test_rows_of_small_sets_recur_in_train_and_test(table):
    x, anomaly = table
    split = audit._in_file_order(anomaly, 0)
    assert set(split.train) & set(split.test)
    resampled, at_random = zip(
        *(audit.CLAIMS["resampled"].measure(x, anomaly, seed, NAME) for seed in range(5)),
        strict=True,
    )
    assert np.mean(resampled) > np.mean(at_random)


def test_energies_of_the_detached_dagmm_are_those_of_its_rows(rng):
    train, test = rng.normal(size=(600, 5)), rng.normal(size=(40, 5))
    energy = audit.detached_dagmm(train, test, 3)
    assert energy.shape == (40,)
    assert np.isfinite(energy).all()
    assert np.array_equal(energy, audit.detached_dagmm(train, test, 3))
    # Rows that make no whole batch are not in the mixture.
    assert np.array_equal(energy, audit.detached_dagmm(train[:520], test, 3))
    assert not np.allclose(energy, audit.detached_dagmm(train, test, 4))
    assert np.allclose(energy[:7], audit.detached_dagmm(train, test[:7], 3))


def test_the_untrained_deep_svdd_is_a_network_of_two_rectified_layers(rng):
    test = rng.normal(size=(9, 4))
    score = audit.untrained_deep_svdd(test, test, 0)
    weights = np.random.default_rng(0)
    first, second = weights.uniform(-0.5, 0.5, (4, 64)), weights.uniform(-0.125, 0.125, (64, 32))
    expected = [sum(max(o, 0) ** 2 for o in np.maximum(x @ first, 0) @ second) for x in test]
    np.testing.assert_allclose(score, expected)
    assert np.array_equal(score, audit.untrained_deep_svdd(np.zeros((3, 4)), test, 0))


def test_the_deep_svdd_that_is_drawn_to_zero_against_numpy(rows):
    objective = audit.drawn((5,), pull=0.1, own_centre=False)
    params, stats = objective.init(KEY, jnp.asarray(rows))
    stats = objective.prepare(params, stats, training.as_rows(rows))
    batch = Batch(jnp.asarray(rows[:8]), jnp.zeros(8, int), jnp.ones(8), 0.0)
    values, same = objective.loss(params, stats, batch, KEY)
    assert same is stats

    def units(params, x):
        layers = jax.tree.leaves(jax.tree.map(np.float64, params))
        first, second = sorted(layers, key=len)
        hidden = np.maximum(x @ first, 0)
        return hidden, np.maximum(hidden @ second, 0)

    centre = units(stats["other"], rows.astype(np.float64))[1].mean(0)
    centre = np.where((centre > 0) & (centre < 0.1), 0.1, centre)
    np.testing.assert_allclose(stats["centre"], centre, rtol=1e-4)
    hidden, output = units(params, rows[:8].astype(np.float64))
    distance = ((output - centre) ** 2).sum(1)
    pulled = 0.1 * ((hidden**2).sum(1) + (output**2).sum(1))
    np.testing.assert_allclose(values, distance + pulled, rtol=1e-4)
    np.testing.assert_allclose(objective.score(params, stats, batch.x), distance, rtol=1e-4)
    own = audit.drawn((5,), pull=0.1, own_centre=True)
    prepared = own.prepare(params, stats, training.as_rows(rows))
    assert not np.allclose(prepared["centre"], centre)


def test_the_network_of_diffusion_time_begins_as_in_pytorch():
    network = audit.TimeNetwork()
    params = network.init(KEY, jnp.ones((2, 4)))["params"]
    layers = [params[f"Dense_{i}"] for i in range(4)]
    for layer, inputs in zip(layers, (4, 256, 512, 256), strict=True):
        for values in layer.values():
            assert 0.97 * inputs**-0.5 < np.abs(values).max() <= inputs**-0.5 or values.size < 10


@pytest.mark.full
@pytest.mark.slow
def test_the_suite_from_end_to_end(table, tmp_path, monkeypatch, capsys):
    x, anomaly = table
    monkeypatch.setattr(adbench, "load", lambda name: (x, anomaly))
    given = ["audit", "--datasets", NAME, "--seeds", "1", "--out", str(tmp_path)]
    given += ["--claims", "resampled,drawn_to_zero,detached,no_backward"]
    assert run.main(given) == 0
    found = results.read(tmp_path).rows
    assert [row.detector for row in found] == given[-1].split(",")
    for row in found:
        assert set(row.metrics) >= {"with_cause", "without"}
        assert ("published" in row.metrics) == (row.detector != "no_backward")
    printed = capsys.readouterr().out
    assert "resampled: sets below 1,000 rows are resampled" in printed


def test_the_table_of_claims():
    def row(name, claim, **metrics):
        return results.Row(name, claim, metrics)

    rows = [
        row("a", "detached", published=[70.0], with_cause=[69.0, 72.0], without=[80.0, 82.0]),
        row("b", "detached", published=[60.0], with_cause=[64.0, 64.0], without=[70.0, 70.0]),
        row("a", "one_label", with_cause=[50.0], without=[51.0]),
    ]
    found = audit.found(rows, "detached")
    assert (found.sets, found.published, found.near) == (2, 65.0, 1)
    assert (found.with_cause, found.without) == (67.25, 75.5)
    assert audit.found(rows, "one_label").published is None
    assert audit.found(rows, "file_order") is None
    page = audit.summary(rows, {})
    assert "| 2 | 65.0 | 67.2 | 1 of 2 | 75.5 |" in page
    assert "| 1 | - | 50.0 | - | 51.0 |" in page
    assert audit.text(rows, {"seeds": 2}).count("without it") == 3
