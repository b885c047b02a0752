"""The engine, with objectives that can be checked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from jaxad import networks, objectives, training

KEY = jax.random.key(0)


@struct.dataclass
class Mean:
    """Minimise the squared distance of one vector to the rows, which has a closed form."""

    scale: float = 1.0
    blow_up_from: float = jnp.inf
    chunk: int = struct.field(pytree_node=False, default=64)

    def init(self, key, x):
        del key
        return {"mean": jnp.zeros(x.shape[1:])}, dict.fromkeys(
            ("seen", "prepared", "finished"), jnp.zeros(())
        )

    def loss(self, params, stats, batch, key):
        values = self.scale * jnp.sum(jnp.square(batch.x - params["mean"]), -1)
        values = jnp.where(batch.epoch >= self.blow_up_from, jnp.nan, values)
        if key is None:
            return values, stats
        return values, stats | {"seen": stats["seen"] + jnp.sum(batch.weight)}

    def prepare(self, params, stats, rows):
        del params
        return stats | {"prepared": stats["prepared"] + jnp.sum(rows.weight)}

    def finish(self, params, stats, rows):
        del params
        return stats | {"finished": stats["finished"] + jnp.sum(rows.weight)}

    def score(self, params, stats, x):
        del stats
        return jnp.sum(jnp.square(x - params["mean"]), -1)


def test_an_epoch_visits_every_row_once_last_batch_included(rows):
    result = training.fit(Mean(), training.Recipe(epochs=3, batch_size=64), KEY, rows)
    assert float(result.stats["seen"]) == 3 * len(rows)
    assert result.steps == 3 * 5
    assert float(result.stats["prepared"]) == float(result.stats["finished"]) == len(rows)


def test_fewer_rows_than_a_batch(rows):
    recipe = training.Recipe(epochs=300, batch_size=128, learning_rate=0.05)
    result = training.fit(Mean(), recipe, KEY, rows[:7])
    np.testing.assert_allclose(result.params["mean"], rows[:7].mean(0), atol=1e-3)


def test_sgd_step_by_hand(rows):
    """Full batches, no momentum: p' = p - rate * 2 (p - mean), weights counted."""
    weight = np.arange(1, 65, dtype=np.float32)
    x = rows[:64]
    recipe = training.Recipe(epochs=2, batch_size=64, learning_rate=0.1, optimizer="sgd")
    result = training.fit(Mean(), recipe, KEY, training.as_rows(x, weight=weight))
    mean = weight @ x / weight.sum()
    expected, losses = np.zeros(5), []
    for _ in range(2):
        losses.append(weight @ np.sum((x - expected) ** 2, 1) / weight.sum())
        expected = expected - 0.1 * 2 * (expected - mean)
    np.testing.assert_allclose(result.params["mean"], expected, rtol=1e-5)
    np.testing.assert_allclose(result.history["loss"], losses, rtol=1e-5)


def test_rows_of_weight_zero_change_nothing(rows):
    recipe = training.Recipe(epochs=2, batch_size=512, learning_rate=0.1)
    weight = np.r_[np.ones(200), np.zeros(100)]
    spoilt = rows.copy()
    spoilt[200:] = 1e6
    weighted = training.fit(Mean(), recipe, KEY, training.as_rows(spoilt, weight=weight))
    alone = training.fit(Mean(), recipe, KEY, rows[:200])
    np.testing.assert_allclose(weighted.params["mean"], alone.params["mean"], rtol=1e-4)


def test_same_key_same_bits_other_key_other_order(rows):
    recipe = training.Recipe(epochs=2, batch_size=32)
    first, again = (training.fit(Mean(), recipe, KEY, rows) for _ in range(2))
    other = training.fit(Mean(), recipe, jax.random.key(1), rows)
    assert (first.params["mean"] == again.params["mean"]).all()
    assert (first.params["mean"] != other.params["mean"]).any()


def test_milestones_and_time_decay(rows):
    recipe = training.Recipe(epochs=5, batch_size=300, learning_rate=1.0, milestones=(2, 4))
    history = training.fit(Mean(), recipe, KEY, rows).history
    np.testing.assert_allclose(history["learning_rate"], [1, 1, 0.1, 0.1, 0.01], rtol=1e-6)
    recipe = training.Recipe(epochs=3, batch_size=300, learning_rate=1.0, time_decay=0.5)
    history = training.fit(Mean(), recipe, KEY, rows).history
    np.testing.assert_allclose(history["learning_rate"], [1, 1 / 1.5, 1 / 2], rtol=1e-6)


