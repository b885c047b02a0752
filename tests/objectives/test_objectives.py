"""Properties of single objectives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxad import losses, networks, objectives, training
from jaxad.typing import Batch

KEY = jax.random.key(0)
ENCODER, DECODER = networks.MLP((16, 4)), networks.MLP((16, 5))
SOFT = losses.hypersphere.soft_boundary


def fit(objective, rows, **recipe):
    recipe = training.Recipe(**({"epochs": 5, "batch_size": 64} | recipe))
    return training.fit(objective, recipe, KEY, rows)


def test_the_centre_is_the_mean_of_the_initial_outputs_and_stays(rows):
    objective = objectives.deep_svdd(ENCODER)
    before, after = fit(objective, rows, epochs=0), fit(objective, rows)
    z = np.asarray(objective.transform(before.params, before.stats, rows), np.float64).mean(0)
    expected = np.where(np.abs(z) >= 0.1, z, np.where(z < 0, -0.1, 0.1))
    np.testing.assert_allclose(before.stats["centre"], expected, atol=1e-6)
    np.testing.assert_array_equal(before.stats["centre"], after.stats["centre"])


def test_without_a_radius_it_stays_zero(rows):
    assert fit(objectives.deep_svdd(ENCODER), rows).stats["radius"] == 0


def test_the_radius_is_exact_at_the_end(rows):
    objective = objectives.deep_svdd(ENCODER, loss=SOFT, radius=True, nu=0.2, warm_up=1)
    result = fit(objective, rows)
    z = np.asarray(objective.transform(result.params, result.stats, rows), np.float64)
    distance = np.linalg.norm(z - np.asarray(result.stats["centre"]), axis=1)
    np.testing.assert_allclose(result.stats["radius"], np.quantile(distance, 0.8), rtol=1e-5)


def test_the_radius_waits_for_the_warm_up(rows):
    objective = objectives.deep_svdd(ENCODER, loss=SOFT, radius=True, nu=0.1, warm_up=2)
    untrained = fit(objective, rows, epochs=0)
    params, stats = untrained.params, untrained.stats | {"radius": jnp.float32(0)}
    for epoch, moves in ((0, False), (1, False), (2, True)):
        batch = Batch(rows[:64], jnp.zeros(64), jnp.ones(64), float(epoch))
        values, after = objective.loss(params, stats, batch, KEY)
        distance = np.sum((objective.transform(params, stats, rows[:64]) - stats["centre"]) ** 2, 1)
        np.testing.assert_allclose(values, distance / 0.1, rtol=1e-4)  # R is still 0
        expected = np.quantile(np.sqrt(distance), 0.9) if moves else 0
        np.testing.assert_allclose(after["radius"], expected, rtol=1e-4)


def test_soft_boundary_scores_by_the_distance_beyond_the_radius(rows):
    objective = objectives.deep_svdd(ENCODER, loss=SOFT, radius=True, nu=0.1, warm_up=1)
    result = fit(objective, rows)
    score = training.score(objective, result.params, result.stats, rows)
    assert 0.05 < (score > 0).mean() < 0.15


def test_pretrained_weights_reach_the_encoder(rows):
    """The running statistics reach it, too."""
    encoder = networks.MLP((16, 4), batch_norm=True)
    autoencoder = objectives.autoencoder(encoder, DECODER)
    pretrained = fit(autoencoder, rows)
    objective = objectives.deep_svdd(encoder)
    source = objectives.encoder_of(pretrained.params, pretrained.stats)
    initial = objective.from_encoder(*source, rows)
    params, stats = initial
    for ours, theirs in (
        (params["encoder"], source[0]),
        (stats["batch_stats"]["encoder"], source[1]),
    ):
        leaves = zip(*map(jax.tree.leaves, (ours, theirs)), strict=True)
        assert all((a == b).all() for a, b in leaves)
    recipe = training.Recipe(epochs=0)
    started = training.fit(objective, recipe, KEY, rows, initial=initial)
    assert all(
        (a == b).all() for a, b in zip(*map(jax.tree.leaves, (started.params, params)), strict=True)
    )


def test_deep_sad_without_labels_is_deep_svdd(rows):
    svdd, sad = fit(objectives.deep_svdd(ENCODER), rows), fit(objectives.deep_sad(ENCODER), rows)
    for a, b in zip(*map(jax.tree.leaves, (svdd[:2], sad[:2])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_known_anomalies_stay_out_of_the_centre_unless_asked(rows):
    label = np.zeros(300, np.int32)
    label[200:] = -1
    shifted = rows + 5 * (label[:, None] < 0)
    data = training.as_rows(shifted, label=label)
    without = fit(objectives.deep_sad(ENCODER), data, epochs=0)
    alone = fit(objectives.deep_sad(ENCODER), shifted[:200], epochs=0)
    everything = fit(objectives.deep_sad(ENCODER, anomalies_in_centre=True), data, epochs=0)
    np.testing.assert_allclose(without.stats["centre"], alone.stats["centre"], rtol=1e-4)
    assert np.abs(np.asarray(everything.stats["centre"] - without.stats["centre"])).max() > 0.01


def test_deep_sad_pulls_known_normals_and_pushes_known_anomalies(rng):
    """Two clusters in the training set, told apart only by labels."""
    x = np.concatenate([rng.normal(size=(300, 5)), rng.normal(size=(300, 5)) + 1.5])
    label = np.zeros(600, np.int32)
    label[300:330] = -1
    objective = objectives.deep_sad(networks.MLP((32, 16), batch_norm=True), eta=5.0)
    recipe = {"epochs": 60, "learning_rate": 1e-3}
    result = fit(objective, training.as_rows(x, label=label), **recipe)
    score = training.score(objective, result.params, result.stats, x)
    assert np.median(score[330:]) > 3 * np.median(score[:300])


def test_a_users_loss(rows):
    def pseudo_huber(distance, *, delta):
        return delta**2 * (jnp.sqrt(1 + distance / delta**2) - 1)

    objective = objectives.deep_svdd(ENCODER, loss=pseudo_huber, delta=0.5)
    first = fit(objective, rows)
    assert first.history["loss"][-1] < first.history["loss"][0]
    again = fit(objectives.deep_svdd(ENCODER, loss=pseudo_huber, delta=2.0), rows)
    assert again.compilations == 0  # its number is a leaf


def test_a_loss_with_an_unavailable_argument_raises():
    with pytest.raises(TypeError, match="needs .'margin'"):
        objectives.deep_svdd(ENCODER, loss=lambda distance, margin: distance + margin)
    with pytest.raises(TypeError, match="takes no .'margn'"):
        objectives.deep_svdd(ENCODER, loss=lambda distance, margin: distance + margin, margn=1)


def test_a_compound_is_the_weighted_sum_of_its_parts(rows):
    parts = objectives.deep_svdd(ENCODER), objectives.autoencoder(ENCODER, DECODER)
    compound = objectives.Compound(parts, (2.0, 3.0), score_weights=(1.0, 0.0))
    params, stats = jax.jit(lambda: compound.init(KEY, rows))()
    assert set(params) == {"encoder", "decoder"}
    batch = Batch(jnp.asarray(rows), jnp.zeros(300), jnp.ones(300))

    @jax.jit
    def evaluate(objective):
        values, _ = objective.loss(params, stats, batch, KEY)
        return values, objective.score(params, stats, rows)

    (values, score), (first, first_score), (second, _) = map(evaluate, (compound, *parts))
    np.testing.assert_allclose(values, 2 * first + 3 * second, rtol=1e-5)
    np.testing.assert_allclose(score, first_score, rtol=1e-6)


def test_shared_running_statistics_are_updated_once(rows):
    encoder = networks.MLP((16, 4), batch_norm=True)
    parts = objectives.deep_svdd(encoder), objectives.autoencoder(encoder, DECODER)
    compound = objectives.Compound(parts, (1.0, 1.0))
    params, stats = jax.jit(lambda: compound.init(KEY, rows))()
    batch = Batch(jnp.asarray(rows), jnp.zeros(300), jnp.ones(300))
    _, after = jax.jit(lambda: compound.loss(params, stats, batch, KEY))()
    _, alone = jax.jit(lambda: parts[0].loss(params, stats, batch, KEY))()
    for a, b in zip(
        *(jax.tree.leaves(s["batch_stats"]["encoder"]) for s in (after, alone)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_compound_needs_a_weight_for_every_part():
    with pytest.raises(ValueError, match="2 parts"):
        objectives.Compound((objectives.deep_svdd(ENCODER), objectives.deep_svdd(ENCODER)), (1.0,))


def test_biases_let_deep_svdd_collapse_and_the_library_says_so(rng):
    """A network with biases learns to map every row to the centre.

    Kept as a negative test: what is promised is a warning, not a silent constant.
    """
    import jaxad

    x = rng.normal(size=(100, 2))
    detector = jaxad.DeepSVDD(
        network=networks.MLP((16, 2), activation="relu", use_bias=True),
        learning_rate=0.05,
        epochs=3000,
        random_state=0,
    )
    with pytest.warns(jaxad.CollapseWarning, match="mapped to the centre"):
        detector.fit(x)


def same_with_gradient(objective, formula, rows):
    """Whether a loss is what ``formula`` makes of parameters, statistics and a batch."""
    params, stats = jax.jit(lambda: objective.init(KEY, rows))()
    weight = jnp.asarray(np.resize([1.0, 0.0, 2.0], 60), jnp.float32)
    batch = Batch(jnp.asarray(rows[:60]), jnp.zeros(60, jnp.int32), weight)

    def mean(loss):
        def of(params):
            return jnp.sum(loss(params) * weight) / jnp.sum(weight)

        return jax.jit(jax.value_and_grad(of))(params)

    found = mean(lambda params: objective.loss(params, stats, batch, KEY)[0])
    expected = mean(lambda params: formula(params, stats, batch))
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())


def test_dagmms_loss_is_the_papers_with_its_gradient(rows):
    """By the batch's own mixture, through which gradients flow, as through its rows."""
    tanh = {"activation": "tanh", "use_bias": True}
    networks_ = [networks.MLP(widths, **tanh) for widths in ((8, 2), (8, 5), (6, 3))]
    objective = objectives.DAGMM(*networks_, jitter=0.01)
    of_mixture, of_rows = losses.mixture, losses.reconstruction

    def formula(params, stats, batch):
        encoder, decoder, estimator = networks_
        latent = encoder.apply({"params": params["encoder"]}, batch.x)
        output = decoder.apply({"params": params["decoder"]}, latent)
        z = jnp.concatenate([latent, of_rows.features(batch.x, output)], 1)
        gamma = jax.nn.softmax(estimator.apply({"params": params["estimator"]}, z))
        mixture = of_mixture.fit(of_mixture.moments(z, gamma, batch.weight), jitter=0.01)
        error = of_rows.squared_error(batch.x, output, reduction="sum")
        energy, penalty = of_mixture.energy(z, mixture), of_mixture.covariance_penalty(mixture)
        return error + 0.1 * energy + 0.005 * penalty

    same_with_gradient(objective, formula, rows)


