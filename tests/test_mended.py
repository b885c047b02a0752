"""Defects that jaxad itself has had: each test failed before the defect was mended."""

import json
import re
import threading
import warnings

import cases
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import QUICK, fresh
from flax import nnx, struct

import jaxad
from jaxad import data, networks, objectives, persistence, training
from jaxad.estimators import storage
from jaxad.training import engine

pytestmark = pytest.mark.defect


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DeepSVDD", {"batch_size": np.int64(32)}),
        ("DeepSVDD", {"hidden": (np.int64(8),)}),
        ("DeepSVDD", {"latent_dim": np.int64(3)}),
        ("GOAD", {"n_transforms": np.int64(4), "transform_dim": np.int64(3)}),
        ("GOAD", {"transform_dim": np.int64(3), "reconstruction_weight": 0.5}),
    ],
    ids=str,
)
def test_numpy_integers_are_integers(name, options, rows, tmp_path):
    detector = fresh(name, epochs=1, **options).fit(rows)
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))


def test_constant_images_have_no_contrast():
    values = np.linspace(0.01, 1, 100)
    images = np.broadcast_to(values[:, None, None, None], (100, 28, 28, 1))
    assert not data.contrast_normalised(images).any()


@pytest.mark.parametrize("pretrain_epochs", [0, 1])
def test_rows_to_train_on_are_not_all_known_anomalies(pretrain_epochs):
    x, y = np.random.default_rng(0).normal(size=(4, 3)), [-1, -1, -1, 0]

    def error(seed):
        options = QUICK | {"random_state": seed, "pretrain_epochs": pretrain_epochs}
        try:
            jaxad.DeepSAD(latent_dim=2, validation_fraction=0.25, **options).fit(x, y)
        except ValueError as raised:
            return str(raised)
        return None

    errors = [found for seed in range(8) if (found := error(seed))]
    assert 0 < len(errors) < 8
    assert all("marks every row as a known anomaly" in found for found in errors)


def test_a_fraction_that_holds_out_no_row_is_an_error(rows):
    with pytest.raises(ValueError, match=r"validation_fraction=0.1 holds out none of 4 rows"):
        fresh("AutoEncoder", validation_fraction=0.1).fit(rows[:4])


