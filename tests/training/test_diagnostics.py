"""Diagnostics: their values, in every kind of run, and bad names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, KEYS, OBJECTIVES, PLANTED, RECIPE, labelled, sparing
from flax import struct

from jaxad import data, networks, objectives, training
from jaxad.rows import ArrayRows
from jaxad.training import diagnostics, sets

ALL = RECIPE.replace(diagnostics="all")
SHARES = (0.05, 0.5, 0.95)
SVDD, SOFT = OBJECTIVES["deep_svdd"], OBJECTIVES["soft_boundary"]


def own_names(result):
    return set(result.history) - {"loss", "learning_rate", "skipped", "validation_loss"}


def assert_close(one, other, rtol=2e-4):
    assert one.keys() == other.keys()
    for name, values in one.items():
        scale = np.nanmax(np.abs(other[name]))
        np.testing.assert_allclose(values, other[name], rtol, rtol * scale, err_msg=name)


def collapse_index(z, weight):
    spread = np.average(np.sum((z - np.average(z, 0, weight)) ** 2, 1), weights=weight)
    return np.sqrt(spread / np.average(np.sum(z**2, 1), weights=weight))


def effective_rank(z, weight):
    found = np.linalg.eigvalsh(np.cov(z.T, aweights=weight, ddof=0))
    p = found[found > 1e-9 * found.max()] / found.sum()
    return np.exp(-np.sum(p * np.log(p)))


MEASURES = collapse_index, effective_rank


def measured(objective, params, stats, x, weight):
    """What a model's diagnostics should be, in float64."""
    scores = training.score(objective, params, stats, x).astype(np.float64)
    ends = np.quantile(scores, SHARES, weights=weight, method="inverted_cdf")
    found = dict(zip(("scores_05", "scores_50", "scores_95"), ends, strict=True))
    if hasattr(objective, "transform"):
        z = training.apply_rows("transform", objective, params, stats, x).astype(np.float64)
        found["collapse"], found["effective_rank"] = (f(z, weight) for f in MEASURES)
    if "radius" in stats and getattr(objective, "radius", False):
        found["radius"] = stats["radius"]
    if isinstance(objective, objectives.DAGMM):
        logits, _ = networks.apply(
            objective.estimator, params["estimator"], {}, jnp.asarray(z, jnp.float32)
        )
        odds = np.exp(np.asarray(logits, np.float64))
        shares = np.average(odds / odds.sum(1, keepdims=True), 0, weight)
        found |= {f"occupation_{k}": share for k, share in enumerate(shares)}
    return found


@pytest.mark.parametrize("name", sparing(OBJECTIVES))
def test_the_last_epoch_is_measured_like_the_final_model(name, rows, rng):
    """All rows are in the sample; those of weight 0 do not count."""
    objective = OBJECTIVES[name]
    weight = rng.integers(0, 3, len(rows)) * rng.random(len(rows))
    given = training.as_rows(rows, labelled(rows).label, weight)
    result = training.fit(objective, ALL, KEY, given)
    found = {k: v[-1] for k, v in result.history.items() if not k.startswith("gradient_norm")}
    found = {k: found[k] for k in own_names(result) & found.keys()}
    assert_close(found, measured(objective, result.params, result.stats, rows, given.weight))
    plain = training.fit(objective, RECIPE, KEY, given)
    assert own_names(plain) == set()
    np.testing.assert_allclose(plain.history["loss"], result.history["loss"], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_every_objective_gives_all_it_says(name, rng):
    objective, x = PLANTED[name], rng.normal(size=(300, 12))
    result = training.fit(objective, ALL.replace(epochs=2), KEY, x)
    parts = {record.split("/")[0].rstrip("0123456789").rstrip("_") for record in own_names(result)}
    assert parts == set(diagnostics.available(objective, (12,)))
    for record in own_names(result):
        assert np.isfinite(result.history[record]).all()
        assert result.history[record].shape == (2,)


@pytest.mark.parametrize("name", ["deep_svdd", "soft_boundary", "autoencoder", "goad"])
@pytest.mark.parametrize("clip_norm", [None, 1e-3])
def test_gradient_norms_are_those_of_the_batches(name, clip_norm, rows):
    """Of one full batch and, with a rate near 0, of several ones, one of them not finite."""
    objective = OBJECTIVES[name]

    def norms(state, x):
        """Of each layer, in float64."""
        full = labelled(x)
        batch = training.engine.Batch(full.x, full.label, full.weight, 0.0)

        def loss(params):
            return jnp.mean(objective.loss(params, state.stats, batch, KEY)[0])

        found = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.grad(loss)(state.params)):
            layer = "gradient_norm/" + "/".join(str(part.key) for part in path[:-1])
            found[layer] = found.get(layer, 0) + np.sum(np.square(np.asarray(leaf, np.float64)))
        return {layer: np.sqrt(total) for layer, total in found.items()}

    recipe = training.Recipe(
        epochs=1, batch_size=300, clip_norm=clip_norm, diagnostics=("gradient_norm",)
    )
    state = training.begin(objective, recipe, KEY, labelled(rows))
    result = training.fit(objective, recipe, KEY, labelled(rows))
    expected = norms(state, rows)
    assert_close({k: float(result.history[k][0]) for k in own_names(result)}, expected)
    if name != "autoencoder":  # the others pass over all rows before the first step
        return
    broken = rows.copy()
    broken[70] = np.inf
    still = recipe.replace(batch_size=64, shuffle=False, learning_rate=1e-30)
    result = training.fit(objective, still, KEY, labelled(broken))
    assert result.history["skipped"].tolist() == [1]
    each = [norms(state, rows[i : i + 64]) for i in (0, 128, 192, 256)]
    expected = {layer: np.mean([one[layer] for one in each]) for layer in each[0]}
    assert_close({k: float(result.history[k][0]) for k in own_names(result)}, expected)


