"""Mutants of populations: members, runners, threads, groups, and the end of a run."""

from tests.mutants.mutant import of

_SURVIVORS = "tests/test_survivors.py"
_POPULATION = ("tests/training/test_population.py",)
_HELD = (_SURVIVORS, *_POPULATION, "tests/training/test_guard.py")
_THREADS = ("tests/training/test_threads.py", *_POPULATION)

MUTANTS = [
    *of(
        "jaxad/training/runs.py",
        (
            "tests/test_survivors.py::test_a_population_restores_the_best_epoch_and_notices_that_all_steps_were_skipped",
            *_HELD,
        ),
        (
            "params, stats, *_ = state.best or (state.params, state.stats)\n"
            "        return params, self.call(programs.finish, (params, stats))",
            "params, stats = state.params, state.stats\n"
            "        return params, self.call(programs.finish, (params, stats))",
            "with patience the last weights are returned, not the best",
        ),
        (
            "stuck = (self.streak >= how.max_skipped) | (skipped == steps)",
            "stuck = self.streak >= how.max_skipped",
            "a run whose few steps were all skipped has not failed",
        ),
    ),
    *of(
        "jaxad/training/runs.py",
        _HELD,
        (
            "history={k: v[p, : self.epochs[p]] for k, v in self.history.items()},",
            "history={k: v[p] for k, v in self.history.items()},",
            "a member's history has the epochs of the longest",
        ),
        (
            "failed = failed | _diverged(own.objective, model, figures, data, joined)",
            "failed = failed & _diverged(own.objective, model, figures, data, joined)",
            "a member that failed is not marked",
        ),
        (
            "group = min(group, total - int(before.min()))",
            "group = min(group, total)",
            "a group of epochs is longer than what is left",
            "the compiled loop ends by itself at the recipe's epochs, so a longer group trains the "
            "same epochs",
        ),
        (
            "if not np.any(of & on_host(result[2])):\n                break",
            "if not np.any(of):\n                break",
            "members that have ended are trained on in a guarded group",
            "an epoch after the end of a run changes no state, and its records are not entered "
            "into the history",
        ),
    ),
    *of(
        "jaxad/training/members.py",
        _POPULATION,
        (
            "return np.pad(values, ((0, 0), (0, size - count)))",
            'return np.pad(values, ((0, 0), (0, size - count)), mode="edge")',
            "weights of members are padded by the last one",
        ),
        (
            "real = jnp.arange(len(self.index)) < self.data.count",
            "real = jnp.arange(len(self.index)) <= self.data.count",
            "a row that fills a subset counts",
        ),
        (
            "if len(set(lengths.values())) > 1:",
            "if len(set(lengths.values())) > 2:",
            "axes over members may differ in length",
        ),
        (
            "lambda mine, ours: ours if mine is None else mine, own, shared",
            "lambda mine, ours: mine if ours is None else ours, own, shared",
            "shared leaves come before a member's own",
            "a leaf that is set in one of the two is None in the other, as `Member` says",
        ),
        (
            "if rows.dtype == bool and rows.shape == (count,):",
            "if False:",
            "booleans for a subset are refused",
        ),
    ),
    *of(
        "jaxad/training/runners.py",
        _THREADS,
        (
            "return jax.tree.map(lambda leaf: leaf[: self.size], tree)",
            "return jax.tree.map(lambda leaf: leaf[-self.size :], tree)",
            "the first members are left out, not the repeated last ones",
        ),
        (
            "side_by_side = min(SIDE_BY_SIDE, -(-size // _LEAST_GROUPS))",
            "side_by_side = min(thread_count(), SIDE_BY_SIDE, -(-size // _LEAST_GROUPS))",
            "the number of members side by side depends on the threads, and so does rounding",
        ),
    ),
    *of(
        "jaxad/training/trees.py",
        ("tests/training/test_trees.py", *_THREADS),
        (
            "if is_key(old):\n            return old",
            "if is_key(old):\n            return new",
            "keys are those of the new tree",
            "a run never changes its key, so both are the same",
        ),
    ),
    *of(
        "jaxad/training/history.py",
        _POPULATION,
        (
            "constant_values=np.nan",
            "constant_values=0",
            "after a member's last epoch its history is 0",
        ),
        (
            "history[row, before[row] + column] = values[row, column]",
            "history[row, column] = values[row, column]",
            "a later group overwrites the first epochs",
        ),
    ),
    *of(
        "jaxad/training/runs.py",
        ("tests/test_mended.py",),
        (
            "return (self.skipped > 0) & stuck | self.unwatched",
            "return (self.skipped > 0) & stuck",
            "a run whose watched loss was never finite has not failed",
        ),
    ),
    *of(
        "jaxad/training/runs.py",
        ("tests/test_mended.py",),
        (
            "found[tuple(place)] = not (gather_arrays(finite).any() if joined else finite)",
            "found[tuple(place)] = False",
            "a run that diverged in its last steps has not failed",
        ),
    ),
    *of(
        "jaxad/training/runs.py",
        (
            "tests/training/test_guard.py::test_only_members_that_need_it_are_trained_again",
            "tests/training/test_guard.py",
        ),
        (
            "column[...] = np.where(of, values[..., 0], column)",
            "column[...] = values[..., 0]",
            "records of members that were trained once are overwritten",
        ),
    ),
    *of(
        "jaxad/training/members.py",
        (
            "tests/training/test_population.py::test_invalid_arguments_raise_before_compiling",
            "tests/training/test_population.py",
        ),
        (
            "if not whole or rows.min() < 0 or rows.max() >= count:",
            "if not whole or rows.max() >= count:",
            "negative row numbers are accepted",
        ),
    ),
    *of(
        "jaxad/training/runners.py",
        (
            "tests/training/test_threads.py::test_members_with_similar_numbers_of_rows_are_in_one_group",
            "tests/training/test_threads.py",
        ),
        (
            'if counts is None else np.argsort(-np.asarray(counts), kind="stable")',
            "if True else None",
            "members with few rows are padded to those with many",
        ),
    ),
    *of(
        "jaxad/training/members.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            "keys = jax.random.split(keys, size)",
            "keys = jax.numpy.stack([keys] * size)",
            "all members have one key",
        ),
    ),
]