def test_goads_loss_is_the_papers_with_its_gradient(rows):
    """By the batch's own class centres, through which gradients flow."""
    objective = objectives.goad(ENCODER, n_transforms=3, transform_dim=4)
    of = losses.transformation

    def formula(params, stats, batch):
        z = ENCODER.apply(
            {"params": params["trunk"]}, objective.views(stats, batch.x).reshape(-1, 4)
        )
        z = z.reshape(60, 3, -1)
        distances = of.squared_distances(z, of.class_centres(z, batch.weight))
        triplet = of.triplet_centre(distances, margin=1.0)
        return of.cross_entropy(z @ params["head"]["kernel"]) + 0.1 * triplet

    same_with_gradient(objective, formula, rows)


def test_goads_centres_are_the_means_of_all_rows(rows):
    objective = objectives.goad(ENCODER, n_transforms=3, transform_dim=4)
    params, stats = jax.jit(lambda: objective.init(KEY, rows))()
    found = jax.jit(objective.finish)(params, stats, training.as_rows(rows))["centres"]
    z = objective.transform(params, stats, rows).reshape(300, 3, -1)
    np.testing.assert_allclose(found, z.mean(0), rtol=1e-4, atol=1e-6)


def test_every_map_has_a_decoder_of_its_own(rows):
    objective = objectives.MapReconstruction(ENCODER, networks.MLP((8,)), 3, 8)
    params, _ = jax.jit(lambda: objective.init(KEY, rows))()
    (kernel,) = jax.tree.leaves(params["decoders"])
    assert np.abs(np.diff(kernel, axis=0)).min(axis=(1, 2)).max() > 0
    assert not np.allclose(kernel[0], kernel[1])


