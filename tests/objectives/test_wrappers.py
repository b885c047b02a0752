"""Wrappers of objectives: they nest, they obey the contract, and each does what it says."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ENCODER, KEY, OBJECTIVES, PLANTED, RECIPE, WIDE, assert_alike, labelled, sparing
from planted import planted
from sklearn.metrics import roc_auc_score

from jaxad import data, losses, networks, objectives, training
from jaxad.objectives import LOE, Denoised, FeatureBag, Trimmed
from jaxad.typing import Batch

HSC = objectives.deep_sad(ENCODER, loss=losses.hypersphere.classifier)
WIDE_HSC = objectives.deep_sad(WIDE, loss=losses.hypersphere.classifier)
SVDD, SAD, AUTOENCODER = (OBJECTIVES[name] for name in ("deep_svdd", "deep_sad", "autoencoder"))
WRAPPED = {
    f"{wrapper}-{name}": wrap(objective)
    for name, objective in OBJECTIVES.items()
    for wrapper, wrap in {
        "trimmed": lambda objective: Trimmed(objective, 0.2, 0.9),
        "denoised": lambda objective: Denoised(objective, 0.1),
        "bag": lambda objective: FeatureBag(objective, 0.6),
    }.items()
} | {
    "loe-deep_sad": LOE(SAD, 0.1),
    "loe-hsc": LOE(HSC, 0.1, soft=True),
    "trimmed-compound": Trimmed(PLANTED["compound"].replace(parts=(SVDD, AUTOENCODER)), 0.2, 0.9),
    "compound-trimmed": objectives.Compound(
        (Trimmed(SVDD, 0.2, 0.9), Trimmed(AUTOENCODER, 0.2, 0.9)), (1.0, 0.5)
    ),
}
# All wrappers at once, around every objective.
NESTED = {
    name: Trimmed(Denoised(FeatureBag(objective, 0.6), 0.1), 0.2, 0.9)
    for name, objective in OBJECTIVES.items()
} | {
    "loe": Trimmed(LOE(SAD, 0.1), 0.2, 0.9),
    "compound": WRAPPED["compound-trimmed"],
}


def quiet(objective):
    """The objective without noise, whose shape depends on the padding."""
    if isinstance(objective, objectives.Compound):
        return objective.replace(parts=tuple(map(quiet, objective.parts)))
    if isinstance(objective, Denoised):
        objective = objective.replace(noise=0.0)
    if isinstance(objective, objectives.Wrapper):
        objective = objective.replace(objective=quiet(objective.objective))
    return objective


def batch_of(rows, weight=None):
    given = labelled(rows)
    weight = given.weight if weight is None else weight
    return Batch(*map(jnp.asarray, (given.x, given.label, weight)), 3.0)


def begun(objective, rows):
    params, stats = jax.jit(objective.init)(KEY, rows)
    return params, jax.jit(objective.prepare)(params, stats, training.as_rows(rows))


def loss_and_gradient(objective, params, stats, batch, key=KEY):
    """The engine's loss, its gradient, the new statistics and the values ``[B]``."""

    def loss(params):
        values, new = objective.loss(params, stats, batch, key)
        return jnp.sum(values * batch.weight) / jnp.sum(batch.weight), (new, values)

    (value, (new, values)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return value, gradient, new, values


def assert_close(one, other, rtol=2e-4, atol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), one, other)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def without_teacher(stats):
    return {name: value for name, value in stats.items() if name != "teacher"}


@pytest.mark.parametrize("name", WRAPPED)
def test_padding_changes_nothing_and_gradients_are_finite(name, rows):
    objective = quiet(WRAPPED[name])
    params, stats = begun(objective, rows)
    alone = batch_of(rows[:50])
    padded = Batch(
        jnp.concatenate([alone.x, jnp.full((14, 5), 50.0)]),
        jnp.concatenate([alone.label, jnp.zeros(14, jnp.int32)]),
        jnp.concatenate([alone.weight, jnp.zeros(14)]),
        3.0,
    )
    found = loss_and_gradient(objective, params, stats, padded)
    assert_close(found[:3], loss_and_gradient(objective, params, stats, alone)[:3])
    for leaf in jax.tree.leaves(found):
        assert np.isfinite(leaf).all()
    values, after = objective.loss(params, stats, alone, None)
    assert values.shape == (50,)
    assert_same(after, stats)


