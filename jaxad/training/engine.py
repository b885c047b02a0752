"""The engine: a run of any objective as pure functions to compile. It knows no paper.

A run is a loop over epochs around a loop over steps. It is compiled once per structure of objective
and recipe and per padded shape. The number of rows, epochs, rates and seeds are traced, so changing
them compiles nothing. `jaxad.training.programs` compiles these functions for one model, or maps
them over the members of a population.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxad.layout import gather
from jaxad.rows import ArrayRows, Rows, batch_bounds
from jaxad.training import batching, diagnostics, recipe
from jaxad.training.mesh import across_data, shares_batches
from jaxad.training.recipe import Recipe
from jaxad.typing import Array, Batch, Key, Objective, Params, PyTree, Stats

HISTORY = 64  # most epochs in one call: the length of the record it returns


class Best(NamedTuple):
    """The best epoch so far, for recipes with patience."""

    params: Params
    stats: Stats
    loss: Array
    epoch: Array


class State(NamedTuple):
    """The state of a run, carried from step to step.

    Attributes:
      params: the networks' parameters.
      stats: statistics that are fitted without a gradient.
      opt_state: the optimizer's state.
      key: the run's key; epochs and steps fold their number into it.
      epoch: epochs done.
      step: steps done, including skipped ones.
      skipped: steps skipped because the loss, or what the step would change, was not finite.
      streak: length of the current series of skipped steps.
      waited: epochs since the last improvement.
      best: the best epoch, or None without patience.
    """

    params: Params
    stats: Stats
    opt_state: PyTree
    key: Key
    epoch: Array
    step: Array
    skipped: Array
    streak: Array
    waited: Array
    best: Best | None


class Tally(NamedTuple):
    """Running totals of the current epoch.

    Attributes:
      loss: weighted sum of the losses of all finite steps.
      weight: sum of the weights of the rows in these steps.
      skipped: steps that were not finite.
      learning_rate: of the first step.
      norms: of the gradient, or None if the recipe does not ask for them.
    """

    loss: Array
    weight: Array
    skipped: Array
    learning_rate: Array
    norms: diagnostics.Norms | None = None


def initialise(objective: Objective, key: Key, x: Array) -> tuple[Params, Stats]:
    """Draw the objective's parameters and statistics; ``x`` ``[B, ...]`` gives the shapes."""
    return objective.init(jax.random.fold_in(key, 0), x)


def prepare(objective: Any, params: Params, stats: Stats, rows: Rows) -> Stats:
    """Call the objective's ``prepare``, if it has one."""
    needed = getattr(objective, "prepare", None)
    return stats if needed is None else needed(params, stats, rows)


def pool(objective: Any, params: Params, stats: Stats, rows: Rows) -> Stats:
    """Call the objective's ``pool``, if it has one."""
    needed = getattr(objective, "pool", None)
    return stats if needed is None else needed(params, stats, rows)


def finish(objective: Any, params: Params, stats: Stats, rows: Rows) -> Stats:
    """Call the objective's ``finish``, if it has one."""
    needed = getattr(objective, "finish", None)
    return stats if needed is None else needed(params, stats, rows)


def start(how: Recipe, key: Key, params: Params, stats: Stats) -> State:
    """The state before the first step."""
    zero = jnp.int32(0)
    best = None
    if how.patience is not None:
        best = Best(params, stats, jnp.float32(jnp.inf), zero)
    opt_state = recipe.optimizer(how).init(params)
    run_key = jax.random.fold_in(key, 1)
    return State(params, stats, opt_state, run_key, zero, zero, zero, zero, zero, best)


def running(how: Recipe, state: State) -> Array:
    """Whether the run has another epoch to train."""
    due = (state.epoch < how.epochs) & (state.streak < how.max_skipped)
    return due if how.patience is None else due & (state.waited < how.patience)