def test_a_denoising_autoencoder_reconstructs_the_clean_rows(rows):
    objective = objectives.autoencoder(ENCODER, DECODER, noise=0.5)
    params, stats = jax.jit(lambda: objective.init(KEY, rows))()
    noise_key, _ = jax.random.split(KEY)
    noisy = rows + 0.5 * np.asarray(jax.random.normal(noise_key, rows.shape))
    batch = Batch(jnp.asarray(rows), jnp.zeros(300), jnp.ones(300))
    for key, seen in ((KEY, noisy), (None, rows)):
        values, _ = objective.loss(params, stats, batch, key)
        output = objective.reconstruct(params, stats, jnp.asarray(seen))
        np.testing.assert_allclose(values, np.square(rows - output).mean(1), rtol=1e-4)


def test_known_anomalies_stay_out_of_the_radius_where_they_stay_out_of_the_centre(rows):
    label = np.where(np.arange(300) < 100, -1, 0)
    data = training.as_rows(rows + 5 * (label[:, None] < 0), label=label)
    soft = objectives.deep_svdd(ENCODER, loss=SOFT, radius=True)
    without = fit(soft.replace(anomalies_in_centre=False), data, epochs=0)
    alone = fit(soft, rows[100:], epochs=0)
    np.testing.assert_allclose(without.stats["radius"], alone.stats["radius"], rtol=1e-4)
    assert fit(soft, data, epochs=0).stats["radius"] > 1.5 * alone.stats["radius"]