@pytest.mark.slow
@pytest.mark.parametrize("name", sparing(NESTED))
def test_a_member_of_a_population_equals_a_model_trained_alone(name, rows):
    objective = NESTED[name]
    if name != "compound":
        objective = objective.replace(share=np.array([0.0, 0.2, 0.4]))
    keys = jax.random.split(KEY, 3)
    found = training.fit_population(objective, RECIPE, keys, labelled(rows))
    one = training.fit(NESTED[name], RECIPE, keys[1], labelled(rows))
    assert_alike(NESTED[name], found.member(1), one, rows)
    scores = training.score_population(objective, found.params, found.stats, rows[:50])
    alone = training.score(NESTED[name], one.params, one.stats, rows[:50])
    np.testing.assert_allclose(scores[1], alone, rtol=1e-3, atol=1e-3 * np.abs(alone).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", NESTED)
def test_an_unshuffled_stream_equals_rows_in_memory(name, rows):
    objective, recipe = NESTED[name], RECIPE.replace(shuffle=False)
    given = labelled(rows)
    stream = data.stream([(rows[:77], given.label[:77]), (rows[77:], given.label[77:])], rows=100)
    one = training.fit(objective, recipe, KEY, given)
    streamed = training.fit(objective, recipe, KEY, stream)
    assert_close(one.params, streamed.params, atol=1e-4)
    assert_alike(objective, one, streamed, rows)


@pytest.mark.slow
def test_a_population_on_a_stream_trims(rows):
    objective = Trimmed(SVDD, np.array([0.0, 0.3]), 0.9)
    keys, recipe = jax.random.split(KEY, 2), RECIPE.replace(shuffle=False, epochs=1)
    found = training.fit_population(objective, recipe, keys, data.stream(rows, rows=128))
    one = training.fit(objective.replace(share=0.3), recipe, keys[1], rows)
    assert_alike(objective.replace(share=0.3), found.member(1), one, rows)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("weighted", [False, True])
def test_without_a_share_a_trimmed_objective_is_the_objective(name, weighted, rows, rng):
    """DAGMM to rounding, because the compiler fuses its formulas differently; others to the bit."""
    weight = rng.uniform(0.2, 3, 300) if weighted else None
    given = training.as_rows(rows, labelled(rows).label, weight)
    one = training.fit(OBJECTIVES[name], RECIPE, KEY, given)
    trimmed = training.fit(Trimmed(OBJECTIVES[name], 0.0, 0.9), RECIPE, KEY, given)
    compare = assert_close if name == "dagmm" else assert_same
    compare((one.params, one.stats), (trimmed.params, without_teacher(trimmed.stats)))
    compare(one.history, trimmed.history)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 64, 65])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.99])
def test_the_number_of_trimmed_rows_is_the_share_rounded(count, share, rows):
    objective = Trimmed(AUTOENCODER, share, 0.0)
    params, stats = begun(objective, rows)
    batch = batch_of(rows[20 : 20 + count])._replace(label=jnp.zeros(count, jnp.int32))
    values, _ = objective.loss(params, stats, batch, KEY)
    trimmed = int((values == 0).sum())
    assert abs(trimmed - share * count) <= 0.5 + share / 2 + 1e-4
    assert trimmed < count


