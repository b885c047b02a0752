"""Unguarded steps, and what happens where one of them is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import KEY, KEYS, OBJECTIVES, RECIPE, labelled
from flax import struct
from processes import run_alone

from jaxad import data, training
from jaxad.rows import as_rows, bucket
from jaxad.training import programs, runners, runs
from jaxad.training.members import Member, Subset
from jaxad.training.recipe import as_leaves


@struct.dataclass
class Line:
    """A linear score whose loss breaks down, or whose gradient is huge, in one epoch."""

    scale: float = 1.0
    nan_in: float = -1.0
    huge_in: float = -1.0
    slope: float = 0.0
    broken_stats_in: float = -1.0
    chunk: int = struct.field(pytree_node=False, default=64)

    def init(self, key, x):
        del key
        return {"w": jnp.zeros(x.shape[1:])}, {"last": jnp.zeros(())}

    def loss(self, params, stats, batch, key):
        del key
        values = self.scale * jnp.square(batch.x @ params["w"] - 1)
        # As the gradient of a zero, it is as steep as one likes and no loss overflows.
        steep = jnp.where(batch.epoch == self.huge_in, self.slope, 0.0)
        values = values + steep * jnp.sum(params["w"] - jax.lax.stop_gradient(params["w"]))
        values = jnp.where(batch.epoch == self.nan_in, jnp.nan, values)
        last = jnp.where(batch.epoch == self.broken_stats_in, jnp.nan, jnp.mean(batch.x))
        return values, stats | {"last": last}

    def score(self, params, stats, x):
        del stats
        return jnp.square(x @ params["w"] - 1)


ADAM = training.Recipe(epochs=6, batch_size=64, learning_rate=1e-2)


def both(objective, recipe, x):
    """State and records of a run with unguarded and with guarded steps, and whether it is sound."""
    objective, how = as_leaves((objective, recipe))
    rows = Subset(None, as_rows(x).padded(bucket(len(as_rows(x).x))))
    sample = np.zeros((1, *as_rows(x).shape), np.float32)
    call = runners.OneModel(Member(objective, how, KEY, rows, None, sample))
    state = call(programs.begin, call(programs.initialise, None))
    quick, guarded = (
        call(program, state, np.int32(how.epochs))
        for program in (programs.train, programs.train_guarded)
    )
    return quick[:-1], guarded[:-1], bool(quick[-1])


def same(one, other):
    def plain(leaf):
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf)

    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(plain(a), plain(b), equal_nan=True) for a, b in leaves)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "clip_norm": 1.0}])
def test_finite_steps_are_the_same(name, options, rows):
    recipe = RECIPE.replace(learning_rate=1e-3, **options)
    quick, guarded, sound = both(OBJECTIVES[name], recipe, labelled(rows))
    assert sound
    np.testing.assert_allclose(quick[1]["loss"], guarded[1]["loss"], rtol=1e-5)


COMPILED_AS_FOR_USERS = """
import numpy as np, sys
sys.path[:0] = ["tests/support", "tests/training"]
from cases import OBJECTIVES, RECIPE, labelled
from test_guard import both, same
rows = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
for name, objective in OBJECTIVES.items():
    for size in (64, 128):
        recipe = RECIPE.replace(learning_rate=1e-3, batch_size=size)
        quick, guarded, sound = both(objective, recipe, labelled(rows))
        assert sound, name
        assert same(quick, guarded), (name, size)
