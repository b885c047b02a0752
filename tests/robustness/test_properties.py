"""Whatever a table, a label or a setting is: a clear error, or finite, repeatable, row-wise scores.

Hypothesis generates the inputs, the same in every run. For each of them `generated` knows whether
it is valid, and if not, what the error must say. An error is a ValueError or TypeError of jaxad,
raised before anything is compiled or trained.
"""

from collections import Counter
from functools import cache

import cases
import jax
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from generated import (
    FARTHEST,
    TOO_LARGE,
    VALID,
    VALUES,
    attempt,
    chances,
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
from processes import run_alone
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
QUICK = ("DeepSAD", "DAGMM", "GOAD", "AutoEncoder")
LEARNS_FROM_LABELS = ("DeepSAD", "ObjectiveDetector")
ENSEMBLES = {  # of each kind of combination
    "DeepSVDD, mean": clone(DETECTORS["DeepSVDD"]).set_params(n_members=2, combine="mean"),
    "AutoEncoder, z": clone(DETECTORS["AutoEncoder"]).set_params(n_members=2, combine="z"),
    "DAGMM, rank": clone(DETECTORS["DAGMM"]).set_params(n_members=2, combine="rank"),
}
ROWS = np.random.default_rng(0).normal(size=(40, 3))


def tell(record_property, inputs, count):
    """State how many inputs there were, and how many had each outcome."""
    record_property("inputs", inputs)
    for outcome, number in sorted(count.items()):
        record_property(outcome, number)


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
    return renamed(detector, None) if hasattr(detector, "feature_names_in_") else detector


def renamed(detector, columns):
    """The same fitted detector, for rows with names of columns, or without."""
    other = clone(detector)
    vars(other).update(vars(detector))
    vars(other).pop("feature_names_in_", None)
    if columns is not None:
        other.feature_names_in_ = np.array(columns, object)
    return other


def same_leaves(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


# Numbers that compile nothing.
NUMBERS = {
    "scaler": ["auto", "auto", "standard", "minmax", "robust", "none"],
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


@pytest.mark.parametrize(
    ("name", "inputs", "widths"),
    [
        *((name, 40, (3,)) for name in QUICK),
        *(pytest.param(name, 600, (1, 3, 40), marks=full) for name in DETECTORS),
        *(pytest.param(name, 12, (2000,), marks=full) for name in DETECTORS),
    ],
)
def test_a_table_is_fitted_or_refused(name, inputs, widths, record_property):
    """Fitting twice gives the same bits, and leaves the table as it was."""
    count = Counter()

    @examples(inputs)
    @given(table=tables(widths), data=st.data())
    def check(table, data):
        x, n = table.values, len(table.values)
        if name == "ObjectiveDetector" and getattr(table.X, "ndim", 2) == 3:
            return  # it takes images, too
        chance = data.draw(chances(4))
        settings = {key: chance.one_of(choices) for key, choices in numbers(name).items()}
        y, weight = data.draw(labels(n), "y"), data.draw(weights(n), "weight")
        kept = np.ones(n, bool) if weight.values is None else weight.values > 0
        problems = [table.problem, weight.problem]
        if name in LEARNS_FROM_LABELS:
            problems += [y.problem, problem_of_signs(name, y.values, kept)]
        if name == "DAGMM" and x.shape[1] == 1:
            problems.append("latent_dim=2 is more than the 1 features")
        if table.problem is None and weight.problem is None:
            share = None if weight.values is None else weight.values[kept]
            problems.append(spread_problem(settings["scaler"], x[kept], share))
        problems = [problem for problem in problems if problem]
        before = table.X.copy() if isinstance(table.X, np.ndarray) else None
        detector = clone(DETECTORS[name]).set_params(**settings)
        tried = attempt(lambda: detector.fit(table.X, y.given, sample_weight=weight.given))
        if before is not None:
            assert before.tobytes() == table.X.copy().tobytes()
        if "unsure" in problems:
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
        # Weights that a rate of 1e30 has thrown far overflow with far rows that did not train them.
        untrained = not kept.all() and settings["learning_rate"] >= 1
        if untrained or not spread_fits(detector, x):
            return
        score = check_scores(detector, table.X, x)
        if weight.values is None:
            most = np.ceil(settings["contamination"] * (n - 1))
            assert (score > detector.threshold_).sum() <= most

    check()
    assert count["fitted"] > inputs / 8
    assert count["refused"] > inputs / 20
    tell(record_property, inputs, count)


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


@cache
def fitted(name):
    """A detector for rows without names, and the same for rows with names."""
    detector = clone((DETECTORS | ENSEMBLES)[name]).fit(ROWS)
    return detector, renamed(detector, ["f0", "f1", "f2"])


def has_names(X):
    names = getattr(X, "column_names", getattr(X, "columns", [0]))
    return isinstance(list(names)[0], str)


def problem_of_scoring(detector, table):
    """What an error must say when a detector of 3 columns scores a table, or None."""
    problems = [table.problem]
    if table.values.shape[1] != 3:
        problems.append("X has 2 features|The feature names should match")
    if not any(problems):
        scaler = detector.scaler_
        scaled = (table.values.astype(np.longdouble) - scaler.shift) * scaler.scale
        largest = float(np.abs(scaled).max())
        if 0.99 < largest / FARTHEST < 1.01:
            return "unsure"
        problems.append(r"X\[\d+, \d+\]=.* is too far" if largest > FARTHEST else None)
    return "|".join(f"({problem})" for problem in problems if problem) or None


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        *((name, 30) for name in QUICK),
        *(pytest.param(name, 700, marks=full) for name in (*DETECTORS, *ENSEMBLES)),
    ],
)
def test_rows_are_scored_or_refused(name, inputs, record_property):
    """By a fitted detector, which the rows do not change."""
    count = Counter()
    detectors = fitted(name)

    @examples(inputs)
    @given(table=tables((3, 3, 3, 2), rows=(1, 40), fewest=1))
    def check(table):
        detector = detectors[has_names(table.X)]
        problem = problem_of_scoring(detector, table)
        if problem == "unsure":
            return
        if problem is None:
            count["scored"] += 1
            check_scores(detector, table.X, table.values)
        else:
            count["refused"] += 1
            check_refused(attempt(lambda: detector.anomaly_score(table.X)), problem)

    check()
    assert count["scored"] > inputs / 6
    assert count["refused"] > inputs / 6
    tell(record_property, inputs, count)


@pytest.mark.parametrize("inputs", [pytest.param(300, marks=full)])
def test_contributions_come_as_the_rows_did(inputs, record_property):
    """In a frame of the same library with the same columns and index, and they sum to the score."""
    plain, named = fitted("AutoEncoder")
    count: Counter[str] = Counter()

    @examples(inputs)
    @given(table=tables((3,), rows=(1, 20), fewest=1))
    def check(table):
        detector = named if has_names(table.X) else plain
        if problem_of_scoring(detector, table) is not None:
            return
        parts = detector.explain(table.X)
        frame = isinstance(table.X, pd.DataFrame | pl.DataFrame | pa.Table)
        assert type(parts) is (type(table.X) if frame else np.ndarray)
        if isinstance(parts, pd.DataFrame):
            assert parts.columns.equals(table.X.columns)
            assert parts.index.equals(table.X.index)
        total = np.asarray(parts).sum(1)
        np.testing.assert_allclose(total, detector.anomaly_score(table.X), rtol=1e-5)
        count["explained"] += 1

    check()
    assert count["explained"] > inputs / 4
    record_property("inputs", inputs)
    record_property("explained", count["explained"])


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


@pytest.mark.parametrize("one_in", [20, pytest.param(1, marks=full)])
def test_a_setting_is_taken_or_refused(one_in, record_property):
    """Every argument of every detector with values of every kind; or one in twenty of these."""
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
    tell(record_property, count.total(), count)


# Settings that make other programs, all valid for 40 rows of 3 features, or refused by name.
STRUCTURES = {
    "batch_size": [1, 3, 9, 64, 10**6],
    "hidden": [(), (1,), (4, 2)],
    "latent_dim": [1, 3],
    "n_members": [1, 2, 7],
    "validation_fraction": [0.0, 0.3],
    "patience": [None, 1],
    "clip_norm": [None, 1e-9, 1e9],
    "milestones": [(), (0,), (1, 1)],
    "trim": [0.0, 0.5],
}
OWN_STRUCTURES = {
    "DeepSVDD": {
        "objective": ["one-class", "soft-boundary"],
        "batch_norm": [True, False],
        "pretrain_epochs": [0, 1],
        "warm_up_epochs": ["auto", 0],
    },
    "DeepSAD": {"batch_norm": [True, False], "anomalies_in_centre": [True, False]},
    "DAGMM": {"n_components": [1, 7], "estimation_hidden": [(), (3,)], "network_dropout": [0, 0.9]},
    "GOAD": {
        "latent_dim": [2, 3],  # 1 has a test of its own
        "n_transforms": [2, 5],
        "transform_dim": [1, 4],
        "reconstruction_weight": [0.0, 0.5],
    },
    "AutoEncoder": {"batch_norm": [True, False], "noise": [0.0, 1e4]},
    "KDSM": {"latent_dim": None, "draws": [1, 4]},
    "TCCM": {"latent_dim": None},
    "ObjectiveDetector": {"hidden": None, "latent_dim": None},
}


@full
@pytest.mark.parametrize("name", list(DETECTORS))
@pytest.mark.parametrize("programs", [10])
def test_odd_settings_are_fitted_or_refused(name, programs, record_property):
    """Several unusual settings at once, each set of programs with five sets of numbers."""
    count = Counter()
    structures = {**STRUCTURES, **OWN_STRUCTURES[name]}
    structures = {key: choices for key, choices in structures.items() if choices is not None}
    own = {**numbers(name), "combine": ["auto", "mean", "z", "rank"]}

    @examples(programs)
    @given(chances(5))
    def check(chance):
        structure = {key: chance.one_of(choices) for key, choices in structures.items()}
        for _ in range(5):
            chosen = {key: chance.one_of(choices) for key, choices in own.items()}
            detector = clone(DETECTORS[name]).set_params(**structure, **chosen)
            tried = attempt(lambda d=detector: d.fit(ROWS))
            if isinstance(tried.error, training.NonFiniteError):
                count["diverged"] += 1
                assert "learning_rate" in str(tried.error)
                assert chosen["learning_rate"] >= 1 or structure.get("noise"), tried.error
            elif tried.error is not None:
                count["refused"] += 1
                check_early(tried)
                assert names(tried.error, detector.get_params(deep=False)), tried.error
            else:
                count["fitted"] += 1
                again = clone(detector).fit(ROWS)
                same_leaves((detector.params_, detector.stats_), (again.params_, again.stats_))
                check_scores(detector, ROWS, ROWS)

    check()
    assert count["fitted"] > programs
    tell(record_property, count.total(), count)


@full
def test_goad_with_one_latent_dimension():
    """In a process without the tests' flags, of which one makes this gradient NaN.

    That is XLA's: with ``--xla_cpu_use_fusion_emitters=false`` and few optimisations.
    """
    code = (
        "import jaxad, numpy as np\n"
        "x = np.random.default_rng(0).normal(size=(40, 3))\n"
        "options = {'latent_dim': 1, 'n_transforms': 5, 'epochs': 2, 'random_state': 0}\n"
        "found = [jaxad.GOAD(**options).fit(x).anomaly_score(x) for _ in range(2)]\n"
        "assert np.isfinite(found).all() and (found[0] == found[1]).all()\n"
        "print('finite')"
    )
    assert "finite" in run_alone(code, XLA_FLAGS="", JAX_DISABLE_MOST_OPTIMIZATIONS="0")
