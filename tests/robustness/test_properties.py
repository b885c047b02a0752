"""Whatever a table, a label or a setting is: a clear error, or finite, repeatable, row-wise scores.

Hypothesis generates the inputs, the same in every run. For each of them `generated` knows whether
it is valid, and if not, what the error must say. An error is a ValueError or TypeError of jaxad,
raised before anything is compiled or trained.
"""

from collections import Counter

import cases
import jax
import numpy as np
import pytest
from generated import (
    TOO_LARGE,
    VALID,
    VALUES,
    attempt,
    check_early,
    check_refused,
    examples,
    labels,
    names,
    spread_problem,
    tables,
    weights,
)
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from jaxad import training
from jaxad.estimators import prepare

full = pytest.mark.full
pytestmark = [
    # Of constant tables, and of members that extreme rates have ruined.
    pytest.mark.filterwarnings("ignore::jaxad.estimators.base.CollapseWarning"),
    pytest.mark.filterwarnings("ignore:.*members .* are left out:RuntimeWarning"),
]
DETECTORS = cases.DETECTORS | {"ObjectiveDetector": cases.OF_AN_OBJECTIVE}
LEARNS_FROM_LABELS = ("DeepSAD", "ObjectiveDetector")
OTHER = np.random.default_rng(0).normal(size=(3, 2000))  # rows to score


def check_scores(detector, X, values):
    """Finite scores in the promised types, those of a row whatever rows are beside it."""
    n = len(values)
    score = detector.anomaly_score(X)
    assert type(score) is np.ndarray
    assert (score.shape, score.dtype) == ((n,), np.float64)
    assert np.isfinite(score).all()
    expected = np.where(score > detector.threshold_, -1, 1)
    np.testing.assert_array_equal(detector.predict(X), expected)
    # To the bit: all chunks that are computed at once have one size.
    plain = unnamed(detector)
    order = np.random.default_rng(n).permutation(n)
    np.testing.assert_array_equal(plain.anomaly_score(values[order]), score[order])
    for part in np.array_split(np.arange(n), 2):
        if len(part):
            np.testing.assert_array_equal(plain.anomaly_score(values[part]), score[part])
    return score


def unnamed(detector):
    """The same detector, for rows without names."""
    if not hasattr(detector, "feature_names_in_"):
        return detector
    plain = clone(detector)
    vars(plain).update(vars(detector))
    del plain.feature_names_in_
    return plain