"""


@pytest.mark.full
@pytest.mark.slow
def test_finite_steps_are_the_same_to_the_bit_with_all_optimisations():
    run_alone(COMPILED_AS_FOR_USERS, JAX_DISABLE_MOST_OPTIMIZATIONS="0", XLA_FLAGS="")


@pytest.mark.parametrize(
    "broken",
    [
        Line(nan_in=3.0),
        Line(huge_in=3.0, slope=np.inf),
        Line(huge_in=3.0, slope=1e25),  # its square, which Adam keeps, overflows
        Line(broken_stats_in=3.0),  # and the next batch would mend it
    ],
)
def test_what_is_not_finite_is_found_and_skipped(broken, rows):
    _, guarded, sound = both(broken, ADAM, rows)
    assert not sound
    result = training.fit(broken, ADAM, KEY, rows)
    assert result.skipped == 5
    assert result.history["skipped"].tolist() == [0, 0, 0, 5, 0, 0]
    np.testing.assert_allclose(result.params["w"], guarded[0].params["w"], rtol=1e-5)
    assert np.isfinite(result.params["w"]).all()
    assert np.isfinite(np.asarray(result.stats["last"]))


def test_a_finite_gradient_whose_norm_overflows_is_no_reason_to_skip(rows):
    steep = Line(huge_in=3.0, slope=1.5e19)  # the square is finite, the sum of five is not
    quick, guarded, sound = both(steep, ADAM, rows)
    assert sound
    np.testing.assert_allclose(quick[0].params["w"], guarded[0].params["w"], rtol=1e-5)
    assert training.fit(steep, ADAM, KEY, rows).skipped == 0


def test_a_users_optimizer_is_always_guarded(rows):
    """Its state may forget that a number was not finite."""
    recipe = ADAM.replace(optimizer=optax.scale_by_sign)
    result = training.fit(Line(huge_in=3.0, slope=np.nan), recipe, KEY, rows)
    assert result.skipped == 5
    assert np.isfinite(result.params["w"]).all()


@pytest.mark.parametrize("epochs", [2, 4, 5])
def test_a_resumed_run_with_skipped_steps_ends_the_same(epochs, rows, tmp_path):
    broken = Line(nan_in=3.0)
    whole = training.fit(broken, ADAM, KEY, rows)
    halves = training.Checkpoints(tmp_path, every=0)
    training.fit(broken, ADAM.replace(epochs=epochs), KEY, rows, checkpoints=halves)
    resumed = training.fit(broken, ADAM, KEY, rows, checkpoints=halves)
    assert same((whole.params, whole.history), (resumed.params, resumed.history))
    assert whole.skipped == resumed.skipped == 5


@pytest.mark.parametrize("threads", [1, 2, None])
def test_only_members_that_need_it_are_trained_again(threads, rows, monkeypatch):
    if threads:  # and not several devices
        monkeypatch.setattr(runs, "default_mesh", lambda *_: None)
    repeated = []
    run = runners.OnThreads._run

    def spied(self, groups, program, *rest):
        if program is programs.train_guarded:
            repeated.extend(group.place for group in groups)
        return run(self, groups, program, *rest)

    monkeypatch.setattr(runners.OnThreads, "_run", spied)
    members = Line(nan_in=np.array([-1.0, 3.0, -1.0]))
    found = training.fit_population(members, ADAM, KEYS, rows, vectorised=False, threads=threads)
    assert found.skipped.tolist() == [0, 5, 0]
    if threads:
        assert repeated == [1]
    for p, start in enumerate([-1.0, 3.0, -1.0]):
        alone = training.fit(Line(nan_in=start), ADAM, KEYS[p], rows)
        np.testing.assert_allclose(found.member(p).params["w"], alone.params["w"], rtol=1e-5)
        for name, record in alone.history.items():
            np.testing.assert_allclose(found.member(p).history[name], record, rtol=1e-5)


@pytest.mark.parametrize("key", [KEY, KEYS])
def test_a_chunk_of_a_stream_is_trained_again(key, rows):
    recipe = ADAM.replace(shuffle=False)
    fit = training.fit if key.ndim == 0 else training.fit_population
    resident = fit(Line(nan_in=3.0), recipe, key, rows)
    streamed = fit(Line(nan_in=3.0), recipe, key, data.stream(rows, rows=64))
    assert np.ravel(streamed.skipped).tolist() == [5] * np.size(streamed.steps)
    np.testing.assert_allclose(resident.params["w"], streamed.params["w"], rtol=1e-5)


def test_a_state_survives_a_failing_piece(rows):
    state = training.begin(Line(nan_in=1.0), ADAM, KEY, rows)
    state, _ = training.advance(Line(nan_in=1.0), ADAM, state, rows)
    with pytest.raises(training.NonFiniteError):
        training.advance(Line(nan_in=1.0), ADAM, state, rows)
    _, result = training.advance(Line(), ADAM, state, rows)
    assert np.isfinite(result.params["w"]).all()


@struct.dataclass
class Limited(Line):
    """It has a statistic that is infinite and stays so."""

    def init(self, key, x):
        params, stats = super().init(key, x)
        return params, stats | {"limit": jnp.full((), jnp.inf)}

    def loss(self, params, stats, batch, key):
        values, stats = super().loss(params, stats, batch, key)
        return values, stats | {"limit": stats["limit"] + jnp.mean(batch.x)}


def test_a_statistic_that_is_infinite_from_the_start_skips_no_step(rows):
    for optimizer in ("adam", optax.scale_by_adam):  # the second is always guarded
        result = training.fit(Limited(), ADAM.replace(optimizer=optimizer), KEY, rows)
        assert result.skipped == 0
        assert np.abs(result.params["w"]).max() > 0