def train(
    objective: Objective,
    how: Recipe,
    state: State,
    rows: ArrayRows,
    validation: ArrayRows | None,
    epochs: Array,
    *,
    guarded: bool,
    length: int = HISTORY,
) -> tuple[State, dict[str, Array]]:
    """Train a group of at most ``epochs`` and at most ``length`` epochs on padded rows.

    Returns:
      The new state, and the records ``loss``, ``learning_rate``, ``skipped``, with validation rows
      ``validation_loss``, and the recipe's diagnostics: one entry per epoch, padded with zeros to
      ``[length]``. Unless ``guarded``, they are valid only if `sound`.
    """
    names = ["loss", "learning_rate", "skipped"]
    if validation is not None:
        names.append("validation_loss")
    sample = None
    if how.diagnostics:
        sample = diagnostics.sample(rows)
        names += jax.eval_shape(
            lambda s: _diagnose(objective, how, s, begin_epoch(how, s), sample), state
        )
    begin = state.epoch
    until = begin + jnp.minimum(epochs, length)

    def body(carry):
        state, history = carry
        at = state.epoch - begin
        tally = begin_epoch(how, state)
        state, tally = steps(objective, how, state, rows, tally, guarded=guarded)
        state, record = end_epoch(objective, how, state, tally, validation, sample)
        return state, {name: history[name].at[at].set(record[name]) for name in names}

    def due(carry):
        return running(how, carry[0]) & (carry[0].epoch < until)

    return lax.while_loop(due, body, (state, {name: jnp.zeros(length) for name in names}))


def begin_epoch(how: Recipe, state: State) -> Tally:
    """The empty tally of a new epoch."""
    zero = jnp.float32(0)
    rate = recipe.learning_rate(how, state.epoch.astype(jnp.float32), state.step)
    wanted = diagnostics.is_wanted("gradient_norm", how.diagnostics)
    return Tally(zero, zero, zero, rate, diagnostics.no_norms(state.params) if wanted else None)