def test_goads_own_hidden_layers_are_not_taken_for_none(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh("GOAD", hidden=None, epochs=1).fit(rows)


def test_a_fit_does_not_count_the_compilations_of_other_threads(rows):
    found = []

    def fit(width):
        found.append(fresh("AutoEncoder", hidden=(width,), epochs=1).fit(rows).fit_seconds_)

    threads = [threading.Thread(target=fit, args=(width,)) for width in range(17, 22)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert min(found) > 0


def sphere(**options):
    return objectives.deep_svdd(networks.MLP((8, 4), **options))


def relative_error(x, reconstruction):
    return jnp.sum((x - reconstruction) ** 2, 1) / jnp.sum(x**2, 1)


MIXTURE = cases.OBJECTIVES["dagmm"]  # its mixture has 4 dimensions: a batch needs 5 rows
TWO = training.Recipe(epochs=2, batch_size=64, learning_rate=1e-3)


class Couple(objectives.BaseObjective):
    """Records the rows of its batches, and needs three of them."""

    chunk: int = struct.field(pytree_node=False, default=64)

    def init(self, key, x):
        return {"w": jnp.zeros(())}, {"rows": jnp.zeros((4, 64)), "step": jnp.int32(0)}

    def loss(self, params, stats, batch, key):
        if key is not None:
            seen = jnp.where(batch.weight > 0, batch.x[:, 0], 0)
            step = stats["step"]
            stats = {"rows": stats["rows"].at[step, : len(seen)].set(seen), "step": step + 1}
        return jnp.square(params["w"] - 1) * batch.weight, stats

    def score(self, params, stats, x):
        return params["w"] + 0 * x[:, 0]

    def fewest_rows(self, stats):
        return 3


@pytest.mark.parametrize(("count", "sizes"), [(129, [64, 33, 32]), (131, [64, 64, 3]), (2, [2])])
@pytest.mark.parametrize("streamed", [0, 64, 128])
def test_a_last_batch_of_too_few_rows_shares_those_of_the_one_before(count, sizes, streamed):
    x = np.arange(1, count + 1, dtype=np.float32)[:, None]
    given = data.stream(x, rows=streamed) if streamed else x
    recipe = TWO.replace(epochs=1, shuffle=False)
    result = training.fit(Couple(), recipe, cases.KEY, given)
    batches = [row[row > 0].tolist() for row in np.asarray(result.stats["rows"])]
    assert [len(batch) for batch in batches if batch] == sizes
    assert sum(batches, []) == x[:, 0].tolist()


@pytest.mark.parametrize("members", [1, 2])
def test_one_row_more_hardly_changes_dagmms_losses(members, rows):
    key = cases.KEY if members == 1 else cases.KEYS[:members]
    train = training.fit if members == 1 else training.fit_population

    def losses(count, held_out):
        result = train(MIXTURE, TWO, key, rows[:count], validation=rows[200 : 200 + held_out])
        return result.history["loss"], result.history["validation_loss"]

    for one, more in zip(losses(128, 64), losses(129, 65), strict=True):
        np.testing.assert_allclose(more, one, rtol=0.5)


@pytest.mark.parametrize("name", ["dagmm", "goad"])
def test_the_validation_loss_does_not_depend_on_the_batches(name, rows):
    """The mixture, or the class centres, are those of all validation rows."""
    objective = cases.OBJECTIVES[name]
    for wrapped in (objective, objectives.Trimmed(objective, 0.0, 0.9)):
        model = wrapped.init(cases.KEY, rows[:1])
        state = engine.start(TWO.replace(optimizer="sgd"), cases.KEY, *model)
        held_out = training.as_rows(rows[:65])
        small, whole = (engine._validate(wrapped, state, held_out, size) for size in (16, 65))
        np.testing.assert_allclose(small, whole, rtol=1e-4)


@pytest.mark.parametrize("several", [False, True])
def test_padding_is_a_copy_of_a_row(several, rows):
    """The loss is not finite at a row of zeros, which padding was."""
    network = networks.MLP((4,)), networks.MLP((5,))
    objective = objectives.autoencoder(*network, loss=relative_error)
    x, validation = rows[:150] + 9, rows[150:] + 9
    if several:
        key, given = cases.KEYS[:2], {"subsets": [np.arange(9), np.arange(70)]}
        result = training.fit_population(objective, TWO, key, x, validation=validation, **given)
        own = training.fit_population(objective, TWO, key, [x[:9], x[:70]])
        np.testing.assert_allclose(own.history["loss"], result.history["loss"], rtol=1e-5)
    else:
        result = training.fit(objective, TWO, cases.KEY, x, validation=validation)
        streamed = training.fit(objective, TWO, cases.KEY, data.stream(x, rows=100))
        assert np.isfinite(streamed.history["loss"]).all()
    assert np.isfinite(result.history["validation_loss"]).all()


@pytest.mark.parametrize("size", [1, 4])
def test_batches_smaller_than_the_objective_needs_are_an_error(size, rows):
    objective, needed = (sphere(batch_norm=True), 2) if size == 1 else (MIXTURE, 5)
    recipe, message = TWO.replace(batch_size=size), f"batch_size={size} .* at least {needed} rows"
    for wrapped in (objective, objectives.Trimmed(objective, 0.1, 0.9)):
        with pytest.raises(ValueError, match=message):
            training.fit(wrapped, recipe, cases.KEY, rows)
    with pytest.raises(ValueError, match=message):
        training.fit_population(objective, recipe, cases.KEYS, rows)
    name = "DeepSVDD" if size == 1 else "DAGMM"
    with pytest.raises(ValueError, match=message):
        fresh(name, batch_size=size).fit(rows)


def test_a_large_batch_size_costs_no_more_than_the_rows(rows):
    """A batch of 10^12 rows would not fit into any memory."""
    huge, fitting = (
        training.fit(sphere(), TWO.replace(batch_size=size), cases.KEY, rows[:200])
        for size in (10**12, 200)
    )
    np.testing.assert_allclose(huge.history["loss"], fitting.history["loss"], rtol=1e-5)
    detector = fresh("AutoEncoder", batch_size=10**12, epochs=1)
    assert detector.fit(data.stream(rows, rows=100)).n_steps_ == 1


@pytest.mark.parametrize("several", [False, True])
def test_divergence_near_the_end_is_an_error(several, rows):
    """Fewer steps are left than the guard waits for."""
    objective = objectives.autoencoder(networks.MLP((4,)), networks.MLP((5,)))
    recipe = TWO.replace(learning_rate=1e20)
    if several:
        rates = np.array([1e-3, 1e20])
        found = training.fit_population(
            objective, recipe.replace(learning_rate=rates), cases.KEYS[:2], rows
        )
        assert found.failed.tolist() == [False, True]
        return
    with pytest.raises(training.NonFiniteError, match="learning_rate=1e.20"):
        training.fit(objective, recipe, cases.KEY, rows)
    with pytest.raises(training.NonFiniteError, match="scores"):  # in the very last step
        fresh("AutoEncoder", learning_rate=1e20, epochs=1, batch_size=300).fit(rows)


def test_a_skipped_last_step_alone_is_no_divergence(rows):
    x = rows.copy()
    x[-1] = 1e25  # its batch, the last one, is skipped
    recipe = TWO.replace(shuffle=False, batch_size=60)
    objective = objectives.autoencoder(networks.MLP((4,)), networks.MLP((5,)))
    result = training.fit(objective, recipe, cases.KEY, x)
    assert result.skipped == 2
    assert not result.failed


@pytest.mark.parametrize("several", [False, True])
def test_patience_with_a_loss_that_is_never_finite_is_an_error(several, rows):
    recipe = TWO.replace(epochs=3, patience=2)
    validation = rows[:50] * np.float32(1e25)
    if several:
        given = cases.KEYS[:2], rows
        found = training.fit_population(sphere(), recipe, *given, validation=validation)
        assert found.failed.all()
    else:
        with pytest.raises(
            training.NonFiniteError,
            match="patience=2: the watched loss.* Lower learning_rate=0.001",
        ):
            training.fit(sphere(), recipe, cases.KEY, rows, validation=validation)
    untrained = training.fit(sphere(), recipe.replace(epochs=0), cases.KEY, rows)
    assert not untrained.failed


@pytest.mark.parametrize("name", list(cases.DETECTORS))
def test_detectors_work_in_float32_where_64_bit_types_are_enabled(name, rows, tmp_path):
    options = {"epochs": 1, "validation_fraction": 0.2}
    usual = fresh(name, **options).fit(rows)
    with jax.enable_x64(True):
        detector = fresh(name, **options).fit(rows)
        detector.save(tmp_path / "d")
        loaded = jaxad.load(tmp_path / "d")
        for one in (detector, loaded):
            np.testing.assert_array_equal(one.anomaly_score(rows), usual.anomaly_score(rows))
    kinds = {str(leaf.dtype) for leaf in jax.tree.leaves((loaded.params_, loaded.stats_))}
    assert kinds == {"float32"}


def test_populations_and_streams_work_where_64_bit_types_are_enabled(rows):
    with jax.enable_x64(True):
        objective = objectives.Trimmed(sphere(batch_norm=True), 0.1, 0.9)
        streamed = training.fit_population(
            objective, TWO, cases.KEYS[:2], data.stream(rows, rows=128)
        )
        state = training.begin(objective, TWO, cases.KEY, rows)
        _, advanced = training.advance(objective, TWO, state, rows)
    for result in (streamed, advanced):
        leaves = jax.tree.leaves((result.params, result.stats))
        assert {str(leaf.dtype) for leaf in leaves} == {"float32"}


CRAFTED = {
    "no facts": lambda metadata: metadata.pop("facts"),
    "unknown parameter": lambda metadata: metadata["parameters"].update(evil=1),
    "parameters are no dict": lambda metadata: metadata.update(parameters=3),
    "detector is a list": lambda metadata: metadata.update(detector=["AutoEncoder"]),
    "a method as fact": lambda metadata: metadata["facts"].update(anomaly_score=5),
    "a class as fact": lambda metadata: metadata["facts"].update(__class__="x"),
    "text as threshold": lambda metadata: metadata["facts"].update(threshold_="high"),
    "hidden is text": lambda metadata: metadata["parameters"].update(hidden="abc"),
}


@pytest.fixture(scope="module")
def packed():
    x = np.random.default_rng(0).normal(size=(40, 3))
    return storage.pack(fresh("AutoEncoder", epochs=0).fit(x))


@pytest.mark.parametrize("craft", CRAFTED.values(), ids=CRAFTED)
def test_crafted_metadata_is_a_format_error(craft, packed, tmp_path):
    arrays, metadata = packed
    metadata = json.loads(json.dumps(metadata))
    craft(metadata)
    persistence.write(tmp_path / "d", arrays, metadata)
    with pytest.raises(persistence.FileFormatError, match=re.escape(str(tmp_path / "d"))):
        jaxad.load(tmp_path / "d")


def test_arrays_that_do_not_fit_the_detector_are_a_format_error(packed, tmp_path):
    arrays, metadata = packed
    for lacking in ("params", "scaler", "history"):
        persistence.write(
            tmp_path / "d", {k: v for k, v in arrays.items() if k != lacking}, metadata
        )
        with pytest.raises(persistence.FileFormatError, match="AutoEncoder"):
            jaxad.load(tmp_path / "d")


@pytest.mark.parametrize(
    "header",
    [b'{"a":' * 100_000, b'{"jaxad":' * 100_000, b"[]", b'{"__metadata__":3}', b'{"a":3}'],
    ids=["deep", "deep and ours", "a list", "metadata is a number", "a tensor is a number"],
)
def test_a_crafted_header_is_a_format_error(header, tmp_path):
    (tmp_path / "d").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(persistence.FileFormatError):
        jaxad.load(tmp_path / "d")


class Scalar(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x).sum()


class Latent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x)


class OfNNX(nnx.Module):
    pass


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("DAGMM", {"latent_dim": "a"}, "latent_dim='a' is not an integer"),
        ("DAGMM", {"estimation_hidden": (0,)}, "estimation_hidden=0 is too small"),
        ("DAGMM", {"estimation_hidden": 5}, "estimation_hidden=5 is not a sequence"),
        ("GOAD", {"hidden": 5, "reconstruction_weight": 1.0}, "hidden=5 is not a sequence"),
        ("AutoEncoder", {"decoder": 5}, "decoder=5 is not an instance of flax.linen.Module"),
        ("AutoEncoder", {"network": Latent(), "decoder": Latent}, r"give an instance, Latent\("),
        ("AutoEncoder", {"network": Latent(), "decoder": Latent()}, r"the decoder .* \(1, 3\)"),
        ("DeepSVDD", {"network": Latent}, r"network=.* give an instance, Latent\("),
        ("DeepSVDD", {"network": OfNNX()}, "network=.*NNX modules are not taken"),
        ("DeepSVDD", {"network": Scalar()}, r"the network Scalar returned an array of shape \(\)"),
    ],
    ids=str,
)
def test_errors_name_the_argument(name, options, message, rows):
    with pytest.raises((TypeError, ValueError), match=message):
        fresh(name, **options).fit(rows)


@pytest.mark.parametrize("key", [0, None, cases.KEYS])
def test_a_key_that_is_none_is_named(key, rows):
    with pytest.raises(TypeError, match="(?s)key=.* is not a typed key: make one by"):
        training.fit(sphere(), TWO, key, rows)


def test_rows_whose_squares_overflow_are_an_error(rows):
    detector = fresh("DAGMM", epochs=0).fit(rows)
    far = rows.astype(np.float64)
    far[2, 1] = 1e20
    with pytest.raises(ValueError, match=r"X\[2, 1\]=1e\+20 is too far .* clip X"):
        detector.anomaly_score(far)
    far[2, 1] = 1e14
    assert np.isfinite(detector.anomaly_score(far)).all()