class TestTrimmed:
    @pytest.mark.parametrize("decay", [0.0, 0.75])
    def test_the_highest_losses_of_the_teacher_are_left_out(self, decay, rows):
        objective = Trimmed(AUTOENCODER, 0.25, decay)
        params, stats = begun(objective, rows)
        moved = jax.tree.map(lambda leaf: 1.5 * leaf, params)
        batch = Batch(jnp.asarray(rows[:64]), jnp.zeros(64, jnp.int32), jnp.ones(64))
        value, gradient, new, values = loss_and_gradient(objective, moved, stats, batch)
        teacher = jax.tree.map(lambda old, now: decay * old + (1 - decay) * now, params, moved)
        assert_close(new["teacher"]["params"], teacher)
        judged = np.asarray(AUTOENCODER.score(teacher, stats, batch.x), np.float64)
        kept = judged <= np.quantile(judged, 0.75)
        assert kept.sum() == 48
        np.testing.assert_array_equal(values[~kept], 0)
        own = np.asarray(AUTOENCODER.score(moved, stats, batch.x), np.float64)
        np.testing.assert_allclose(value, own[kept].mean(), rtol=1e-5)
        alone = Batch(batch.x[kept], batch.label[kept], batch.weight[kept])
        expected = loss_and_gradient(AUTOENCODER, moved, without_teacher(stats), alone)
        assert_close(gradient, expected[1])

    @pytest.mark.parametrize("name", ["soft_boundary", "dagmm", "goad"])
    def test_a_trimmed_row_changes_no_gradient_and_no_statistics(self, name, rows):
        """Batch norm, radius, mixture and class centres are those of the kept rows."""
        objective = Trimmed(OBJECTIVES[name], 0.02, 0.0)  # one of 50 rows
        params, stats = begun(objective, rows)
        batch = Batch(jnp.asarray(rows[:50]), jnp.zeros(50, jnp.int32), jnp.ones(50), 3.0)
        batch = batch._replace(x=batch.x.at[0].set(30.0))
        value, gradient, new, values = loss_and_gradient(objective, params, stats, batch)
        assert values[0] == 0
        without = batch._replace(weight=batch.weight.at[0].set(0))
        inner = without_teacher(stats)
        expected = loss_and_gradient(OBJECTIVES[name], params, inner, without)
        assert_close((value, gradient, without_teacher(new)), expected[:3])

        def loss(x):
            values, _ = objective.loss(params, stats, batch._replace(x=x), KEY)
            return jnp.sum(values)

        slope = jax.jit(jax.grad(loss))(batch.x)
        np.testing.assert_array_equal(slope[0], 0)
        assert (np.abs(slope[1:]).sum(1) > 0).all()

    def test_weights_count_and_their_scale_does_not(self, rows):
        objective = Trimmed(AUTOENCODER, 0.2, 0.0)
        params, stats = begun(objective, rows)
        weight = np.r_[np.ones(30), np.full(30, 3.0)]
        found = [
            loss_and_gradient(
                objective, params, stats, batch_of(rows[20:80], scale * weight)._replace(label=0)
            )[3]
            for scale in (1.0, 0.01)
        ]
        np.testing.assert_array_equal(found[0] == 0, found[1] == 0)
        trimmed = weight[np.asarray(found[0] == 0)].sum() / weight.sum()
        assert 0.2 - 3 / 120 <= trimmed <= 0.2 + 3 / 120

    def test_known_labels_are_never_trimmed(self, rows):
        objective = Trimmed(SAD, 0.5, 0.0)
        params, stats = begun(objective, rows)
        *_, values = loss_and_gradient(objective, params, stats, batch_of(10 * rows[:60]))
        assert (values[:20] != 0).all()
        assert (values[20:] == 0).sum() == 20

    def test_statistics_leave_out_the_highest_scores(self, rows):
        """The centre, and the mixture of DAGMM."""
        objective = Trimmed(SVDD, 0.25, 0.0)
        params, plain = SVDD.init(KEY, rows)
        plain = SVDD.prepare(params, plain, training.as_rows(rows))
        score = np.asarray(SVDD.score(params, plain, rows))
        kept = training.as_rows(rows[score <= np.quantile(score, 0.75)])
        expected = SVDD.prepare(params, plain, kept)["centre"]
        np.testing.assert_allclose(begun(objective, rows)[1]["centre"], expected, rtol=1e-5)
        dagmm = OBJECTIVES["dagmm"]
        result = training.fit(Trimmed(dagmm, 0.25, 0.0), RECIPE, KEY, rows)
        stats = without_teacher(result.stats)
        finish = jax.jit(dagmm.finish)
        every = finish(result.params, stats, training.as_rows(rows))
        score = np.asarray(dagmm.score(result.params, every, rows))
        kept = training.as_rows(rows[score <= np.quantile(score, 0.75)])
        assert_close(stats, finish(result.params, stats, kept), rtol=1e-3, atol=1e-4)

    def test_the_teacher_starts_from_a_pretrained_encoder(self, rows):
        params, stats = Trimmed(SVDD, 0.1, 0.9).from_encoder(*ENCODER_MODEL, rows)
        assert_same(stats["teacher"]["params"], params)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("plain", "wrapped"),
    [
        (PLANTED["deep_svdd_soft"], Trimmed(PLANTED["deep_svdd_soft"], 0.15, 0.9)),
        (WIDE_HSC, LOE(WIDE_HSC, 0.1)),
    ],
    ids=["trimmed", "loe"],
)
def test_it_pays_when_anomalies_are_in_the_training_rows(plain, wrapped, seed):
    train, test, is_anomaly = planted(seed)
    inside = np.flatnonzero(is_anomaly)[:70]
    contaminated = np.concatenate([train, test[inside]])
    test, is_anomaly = np.delete(test, inside, 0), np.delete(is_anomaly, inside)
    recipe = training.Recipe(epochs=60, batch_size=64, clip_norm=5.0)

    def quality(objective):
        result = training.fit(objective, recipe, jax.random.key(seed), contaminated)
        return roc_auc_score(is_anomaly, training.score(objective, *result[:2], test))

    assert quality(wrapped) > quality(plain) + 0.01