def steps(
    objective: Objective,
    how: Recipe,
    state: State,
    rows: ArrayRows,
    tally: Tally,
    *salts: Array,
    guarded: bool,
) -> tuple[State, Tally]:
    """Train one step per batch, on all rows of an epoch or on one chunk of a stream.

    ``salts`` are the chunk's number, because every chunk is shuffled differently. A guarded step
    that is not finite is skipped. Unguarded steps are faster, equal to the bit while all steps are
    finite, and otherwise worthless, which `sound` finds out afterwards.
    """
    count = rows.count
    size = min(how.batch_size, len(rows.weight))  # a larger batch would only be padding
    fewest = batching.fewest_rows(objective, state.stats)
    length = -(-len(rows.weight) // size) * size
    if how.shuffle:
        order = batching.epoch_order(state.key, state.epoch, count, length, *salts)
    else:
        order = jnp.minimum(jnp.arange(length), count - 1)
    epoch = state.epoch.astype(jnp.float32)

    def body(i, carry):
        state, tally = carry
        begin, end = batch_bounds(i, size, count, fewest)
        real = begin + jnp.arange(size) < end
        at = lax.dynamic_slice_in_dim(order, begin, size)
        take = lambda a: a.at[at].get(mode="promise_in_bounds")  # noqa: E731
        batch_weight = jnp.where(real, take(rows.weight), 0)
        x = take(rows.x) if shares_batches() else gather(rows.x, at)
        batch = across_data(Batch(x, take(rows.label), batch_weight, epoch))
        state, loss, finite, gradient = _step(
            objective, how, state, batch, jax.random.fold_in(state.key, state.step), guarded
        )
        counted = jnp.where(finite, jnp.sum(batch_weight), 0)
        tally = tally._replace(
            loss=tally.loss + jnp.where(finite, loss, 0) * counted,
            weight=tally.weight + counted,
            skipped=tally.skipped + ~finite,
            norms=diagnostics.add_norms(tally.norms, gradient, finite),
        )
        return state, tally

    return lax.fori_loop(0, (count + size - 1) // size, body, (state, tally))


def end_epoch(
    objective: Objective,
    how: Recipe,
    state: State,
    tally: Tally,
    validation: ArrayRows | None,
    sample: ArrayRows | None,
) -> tuple[State, dict[str, Array]]:
    """Count the epoch, keep it if it is the best, and return the new state and its record.

    ``sample`` is the rows for diagnostics, from `diagnostics.sample`; None if there are none.
    """
    total, weight = tally.loss, tally.weight
    record = {
        "loss": jnp.where(weight > 0, total / jnp.maximum(weight, 1e-12), jnp.nan),
        "learning_rate": tally.learning_rate,
        "skipped": tally.skipped,
    }
    watched = record["loss"]
    if validation is not None:
        watched = _validate(objective, state, validation, how.batch_size)
        record["validation_loss"] = watched
    if sample is not None:
        record |= _diagnose(objective, how, state, tally, sample)
    if state.best is not None:
        better = watched < state.best.loss - how.min_delta
        best = Best(state.params, state.stats, watched, state.epoch)
        state = state._replace(
            best=_choose(better, best, state.best), waited=jnp.where(better, 0, state.waited + 1)
        )
    return state._replace(epoch=state.epoch + 1), record


def sound(before: State, state: State) -> Array:
    """Whether all unguarded steps between two states were finite, so that none had to be skipped.

    A loss or statistic that is not finite is counted when it occurs. Parameters and the optimizer's
    state stay infinite or NaN once they are, so it is enough to look at the last ones.
    """
    first = before.params, before.opt_state
    last = state.params, state.opt_state
    return (state.skipped == before.skipped) & _stays_finite(last, first)


def _step(
    objective: Objective, how: Recipe, state: State, batch: Batch, key: Key, guarded: bool
) -> tuple[State, Array, Array, Params]:
    total = jnp.maximum(jnp.sum(batch.weight), 1e-12)

    def mean_loss(params):
        values, stats = objective.loss(params, state.stats, batch, key)
        return jnp.sum(values * batch.weight) / total, stats

    (loss, stats), gradient = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
    update, opt_state = recipe.optimizer(how).update(gradient, state.opt_state, state.params)
    rate = recipe.learning_rate(how, batch.epoch, state.step)
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, update)
    finite = jnp.isfinite(loss) & _stays_finite(stats, state.stats)
    if guarded:
        new, old = (params, stats, opt_state), (state.params, state.stats, state.opt_state)
        finite = finite & _stays_finite(new, old)
        params, stats, opt_state = _choose(finite, new, old)
    state = state._replace(
        params=params,
        stats=stats,
        opt_state=opt_state,
        step=state.step + 1,
        skipped=state.skipped + ~finite,
        streak=jnp.where(finite, 0, state.streak + 1),
    )
    return state, loss, finite, gradient


def _stays_finite(new: Any, old: Any) -> Array:
    """Whether every number that was finite still is; leaves that are the same need no look."""
    finite = jnp.bool_(True)
    for after, before in zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True):
        if after is not before and jnp.issubdtype(after.dtype, jnp.inexact):
            finite = finite & jnp.all(jnp.isfinite(after) | ~jnp.isfinite(before))
    return finite


def _diagnose(
    objective: Objective, how: Recipe, state: State, tally: Tally, sample: ArrayRows
) -> dict[str, Array]:
    """The records of the recipe's diagnostics, as if the run ended with this epoch."""
    stats = finish(objective, state.params, state.stats, sample)
    measured = diagnostics.measure(objective, how.diagnostics, state.params, stats, sample)
    return diagnostics.mean_norms(tally.norms) | measured


def _validate(objective: Objective, state: State, rows: ArrayRows, size: int) -> Array:
    """The weighted mean loss of the validation rows, without dropout or noise."""
    stats = pool(objective, state.params, state.stats, rows)

    def add(carry, batch):
        total, weight = carry
        values, _ = objective.loss(state.params, stats, batch, None)
        return total + jnp.sum(values * batch.weight), weight + jnp.sum(batch.weight)

    zeros = jnp.float32(0), jnp.float32(0)
    fewest = batching.fewest_rows(objective, state.stats)
    total, weight = rows.fold(add, zeros, chunk=size, fewest=fewest)
    return total / jnp.maximum(weight, 1e-12)


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)
