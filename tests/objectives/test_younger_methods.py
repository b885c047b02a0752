"""K-DSM, ICL, DTE-C, DEAN, TCCM and NeuTraL AD: against float64, as members, trimmed and saved."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, KEYS, PLANTED, RECIPE, assert_alike
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import kurtosis

import jaxad
from jaxad import data, hashing, networks, objectives, training
from jaxad.typing import Batch

YOUNGER = ("k_dsm", "icl", "dte_c", "dean", "tccm", "neutral_ad")
QUICK = RECIPE.replace(epochs=2)


@pytest.fixture(scope="module")
def table():
    x = np.random.default_rng(1).normal(size=(120, 12)).astype(np.float32)
    x[:, 0] = x[:, 0] > 0
    return x


@functools.cache
def trained(name):
    rows = np.random.default_rng(1).normal(size=(120, 12)).astype(np.float32)
    return training.fit(PLANTED[name], QUICK, KEY, rows)


def forward(params, x):
    """The MLPs of the cases in float64: no biases, leaky ReLU."""
    z = np.asarray(x, np.float64)
    layers = [np.asarray(params[layer]["kernel"], np.float64) for layer in sorted(params)]
    for kernel in layers[:-1]:
        z = z @ kernel
        z = np.where(z > 0, z, 0.01 * z)
    return z @ layers[-1]


def evaluate(name, x, key):
    """The loss and the score of the trained objective, its parameters and statistics."""
    objective, result = PLANTED[name], trained(name)
    batch = Batch(jnp.asarray(x), jnp.zeros(len(x)), jnp.ones(len(x)))

    @jax.jit
    def both():
        loss, _ = objective.loss(result.params, result.stats, batch, key)
        return loss, objective.score(result.params, result.stats, batch.x)

    return *both(), result.params, result.stats


def unit(z):
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


class TestAgainstFloat64:
    def test_k_dsm(self, table):
        loss, score, params, stats = evaluate("k_dsm", table, KEY)
        noise = np.asarray(hashing.normal(jax.random.split(KEY)[0], (120, 2, 12)), np.float64)
        found = forward(params["score"], table[:, None] + stats["noise_scale"] * noise)
        expected = 0.5 * ((found + noise) ** 2).sum(2).mean(1)
        np.testing.assert_allclose(loss, expected, rtol=1e-4)
        contributions = forward(params["score"], table) ** 2
        np.testing.assert_allclose(score, contributions.sum(1), rtol=1e-4)
        actual = PLANTED["k_dsm"].contributions(params, stats, table)
        np.testing.assert_allclose(actual, contributions, rtol=1e-3, atol=1e-6)

    def test_tccm(self, table):
        loss, score, params, stats = evaluate("tccm", table, KEY)

        def squares(time):
            given = np.concatenate([table, np.broadcast_to(time, 120)[:, None]], 1)
            return (forward(params["velocity"], given) + table.astype(np.float64)) ** 2

        time = np.asarray(hashing.uniform(jax.random.split(KEY)[0], (120,)))
        np.testing.assert_allclose(loss, squares(time).sum(1), rtol=1e-4)
        np.testing.assert_allclose(score, squares(1.0).sum(1), rtol=1e-4)
        evaluated, *_ = evaluate("tccm", table, None)
        expected = np.mean([squares(t).sum(1) for t in (0.125, 0.375, 0.625, 0.875)], 0)
        np.testing.assert_allclose(evaluated, expected, rtol=1e-4)
        actual = PLANTED["tccm"].contributions(params, stats, table)
        np.testing.assert_allclose(actual, squares(1.0), rtol=1e-3, atol=1e-5)

    def test_dte_c(self, table):
        loss, score, params, _ = evaluate("dte_c", table, KEY)
        level_key, noise_key, _ = jax.random.split(KEY, 3)
        level = np.floor(np.asarray(hashing.uniform(level_key, (120,))) * 400).astype(int)
        noise = np.asarray(hashing.normal(noise_key, table.shape), np.float64)
        scale = np.sqrt(1 - np.cumprod(1 - np.linspace(1e-4, 0.01, 400)))

        def cross_entropy(level, noise):
            logits = forward(params["classifier"], table + scale[level][:, None] * noise)
            bins = np.floor(level * 7 / 400).astype(int)
            return -log_softmax(logits, axis=1)[np.arange(120), bins]

        np.testing.assert_allclose(loss, cross_entropy(level, noise), rtol=1e-4, atol=1e-5)
        expected = softmax(forward(params["classifier"], table), axis=1) @ np.arange(7)
        np.testing.assert_allclose(6 / (1 + np.exp(-np.asarray(score))), expected, rtol=1e-4)
        evaluated, *_ = evaluate("dte_c", table, None)
        fixed = np.asarray(hashing.normal(KEY, (7, 12)), np.float64)  # of key 0, which KEY is
        each = [
            cross_entropy(np.full(120, int((b + 0.5) * 400 / 7)), fixed[b][None]) for b in range(7)
        ]
        np.testing.assert_allclose(evaluated, np.mean(each, 0), rtol=1e-4)

    def test_dean(self, table):
        loss, score, params, stats = evaluate("dean", table, KEY)
        bag = np.asarray(stats["bag"]).astype(int)
        assert len(set(bag.tolist())) == 9
        deviation = np.abs(forward(params["constant"], table[:, bag])[:, 0] - 1)
        np.testing.assert_allclose(loss, deviation**2, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(score, deviation, rtol=1e-3, atol=1e-6)

    def test_icl(self, table):
        loss, score, params, stats = evaluate("icl", table, KEY)
        x = table[:, np.asarray(stats["order"]).astype(int)]
        windows = [np.arange(start, start + 2) for start in range(11)]
        f = [unit(forward(params["complement"], np.delete(x, w, axis=1))) for w in windows]
        g = [unit(forward(params["window"], x[:, w])) for w in windows]
        similarity = np.array([[np.sum(a * b, 1) for b in g] for a in f]) / 0.1
        expected = np.mean([logsumexp(s, axis=0) - s[m] for m, s in enumerate(similarity)], 0)
        np.testing.assert_allclose(loss, expected, rtol=1e-4)
        np.testing.assert_allclose(score, expected, rtol=1e-4)

    def test_neutral_ad(self, table):
        loss, score, params, _ = evaluate("neutral_ad", table, KEY)
        copies = [jax.tree.map(lambda leaf, k=k: leaf[k], params["transforms"]) for k in range(3)]
        z = unit(forward(params["encoder"], table))
        views = [unit(forward(params["encoder"], table + forward(c, table))) for c in copies]
        expected = 0
        for k, view in enumerate(views):
            others = [v for m, v in enumerate(views) if m != k]
            similarity = np.array([np.sum(view * v, 1) for v in (z, *others)]) / 0.1
            expected = expected + logsumexp(similarity, axis=0) - similarity[0]
        np.testing.assert_allclose(loss, expected, rtol=1e-4)
        np.testing.assert_allclose(score, expected, rtol=1e-4)


def test_methods_that_share_no_network_train_together(table):
    parts = PLANTED["tccm"], PLANTED["k_dsm"], PLANTED["dte_c"]
    compound = objectives.Compound(parts, (1.0, 1.0, 1.0))
    result = training.fit(compound, QUICK, KEY, table)
    assert set(result.params) == {"velocity", "score", "classifier"}
    score = training.score(compound, result.params, result.stats, table)
    each = [training.score(part, result.params, result.stats, table) for part in parts]
    np.testing.assert_allclose(score, np.sum(each, 0), rtol=1e-4)


@pytest.mark.parametrize("name", YOUNGER)
def test_numbers_stay_float32_in_x64_mode(name, table):
    objective = PLANTED[name]

    def run(rows):
        params, stats = objective.init(KEY, rows.x)
        ready = objective.finish(params, objective.prepare(params, stats, rows), rows)
        batch = Batch(rows.x, rows.label, rows.weight)
        values = [objective.loss(params, stats, batch, key) for key in (KEY, None)]
        return params, ready, values, objective.score(params, ready, rows.x)

    with jax.enable_x64(True):
        found = jax.eval_shape(run, training.as_rows(table).padded(128))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


@pytest.mark.full
@pytest.mark.parametrize("name", YOUNGER)
def test_a_trimmed_member_equals_a_model_trained_alone(name, table):
    objective = objectives.Trimmed(PLANTED[name], 0.2, 0.9)
    found = training.fit_population(objective, QUICK, KEYS[:2], table)
    one = training.fit(objective, QUICK, KEYS[1], table)
    assert_alike(objective, found.member(1), one, table, rtol=1e-3)
    scores = training.score_population(objective, found.params, found.stats, table)
    assert np.isfinite(scores).all()
    assert not np.allclose(scores[0], scores[1])


@jaxad.register_loss
def tccm(shape):
    return objectives.tccm(networks.MLP((8, *shape), batch_norm=True))


@jaxad.register_loss
def k_dsm(shape):
    return objectives.Trimmed(objectives.k_dsm(networks.MLP((8, *shape))), 0.1, 0.9)


@jaxad.register_loss
def dean(shape, *, bag):
    del shape
    return objectives.dean(networks.MLP((8, 1)), bag=bag)


@pytest.mark.parametrize(("make", "numbers"), [(tccm, None), (k_dsm, None), (dean, {"bag": 3})])
def test_a_detector_explains_and_is_saved(make, numbers, rows, tmp_path):
    how = {"epochs": 2, "n_members": 2, "random_state": 0}
    detector = jaxad.ObjectiveDetector(make, numbers=numbers, **how).fit(rows)
    explained = detector.explain(rows[:4])
    assert explained.shape == (4, 5)
    assert np.isfinite(explained).all()
    assert (np.abs(explained).sum(1) > 0).all()
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))


class TestNoiseScales:
    def test_they_follow_the_kurtosis_of_the_values_kept(self, rng):
        """Heavy tails, a binary column, a rare value that is trimmed, and a constant."""
        x = rng.normal(size=(500, 5)).astype(np.float32)
        x[:, 1] = rng.standard_t(3, size=500)
        x[:, 2] = rng.random(500) < 0.5
        x[:, 3] = np.arange(500) < 5
        x[:, 4] = 7
        objective = PLANTED["k_dsm"].replace(network=networks.MLP((8, 5)))
        stats = training.fit(objective, QUICK.replace(epochs=0), KEY, x).stats
        expected = []
        for column in x.T.astype(np.float64):
            low, high = np.quantile(column, [0.02, 0.98])
            kept = column[(column >= low) & (column <= high)]
            shape = 3 if np.ptp(kept) == 0 else kurtosis(kept, fisher=False)
            expected.append(np.clip(0.5 * (1 + 0.33 * (shape - 3)), 0.1, 3))
        np.testing.assert_allclose(stats["noise_scale"], expected, rtol=1e-3)
        np.testing.assert_allclose(stats["noise_scale"][3:], 0.5)

    def test_those_of_a_stream_are_those_of_its_rows(self, rows):
        objective = PLANTED["k_dsm"].replace(network=networks.MLP((8, 5)), chunk=100)
        recipe = QUICK.replace(epochs=0)
        one = training.fit(objective, recipe, KEY, rows)
        other = training.fit(objective, recipe, KEY, data.stream(rows, rows=200))
        np.testing.assert_allclose(one.stats["noise_scale"], other.stats["noise_scale"], rtol=1e-4)


@pytest.mark.parametrize("name", YOUNGER)
def test_rows_of_float64_are_scored_outside_of_programs(name, table):
    result, x = trained(name), table[:5].astype(np.float64)
    params, stats = jax.tree.map(jnp.asarray, (result.params, result.stats))
    eager = PLANTED[name].score(params, stats, x)
    np.testing.assert_allclose(
        eager, training.score(PLANTED[name], result.params, result.stats, x), rtol=1e-3
    )


def test_members_have_orders_and_bags_of_their_own():
    for name, entry in (("icl", "order"), ("dean", "bag")):
        stats = [PLANTED[name].init(key, jnp.zeros((1, 12)))[1][entry].tolist() for key in KEYS]
        assert len({tuple(one) for one in stats}) == 3
    _, stats = PLANTED["icl"].replace(permute=False).init(KEY, jnp.zeros((1, 12)))
    assert stats["order"].tolist() == list(range(12))


def test_icl_takes_the_papers_windows():
    sizes = {d: PLANTED["icl"].size_for(d) for d in (3, 40, 41, 160, 161, 500)}
    assert sizes == {3: 2, 40: 2, 41: 10, 160: 10, 161: 11, 500: 350}
    assert PLANTED["icl"].replace(window_size=4).size_for(500) == 4


SMALL, ROW = networks.MLP((8, 3)), jnp.zeros((1, 3))
BAD = {
    "bag": (lambda: objectives.dean(SMALL, bag=4), "bag=4 features of a table with 3.*1 to 3"),
    "window": (lambda: objectives.icl(SMALL, SMALL, window_size=3), "window_size=3 .* 1 to 2"),
    "width": (lambda: objectives.k_dsm(networks.MLP((8, 4))), r"MLP returns \(4,\).*\(3,\)"),
    "tccm": (lambda: objectives.tccm(networks.MLP((8, 4))), r"MLP returns \(4,\)"),
    "views": (lambda: objectives.neutral_ad(SMALL, networks.MLP((8, 4))), r"MLP returns \(4,\)"),
    "bins": (lambda: objectives.dte_c(networks.MLP((8, 1))), r"returns \(1,\).* 2 to levels=400"),
}


@pytest.mark.parametrize("case", BAD)
def test_networks_and_sizes_that_do_not_fit_the_rows_raise(case):
    make, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        make().init(KEY, ROW)


def test_one_column_is_too_few_for_icl():
    with pytest.raises(ValueError, match="window_size=2 in a table with 2 columns: give 1 to 1"):
        objectives.icl(SMALL, SMALL).init(KEY, jnp.zeros((1, 2)))
    with pytest.raises(ValueError, match="needs at least 2 columns"):
        objectives.icl(SMALL, SMALL, window_size=1).init(KEY, jnp.zeros((1, 1)))


@pytest.mark.parametrize("name", ["k_dsm", "icl", "dean", "tccm"])
def test_images_are_refused(name):
    with pytest.raises(ValueError, match=r"rows of shape \(4, 4, 1\): .* takes tables"):
        PLANTED[name].init(KEY, jnp.zeros((1, 4, 4, 1)))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: objectives.dean(SMALL, bag=0), "bag=0"),
        (lambda: objectives.icl(SMALL, SMALL, window_size=0), "window_size=0"),
        (lambda: objectives.icl(SMALL, SMALL, temperature=0.0), "temperature=0.0"),
        (lambda: objectives.dte_c(SMALL, last=1.0), "last=1.0"),
        (lambda: objectives.k_dsm(SMALL, trimmed=1.0), "trimmed=1.0"),
        (lambda: objectives.k_dsm(SMALL, scale=np.array([0.5, -1.0])), "scale=-1.0"),
        (lambda: objectives.neutral_ad(SMALL, SMALL, n_transforms=1), "n_transforms=1"),
    ],
)
def test_numbers_out_of_range_raise(make, error):
    with pytest.raises(ValueError, match=error):
        make()


def test_a_failed_fit_leaves_the_detector_unchanged(rows):
    detector = jaxad.ObjectiveDetector(dean, numbers={"bag": 3}, epochs=1, n_members=1)
    scores = detector.fit(rows).anomaly_score(rows)
    with pytest.raises(ValueError, match="bag=9 features of a table with 5: give 1 to 5"):
        detector.set_params(numbers={"bag": 9}).fit(rows)
    np.testing.assert_array_equal(detector.anomaly_score(rows), scores)