ENCODER_MODEL = networks.init(ENCODER, KEY, np.zeros((1, 5), np.float32))


class TestLOE:
    @pytest.mark.parametrize("soft", [False, True])
    @pytest.mark.parametrize("inner", [SAD, HSC])
    def test_against_numpy(self, soft, inner, rows):
        objective = LOE(inner, 0.1, soft=soft)
        params, stats = begun(objective, rows)
        batch = batch_of(rows[:64])
        value, *_, values = loss_and_gradient(objective, params, stats, batch)
        z = np.asarray(inner.transform(params, stats, batch.x), np.float64)
        d = ((z - np.asarray(stats["centre"])) ** 2).sum(1)
        if inner is SAD:
            normal, anomaly, known = d, 1 / (d + 1e-6), d + 1e-6
        else:
            normal = known = np.sqrt(1 + d) - 1
            anomaly = -np.log1p(-np.exp(1 - np.sqrt(1 + d + 1e-6)))
        expected = np.where(batch.label < 0, anomaly, np.where(batch.label > 0, known, normal))
        free = np.asarray(batch.label) == 0
        gap = normal - anomaly
        suspicious = free & (gap >= np.sort(gap[free])[-4])  # 10 % of 44 rows
        instead = (normal + anomaly) / 2 if soft else anomaly
        expected = np.where(suspicious, instead, expected)
        np.testing.assert_allclose(values, expected, rtol=1e-4)
        np.testing.assert_allclose(value, expected.mean(), rtol=1e-4)

    def test_known_normals_stay_normal_while_others_are_judged(self, rows):
        def coupled(distance, label):
            return jnp.where(label < 0, -distance, distance) + jnp.mean(label > 0)

        inner = objectives.deep_sad(ENCODER, loss=coupled)
        params, stats = begun(inner, rows)
        batch = batch_of(rows[:64])
        values, _ = LOE(inner, 0.1).loss(params, stats, batch, KEY)
        z = inner.transform(params, stats, batch.x)
        distance = np.sum(np.square(z - stats["centre"]), axis=1)
        free = np.asarray(batch.label) == 0
        suspicious = free & (distance >= np.sort(distance[free])[-4])  # 10 % of 44 rows
        anomalous = suspicious | (np.asarray(batch.label) < 0)
        expected = np.where(anomalous, -distance, distance) + np.mean(batch.label > 0)
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("soft", [False, True])
    def test_the_network_is_applied_once(self, soft, rows):
        wide = objectives.deep_sad(networks.MLP((256, 128), batch_norm=True))

        def flops(objective):
            params, stats = begun(objective, rows)
            batch = batch_of(rows[:64])

            def loss(params):
                values, new = objective.loss(params, stats, batch, KEY)
                return jnp.sum(values * batch.weight), new

            step = jax.jit(jax.value_and_grad(loss, has_aux=True))
            return step.lower(params).compile().cost_analysis()["flops"]

        assert flops(LOE(wide, 0.1, soft=soft)) < 1.2 * flops(wide)

    def test_it_needs_labels(self):
        with pytest.raises(TypeError, match=r"objective=Hypersphere: .* use objectives.deep_sad"):
            LOE(SVDD, 0.1)
        with pytest.raises(TypeError, match=r"use Trimmed\(LOE"):
            LOE(Denoised(Trimmed(SAD, 0.1, 0.9), 0.1), 0.1)
        assert LOE(FeatureBag(SAD, 0.5), 0.1).uses_labels
        assert objectives.Compound((SVDD, SAD), (1.0, 1.0)).uses_labels
        assert not OBJECTIVES["dagmm"].uses_labels


