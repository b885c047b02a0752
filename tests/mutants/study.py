"""Mutants of studies: statistics, probes, resumed tables."""

from tests.mutants.mutant import of

_STATISTICS = ("tests/study/test_statistics.py",)
_COMPARE = ("tests/study/test_compare.py",)

MUTANTS = [
    *of(
        "jaxad/study/statistics.py",
        _STATISTICS,
        (
            "return np.round(difference[~np.isnan(difference)], DIGITS)",
            "return difference[~np.isnan(difference)]",
            "rounding breaks ties",
        ),
        (
            "p = float(2 * stats.t.sf(abs(mean) / error, sets - 1)) if varies else math.nan",
            "p = float(stats.t.sf(abs(mean) / error, sets - 1)) if varies else math.nan",
            "the test has one side",
        ),
        (
            "error = float(difference.std(ddof=1) / math.sqrt(sets)) if sets > 1 else math.nan",
            "error = float(difference.std() / math.sqrt(sets)) if sets > 1 else math.nan",
            "the standard error is too small",
        ),
        (
            "stats.norm.sf(math.sqrt(count / (count - 1)) * stats.t.isf(level / 2, count - 1))",
            "stats.norm.sf(stats.t.isf(level / 2, count - 1))",
            "the bootstrap interval is not expanded",
        ),
        (
            "return min(1.0, 2 * float(chance[: min(positive, negative) + 1].sum()))",
            "return min(1.0, 2 * float(chance[: min(positive, negative)].sum()))",
            "the observed sum does not count in the p-value",
        ),
        (
            "for rank in ranks[values != 0]:",
            "for rank in ranks:",
            "differences of zero have signs",
        ),
        (
            "highest = max(highest, min(1.0, (len(order) - rank) * corrected[i]))",
            "highest = min(1.0, (len(order) - rank) * corrected[i])",
            "corrected p-values do not rise with the given ones",
        ),
        (
            "min(1.0, (len(order) - rank) * corrected[i])",
            "min(1.0, len(order) * corrected[i])",
            "the correction is Bonferroni's",
        ),
        (
            "stats.rankdata(-np.round(figures, DIGITS), axis=1).mean(axis=0)",
            "stats.rankdata(np.round(figures, DIGITS), axis=1).mean(axis=0)",
            "the worst has rank 1",
        ),
        (
            "math.sqrt(contenders * (contenders + 1) / (6 * sets))",
            "math.sqrt(contenders * (contenders - 1) / (6 * sets))",
            "the critical difference is too small",
        ),
        (
            "complete = figures.dropna()",
            "complete = figures.fillna(0)",
            "a set without a figure counts as 0",
        ),
    ),
    *of(
        "jaxad/study/compare.py",
        _COMPARE,
        (
            "adjusted = (precision - share) / (1 - share)",
            "adjusted = precision - share",
            "the adjusted precision has another scale",
        ),
        (
            "except json.JSONDecodeError:\n            continue",
            "except json.JSONDecodeError:\n            raise",
            "the last line of a killed run ends the next one",
        ),
        (
            "if row[what] != now:",
            "if False:",
            "rows of another study are taken over",
        ),
        (
            'file.write(("\\n" if broken else "") + json.dumps(known) + "\\n")',
            'file.write(json.dumps(known) + "\\n")',
            "a row is written behind a broken line",
        ),
    ),
    *of(
        "jaxad/study/probes.py",
        _COMPARE,
        (
            "if size == 0:",
            "if size < 0:",
            "a loss without a gradient is not noticed",
        ),
        (
            "if not _alike(together, apart, np.ptp(together)):",
            "if False:",
            "a score that depends on other rows is not noticed",
        ),
        (
            "elif not np.array_equal(scores, other):",
            "elif False:",
            "a detector that sees the test's labels is not noticed",
        ),
        (
            "return -np.asarray(detector.score_samples(x), np.float64)",
            "return np.asarray(detector.score_samples(x), np.float64)",
            "scores of scikit-learn have the wrong sign",
        ),
    ),
    *of(
        "jaxad/study/contenders.py",
        _COMPARE,
        (
            "arguments[seeded] = task.seed",
            "pass",
            "all seeds train alike",
        ),
    ),
    *of(
        "jaxad/study/runs.py",
        ("tests/study/test_report.py", *_COMPARE),
        (
            "complete = figures[list(contenders)].dropna()",
            "complete = figures[list(contenders)]",
            "means are over other seeds for each contender",
        ),
    ),
    *of(
        "jaxad/study/statistics.py",
        ("tests/study/test_statistics.py::test_a_pair_at_the_level_differs",),
        (
            "{int(j) for j in np.flatnonzero(row > level)} - {i}",
            "{int(j) for j in np.flatnonzero(row >= level)} - {i}",
            "a pair at the level does not differ",
        ),
    ),
    *of(
        "jaxad/study/runs.py",
        ("tests/robustness/test_unnoticed.py",),
        (
            'twice = table.duplicated(["set", "contender", "seed"])',
            'twice = table.duplicated(["set", "contender", "seed", "auroc"])',
            "a run may stand twice in a table with different figures",
        ),
    ),
]