def test_an_epoch_without_a_finite_step_has_no_gradient_norm(rows):
    objective, recipe = OBJECTIVES["autoencoder"], ALL.replace(epochs=1)
    keys = jnp.stack([KEY, KEY])
    found = training.fit_population(objective, recipe, keys, [rows, np.full_like(rows, np.inf)])
    norms = found.history["gradient_norm/encoder/Dense_0"]
    assert found.failed.tolist() == [False, True]
    assert np.isnan(norms).tolist() == [[False], [True]]


@pytest.mark.parametrize("size", [1, 300, 511, 512, 513, 5000])
def test_the_sample_is_even_and_ignores_padding_and_rows_of_weight_0(size):
    place = np.arange(size)
    weight = (1 + place % 7) * (place % 3 > 0) if size > 1 else np.ones(1)
    counted = np.flatnonzero(weight)
    expected = counted
    if len(counted) > 512:
        expected = counted[np.arange(512) * len(counted) // 512]
    for padding in (0, 1, 1000):
        x = np.concatenate([place, np.full(padding, -1)])[:, None]
        given = ArrayRows(x, 0 * x[:, 0], np.pad(weight, (0, padding)), np.int32(size))
        found = diagnostics.sample(jax.device_put(given))
        assert len(found.x) == min(512, size + padding)
        real = np.asarray(found.weight) > 0
        assert np.asarray(found.x)[real, 0].tolist() == expected.tolist()
        assert np.asarray(found.weight)[real].tolist() == weight[expected].tolist()
        assert int(found.count) == len(expected)


def test_a_sample_is_measured_of_more_rows(rng):
    x = rng.normal(size=(3000, 5)).astype(np.float32)
    result = training.fit(SVDD, ALL, KEY, x)
    seen = x[np.arange(512) * 3000 // 512]
    expected = measured(SVDD, result.params, result.stats, seen, np.ones(512))
    assert_close({name: result.history[name][-1] for name in expected}, expected)


@pytest.mark.parametrize("shape", [(40, 3), (3, 40), (7, 7)])
def test_measures_agree_with_float64_and_ignore_rows_of_weight_0(shape, rng):
    z = (3 + rng.normal(size=shape) * np.geomspace(1, 1e-2, shape[1])).astype(np.float32)
    weight = rng.random(len(z)).astype(np.float32)
    more = np.concatenate([z, np.full((2, shape[1]), np.nan, np.float32)])
    for name, expected in (("collapse_index", collapse_index), ("effective_rank", effective_rank)):
        measure = jax.jit(getattr(diagnostics, name))
        wanted = expected(z.astype(np.float64), weight)
        np.testing.assert_allclose(measure(z, weight), wanted, rtol=1e-4)
        np.testing.assert_allclose(measure(more, np.pad(weight, (0, 2))), wanted, rtol=1e-4)
        np.testing.assert_allclose(measure(z * 1e-15, weight), wanted, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0, 3e18])
def test_equal_vectors_have_collapsed_and_have_no_rank(value):
    z, weight = jnp.full((5, 3), value), jnp.ones(5)
    assert float(diagnostics.collapse_index(z, weight)) == 0
    assert float(diagnostics.effective_rank(z, weight)) == 0


def test_the_index_of_a_collapsing_network_falls_towards_0(rng):
    x = rng.normal(size=(400, 6))
    recipe = ALL.replace(epochs=150, learning_rate=1e-2)

    def index(use_bias):
        objective = objectives.deep_svdd(networks.MLP((16, 4), use_bias=use_bias))
        return training.fit(objective, recipe, KEY, x).history["collapse"]

    collapsed, sound = index(True), index(False)
    assert collapsed[0] > 0.1
    assert collapsed[-1] < 0.01 < 0.05 < sound[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", sparing(OBJECTIVES))
def test_members_are_measured_as_if_alone(name, rows):
    """On several devices, with sets of other sizes and other numbers of epochs."""
    objective = OBJECTIVES[name]
    recipe = ALL.replace(epochs=np.array([1.0, 3.0, 2.0]))
    subsets = np.arange(250), np.arange(300) > 49, np.arange(40)
    found = training.fit_population(objective, recipe, KEYS, labelled(rows), subsets=subsets)
    full = labelled(rows)
    for p in (1, 2):
        alone = ALL.replace(epochs=recipe.epochs[p])
        one = training.fit(objective, alone, KEYS[p], full.take(np.arange(300)[subsets[p]]))
        assert_close(found.member(p).history, one.history, rtol=2e-3)
    assert np.isnan(found.history["scores_50"]).sum(axis=1).tolist() == [2, 0, 1]


def test_members_have_their_own_weights_and_threads(rows, monkeypatch):
    monkeypatch.setattr(training.runs, "default_mesh", lambda *_: None)
    weight = np.ones((3, 300), np.float32)
    weight[1, :200] = 0
    found = training.fit_population(SOFT, ALL, KEYS, training.as_rows(rows, weight=weight))
    one = training.fit(SOFT, ALL, KEYS[1], training.as_rows(rows, weight=weight[1]))
    assert_close(found.member(1).history, one.history)


def test_sets_are_measured_as_if_alone(rows):
    few = [rows, rows[:40]]
    x = np.zeros((2, 512, 5), np.float32)
    weight = np.zeros((2, 512), np.float32)
    for i, one in enumerate(few):
        x[i, : len(one)], weight[i, : len(one)] = one, 1
    given = ArrayRows(x, np.zeros((2, 512), np.int32), weight, np.array([300, 40], np.int32))
    many = [SOFT, SOFT]
    initial = sets.draw_sets(many, KEYS[:2], (5,))
    found = sets.train_sets(many, [ALL, ALL], KEYS[:2], given, initial, length=64)
    for i, one in enumerate(few):
        model = jax.tree.map(lambda leaf, i=i: leaf[i], initial)
        alone = training.fit(SOFT, ALL, KEYS[i], one, initial=model)
        assert_close(found.member(i).history, alone.history)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("key", [KEY, KEYS], ids=["one", "population"])
def test_a_resumed_run_has_the_same_history(key, streamed, rows, tmp_path):
    given = data.stream(rows, rows=128) if streamed else rows
    fit = training.fit_population if key.ndim else training.fit
    whole = fit(SOFT, ALL, key, given)
    fit(SOFT, ALL.replace(epochs=1), key, given, checkpoints=tmp_path)
    resumed = fit(SOFT, ALL, key, given, checkpoints=tmp_path)
    assert resumed.history.keys() == whole.history.keys()
    for name, values in whole.history.items():
        assert values.tobytes() == resumed.history[name].tobytes(), name
    with pytest.raises(ValueError, match="recipe.diagnostics"):
        fit(SOFT, RECIPE, key, given, checkpoints=tmp_path)


def test_a_stream_is_measured_on_its_first_chunk(rows):
    recipe = ALL.replace(shuffle=False)
    streamed = training.fit(SVDD, recipe, KEY, data.stream(rows, rows=128))
    expected = measured(SVDD, streamed.params, streamed.stats, rows[:128], np.ones(128))
    assert_close({name: streamed.history[name][-1] for name in expected}, expected)
    in_memory = training.fit(SVDD, recipe, KEY, rows)
    name = "gradient_norm/encoder/Dense_0"  # of all chunks
    np.testing.assert_allclose(streamed.history[name], in_memory.history[name], rtol=1e-4)
    several = training.fit_population(SVDD, recipe, KEYS, data.stream(rows, rows=128))
    one = training.fit(SVDD, recipe, KEYS[2], data.stream(rows, rows=128))
    assert_close(several.member(2).history, one.history)


def test_advancing_measures_each_epoch(rows):
    recipe = ALL.replace(shuffle=False)
    state = training.begin(SOFT, recipe, KEY, rows)
    _, first = training.advance(SOFT, recipe, state, rows)
    whole = training.fit(SOFT, recipe.replace(epochs=1), KEY, rows)
    assert_close(first.history, whole.history)


def test_rows_on_several_devices_are_measured_the_same(rows):
    mesh = training.make_mesh(1, 4)
    found = training.fit(SOFT, ALL, KEY, rows, mesh=mesh)
    assert_close(found.history, training.fit(SOFT, ALL, KEY, rows).history, rtol=1e-3)


def test_guarded_and_unguarded_steps_measure_the_same(rows):
    """An epoch that needs the guard is trained again, with the diagnostics of its finite steps."""
    objective = OBJECTIVES["autoencoder"]
    recipe = ALL.replace(diagnostics=("gradient_norm", "scores"))
    guarded = recipe.replace(optimizer=training.recipe.OPTIMIZERS["adam"])
    one, other = (training.fit(objective, r, KEY, rows) for r in (recipe, guarded))
    assert_close(one.history, other.history, rtol=1e-5)


def test_patience_and_validation_rows_do_not_change_what_is_measured(rows):
    recipe = ALL.replace(patience=5)
    watched = training.fit(SVDD, recipe, KEY, rows, validation=rows[:50])
    assert_close(watched.history, training.fit(SVDD, ALL, KEY, rows, validation=rows[:50]).history)


def test_other_numbers_compile_nothing(rows):
    recipe = ALL.replace(diagnostics=("scores", "radius"), batch_size=50)
    training.fit(SOFT, recipe, KEY, rows)
    again = training.fit(SOFT, recipe.replace(learning_rate=1e-3, epochs=5), KEY, rows[:290])
    assert again.compilations == 0
    assert own_names(again) == {"scores_05", "scores_50", "scores_95", "radius"}


class Mean(objectives.BaseObjective):
    """Has diagnostics of its own, and no latent space."""

    chunk: int = struct.field(pytree_node=False, default=64)

    def init(self, key, x):
        del key
        return {"mean": jnp.zeros(x.shape[1:])}, {}

    def loss(self, params, stats, batch, key):
        del key
        return self.score(params, stats, batch.x), stats

    def score(self, params, stats, x):
        del stats
        return jnp.sum(jnp.square(x - params["mean"]), -1)

    def diagnose(self, params, stats, rows):
        del stats
        far = rows.mean(lambda x: jnp.where(x[:, 0] > 1, 1.0, 0.0), chunk=64)
        return {"far": far, "mean": params["mean"]}


def test_an_objective_of_ones_own(rows):
    assert diagnostics.available(Mean(), (5,)) == ("gradient_norm", "scores", "far", "mean")
    result = training.fit(Mean(), ALL, KEY, rows)
    assert result.history["far"][-1] == pytest.approx(np.mean(rows[:, 0] > 1))
    last = [result.history[f"mean_{k}"][-1] for k in range(5)]
    np.testing.assert_allclose(last, result.params["mean"], rtol=1e-6)
    assert "gradient_norm/mean" in result.history
    assert not {"collapse", "effective_rank"} & result.history.keys()


@pytest.mark.parametrize("given", ["scores", ["scores"], ("scores", 1), None, 3])
def test_what_is_no_tuple_of_names_is_refused(given):
    with pytest.raises(TypeError, match=r"diagnostics=.*gradient_norm, scores.*or 'all'"):
        training.Recipe(diagnostics=given).check()


@pytest.mark.parametrize("wrong", ["radios", "radius", "occupation", "all"])
def test_what_the_objective_cannot_give_is_refused_before_anything_is_compiled(wrong, rows):
    recipe = RECIPE.replace(diagnostics=("scores", wrong))
    message = rf"this Hypersphere cannot give '{wrong}': choose some of 'gradient_norm', 'scores'"
    runs = (
        lambda: training.fit(SVDD, recipe, KEY, rows),
        lambda: training.fit(SVDD, recipe, KEY, data.stream(rows, rows=64)),
        lambda: training.fit_population(SVDD, recipe, KEYS, rows),
        lambda: training.fit_population([SVDD] * 3, [recipe] * 3, KEYS, [rows] * 3),
        lambda: training.begin(SVDD, recipe, KEY, rows),
    )
    with training.Stopwatch() as watch:
        for run in runs:
            with pytest.raises(ValueError, match=message):
                run()
    assert watch.compilations == 0
