"""Changes of the code that no other test notices: one test for each."""

import itertools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import fresh
from flax import struct

import jaxad
from jaxad import data, networks, objectives, training
from jaxad.estimators import prepare
from jaxad.networks import dense
from jaxad.training import recipe as recipes

STEPS = 6
SGD = training.Recipe(epochs=2, batch_size=2, learning_rate=0.1, optimizer="sgd", shuffle=False)
X = np.arange(1, 6, dtype=np.float32)[:, None]  # five rows: the last of three batches is short


class Probe(objectives.BaseObjective):
    """A weight with the gradient 1, whose steps are recorded."""

    nan_in: float = -1.0  # two epochs later, too
    steep: float = 0.0  # in the first epoch the gradient is not finite, but the loss is
    chunk: int = struct.field(pytree_node=False, default=4)

    def init(self, key, x):
        records = {"draw": jnp.zeros(STEPS), "first": jnp.zeros(STEPS)}
        return {"w": jnp.zeros(())}, records | {"step": jnp.int32(0)}

    def loss(self, params, stats, batch, key):
        values = batch.x[:, 0] + params["w"]
        if key is None:
            return 0 * values - 7, stats
        step = stats["step"]
        new = {
            "draw": stats["draw"].at[step].set(jax.random.uniform(key)),
            "first": stats["first"].at[step].set(batch.x[0, 0]),
            "step": step + 1,
        }
        odd = (batch.epoch == self.nan_in) | (batch.epoch == self.nan_in + 2)
        slope = self.steep * (batch.epoch < 1)
        zero = params["w"] - jax.lax.stop_gradient(params["w"])
        values = values + zero * slope * slope  # the square of the slope may overflow
        return jnp.where(odd & (self.nan_in >= 0), jnp.nan, values), new

    def score(self, params, stats, x):
        return x[:, 0] + params["w"]


def run(how=SGD, x=X, objective=None, **given):
    return training.fit(objective or Probe(), how, cases.KEY, x, **given)


def test_the_rate_is_that_of_the_step_and_decays_by_steps():
    found = run(SGD.replace(time_decay=1.0))
    rates = 0.1 / np.arange(1, 7)
    np.testing.assert_allclose(found.params["w"], -rates.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.history["learning_rate"], rates[[0, 3]], rtol=1e-6)


def test_the_loss_of_an_epoch_is_the_mean_over_rows():
    found = run(SGD.replace(learning_rate=1e-12))
    np.testing.assert_allclose(found.history["loss"], X.mean(), rtol=1e-6)


def test_every_step_has_its_own_key():
    draws = np.asarray(run().stats["draw"])
    assert len(set(draws.tolist())) == STEPS
    other = training.fit(Probe(), SGD, jax.random.key(9), X).stats["draw"]
    assert (np.asarray(other) != draws).all()


def test_every_epoch_and_chunk_has_its_own_order():
    x = np.arange(64, dtype=np.float32)[:, None]
    how = SGD.replace(shuffle=True, batch_size=64, epochs=STEPS)
    assert len(set(np.asarray(run(how, x).stats["first"]).tolist())) > 1
    streamed = data.stream(np.tile(x, (STEPS, 1)), rows=64)
    firsts = np.asarray(run(how.replace(epochs=1), streamed).stats["first"])
    assert len(set(firsts.tolist())) > 1


def test_a_decrease_below_min_delta_is_no_improvement():
    how = SGD.replace(epochs=6, batch_size=5, patience=2, min_delta=1.0)
    assert run(how).epochs == 3
    assert run(how.replace(min_delta=0.0)).epochs == 6


def test_a_finite_step_ends_the_series_of_skipped_ones():
    found = run(SGD.replace(epochs=5, batch_size=5, max_skipped=2.0), objective=Probe(nan_in=0.0))
    assert (found.skipped, found.epochs, found.failed) == (2, 5, False)


def test_a_step_with_a_gradient_that_is_not_finite_is_skipped():
    found = run(SGD.replace(batch_size=5), objective=Probe(steep=1e30))
    assert found.skipped == 1
    np.testing.assert_allclose(found.params["w"], -0.1, rtol=1e-6)


def test_validation_is_in_evaluation_mode_and_rows_held_out_do_not_train():
    found, other = (run(validation=X * scale) for scale in (1, 50))
    assert found.history["validation_loss"].tolist() == [-7, -7]
    rows = np.random.default_rng(0).normal(size=(60, 4))
    detector = fresh("AutoEncoder", validation_fraction=0.2, scaler="none").fit(rows)
    plan = prepare.plan(detector, rows, None)
    changed = rows.copy()
    changed[plan.held_out] += 1
    again = fresh("AutoEncoder", validation_fraction=0.2, scaler="none").fit(changed)
    assert again.history_["loss"].tolist() == detector.history_["loss"].tolist()
    assert (again.history_["validation_loss"] != detector.history_["validation_loss"]).all()
    assert found.params["w"] == other.params["w"]


def test_a_population_restores_the_best_epoch_and_notices_that_all_steps_were_skipped(rows):
    objective, how = cases.OBJECTIVES["deep_svdd"], cases.WATCHED
    given = {"validation": rows[200:]}
    together = training.fit_population(objective, how, cases.KEYS[:2], rows[:200], **given)
    alone = training.fit(objective, how, cases.KEYS[1], rows[:200], **given)
    assert together.best_epoch[1] == alone.best_epoch < alone.epochs - 1
    cases.assert_alike(objective, together.member(1), alone, rows)
    skipped = training.fit_population(
        Probe(nan_in=np.array([0.0, -1.0])), SGD.replace(epochs=1), cases.KEYS[:2], X
    )
    assert skipped.failed.tolist() == [True, False]


