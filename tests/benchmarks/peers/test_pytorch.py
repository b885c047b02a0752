"""The PyTorch loops we measure against train what they say."""

import functools
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from benchmarks.speed.methods import OBJECTIVES


def test_without_torch_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "try: from benchmarks.peers import pytorch\n"
        "except ImportError as error: assert 'pip install -e \".[bench]\"' in str(error)\n"
        "else: raise SystemExit('no error')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def peers():
    pytest.importorskip("torch")
    from benchmarks.peers.pytorch import methods

    methods.torch.set_num_threads(1)  # tiny products only wait for each other
    return methods


@pytest.fixture
def rows(peers):
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    return peers.torch.from_numpy(x)


def test_gradients_by_hand_train_like_autograd(peers, rows):
    from benchmarks.peers.pytorch import by_hand

    options = {"epochs": 3, "batch_size": 128, "learning_rate": 1e-3, "widths": (16, 8, 4)}
    one, two = (f(rows, **options) for f in (peers.train_hypersphere, by_hand.train))
    np.testing.assert_allclose(one[1], two[1], rtol=1e-5)
    for a, b in zip(one[0], two[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_our_engine_trains_like_the_peer(peers, rows):
    """From the same weights and with the whole set as one batch, the losses agree."""
    import jax

    from jaxad import networks, training

    start = peers.initial(6, (16, 8, 4), seed=0)
    options = {"epochs": 20, "batch_size": len(rows), "learning_rate": 1e-3}
    _, expected = peers.train_hypersphere(rows, weights=start, **options)
    objective = OBJECTIVES["deep_svdd"](encoder=networks.MLP(widths=(16, 8, 4)))
    params, stats = objective.init(jax.random.key(0), rows.numpy())
    kernels = [w.numpy().T for w in start]
    params = jax.tree.unflatten(jax.tree.structure(params), kernels)
    recipe = training.Recipe(**options)
    result = training.fit(
        objective, recipe, jax.random.key(0), rows.numpy(), initial=(params, stats)
    )
    np.testing.assert_allclose(result.history["loss"], expected, rtol=1e-4)


def test_dagmm_energy_is_the_density_of_a_mixture(peers, rows):
    gamma = peers.torch.softmax(rows[:, :3], dim=1)
    z = rows[:, 3:].double()
    phi, mean, covariance = peers.mixture(z, gamma.double())
    parts = [
        np.log(p) + multivariate_normal(m, s).logpdf(z)
        for p, m, s in zip(phi.numpy(), mean.numpy(), covariance.numpy(), strict=True)
    ]
    expected = -logsumexp(parts, axis=0)
    np.testing.assert_allclose(peers.energy(z, phi, mean, covariance), expected, rtol=1e-8)
    weights = gamma[:, 0].numpy()
    np.testing.assert_allclose(mean[0], np.average(z, axis=0, weights=weights), rtol=1e-5)
    reference = np.cov(z.numpy().T, aweights=weights, ddof=0)
    np.testing.assert_allclose(covariance[0], reference, rtol=1e-4, atol=1e-5)


def test_goad_distances_and_triplet_equal_the_plain_formulas(peers):
    z = peers.torch.randn(7, 5, 4, generator=peers.torch.Generator().manual_seed(0))
    centres = z.mean(0)
    plain = (z[:, :, None] - centres).square().sum(-1)
    np.testing.assert_allclose(peers.squared_distances(z, centres), plain, atol=1e-5)
    values = [
        max(0.0, float(plain[n, m, m] + 0.5 - min(plain[n, m, k] for k in range(5) if k != m)))
        for n in range(7)
        for m in range(5)
    ]
    np.testing.assert_allclose(peers.triplet_centre(z, margin=0.5), np.mean(values), rtol=1e-5)


@pytest.mark.parametrize(
    "method",
    ["deep_svdd", "by hand", "deep_sad", "autoencoder", "dagmm", "goad", "k_dsm", "dte_c", "icl"],
)
def test_every_loop_lowers_its_loss_and_follows_its_seed(peers, rows, method):
    options = {
        "goad": {"transforms": 8, "mapped": 8, "widths": (8, 8)},
        "dte_c": {"widths": (32,), "dropout": 0.0, "epochs": 40, "learning_rate": 1e-2},
    }.get(method, {})
    from benchmarks.peers.pytorch import by_hand

    train = by_hand.train if method == "by hand" else peers.METHODS[method].train
    train = functools.partial(train, rows)
    if method == "deep_sad":
        train = functools.partial(train, labels_of(peers, rows))
    run = {"epochs": 10, "batch_size": 64, "learning_rate": 1e-3} | options
    _, losses = train(seed=0, **run)
    _, again = train(seed=0, **run)
    _, other = train(seed=1, **run)
    assert losses[-1] < losses[0]
    np.testing.assert_array_equal(losses, again)
    assert not np.array_equal(losses, other)


def labels_of(peers, rows):
    """-1, 0, 1, 0, -1, 0, ..."""
    return peers.torch.arange(len(rows)).remainder(4).sub(1).remainder(3).sub(1)


def _kernels(module):
    """The linear layers of a PyTorch module as the parameters of an `MLP`."""
    from torch import nn

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    named = {}
    for i, layer in enumerate(layers):
        named[f"Dense_{i}"] = {"kernel": layer.weight.detach().numpy().T}
        if layer.bias is not None:
            named[f"Dense_{i}"]["bias"] = layer.bias.detach().numpy()
    return named


def _loss_and_score(objective, params, stats, rows, label=None):
    """Ours, for rows that are one batch."""
    import jax
    import jax.numpy as jnp

    from jaxad import training
    from jaxad.typing import Batch

    label = np.zeros(len(rows), np.int32) if label is None else label
    batch = Batch(rows.numpy(), label, jnp.ones(len(rows)), 0.0)
    values, _ = objective.loss(params, stats, batch, jax.random.key(1))
    stats = objective.finish(params, stats, training.as_rows(rows.numpy(), label))
    return values, objective.score(params, stats, rows.numpy())


def _assert_scores(theirs, rows, expected, rtol=1e-3):
    """A peer's scores, a few rows at a time."""
    from benchmarks.peers.pytorch.loop import score_rows

    scores = score_rows(theirs, rows, chunk=64)()
    np.testing.assert_allclose(scores, expected, rtol=rtol, atol=1e-4)


def test_deep_sad_has_our_loss_and_scores(peers, rows):
    import jax

    from jaxad import networks, training

    weights = peers.initial(6, (16, 8, 4))
    label = labels_of(peers, rows)
    centre = peers.centre_of(weights, rows[label >= 0])
    distance = peers.distances(weights, centre, rows)
    theirs = peers.labelled_loss(distance, label, eta=1.5)
    ours = OBJECTIVES["deep_sad"](networks.MLP((16, 8, 4)), eta=1.5)
    params, stats = ours.init(jax.random.key(0), rows.numpy())
    params = jax.tree.unflatten(jax.tree.structure(params), [w.numpy().T for w in weights])
    batch = training.as_rows(rows.numpy(), label.numpy())
    stats = ours.prepare(params, stats, batch)
    np.testing.assert_allclose(stats["centre"], centre, rtol=1e-5)
    values, scores = _loss_and_score(ours, params, stats, rows, label.numpy())
    np.testing.assert_allclose(values, theirs, rtol=1e-3)
    _assert_scores(functools.partial(peers.distances, weights, centre), rows, scores)


def test_autoencoder_has_our_loss_and_scores(peers, rows):
    import jax

    from jaxad import networks

    theirs = peers.Autoencoder(6, widths=(5, 3))
    options = {"activation": "relu", "use_bias": True}
    ours = OBJECTIVES["autoencoder"](
        networks.MLP((5, 3), **options), networks.MLP((5, 6), **options)
    )
    _, stats = ours.init(jax.random.key(0), rows.numpy())
    params = {name: _kernels(getattr(theirs, name)) for name in ("encoder", "decoder")}
    values, scores = _loss_and_score(ours, params, stats, rows)
    np.testing.assert_allclose(values.mean(), theirs(rows).item(), rtol=1e-4)
    _assert_scores(theirs.score, rows, scores)


def test_dagmm_has_our_loss_and_scores(peers, rows):
    import jax

    from jaxad import networks

    theirs = peers.DAGMM(6, hidden=(5, 4), latent=2, dropout=0.0).eval()
    options = {"activation": "tanh", "use_bias": True}
    ours = OBJECTIVES["dagmm"](
        networks.MLP((5, 4, 2), **options),
        networks.MLP((4, 5, 6), **options),
        networks.MLP((10, 4), **options),
        jitter=1e-6,
    )
    _, stats = ours.init(jax.random.key(0), rows.numpy())
    params = {name: _kernels(getattr(theirs, name)) for name in ("encoder", "decoder", "estimator")}
    values, scores = _loss_and_score(ours, params, stats, rows)
    np.testing.assert_allclose(values.mean(), theirs(rows).item(), rtol=1e-4)
    _assert_scores(peers.fixed_energy(theirs, rows), rows, scores)


def test_goad_has_our_loss_and_scores(peers, rows):
    import jax

    from jaxad import networks

    theirs = peers.GOAD(6, transforms=8, mapped=5, widths=(4,))
    theirs.head.bias.data.zero_()
    ours = OBJECTIVES["goad"](networks.MLP((4,)), n_transforms=8, transform_dim=5, map_offset=0.0)
    _, stats = ours.init(jax.random.key(0), rows.numpy())
    stats |= {"maps": theirs.maps.numpy().transpose(1, 0, 2)}
    params = {"trunk": _kernels(theirs.trunk), "head": _kernels(theirs.head)["Dense_0"]}
    values, scores = _loss_and_score(ours, params, stats, rows)
    np.testing.assert_allclose(values.mean(), theirs(rows).item(), rtol=1e-4)
    centres = theirs.encode(rows).mean(0)
    _assert_scores(functools.partial(peers.confusion, theirs, centres), rows, scores)


def test_k_dsm_has_our_scores(peers, rows):
    import jax

    from jaxad import networks

    theirs = peers.KDSM(6, widths=(5,)).eval()
    ours = OBJECTIVES["k_dsm"](networks.MLP((5, 6), use_bias=True))
    _, stats = ours.init(jax.random.key(0), rows.numpy())
    _, scores = _loss_and_score(ours, {"score": _kernels(theirs.network)}, stats, rows)
    _assert_scores(theirs.score, rows, scores)


def test_dte_c_has_our_scores(peers, rows):
    import jax

    from jaxad import networks
    from jaxad.losses import diffusion_time

    theirs = peers.DTEC(6, widths=(5,)).eval()
    scale = diffusion_time.noise_levels(400, first=1e-4, last=0.01)
    np.testing.assert_allclose(theirs.scale, scale, rtol=1e-4)
    ours = OBJECTIVES["dte_c"](networks.MLP((5, 7), activation="relu", use_bias=True))
    _, stats = ours.init(jax.random.key(0), rows.numpy())
    _, scores = _loss_and_score(ours, {"classifier": _kernels(theirs.network)}, stats, rows)
    _assert_scores(theirs.score, rows, 6 / (1 + np.exp(-scores)))


def test_icl_has_our_loss_and_scores(peers, rows):
    import jax

    from jaxad import networks

    theirs = peers.ICL(6, widths=(5, 4))
    ours = OBJECTIVES["icl"](networks.MLP((5, 4)), networks.MLP((5, 4)), permute=False)
    _, stats = ours.init(jax.random.key(0), rows.numpy())
    params = {name: _kernels(getattr(theirs, name)) for name in ("complement", "window")}
    values, scores = _loss_and_score(ours, params, stats, rows)
    np.testing.assert_allclose(values.mean(), theirs(rows).item(), rtol=1e-4)
    _assert_scores(theirs.score, rows, scores)