class TestDenoised:
    def test_noise_is_added_in_training_only(self, rows):
        objective = Denoised(AUTOENCODER, 0.5)
        params, stats = begun(objective, rows)
        batch = batch_of(rows[:64])
        noise_key, key = jax.random.split(KEY)
        noisy = batch.x + 0.5 * jax.random.normal(noise_key, batch.x.shape, jnp.float32)
        expected, _ = AUTOENCODER.loss(params, stats, batch._replace(x=noisy), key)
        np.testing.assert_allclose(
            objective.loss(params, stats, batch, KEY)[0], expected, rtol=1e-5
        )
        clean = AUTOENCODER.loss(params, stats, batch, None)[0]
        np.testing.assert_array_equal(objective.loss(params, stats, batch, None)[0], clean)


class TestFeatureBag:
    @pytest.mark.parametrize(("share", "size"), [(0.01, 1), (0.4, 2), (0.5, 2), (0.7, 4), (1.0, 5)])
    def test_the_bag_has_its_size(self, share, size, rows):
        keys = jax.random.split(KEY, 40)
        masks = jax.vmap(lambda key: FeatureBag(SVDD, share).init(key, rows)[1]["mask"])(keys)
        np.testing.assert_array_equal(np.sum(masks == 1, 1), size)
        np.testing.assert_array_equal(np.sum(masks == 0, 1), 5 - size)
        assert (np.sum(masks, 0) > 0).all()  # every feature has its turn

    def test_features_outside_the_bag_change_nothing(self, rows):
        objective = FeatureBag(AUTOENCODER, 0.4)
        one = training.fit(objective, RECIPE, KEY, rows)
        outside = np.asarray(one.stats["mask"]) == 0
        other = np.where(outside, 7 + rows**2, rows)
        assert_same(one[:3], training.fit(objective, RECIPE, KEY, other)[:3])
        model = objective, one.params, one.stats
        np.testing.assert_array_equal(training.score(*model, rows), training.score(*model, other))
        found = training.apply_rows("transform", *model, rows)
        np.testing.assert_array_equal(found, training.apply_rows("transform", *model, other))
        found = training.apply_rows("reconstruct", *model, other)
        np.testing.assert_array_equal(found[:, outside], other[:, outside])
        assert (found[:, ~outside] != other[:, ~outside]).all()
        slopes = training.apply_rows("gradient", *model, rows)
        np.testing.assert_array_equal(slopes[:, outside], 0)
        assert (slopes[:, ~outside] != 0).any(0).all()

    def test_members_have_bags_of_their_own(self, rows):
        objective = FeatureBag(SVDD, np.array([0.2, 0.6, 0.6, 1.0]))
        found = training.fit_population(objective, RECIPE, jax.random.split(KEY, 4), rows)
        assert found.stats["mask"].sum(1).tolist() == [1, 3, 3, 5]

    def test_images(self):
        encoder = networks.ConvEncoder((2,), 3)
        objective = FeatureBag(objectives.deep_svdd(encoder), 0.5)
        _, stats = objective.init(KEY, jnp.zeros((1, 4, 4, 1)))
        assert stats["mask"].shape == (4, 4, 1)
        assert stats["mask"].sum() == 8

    def test_pretraining_is_refused(self, rows):
        with pytest.raises(TypeError, match="cannot start from a pretrained encoder"):
            FeatureBag(SVDD, 0.5).from_encoder(*ENCODER_MODEL, rows)