def test_kernels_decay_after_clipping_and_biases_do_not():
    params = {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full(1, 3.0)}
    gradient = {"kernel": jnp.full((1, 1), 30.0), "bias": jnp.full(1, 40.0)}
    how = recipes.optimizer(SGD.replace(clip_norm=1.0, weight_decay=0.5))
    found, _ = how.update(gradient, how.init(params), params)
    np.testing.assert_allclose(found["kernel"], 0.6 + 1.0, rtol=1e-6)
    np.testing.assert_allclose(found["bias"], 0.8, rtol=1e-6)


def test_amsgrad_remembers_the_largest_gradient():
    params = jnp.ones(1)
    for name, reference in (("amsgrad", optax.scale_by_amsgrad()), ("adam", optax.scale_by_adam())):
        ours, updates = recipes.optimizer(SGD.replace(optimizer=name)), []
        for how in (ours, reference):
            state = how.init(params)
            for size in (10.0, 0.1):
                update, state = how.update(jnp.full(1, size), state, params)
            updates.append(float(update[0]))
        assert updates[0] == pytest.approx(updates[1])


def test_dropout_keeps_the_mean_and_kernels_are_drawn_by_their_inputs():
    ones = jnp.ones((2000, 1))
    dropped = dense.Dropout(0.5).apply({}, ones, train=True, rngs={"dropout": cases.KEY})
    assert float(dropped.mean()) == pytest.approx(1, abs=0.1)
    kernel = np.abs(dense.fan_in_uniform(cases.KEY, (100, 4)))
    assert 0.09 < kernel.max() <= 0.1
    network = networks.MLP((1,), input_dropout=0.5)
    variables = network.init(cases.KEY, ones)
    output = network.apply(variables, ones, train=True, rngs={"dropout": cases.KEY})
    assert len(np.unique(output)) == 2


def test_goads_maps_have_offsets_of_their_scale():
    zero = np.zeros((1, 4), np.float32)
    sizes = []
    for offset in (0.0, 1.0, 3.0):
        objective = objectives.goad(networks.MLP((4,)), n_transforms=8, map_offset=offset)
        _, stats = objective.init(cases.KEY, zero)
        sizes.append(float(jnp.std(objective.views(stats, zero))))
    drawn = (np.ravel(stats[name]) / np.std(stats[name]) for name in ("maps", "offsets"))
    own = np.corrcoef(*(values[: 8 * 32] for values in drawn))[0, 1]
    assert abs(own) < 0.3  # offsets are not the numbers of the maps once more
    assert sizes[0] == 0
    assert sizes[1] == pytest.approx(4**0.5, rel=0.2)  # of a mapped standardised row
    assert sizes[2] == pytest.approx(3 * sizes[1], rel=1e-5)


def test_arguments_reach_the_recipes_and_the_rows_of_pretraining(rows):
    label = np.r_[np.zeros(200, int), np.ones(60, int), -np.ones(40, int)]
    detector = jaxad.DeepSAD(
        n_members=1, random_state=0, clip_norm=2.0, weight_decay=0.3, pretrain_epochs=3,
        pretrain_learning_rate=0.7, pretrain_weight_decay=0.2, milestones=(4,),
    )  # fmt: skip
    run = prepare.plan(detector, rows, label).run
    assert (run.recipe.clip_norm, run.recipe.weight_decay) == (2.0, 0.3)
    assert (run.recipe.milestones, run.recipe.epochs) == ((4,), 1000)
    first = run.pretraining
    assert (first.recipe.learning_rate, first.recipe.weight_decay) == (0.7, 0.2)
    assert (first.recipe.clip_norm, first.recipe.epochs, len(first.rows.x)) == (2.0, 3, 200)
    words = [tuple(np.ravel(jax.random.key_data(key)).tolist()) for key in (run.key, first.key)]
    assert words[0] != words[1]
    assert prepare.plan(jaxad.DeepSVDD(random_state=0), rows, None).run.recipe.epochs == 200
    detector.set_params(pretrain_on="all")
    assert len(prepare.plan(detector, rows, label).run.pretraining.rows.x) == 300
    soft = {"objective": "soft-boundary", "n_members": 1, "random_state": 0}
    for epochs, warm_up in itertools.product((6, 90), ("auto", 4)):
        detector = jaxad.DeepSVDD(epochs=epochs, warm_up_epochs=warm_up, **soft)
        found = prepare.plan(detector, rows, None).objective.warm_up
        assert found == (min(10, epochs // 3) if warm_up == "auto" else 4)


def test_all_facts_of_a_fit_are_saved(rows, tmp_path):
    broken = rows.copy()
    broken[-1] = 1e14  # its square, and with it its batch's step, is not finite
    detector = fresh("AutoEncoder", scaler="none", batch_size=60).fit(broken)
    assert detector.n_skipped_ > 0
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    for name in ("n_features_in_", "n_members_", "n_steps_", "n_skipped_", "threshold_"):
        assert getattr(loaded, name) == getattr(detector, name)


def test_the_best_epoch_is_saved(rows, tmp_path):
    options = {"epochs": 4, "patience": 1, "validation_fraction": 0.3, "learning_rate": 0.1}
    detector = fresh("AutoEncoder", **options).fit(rows)
    detector.save(tmp_path / "d")
    assert jaxad.load(tmp_path / "d").best_epoch_ == detector.best_epoch_ is not None