def same_leaves(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


# Settings that compile nothing.
NUMBERS = {
    "scaler": ["auto", "standard", "minmax", "robust", "none"],
    "contamination": [0.0, 0.1, 0.5],
    "learning_rate": [1e-12, 1e-3, 1e-3, 1.0, 1e4, 1e30],
    "weight_decay": [1e-6, 1e4],
    "epochs": [0, 1, 1, 3],
    "random_state": [0, 2**32 - 1],
}
OWN_NUMBERS = {
    "DeepSVDD": {"nu": [1e-9, 0.1, 1.0]},
    "DeepSAD": {"eta": [1e-9, 1.0, 1e4], "epsilon": [1e-9, 1.0]},
    "DAGMM": {"lambda_energy": [0.0, 1e4], "lambda_covariance": [0.0, 1e4], "jitter": [1e-9, 1.0]},
    "GOAD": {"margin": [0.0, 1e4], "triplet_weight": [0.0, 1e4], "map_offset": [0.0, 1.0]},
}


def numbers(name):
    return {**NUMBERS, **OWN_NUMBERS.get(name, {})}


@pytest.mark.parametrize("name", list(DETECTORS))
@pytest.mark.parametrize(
    ("inputs", "widths"), [(25, (3,)), pytest.param(1000, (1, 3, 40), marks=full)]
)
def test_a_table_is_fitted_or_refused(name, inputs, widths, record_property):
    """Fitting twice gives the same bits, and leaves the table as it was."""
    count = Counter()

    @examples(inputs)
    @given(table=tables(widths), data=st.data())
    def check(table, data):
        x, n = table.values, len(table.values)
        settings = {key: data.draw(st.sampled_from(v), key) for key, v in numbers(name).items()}
        y, weight = data.draw(labels(n), "y"), data.draw(weights(n), "weight")
        kept = np.ones(n, bool) if weight.values is None else weight.values > 0
        problems = [table.problem, weight.problem]
        if name in LEARNS_FROM_LABELS:
            problems += [y.problem, problem_of_signs(name, y.values, kept)]
        if name == "DAGMM" and x.shape[1] == 1:
            problems.append("latent_dim=2 is more than the 1 features")
        if not any(problems):
            problems.append(spread_problem(settings["scaler"], x[kept]))
        problems = [problem for problem in problems if problem]
        before = table.X.copy() if isinstance(table.X, np.ndarray) else None
        detector = clone(DETECTORS[name]).set_params(**settings)
        tried = attempt(lambda: detector.fit(table.X, y.given, sample_weight=weight.given))
        if before is not None:
            assert before.tobytes() == table.X.copy().tobytes()
        if problems == ["unsure"]:
            return
        if problems:
            check_refused(tried, "|".join(f"({problem})" for problem in problems))
            assert not hasattr(detector, "params_")
            count["refused"] += 1
            return
        if isinstance(tried.error, training.NonFiniteError):
            assert "learning_rate" in str(tried.error)
            far = settings["scaler"] in ("none", "robust") and np.abs(x).max() > 1e3
            assert settings["learning_rate"] >= 1 or far, tried.error
            assert not hasattr(detector, "params_")
            count["diverged"] += 1
            return
        if tried.error is not None:
            raise tried.error
        again = clone(detector).fit(table.X, y.given, sample_weight=weight.given)
        same_leaves((detector.params_, detector.stats_), (again.params_, again.stats_))
        count["fitted"] += 1
        if not spread_fits(detector, x):
            return
        score = check_scores(detector, table.X, x)
        if weight.values is None:
            most = np.ceil(settings["contamination"] * (n - 1))
            assert (score > detector.threshold_).sum() <= most

    check()
    assert count["fitted"] > inputs / 3
    assert count["refused"] > inputs / 10
    record_property("inputs", inputs)
    for outcome, number in sorted(count.items()):
        record_property(outcome, number)


def problem_of_signs(name, y, kept):
    """What an error must say of valid labels, of the rows that count, or None."""
    found = set() if y is None else set(y[kept].tolist())
    if found == {0, 1}:
        return "y has values 0 and 1 and no -1"
    return "y marks every row as a known anomaly" if found == {-1} and name == "DeepSAD" else None


def spread_fits(detector, x):
    """Whether rows that did not count in the fit are close enough to be scored."""
    with np.errstate(all="ignore"):
        return np.abs((x - detector.scaler_.shift) * detector.scaler_.scale).max() < 1e15


ROWS = np.random.default_rng(0).normal(size=(40, 3))
SETTINGS = [
    (name, argument)
    for name, detector in DETECTORS.items()
    for argument in detector.get_params(deep=False)
]

# Batch normalisation and the mixture need some rows in every batch.
SMALLEST_BATCH = {"DeepSVDD": 3, "DeepSAD": 3, "DAGMM": 9}


def is_valid(name, argument, value):
    """Whether a detector must take a value of an argument, the others being small and usual."""
    if not VALID[argument](value):
        return False
    if argument == "batch_size":
        return value >= SMALLEST_BATCH.get(name, 1)
    return not (name == "DAGMM" and argument == "latent_dim" and value is not None and value > 3)


@pytest.mark.parametrize("one_in", [10, pytest.param(1, marks=full)])
def test_a_setting_is_taken_or_refused(one_in, record_property):
    """Every argument of every detector with values of every kind, or one in ten of these cases."""
    count = Counter()
    settings = [(*setting, value) for setting in SETTINGS for value in VALUES]
    for name, argument, value in settings[::one_in]:
        if type(value) is int and value == TOO_LARGE.get(argument):
            continue
        detector = clone(DETECTORS[name]).set_params(**{argument: value})
        case = f"{name}({argument}={value!r})"
        if is_valid(name, argument, value):
            count["taken"] += 1
            tried = attempt(lambda d=detector: prepare.plan(d, ROWS, None))
            assert tried.error is None, f"{case}: {tried.error!r}"
            assert tried.compilations == 0
        else:
            count["refused"] += 1
            tried = attempt(lambda d=detector: d.fit(ROWS))
            assert tried.error is not None, f"{case} is taken"
            check_early(tried)
            assert names(tried.error, {argument: value}), f"{case}: {tried.error!r}"
    record_property("inputs", count.total())
    for outcome, number in sorted(count.items()):
        record_property(outcome, number)
