"""Mutants of streams: chunks, orders over chunks, incremental training."""

from tests.mutants.mutant import of

_STREAMS = (
    *("tests/test_rows.py", "tests/data/test_sources.py", "tests/training/test_streaming.py"),
    *("tests/estimators/test_streaming.py", "tests/test_mended.py"),
)
_PARTIAL = ("tests/estimators/test_streaming.py", "tests/test_mended.py", "tests/test_defects.py")

MUTANTS = [
    *of(
        "jaxad/training/programs.py",
        ("tests/test_survivors.py::test_every_epoch_and_chunk_has_its_own_order", *_STREAMS),
        (
            "inputs = member.objective, member.recipe, state, rows, tally, number",
            "inputs = member.objective, member.recipe, state, rows, tally, 0 * number",
            "all chunks of a stream have the same order",
        ),
    ),
    *of(
        "jaxad/training/programs.py",
        ("tests/test_survivors.py", *_STREAMS),
        (
            "rows = dataclasses.replace(rows, count=jnp.where(trains, rows.count, 0))",
            "rows = dataclasses.replace(rows)",
            "a member that has ended trains on chunks",
        ),
        (
            "state = jax.tree.map(lambda new, old: jnp.where(due, new, old), state, before)",
            "state = jax.tree.map(lambda new, old: new, state, before)",
            "a member that has ended counts further epochs of a stream",
        ),
        (
            "validation = None if member.validation is None else member.validation.selected()\n"
            "    inputs = member.objective, member.recipe, state, member.rows",
            "validation = None if member.validation is None else member.rows.selected()\n"
            "    inputs = member.objective, member.recipe, state, member.rows",
            "the validation loss is that of the training rows",
        ),
    ),
    *of(
        "jaxad/rows.py",
        _STREAMS,
        (
            "missing -= len(held[-1][0])",
            "missing -= len(held[0][0])",
            "chunks of a stream have other sizes",
        ),
        (
            "x, label = x[missing:], label[missing:]",
            "x, label = x[missing:], label[:-missing]",
            "labels go to other rows where chunks are cut",
        ),
        (
            "cut = len(x) - (min(batch, len(held[0])) + len(block[0])) // 2",
            "cut = len(x) - len(block[0])",
            "a last chunk of too few rows stays so",
        ),
        (
            "if len(block[0]) < self.rows // 2:",
            "if len(block[0]) > self.rows // 2:",
            "whole chunks are joined, and short ones are not",
        ),
        (
            "both = function if first is None else lambda x: function(first(x))",
            "both = function",
            "a second transform replaces the first",
        ),
        (
            "both = lambda batch: weigh(batch._replace(weight=first(batch)))",
            "both = lambda batch: weigh(batch)",
            "a second weighing forgets the first",
        ),
        (
            "return rows if self.weigh is None else rows.reweigh(self.weigh)",
            "return rows",
            "the weights of a stream are not used",
        ),
        (
            "known = np.isin(label, (-1, 0, 1)) & (label.dtype != bool)",
            "known = np.isin(label, (-1, 0, 1))",
            "booleans are taken for labels of a stream",
        ),
        (
            "row = int(np.argmin(known))\n        raise ValueError(\n"
            '            f"the label of row {start + row}',
            "row = int(np.argmin(known))\n        raise ValueError(\n"
            '            f"the label of row {row}',
            "the error names a row of the block, not of the source",
        ),
        (
            "start += len(x)\n        if not start:",
            "start = len(x)\n        if not start:",
            "errors count rows from the block",
        ),
    ),
    *of(
        "jaxad/estimators/incremental.py",
        _PARTIAL,
        (
            "rate = run.recipe.learning_rate * share",
            "rate = run.recipe.learning_rate",
            "a single row moves the parameters as far as a batch",
        ),
        (
            "refits = not continues or recent.fitted or len(recent.rows.x) >= ENOUGH",
            "refits = True",
            "statistics after fit are refitted to a single row",
        ),
        (
            "kept = min(len(recent.rows.x), max(0, WINDOW - len(rows.x)))",
            "kept = 0",
            "earlier calls are forgotten",
        ),
        (
            "return ArrayRows(*(np.array(leaf[-WINDOW:]) for leaf in leaves))",
            "return ArrayRows(*(np.array(leaf[:WINDOW]) for leaf in leaves))",
            "the oldest rows are kept, not the newest",
        ),
        (
            '"statistics": recent.rows if refits else None',
            '"statistics": None',
            "exact statistics are those of the last call's rows",
        ),
        (
            "result = result._replace(history=joined(before, result.history))",
            "result = result._replace(history=result.history)",
            "the history has the last call alone",
        ),
        (
            "detector._state = state",
            "detector._state = None",
            "every call begins with a new optimizer",
        ),
    ),
    *of(
        "jaxad/training/runs.py",
        ("tests/training/test_guard.py", "tests/estimators/test_streaming.py"),
        (
            "if not mark_failures and np.any(figures.failed(how, before)):",
            "if not mark_failures and np.any(figures.failed(how)):",
            "a call of which all steps were skipped does not fail, if earlier calls were finite",
        ),
        (
            "history.enter(run.call.outcome(on_host(record)), began - first, done - first)",
            "history.enter(run.call.outcome(on_host(record)), began, done)",
            "the history of a later call begins with epochs that are not its own",
        ),
    ),
]
