"""The audit of published numbers: each cause does what it says, and the suite runs."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY
from sklearn.metrics import roc_auc_score

import jaxad
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
    published = reference_numbers.one_class().index
    assert set(audit.DEFAULTS["datasets"]) <= set(CARDS)
    for claim in audit.CLAIMS.values():
        concerned = [name for name in audit.DEFAULTS["datasets"] if claim.concerns(CARDS[name])]
        assert len(concerned) >= 6, claim.cause
        assert claim.method is None or all((name, claim.method) in published for name in concerned)
        if claim is audit.CLAIMS["epochs_by_name"]:
            assert set(concerned) == set(audit.EPOCHS)


def test_only_sets_that_are_not_sampled_are_split_in_the_order_of_the_file():
    for name in audit.DEFAULTS["datasets"]:
        marks = np.arange(CARDS[name].rows) < CARDS[name].anomalies
        train = audit._in_file_order(marks, 1).train
        normal = np.flatnonzero(~marks)
        in_order = np.array_equal(train, normal[: round(len(normal) / 2)])
        assert audit.CLAIMS["file_order"].concerns(CARDS[name]) == in_order, name


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


def test_energies_of_the_detached_dagmm_against_loops(rng):
    train, test = rng.normal(size=(600, 5)), rng.normal(size=(9, 5))
    energy = audit.detached_dagmm(train, test, 3)
    rng = np.random.default_rng(3)  # draws what the function draws, in its order
    encoder, decoder, mixture = (
        [(rng.normal(0, 0.02, (a, b)), rng.normal(0, 0.02, b)) for a, b in itertools.pairwise(w)]
        for w in ((5, 60, 30, 10, 1), (1, 10, 30, 60, 5), (3, 10, 4))
    )

    def network(x, layers):
        for i, (weights, bias) in enumerate(layers):
            x = x @ weights + bias
            x = x if i == len(layers) - 1 else np.tanh(x)
        return x

    def latent(x):
        code = network(x, encoder)
        again = network(code, decoder)
        cosine = x @ again / np.linalg.norm(x) / np.linalg.norm(again)
        return np.array([code[0], np.linalg.norm(x - again) / np.linalg.norm(x), cosine])

    weights, means, scatters = np.zeros(4), np.zeros((4, 3)), np.zeros((4, 3, 3))
    for batch in (train[:256], train[256:512]):  # the other 88 rows make no whole batch
        z = np.array([latent(x) for x in batch])
        kept = rng.random((256, 10)) < 0.5
        hidden = np.tanh(z @ mixture[0][0] + mixture[0][1]) * 2 * kept
        logits = hidden @ mixture[1][0] + mixture[1][1]
        share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        for k in range(4):
            mean = np.average(z, axis=0, weights=share[:, k])
            weights[k] += share[:, k].sum()
            means[k] += share[:, k].sum() * mean
            scatters[k] += (share[:, k] * (z - mean).T) @ (z - mean)
    expected = []
    for x in test:
        density = 0.0
        for k in range(4):
            off = latent(x) - means[k] / weights[k]
            covariance = scatters[k] / weights[k] + 1e-12 * np.eye(3)
            determinant = np.linalg.det(2 * np.pi * covariance)
            power = np.exp(-off @ np.linalg.solve(covariance, off) / 2)
            density += weights[k] / 512 * power / determinant**0.25
        expected.append(-np.log(density + 1e-12))
    np.testing.assert_allclose(energy, expected, rtol=1e-4)


def test_the_untrained_deep_svdd_is_a_network_of_two_rectified_layers(rng):
    test = rng.normal(size=(9, 4))
    score = audit.untrained_deep_svdd(test, test, 0)
    weights = np.random.default_rng(0)
    first, second = weights.uniform(-0.5, 0.5, (4, 64)), weights.uniform(-0.125, 0.125, (64, 32))
    expected = [sum(max(o, 0) ** 2 for o in np.maximum(x @ first, 0) @ second) for x in test]
    np.testing.assert_allclose(score, expected)
    assert np.array_equal(score, audit.untrained_deep_svdd(np.zeros((3, 4)), test, 0))


def test_the_deep_svdd_that_is_drawn_to_zero_against_numpy(rows):
    objective = audit.drawn((5,), pull=0.1)
    params, stats = objective.init(KEY, jnp.asarray(rows))
    stats = objective.prepare(params, stats, training.as_rows(rows))
    batch = Batch(jnp.asarray(rows[:8]), jnp.zeros(8, int), jnp.ones(8), 0.0)
    values, same = objective.loss(params, stats, batch, KEY)
    assert same is stats

    def units(params, x):
        first, second = sorted(jax.tree.leaves(jax.tree.map(np.float64, params)), key=len)
        hidden = np.maximum(x @ first, 0)
        return hidden, np.maximum(hidden @ second, 0)

    centre = units(stats["second"], rows.astype(np.float64))[1].mean(0)
    centre = np.where((centre > 0) & (centre < 0.1), 0.1, centre)
    np.testing.assert_allclose(stats["centre"], centre, rtol=1e-4)
    hidden, output = units(params, rows[:8].astype(np.float64))
    distance = ((output - centre) ** 2).sum(1)
    pulled = 0.1 * ((hidden**2).sum(1) + (output**2).sum(1))
    np.testing.assert_allclose(values, distance + pulled, rtol=1e-4)
    np.testing.assert_allclose(objective.score(params, stats, batch.x), distance, rtol=1e-4)


def test_networks_begin_as_in_pytorch_and_drop_units_where_diffusion_time_does():
    network, x = audit.Rectified((256, 512, 256, 7), 0.5), jnp.ones((2, 4))
    params = network.init(KEY, x)["params"]
    for i, inputs in enumerate((4, 256, 512, 256)):
        for values in params[f"Dense_{i}"].values():
            assert np.abs(values).max() <= inputs**-0.5
            assert np.abs(values).max() > 0.9 * inputs**-0.5 or values.size < 10
    ones = {f"Dense_{i}": jax.tree.map(jnp.ones_like, params[f"Dense_{i}"]) for i in range(4)}
    _, seen = network.apply(
        {"params": ones}, x, train=True, rngs={"dropout": KEY}, capture_intermediates=True
    )
    shares = [
        float(np.mean(np.asarray(seen["intermediates"][f"Dropout_{i}"]["__call__"][0]) == 0))
        for i in range(3)
    ]
    assert shares[0] == 0
    assert all(0.4 < share < 0.6 for share in shares[1:])


def test_times_are_sines_and_cosines():
    network, x = audit.Timed(2), jnp.array([[0.5, -1.0, 0.25]])
    params = network.init(KEY, x)["params"]["Rectified_0"]
    waves = 0.25 * 10_000.0 ** (-np.arange(64) / 64)
    seen = np.concatenate([[0.5, -1.0], np.sin(waves), np.cos(waves)])
    for i in range(3):
        seen = seen @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"]
        seen = seen if i == 2 else np.maximum(seen, 0)
    found = network.apply({"params": {"Rectified_0": params}}, x)
    np.testing.assert_allclose(found[0], seen, rtol=1e-4)


@pytest.mark.parametrize(
    ("claim", "with_cause", "without"),
    [
        ("second_softmax", {"softmax_twice": True}, {"softmax_twice": False}),
        ("drawn_to_zero", {"pull": 0.1}, {"pull": 0.0}),
        ("epochs_by_name", {"epochs": 5}, {"epochs": 100}),
        ("no_offsets", {"map_offset": 0.0}, {"map_offset": 1.0}),
    ],
)
def test_both_sides_of_a_claim_differ_in_the_cause_alone(
    claim, with_cause, without, table, monkeypatch
):
    given, seen = [], []

    def scored(self, X, y=None):
        given.append(self.get_params())
        seen.append(X)
        return self

    for kind in (jaxad.ObjectiveDetector, jaxad.GOAD):
        monkeypatch.setattr(kind, "fit", scored)
        monkeypatch.setattr(kind, "anomaly_score", lambda self, X: np.arange(len(X)))
    audit.CLAIMS[claim].measure(*table, 0, NAME)
    assert np.array_equal(*seen)
    for found in given:
        if made := getattr(found.get("make_objective"), "keywords", None):
            found |= made | {"make_objective": found["make_objective"].func}
    one, other = given
    differing = {k for k in one if repr(one[k]) != repr(other[k])}
    assert {k: one[k] for k in differing} == with_cause
    assert {k: other[k] for k in differing} == without
    assert one["n_members"] == 1


@pytest.mark.parametrize(
    "claims",
    ["resampled", pytest.param("drawn_to_zero,detached,no_backward", marks=pytest.mark.full)],
)
def test_the_suite_from_end_to_end(claims, table, tmp_path, monkeypatch, capsys):
    x, anomaly = table
    monkeypatch.setattr(adbench, "load", lambda name: (x, anomaly))
    given = ["audit", "--datasets", NAME, "--seeds", "1", "--out", str(tmp_path)]
    assert run.main([*given, "--claims", claims]) == 0
    found = results.read(tmp_path).rows
    assert [row.detector for row in found] == claims.split(",")
    for row in found:
        assert set(row.metrics) >= {"with_cause", "without"}
        assert ("published" in row.metrics) == (row.detector != "no_backward")
    assert f"{found[0].detector}: " in capsys.readouterr().out


def test_claims_that_concern_no_set_are_an_error_and_a_failure_is_told(
    tmp_path, monkeypatch, capsys
):
    assert run.main(["audit", "--datasets", NAME, "--claims", "file_order"]) == 2
    assert "none of the claims file_order concerns any of the sets Pima" in capsys.readouterr().err

    def fails(name):
        raise ValueError("no such file")

    monkeypatch.setattr(adbench, "load", fails)
    given = ["audit", "--datasets", NAME, "--claims", "resampled", "--out", str(tmp_path)]
    assert run.main(given) == 2
    assert "nothing could be measured: ValueError: no such file" in capsys.readouterr().err


def test_the_table_of_claims():
    def row(name, claim, **metrics):
        return results.Row(name, claim, metrics)

    rows = [
        row("a", "detached", published=[70.0], with_cause=[69.0, 72.0], without=[80.0, 82.0]),
        row("b", "detached", published=[60.0], with_cause=[64.0, 64.0], without=[70.0, 70.0]),
        row("c", "detached", published=[50.0], with_cause=[50.0, 50.0], without=[50.5, 50.5]),
        row("a", "one_label", with_cause=[50.0], without=[51.0]),
    ]
    found = audit.found(rows, "detached")
    assert (found.sets, found.published, found.explained) == (3, 60.0, 1)
    assert (found.with_cause, found.without) == (61.5, pytest.approx(67.167, abs=1e-3))
    assert np.isnan(audit.found(rows, "one_label").published)
    assert audit.found(rows, "file_order") is None
    page = audit.summary(rows, {})
    assert (found.off_with, found.off_without) == pytest.approx((1.5, 7.1667), abs=1e-3)
    assert "| 3 | 60.0 | 61.5 | 67.2 | 1.5 | 7.2 | 1 of 3 |" in page
    assert "| 1 | - | 50.0 | 51.0 | - | - | - |" in page
    assert audit.text(rows, {"seeds": 2}).count("without it") == 3