def test_attributes_are_those_of_the_objective():
    wrapped = Trimmed(Denoised(AUTOENCODER, 0.1), 0.2, 0.9)
    assert wrapped.encoder is ENCODER
    assert wrapped.noise == 0.1  # the nearest
    for objective in (Trimmed(SVDD, 0.1, 0.9), FeatureBag(SVDD, 0.5)):
        assert hasattr(objective, "transform")
        assert not hasattr(objective, "reconstruct")
    assert hasattr(FeatureBag(AUTOENCODER, 0.5), "reconstruct")
    assert not hasattr(wrapped, "from_encoder")
    assert not hasattr(Denoised(OBJECTIVES["dagmm"], 0.1), "_forward")
    with pytest.raises(AttributeError, match="neither Trimmed nor what it wraps has 'centr'"):
        _ = wrapped.centr


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))]
)
def test_wrappers_are_copied_and_pickled(again):
    wrapped = NESTED["deep_svdd"]
    assert again(wrapped) == wrapped
    assert again(wrapped).encoder == ENCODER


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Trimmed(SVDD, 1.0, 0.9), r"share=1.0 is outside \[0, 1\): choose 0 <= share < 1"),
        (lambda: Trimmed(SVDD, 0.1, 1), r"decay=1 is outside \[0, 1\)"),
        (lambda: Trimmed(SVDD, np.array([0.1, -0.1]), 0.9), r"share=-0.1 is outside \[0, 1\)"),
        (lambda: LOE(SAD, -1), r"share=-1 is outside \[0, 1\)"),
        (lambda: Denoised(SVDD, -0.5), r"noise=-0.5 is outside \[0, inf\)"),
        (lambda: Denoised(SVDD, np.nan), "noise=nan is outside"),
        (lambda: FeatureBag(SVDD, 0), r"share=0 is outside \(0, 1\]: choose 0 < share <= 1"),
        (lambda: FeatureBag(SVDD, 1.5), r"share=1.5 is outside \(0, 1\]"),
    ],
)
def test_numbers_out_of_range_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_another_number_compiles_nothing(rows):
    training.fit(NESTED["autoencoder"], RECIPE, KEY, rows)
    again = training.fit(NESTED["autoencoder"].replace(share=0.3, decay=0.5), RECIPE, KEY, rows)
    assert again.compilations == 0


def test_members_of_an_autoencoder_have_noise_levels_of_their_own(rows):
    noise = np.array([0.0, 0.3, 1.0])
    keys = jax.random.split(KEY, 3)
    objective = AUTOENCODER.replace(noise=noise)
    found = training.fit_population(objective, RECIPE, keys, rows)
    scores = training.score_population(objective, found.params, found.stats, rows)
    for p, level in enumerate(noise):
        alone = AUTOENCODER.replace(noise=float(level))
        one = training.fit(alone, RECIPE, keys[p], rows)
        assert_alike(alone, found.member(p), one, rows)
        np.testing.assert_allclose(
            scores[p], training.score(alone, one.params, one.stats, rows), rtol=1e-3
        )