@pytest.mark.parametrize("kind", ["coupled", "decoupled"])
def test_weight_decay_is_torch_adam_or_adamw(kind, rows):
    """Compared with optax's composition, for kernels."""
    encoder = networks.MLP((4, 3), use_bias=True)
    objective = objectives.deep_svdd(encoder)
    field = "weight_decay" if kind == "coupled" else "decoupled_weight_decay"
    recipe = training.Recipe(epochs=1, batch_size=512, learning_rate=0.01, **{field: 0.3})
    result = training.fit(objective, recipe, KEY, rows)
    untrained = training.fit(objective, recipe.replace(epochs=0), KEY, rows)
    batch = training.as_rows(rows)

    def loss(params):
        return objective.loss(params, untrained.stats, batch, None)[0].mean()

    kernels = jax.tree.map(lambda leaf: leaf.ndim > 1, untrained.params)
    decay = optax.add_decayed_weights(0.3, kernels)
    chain = (decay, optax.scale_by_adam()) if kind == "coupled" else (optax.scale_by_adam(), decay)
    optimizer = optax.chain(*chain, optax.scale(-0.01))

    @jax.jit
    def step(params):
        gradient = jax.grad(loss)(params)
        update, _ = optimizer.update(gradient, optimizer.init(params), params)
        return optax.apply_updates(params, update), gradient

    expected, gradient = step(untrained.params)

    def check(got, want, slope):
        sure = np.abs(slope) > 1e-3  # Adam's first step is a sign: rounding decides small slopes
        assert sure.any()
        np.testing.assert_allclose(got[sure], want[sure], atol=1e-4)

    jax.tree.map(check, result.params, expected, gradient)


def test_clipping_bounds_the_step(rows):
    recipe = training.Recipe(
        epochs=1, batch_size=512, learning_rate=1.0, optimizer="sgd", clip_norm=0.25
    )
    result = training.fit(Mean(scale=1e4), recipe, KEY, rows)
    np.testing.assert_allclose(np.linalg.norm(result.params["mean"]), 0.25, rtol=1e-5)


def test_a_users_optax_transformation(rows):
    recipe = training.Recipe(epochs=2, optimizer=optax.scale_by_lion)
    assert np.isfinite(training.fit(Mean(), recipe, KEY, rows).params["mean"]).all()


def test_early_stopping_restores_the_best_epoch(rows):
    """The high rate makes the loss rise; the epoch before is restored."""
    recipe = training.Recipe(
        epochs=40, batch_size=300, learning_rate=1.5, optimizer="sgd", patience=3
    )
    train, held_out = rows[:200], rows[200:]
    result = training.fit(Mean(), recipe, KEY, train, validation=held_out)
    losses = result.history["validation_loss"]
    assert len(losses) == 4  # the first is the best, then three that are worse
    assert result.best_epoch == int(np.argmin(losses)) == 0
    mean = np.asarray(result.params["mean"])
    np.testing.assert_allclose(np.sum((held_out - mean) ** 2, 1).mean(), losses.min(), rtol=1e-5)


def test_patience_without_validation_watches_the_training_loss(rows):
    recipe = training.Recipe(epochs=200, batch_size=300, learning_rate=0.5, patience=5)
    result = training.fit(Mean(), recipe.replace(optimizer="sgd"), KEY, rows)
    assert len(result.history["loss"]) < 200
    assert result.best_epoch is not None


def test_steps_that_are_not_finite_are_skipped_and_counted(rows):
    x = rows.copy()
    x[17] = np.inf
    result = training.fit(Mean(), training.Recipe(epochs=4, batch_size=50), KEY, x)
    assert result.skipped == 4
    assert result.history["skipped"].tolist() == [1] * 4
    assert np.isfinite(result.params["mean"]).all()
    assert np.isfinite(result.history["loss"]).all()


def test_a_run_that_stays_not_finite_ends_with_advice(rows):
    recipe = training.Recipe(epochs=500, batch_size=50, max_skipped=12)
    with pytest.raises(training.NonFiniteError, match=r"12 steps in a row.*learning_rate"):
        training.fit(Mean(blow_up_from=3.0), recipe, KEY, rows)
    with pytest.raises(training.NonFiniteError):
        training.fit(Mean(blow_up_from=0.0), recipe.replace(epochs=1), KEY, rows)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("epochs", -1),
        ("batch_size", 0),
        ("weight_decay", -0.1),
        ("clip_norm", 0),
        ("patience", "soon"),
        ("patience", 0),
        ("optimizer", "adagrad"),
    ],
)
def test_a_recipe_out_of_range_is_named(field, value, rows):
    with pytest.raises((ValueError, TypeError), match=field):
        training.fit(Mean(), training.Recipe(**{field: value}), KEY, rows)


def test_a_progress_bar_changes_nothing(rows, capsys):
    recipe = training.Recipe(epochs=5, batch_size=64)
    quiet = training.fit(Mean(), recipe, KEY, rows)
    shown = training.fit(Mean(), recipe, KEY, rows, progress=True)
    assert (quiet.params["mean"] == shown.params["mean"]).all()
    assert "epoch" in capsys.readouterr().err


def test_more_epochs_than_one_record_holds(rows):
    result = training.fit(Mean(), training.Recipe(epochs=150, batch_size=300), KEY, rows)
    assert result.history["loss"].shape == (150,)
    assert (np.diff(result.history["loss"]) < 0).all()


def test_rows_may_be_arrays_or_come_from_as_rows(rows):
    given = training.as_rows(rows)
    recipe = training.Recipe(epochs=1)
    a, b = training.fit(Mean(), recipe, KEY, given), training.fit(Mean(), recipe, KEY, rows)
    assert (a.params["mean"] == b.params["mean"]).all()
