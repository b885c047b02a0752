"""`ObjectiveDetector`, and `AutoEncoder` with a level of noise for each member."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import fresh
from flax import struct
from fleets import fitted as fitted_fleet
from fleets import made, same, small
from sklearn.base import clone

import jaxad
from jaxad import data, networks, objectives, training
from jaxad.estimators import prepare
from jaxad.estimators.fitting import key_from, member_keys

SPHERE = networks.MLP((8, 4), batch_norm=True)
QUICK = {"epochs": 3, "n_members": 1, "random_state": 0}


def sphere(shape, *, nu=0.1):
    del shape
    return objectives.deep_svdd(SPHERE, nu=nu)


def semi_supervised(shape, *, eta):
    del shape
    return objectives.deep_sad(SPHERE, eta=eta)


class Mean(objectives.BaseObjective):
    """A centre of rows, with labelled anomalies pushed away."""

    power: float
    chunk: int = struct.field(pytree_node=False, default=1024)

    def init(self, key, x):
        return {"mean": jax.random.normal(key, x.shape[1:])}, {}

    def loss(self, params, stats, batch, key):
        sign = jnp.where(batch.label < 0, -1.0, 1.0)
        return sign * jnp.minimum(self.score(params, stats, batch.x), 10), stats

    def score(self, params, stats, x):
        distance = jnp.abs(x.reshape(len(x), -1) - params["mean"].ravel()[None])
        return jnp.sum((distance + 1e-3) ** self.power, -1)


def mean(shape, *, power=2.0):
    del shape
    return Mean(power)


def new(make=sphere, **options):
    return jaxad.ObjectiveDetector(make, **QUICK | options)


def test_a_known_objective_is_the_known_detector(rows):
    options = {"hidden": (8,), "latent_dim": 4, "learning_rate": 1e-3, "weight_decay": 0.0}
    known = fresh("DeepSVDD", **options).fit(rows)
    found = new().fit(rows)
    np.testing.assert_array_equal(found.anomaly_score(rows), known.anomaly_score(rows))
    assert found.threshold_ == known.threshold_
    np.testing.assert_array_equal(found.transform(rows), known.transform(rows))


def test_labels_reach_the_objective(rows):
    label = np.where(np.arange(300) % 10 == 0, -1, 0)
    options = {"hidden": (8,), "latent_dim": 4, "learning_rate": 1e-3, "weight_decay": 0.0}
    known = fresh("DeepSAD", eta=2.0, **options).fit(rows, label)
    found = new(semi_supervised, numbers={"eta": 2.0}).fit(rows, label)
    np.testing.assert_array_equal(found.anomaly_score(rows), known.anomaly_score(rows))
    with pytest.raises(ValueError, match="y"):
        new(semi_supervised, numbers={"eta": 2.0}).fit(rows, np.full(300, 2))


def test_numbers_are_swept_by_name_and_compile_once(rows):
    detector = new(mean, numbers={"power": 2.0})
    assert detector.get_params()["numbers__power"] == 2.0
    counts = []
    for powers in ([2.0], [1.0, 1.5, 2.0]):
        jax.clear_caches()
        with training.Stopwatch() as watch:
            found = jaxad.sweep(detector, {"numbers__power": powers}, rows, seeds=2, progress=False)
        counts.append(watch.compilations)
    assert counts[1] <= counts[0]
    for row in found.to_dict("records"):
        numbers, seed = {"power": row["numbers__power"]}, row["seed"]
        alone = new(mean, numbers=numbers, random_state=seed).fit(rows)
        scores = row["detector"].anomaly_score(rows)
        np.testing.assert_allclose(scores, alone.anomaly_score(rows), rtol=1e-4)


def test_a_recipe_is_followed(rows):
    recipe = training.Recipe(epochs=4, batch_size=50, learning_rate=0.1, optimizer="sgd")
    detector = jaxad.ObjectiveDetector(mean, recipe=recipe, n_members=1, random_state=0).fit(rows)
    assert len(detector.history_["loss"]) == 4
    assert detector.n_steps_ == 4 * 6
    expected = prepare.scaled(detector, rows)
    result = training.fit(Mean(2.0), recipe, key_from(0), np.asarray(expected.like.x))
    np.testing.assert_allclose(detector.params_["mean"], result.params["mean"], rtol=1e-6)


@pytest.mark.slow
def test_ensembles_streams_checkpoints_and_rows_that_arrive(rows, tmp_path):
    ensemble = new(n_members=2).fit(rows)
    assert ensemble.member_scores(rows).shape == (2, 300)
    first = new().fit(rows).anomaly_score(rows)
    np.testing.assert_allclose(ensemble.member_scores(rows)[0], first, rtol=1e-4)
    assert ensemble.explain(rows[:4]).shape == (4, 5)
    streamed = new().fit(data.stream(rows, rows=100))
    assert np.isfinite(streamed.anomaly_score(rows)).all()
    assert len(new().partial_fit(rows).partial_fit(rows).history_["loss"]) == 2
    new(epochs=1).fit(rows, checkpoints=tmp_path)
    resumed = new().fit(rows, checkpoints=tmp_path)
    np.testing.assert_array_equal(resumed.anomaly_score(rows), first)


def test_images_are_rows_of_several_axes():
    images = np.random.default_rng(0).random((40, 4, 4)).astype(np.float32)
    detector = new(mean).fit(images)
    assert detector.input_shape_ == (4, 4, 1)
    assert detector.anomaly_score(images).shape == (40,)


def test_a_file_names_function_numbers_and_recipe(rows, tmp_path):
    recipe = training.Recipe(epochs=2, milestones=(1,), clip_norm=5.0)
    given = {"recipe": recipe, "numbers": {"power": 1.5}}
    detector = jaxad.ObjectiveDetector(mean, n_members=2, random_state=0, **given).fit(rows)
    detector.save(tmp_path / "d")
    with pytest.raises(jaxad.FileFormatError, match=f"'{__name__}.mean'.*losses="):
        jaxad.load(tmp_path / "d")
    found = jaxad.load(tmp_path / "d", losses={"mean": mean})
    assert (found.recipe, found.numbers, found.make_objective) == (recipe, {"power": 1.5}, mean)
    np.testing.assert_array_equal(found.anomaly_score(rows), detector.anomaly_score(rows))
    assert found.fit(rows).params_["mean"].tolist() == detector.params_["mean"].tolist()


def test_fleets_of_an_objective(tmp_path):
    frame = made((60, 70, 80))
    fleet = fitted_fleet(frame, new(epochs=2))
    fleet.save(tmp_path / "fleet")
    found = jaxad.load(tmp_path / "fleet", losses={f"{__name__}.sphere": sphere})
    assert same(found.score(frame), fleet.score(frame))


def returning(**methods):
    """A function that makes an objective with other methods."""
    kind = type("Odd", (Mean,), {"__module__": __name__, **methods})
    return lambda shape: kind(2.0)


class NoScore(struct.PyTreeNode):
    chunk: int = struct.field(pytree_node=False, default=64)

    def init(self, key, x):
        return {"a": jnp.zeros(3)}, {}

    def loss(self, params, stats, batch, key):
        return batch.x[:, 0], stats


def fresh_function(shape):
    del shape
    return objectives.deep_svdd(SPHERE, loss=lambda distance: distance)


BAD = {
    "no function": (lambda: new(None), ValueError, r"make_objective=None: give a function"),
    "no callable": (lambda: new(3), TypeError, "make_objective=3 is neither None nor a function"),
    "no recipe": (lambda: new(recipe=3), TypeError, "neither None nor a jaxad.training.Recipe"),
    "a bad recipe": (
        lambda: jaxad.ObjectiveDetector(sphere, recipe=training.Recipe(epochs=-1)),
        ValueError,
        "epochs=-1",
    ),
    "a recipe beside epochs": (
        lambda: new(recipe=training.Recipe()),
        ValueError,
        "epochs=3 is given beside a recipe, which has its own: leave one of them out",
    ),
    "a recipe beside a rate": (
        lambda: jaxad.ObjectiveDetector(sphere, recipe=training.Recipe(), learning_rate=0.5),
        ValueError,
        "learning_rate=0.5 is given beside a recipe",
    ),
    "structure that changes": (
        lambda: new(fresh_function),
        TypeError,
        "fresh_function.* another structure each time it is called.*compiled anew",
    ),
    "a method is missing": (
        lambda: new(lambda shape: NoScore()),
        TypeError,
        r"NoScore lacks score\(params, stats, x\) -> \[B\]",
    ),
    "no objective": (lambda: new(lambda shape: 3), TypeError, "lacks init.*loss.*score"),
    "init": (
        lambda: new(returning(init=lambda self, key, x: {"mean": x[0]})),
        TypeError,
        "Odd.init returned.*not parameters and a dict of statistics",
    ),
    "loss": (
        lambda: new(returning(loss=lambda self, p, s, batch, key: batch.x[:, 0])),
        TypeError,
        r"Odd.loss returned an array of shape \(3,\): loss\(params, stats, batch, key\)",
    ),
    "a scalar": (
        lambda: new(returning(loss=lambda self, p, s, batch, key: (batch.x.mean(), s))),
        ValueError,
        r"Odd.loss returned an array of shape \(\) for a batch of 3 rows",
    ),
    "statistics": (
        lambda: new(returning(loss=lambda self, p, s, batch, key: (batch.x[:, 0], {"new": 1.0}))),
        TypeError,
        "statistics of other names, shapes or types than Odd.init",
    ),
    "score": (
        lambda: new(
            returning(
                loss=lambda self, p, s, batch, key: (batch.x[:, 0], s),
                score=lambda self, p, s, x: x,
            )
        ),
        ValueError,
        r"Odd.score returned an array of shape \(3, 5\) for a batch of 3 rows",
    ),
    "a number that it does not take": (
        lambda: new(mean, numbers={"nu": 1.0}),
        TypeError,
        "unexpected keyword argument 'nu'",
    ),
    "several values of a number": (
        lambda: new(mean, numbers={"power": [1, 2]}),
        ValueError,
        "is not one number: to try several, use jaxad.sweep.*'numbers__power'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_objectives_are_refused_before_compiling(case, rows):
    make, error, message = BAD[case]
    detector = make()
    with training.Stopwatch() as watch, pytest.raises(error, match=message):
        detector.fit(rows)
    assert watch.compilations == 0


# A level of noise for each member

LEVELS = (0.1, 0.4, 0.9)


def noisy(**options):
    return fresh("AutoEncoder", noise=LEVELS, n_members="auto").set_params(**options)


def test_each_member_is_the_autoencoder_of_its_noise(rows):
    detector = noisy().fit(rows)
    assert detector.n_members_ == 3
    scaled = np.asarray(prepare.scaled(detector, rows).like.x)
    scores = detector.member_scores(rows)
    for p, noise in enumerate(LEVELS):
        alone = fresh("AutoEncoder", noise=noise)
        objective = alone._objective((5,), 300)
        assert objective.noise == noise
        key = member_keys(key_from(0), 3)[p]
        result = training.fit(objective, alone._recipe(300), key, scaled)
        expected = training.score(objective, result.params, result.stats, scaled)
        np.testing.assert_allclose(scores[p], expected, rtol=1e-4)
        np.testing.assert_allclose(detector.history_["loss"][p], result.history["loss"], rtol=1e-4)


def test_the_first_member_is_the_single_autoencoder(rows):
    single = fresh("AutoEncoder", noise=LEVELS[0]).fit(rows)
    np.testing.assert_allclose(
        noisy().fit(rows).member_scores(rows)[0], single.anomaly_score(rows), rtol=1e-4
    )


def test_levels_repeat_over_a_multiple_of_members(rows):
    detector = noisy(noise=LEVELS[:2], n_members=4).fit(rows)
    own = detector._of_members(detector.objective_, 4)
    assert [objective.noise for objective in own] == [0.1, 0.4, 0.1, 0.4]
    assert detector.member_scores(rows).shape == (4, 300)
    one = fresh("AutoEncoder", noise=(0.4,), n_members=1).fit(rows)
    two = fresh("AutoEncoder", noise=0.4, n_members=1).fit(rows)
    np.testing.assert_array_equal(one.anomaly_score(rows), two.anomaly_score(rows))


def test_several_of_them_are_one_population(rows):
    many = [noisy(), noisy(noise=(0.2, 0.3, 0.5), random_state=1)]
    alone = [clone(one).fit(rows) for one in many]
    jaxad.fit_many(many, rows)
    for one, other in zip(many, alone, strict=True):
        np.testing.assert_allclose(one.member_scores(rows), other.member_scores(rows), rtol=1e-3)


def test_they_arrive_are_resumed_saved_and_explained(rows, tmp_path):
    whole = noisy().fit(rows)
    noisy(epochs=1).fit(rows, checkpoints=tmp_path / "run")
    resumed = noisy().fit(rows, checkpoints=tmp_path / "run")
    np.testing.assert_array_equal(resumed.anomaly_score(rows), whole.anomaly_score(rows))
    whole.save(tmp_path / "d")
    found = jaxad.load(tmp_path / "d")
    assert found.noise == LEVELS
    np.testing.assert_array_equal(found.anomaly_score(rows), whole.anomaly_score(rows))
    assert found.explain(rows[:3]).shape == found.reconstruct(rows[:3]).shape == (3, 5)
    assert noisy().partial_fit(rows).partial_fit(rows).history_["loss"].shape == (3, 2)
    assert noisy().fit(data.stream(rows, rows=100)).n_members_ == 3
    further = noisy(warm_start=True, epochs=1)
    assert further.fit(rows).fit(rows).n_members_ == 3


def test_a_fleet_has_all_levels_for_each_group():
    frame = made((60, 70))
    detector = noisy(epochs=2, hidden=(4,))
    fleet = fitted_fleet(frame, detector, group="machine")
    alone = clone(detector)
    assert np.isfinite(fleet.score(frame)["score"]).all()
    group = frame[frame["machine"] == "m0"].drop(columns="machine").to_numpy()
    assert alone.fit(group).n_members_ == fleet["m0"].n_members_ == 3
    assert small(detector).detector is detector


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"noise": ()}, ValueError, r"noise=\(\) is empty: give a level for each member"),
        ({"noise": (0.1, 0.0)}, ValueError, "noise"),
        ({"noise": (0.1, -1.0)}, ValueError, "noise"),
        ({"noise": (0.1, "a")}, TypeError, "noise"),
        ({"noise": "a"}, (TypeError, ValueError), "noise='a'"),
        ({"n_members": 4}, ValueError, "n_members=4 is no multiple of the 3 levels in noise="),
        ({"n_members": 1}, ValueError, "n_members=1 is no multiple of the 3 levels"),
    ],
)
def test_bad_levels_are_refused_before_compiling(options, error, message, rows):
    with training.Stopwatch() as watch, pytest.raises(error, match=message):
        noisy(**options).fit(rows)
    assert watch.compilations == 0
