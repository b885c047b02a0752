"""Mutants of batches, and of the rows in memory: orders, bounds, chunks, padding."""

from tests.mutants.mutant import of

_BATCHING = (
    *("tests/training/test_batching.py", "tests/test_survivors.py"),
    "tests/test_mended.py",
)
_ROWS = (
    *("jaxad/rows.py", "tests/test_rows.py", "tests/training/test_scoring.py"),
    *("tests/test_mended.py", "tests/training/test_training.py"),
)

MUTANTS = [
    *of(
        "jaxad/training/batching.py",
        ("tests/test_survivors.py::test_every_epoch_and_chunk_has_its_own_order", *_BATCHING),
        (
            "words(key, (max(24, rounds_for(length.bit_length())), 2), epoch, *others)",
            "words(key, (max(24, rounds_for(length.bit_length())), 2), 0 * epoch, *others)",
            "every epoch has the same order",
        ),
    ),
    *of(
        "jaxad/training/batching.py",
        _BATCHING,
        (
            "rounds = jnp.maximum(24, rounds_for(32 - lax.clz(count.astype(jnp.int32))))",
            "rounds = 4",
            "the shuffle is a poor one",
        ),
        (
            "partner = pivots[i] + count - row",
            "partner = pivots[i] + count - row + 1",
            "the partner's partner is another row, so the order is no permutation",
        ),
        (
            "row = jnp.where(position < count, position, 0)",
            "row = position",
            "the order has rows that are padding",
        ),
        (
            "return 1 if needed is None else max(1, int(needed(stats)))",
            "return 1",
            "what a batch needs is not asked",
        ),
        (
            "mixed = (jnp.maximum(row, partner) ^ salts[i])",
            "mixed = (row ^ salts[i])",
            "a row and its partner decide differently, so the order is no permutation",
        ),
    ),
    *of(
        "jaxad/rows.py",
        _ROWS,
        (
            "fresh = (row >= begin) & (row < end)",
            "fresh = row < end",
            "rows of a chunk that reaches back count twice",
        ),
        (
            "extent = jnp.max(jnp.where(self.weight > 0, place, 0))",
            "extent = jnp.sum(self.weight > 0)",
            "rows after one of weight 0 are left out",
        ),
        (
            "begin, end = number * size, jnp.minimum(number * size + size, count)",
            "begin, end = number * size, number * size + size",
            "the last batch has rows of padding",
        ),
        (
            "shares, cut = (left < fewest) & (last > 0), count - (size + left) // 2",
            "shares, cut = (left < fewest) & (last > 0), count - left",
            "a last batch of too few rows stays so",
        ),
        (
            "shares, cut = (left < fewest) & (last > 0)",
            "shares, cut = (left <= fewest) & (last > 0)",
            "a last batch of just enough rows is shared out",
        ),
        (
            "whole[len(values) :] = values[:1]",
            "whole[len(values) :] = 0",
            "rows of padding are zeros, where a network may not be finite",
        ),
        (
            "share = added / jnp.maximum(total + added, 1e-12)",
            "share = added / jnp.maximum(total, 1e-12)",
            "the mean weighs chunks wrongly",
        ),
        (
            "begin = jnp.minimum(i * chunk, total - chunk)",
            "begin = i * chunk",
            "the last chunk of rows is written in the wrong place",
            "slices that reach beyond the end are moved back by JAX in reading as in writing, by "
            "the same number of rows",
        ),
        (
            "step = 1 << (octave - (1 if count <= 65_536 else 3))",
            "step = 1 << (octave - 3)",
            "padded sizes have eight steps an octave, so more programs are compiled",
        ),
        (
            "if values.shape[-1:] != (len(x),) or values.ndim > 2:",
            "if values.ndim > 2:",
            "labels or weights of a wrong length are not refused",
        ),
        (
            "if x.ndim < 2 or len(x) == 0:",
            "if x.ndim < 2:",
            "no rows are not refused",
        ),
    ),
    *of(
        "jaxad/rows.py",
        (
            "tests/test_rows.py::test_rows_that_are_taken_keep_their_own_labels_and_weights",
            "tests/test_rows.py",
        ),
        (
            "return dataclasses.replace(self, x=x, label=label, weight=weight)",
            "return dataclasses.replace(self, x=x, label=label, weight=self.weight[: len(x)])",
            "rows that are taken have the weights of others",
        ),
    ),
    *of(
        "jaxad/rows.py",
        ("tests/test_rows.py::test_chunks_beyond_the_count_are_not_computed", "tests/test_rows.py"),
        (
            "wanted = total if count is None else count",
            "wanted = total",
            "chunks of padding are computed, too",
        ),
    ),
    *of(
        "jaxad/rows.py",
        (
            "tests/training/test_scoring.py::test_small_integers_are_scored_as_numbers",
            "tests/training/test_scoring.py",
        ),
        (
            "block = np.ascontiguousarray(self.x[start : start + share], np.float32)",
            "block = np.ascontiguousarray(self.x[start : start + share])",
            "rows to score keep their type",
        ),
    ),
]
