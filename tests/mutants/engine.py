"""Mutants of the engine and of recipes: guard, patience, validation, schedules, keys, masks."""

from tests.mutants.mutant import of

_SURVIVORS = "tests/test_survivors.py"
_ENGINE = (_SURVIVORS, "tests/training/test_training.py")
_GUARD = ("tests/training/test_guard.py", _SURVIVORS)

MUTANTS = [
    *of(
        "jaxad/training/engine.py",
        ("tests/test_survivors.py::test_every_step_has_its_own_key", *_ENGINE),
        (
            "objective, how, state, batch, jax.random.fold_in(state.key, state.step), guarded",
            "objective, how, state, batch, state.key, guarded",
            "every step draws the same noise",
        ),
        (
            "jax.random.fold_in(state.key, state.step), guarded",
            "jax.random.fold_in(state.key, i), guarded",
            "every epoch draws the same noise",
        ),
        (
            "run_key = jax.random.fold_in(key, 1)",
            "run_key = jax.random.fold_in(jax.random.key(0), 1)",
            "the key of a run is ignored in its steps",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        ("tests/test_survivors.py::test_the_loss_of_an_epoch_is_the_mean_over_rows", *_ENGINE),
        (
            "counted = jnp.where(finite, jnp.sum(batch_weight), 0)",
            "counted = jnp.where(finite, 1.0, 0)",
            "the loss of an epoch is the mean of its batches' means",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        (
            "tests/test_survivors.py::test_the_rate_is_that_of_the_step_and_decays_by_steps",
            *_ENGINE,
        ),
        (
            "rate = recipe.learning_rate(how, batch.epoch, state.step)",
            "rate = recipe.learning_rate(how, batch.epoch, state.step + 1)",
            "a step has the rate of the next one",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        ("tests/test_survivors.py::test_a_decrease_below_min_delta_is_no_improvement", *_ENGINE),
        (
            "better = watched < state.best.loss - how.min_delta",
            "better = watched < state.best.loss",
            "min_delta is not used",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        ("tests/test_survivors.py::test_a_finite_step_ends_the_series_of_skipped_ones", *_ENGINE),
        (
            "streak=jnp.where(finite, 0, state.streak + 1),",
            "streak=jnp.where(finite, state.streak, state.streak + 1),",
            "a finite step does not end the series of skipped ones",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        (
            "tests/test_survivors.py::test_validation_is_in_evaluation_mode_and_rows_held_out_do_not_train",
            *_ENGINE,
        ),
        (
            "values, _ = objective.loss(state.params, stats, batch, None)",
            "values, _ = objective.loss(state.params, stats, batch, state.key)",
            "validation is in training mode",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        (
            "tests/test_survivors.py::test_a_step_with_a_gradient_that_is_not_finite_is_skipped",
            *_ENGINE,
        ),
        (
            "finite = finite & _stays_finite(new, old)\n        params",
            "params",
            "a step whose gradient is not finite is taken",
        ),
    ),
    *of(
        "jaxad/training/recipe.py",
        (
            "tests/test_survivors.py::test_the_rate_is_that_of_the_step_and_decays_by_steps",
            *_ENGINE,
        ),
        (
            "rate = recipe.learning_rate / (1 + recipe.time_decay * step)",
            "rate = recipe.learning_rate / (1 + recipe.time_decay * epoch)",
            "the rate decays by epochs",
        ),
    ),
    *of(
        "jaxad/training/recipe.py",
        ("tests/test_survivors.py::test_kernels_decay_after_clipping_and_biases_do_not", *_ENGINE),
        (
            "jax.tree.map(lambda leaf: leaf.ndim > 1, params)",
            "jax.tree.map(lambda leaf: leaf.ndim > 0, params)",
            "biases decay",
        ),
        (
            "chain.append(optax.add_decayed_weights(recipe.weight_decay, _is_kernel))",
            "chain.insert(0, optax.add_decayed_weights(recipe.weight_decay, _is_kernel))",
            "the gradient is clipped after the weights decay",
        ),
    ),
    *of(
        "jaxad/training/recipe.py",
        ("tests/test_survivors.py::test_amsgrad_remembers_the_largest_gradient", *_ENGINE),
        (
            '"amsgrad": optax.scale_by_amsgrad,',
            '"amsgrad": optax.scale_by_adam,',
            "amsgrad is Adam",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        _ENGINE,
        (
            "return total + jnp.sum(values * batch.weight), weight + jnp.sum(batch.weight)",
            "return total + jnp.mean(values * batch.weight), weight + jnp.sum(batch.weight)",
            "the validation loss sums means of chunks",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        _GUARD,
        (
            "finite = jnp.isfinite(loss) & _stays_finite(stats, state.stats)",
            "finite = jnp.isfinite(loss)",
            "a step that spoils a statistic is counted as finite",
        ),
        (
            "params, stats, opt_state = _choose(finite, new, old)",
            "params, stats, _ = _choose(finite, new, old)",
            "a skipped step spoils the optimizer's state",
        ),
        (
            "(state.skipped == before.skipped) & _stays_finite(last, first)",
            "state.skipped == before.skipped",
            "infinite parameters after quick steps are not noticed",
        ),
        (
            "due = (state.epoch < how.epochs) & (state.streak < how.max_skipped)",
            "due = state.epoch < how.epochs",
            "a run whose steps are all skipped goes on",
        ),
        (
            "skipped=state.skipped + ~finite,",
            "skipped=state.skipped,",
            "skipped steps are not counted",
        ),
        (
            "step=state.step + 1,",
            "step=state.step + finite,",
            "skipped steps are not steps, and the next draws their noise again",
        ),
        (
            "loss=tally.loss + jnp.where(finite, loss, 0) * counted,",
            "loss=tally.loss + loss * counted,",
            "a skipped step makes the loss of its epoch NaN",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        ("tests/training/test_training.py", _SURVIVORS, "tests/estimators/test_validation.py"),
        (
            "waited=jnp.where(better, 0, state.waited + 1)",
            "waited=state.waited + 1",
            "patience counts all epochs, not those since the best",
        ),
        (
            "return due if how.patience is None else due & (state.waited < how.patience)",
            "return due if how.patience is None else due & (state.waited <= how.patience)",
            "patience waits one epoch more",
        ),
        (
            "best = Best(state.params, state.stats, watched, state.epoch)",
            "best = Best(state.params, state.stats, watched, state.epoch + 1)",
            "the number of the best epoch is off by one",
        ),
        (
            "best=_choose(better, best, state.best), waited",
            "best=best, waited",
            "patience restores the last epoch",
        ),
        (
            "watched = _validate(objective, state, validation, how.batch_size)",
            "_validate(objective, state, validation, how.batch_size)",
            "the validation loss is not the validation rows'",
        ),
        (
            "return jnp.sum(values * batch.weight) / total, stats",
            "return jnp.mean(values), stats",
            "padding rows count in the loss",
        ),
        (
            "begin_epoch(how, state)\n        state, tally = steps(",
            "begin_epoch(how, state)\n        tally = tally._replace(weight=tally.weight + 1)\n"
            "        state, tally = steps(",
            "the loss of an epoch counts a row too many",
        ),
        (
            "batch_weight = jnp.where(real, take(rows.weight), 0)",
            "batch_weight = take(rows.weight)",
            "rows that fill the last batch count as real",
        ),
        (
            "rate = recipe.learning_rate(how, state.epoch.astype(jnp.float32), state.step)",
            "rate = recipe.learning_rate(how, state.epoch.astype(jnp.float32) + 1, state.step)",
            "the recorded rate is that of the next epoch",
        ),
    ),
    *of(
        "jaxad/training/recipe.py",
        _ENGINE,
        (
            "jnp.where(epoch >= milestone, recipe.milestone_factor, 1)",
            "jnp.where(epoch > milestone, recipe.milestone_factor, 1)",
            "a milestone acts one epoch late",
        ),
        (
            "rate = rate * jnp.where(epoch >= milestone",
            "rate = recipe.learning_rate * jnp.where(epoch >= milestone",
            "only the last milestone acts",
        ),
        (
            "chain.append(optax.add_decayed_weights(recipe.decoupled_weight_decay, _is_kernel))",
            "chain.insert(0, optax.add_decayed_weights(recipe.decoupled_weight_decay, _is_kernel))",
            "decoupled weight decay is coupled",
        ),
    ),
    *of(
        "jaxad/training/diagnostics.py",
        ("tests/training/test_diagnostics.py",),
        (
            "evenly = place * (total // size) + place * (total % size) // size",
            "evenly = place",
            "diagnostics look at the first rows alone",
        ),
        (
            "jnp.where(place < total, rows.weight[at], 0)",
            "rows.weight[at]",
            "rows that fill the sample count",
        ),
        (
            'f"gradient_norm/{name}": total / norms.steps',
            'f"gradient_norm/{name}": total',
            "gradients are summed over an epoch, not averaged",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        ("tests/test_mended.py",),
        (
            "fewest = batching.fewest_rows(objective, state.stats)\n    length",
            "fewest = 1\n    length",
            "a last batch of too few rows trains by itself",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        ("tests/test_mended.py",),
        (
            "stats = pool(objective, state.params, state.stats, rows)",
            "stats = state.stats",
            "validation couples the rows of each chunk instead of all",
        ),
    ),
    *of(
        "jaxad/training/recipe.py",
        (
            "tests/training/test_training.py::test_a_recipe_out_of_range_is_named",
            "tests/training/test_training.py",
        ),
        (
            '"patience": Special(None, POSITIVE),',
            '"patience": Special(None, AT_LEAST_ZERO),',
            "a patience of 0 is accepted",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        (
            "tests/training/test_guard.py::test_a_statistic_that_is_infinite_from_the_start_skips_no_step",
            "tests/training/test_guard.py",
        ),
        (
            "jnp.all(jnp.isfinite(after) | ~jnp.isfinite(before))",
            "jnp.all(jnp.isfinite(after))",
            "a number that was infinite from the start spoils every step",
        ),
    ),
    *of(
        "jaxad/training/engine.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "objective.init(jax.random.fold_in(key, 0), x)",
            "objective.init(jax.random.key(0), x)",
            "the seed is ignored in drawing parameters",
        ),
    ),
]
