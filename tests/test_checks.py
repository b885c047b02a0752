import math
import pickle

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from jaxad.checks import (
    check_choice,
    check_interval,
    check_labels,
    check_positive_int,
    labels_from_anomalies,
    seed_from,
)
from jaxad.estimators.prepare import check_rows


class Distance(OutlierMixin, BaseEstimator):
    """A minimal detector that uses the checks like the package's estimators."""

    def __init__(self, contamination=0.1):
        self.contamination = contamination

    def fit(self, X, y=None):
        X = check_rows(X, self, images=False, reset=True)
        self.centre_ = X.mean(axis=0)
        score = -np.abs(X - self.centre_).max(axis=1)
        self.offset_ = np.quantile(score, self.contamination)
        return self

    def score_samples(self, X):
        check_is_fitted(self)
        X = check_rows(X, self, images=False, reset=False)
        return -np.abs(X - self.centre_).max(axis=1)

    def decision_function(self, X):
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        return np.where(self.decision_function(X) < 0, -1, 1)


@parametrize_with_checks([Distance()])
def test_an_estimator_on_these_checks_passes_scikit_learn_s_suite(estimator, check, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # else the check of array dispatch is skipped
    check(estimator)


class Images(BaseEstimator):
    pass


def fit_rows(X, **options):
    return check_rows(X, Images(), **({"images": False, "reset": True} | options))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.float16, np.float32),
        (np.uint8, np.float32),
        (np.int16, np.float32),
        (bool, np.float32),
        (np.int32, np.float64),
        (np.int64, np.float64),
    ],
)
def test_rows_keep_their_values_in_the_smaller_float_that_holds_them(dtype, expected):
    X = np.array([[0, 1], [1, 0]], dtype)
    rows = fit_rows(X)
    assert rows.dtype == expected
    np.testing.assert_array_equal(rows, X)


def test_float_rows_are_not_copied():
    X = np.ones((5, 2), np.float32)
    assert np.shares_memory(fit_rows(X), X)


def test_lists_frames_and_objects_of_numbers_are_rows():
    expected = [[1.0, 2.0], [3.0, 4.5]]
    frame = pd.DataFrame({"a": pd.Series([1, 3], dtype="Int64"), "b": [2, 4.5]})
    for X in (expected, np.array(expected, object), frame, frame.astype(object)):
        np.testing.assert_array_equal(fit_rows(X), expected)


@pytest.mark.parametrize(
    "X",
    [
        np.eye(3).astype(ml_dtypes.int4),
        pd.DataFrame(np.eye(3).astype(ml_dtypes.bfloat16)),
        pd.DataFrame(np.eye(3), columns=list("abc")).astype("bool[pyarrow]"),
        pd.DataFrame(np.eye(3, dtype=bool), columns=list("abc")).astype("category"),
        np.ma.masked_array(np.eye(3), np.zeros((3, 3), bool)),
    ],
    ids=["int4", "frame of bfloat16", "pyarrow's bool", "categories of bool", "nothing masked"],
)
def test_less_common_types_of_numbers(X):
    np.testing.assert_array_equal(fit_rows(X), np.eye(3))


def test_a_sparse_frame_becomes_dense_as_its_error_says():
    X = pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 1.0]), "b": [2.0, 3.0]})
    with pytest.raises(ValueError, match=r"column 'a' is sparse.* use X\.astype\(float\)"):
        fit_rows(X)
    np.testing.assert_array_equal(fit_rows(X.astype(float)), [[0, 2], [1, 3]])


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (sparse.eye(3).tocsr(), r"Sparse data was passed for X.*X\.toarray\(\)"),
        (np.ones((2, 2)) + 1j, r"(?s)Complex data not supported.*X\.real and X\.imag"),
        (np.ones(3), "(?s)Expected 2D array, got 1D array.*Reshape"),
        (3.0, "(?s)Expected 2D array, got scalar"),
        (np.ones((1, 3)), "1 sample.*Pass more rows of X"),
        (np.ones((3, 0)), r"0 feature\(s\).*at least one column of X"),
        ([[1, 2], [3]], "X is not rectangular, give every row the same length"),
        ([["1", "2"], ["3", "b"]], "X has '1' at row 0, column 0: encode .* or drop it"),
        (np.array([[1, 2], [3, "b"]], object), "X has 'b' at row 1, column 1: encode"),
        (np.array([["2020"], ["2021"]], "M8[D]"), "X has type datetime64.*encode"),
        (np.ones((4, 28, 28)), r"dim 3.*shape \(4, 28, 28\).*network for images.*reshape"),
        (pd.DataFrame({"a": [1j, 2]}), "(?s)Complex data not supported.*imaginary part"),
        (None, "(?s)^X: Expected 2D array, got scalar"),
        (pd.Series([1.0, 2.0]), r"Pass X\.to_frame"),
        ([[10**400], [1]], "X has a number too large for float64 at row 0, column 0"),
        (np.zeros((4, 2), "V8"), r"X has type \|V8: encode it as numbers"),
        (pd.DataFrame(np.eye(2), columns=[1, 1]), "X has several columns named 1: give"),
        (np.ma.masked_array(np.eye(2), np.eye(2)), "X contains NaN: first at row 0, column 0, 2"),
    ],
)
def test_rows_that_are_not_a_table_of_numbers(X, message):
    with pytest.raises(ValueError, match=message):
        fit_rows(X)


def test_an_element_that_is_no_number_is_located():
    with pytest.raises(TypeError, match=r"argument must be .* string.*X has \{\} at row 1"):
        fit_rows(np.array([[1, 2], [{}, 3]], object))
    with pytest.raises(TypeError, match="X has 1j at row 0, column 1: encode it as a number"):
        fit_rows(np.array([[1, 1j], [2, 3]], object))


@pytest.mark.parametrize("other", [1, None])
def test_columns_are_all_named_by_text_or_none_is(other):
    X = pd.DataFrame(np.eye(2), columns=["a", other])
    with pytest.raises(TypeError, match=r"such as 'a' and (1|None|nan): .*X\.columns = \[str"):
        fit_rows(X)
    X.columns = [str(name) for name in X.columns]
    np.testing.assert_array_equal(fit_rows(X), np.eye(2))


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_the_first_value_that_is_not_finite_is_located(value, name):
    X = np.zeros((7, 3))
    X[4, 1] = X[6, 0] = X[6, 2] = value
    message = f"Input X contains {name}: first at row 4, column 1, 2 of 7 rows .* drop these rows"
    with pytest.raises(ValueError, match=message):
        fit_rows(X)
    with pytest.raises(ValueError, match=r"first at row 4, column 1 \('b'\), 2 of 7"):
        fit_rows(pd.DataFrame(X, columns=["a", "b", "c"]))
    X = np.zeros((3, 2, 2, 1), np.float32)
    X[2, 0, 1, 0] = value
    with pytest.raises(ValueError, match=rf"{name}: first at row 2, pixel \(0, 1, 0\), 1 of 3"):
        fit_rows(X, images=True)


def test_missing_values_of_objects_and_nullable_columns_are_nan():
    for X in (
        np.array([[1, None], [2, 3]], object),
        pd.DataFrame({"a": [1, 2], "b": pd.Series([None, 3], dtype="Int64")}),
    ):
        with pytest.raises(ValueError, match="Input X contains NaN: first at row 0, column 1"):
            fit_rows(X)


def test_columns_that_are_not_numeric_are_named():
    X = pd.DataFrame({"n": [1, 2], "a": ["x", "y"], "b": pd.Categorical([1, 2])})
    with pytest.raises(ValueError, match="columns 'a', 'b' are not numeric: encode or drop them"):
        fit_rows(X)
    with pytest.raises(ValueError, match="column 'a' is not numeric: encode or drop it"):
        fit_rows(X[["n", "a"]])


def test_scoring_needs_the_fitted_columns():
    detector = Distance().fit(np.array([[1.0, 3.0], [2.0, 5.0]]))
    with pytest.raises(ValueError, match="X has 3 features.*expecting 2.*detector was fitted on"):
        detector.predict(np.ones((1, 3)))
    detector.fit(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]}))
    with pytest.raises(ValueError, match="feature names should match"):
        detector.predict(pd.DataFrame({"b": [1.0], "a": [2.0]}))
    assert detector.predict(pd.DataFrame({"a": [1.5], "b": [4.0]})) == 1


def test_grey_images_get_a_channel_and_their_shape_is_remembered():
    model = Images()
    X = np.zeros((3, 5, 4), np.uint8)
    assert check_rows(X, model, images=True, reset=True).shape == (3, 5, 4, 1)
    assert (model.input_shape_, model.n_features_in_) == ((5, 4, 1), 20)
    for images in (X[:1], X[:1, ..., None]):
        rows = check_rows(images, model, images=True, reset=False)
        assert rows.shape == (1, 5, 4, 1)
    with pytest.raises(ValueError, match=r"shape \(5, 3, 1\), but Images is expecting \(5, 4, 1\)"):
        check_rows(X[:, :, :3], model, images=True, reset=False)


def test_images_for_a_model_fitted_on_a_table():
    """Of a network that takes both; an earlier fit to images is forgotten."""
    model = Images()
    check_rows(np.zeros((2, 1, 3)), model, images=True, reset=True)
    check_rows(np.zeros((2, 3)), model, images=False, reset=True)
    with pytest.raises(
        ValueError, match=r"X has shape \(2, 1, 3\), but Images was fitted on a tab"
    ):
        check_rows(np.zeros((2, 1, 3)), model, images=True, reset=False)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((4, 784)), r"shape \(4, 784\).*\[N, H, W\] or \[N, H, W, C\]: reshape X"),
        (np.ones((4, 2, 2, 2, 2)), "this network takes images"),
        (np.ones((4, 5, 0)), "at least one pixel"),
        (np.ones((1, 5, 5)), "1 sample.*Pass more rows"),
    ],
)
def test_invalid_images(X, message):
    with pytest.raises(ValueError, match=message):
        fit_rows(X, images=True)


@pytest.mark.parametrize(
    ("closed", "inside", "outside"),
    [
        ("both", (0, 0.5, 1), (-0.1, 1.1)),
        ("left", (0, 0.5), (1,)),
        ("right", (1, 0.5), (0,)),
        ("neither", (0.5,), (0, 1)),
    ],
)
def test_intervals_are_open_or_closed(closed, inside, outside):
    for value in inside:
        assert check_interval("nu", np.float32(value), 0, 1, closed=closed) == value
    for value in (*outside, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"nu={value} is outside"):
            check_interval("nu", value, 0, 1, closed=closed)


def test_interval_messages_say_what_to_choose():
    with pytest.raises(ValueError, match=r"^nu=1.7 is outside \(0, 1\]: choose 0 < nu <= 1$"):
        check_interval("nu", 1.7, 0, 1, closed="right")
    with pytest.raises(ValueError, match=r"^eta=-1 is outside \[0, inf\): choose 0 <= eta$"):
        check_interval("eta", -1, 0, math.inf, closed="left")


@pytest.mark.parametrize("value", ["0.5", None, True, [0.5], 1j])
def test_intervals_accept_only_real_numbers(value):
    with pytest.raises(TypeError, match=r"nu=.* is not a number: choose one in \[0, 1\]"):
        check_interval("nu", value, 0, 1)


def test_positive_integers():
    assert check_positive_int("epochs", np.int64(3)) == 3
    with pytest.raises(ValueError, match="epochs=0 is too small: choose at least 1"):
        check_positive_int("epochs", 0)
    for value in (2.0, "2", True, None):
        with pytest.raises(TypeError, match="epochs=.* is not an integer"):
            check_positive_int("epochs", value)


def test_choices():
    assert check_choice("scaler", "none", ("auto", "none")) == "none"
    for value in ("x", None, ["auto"], np.array(["auto", "none"])):
        with pytest.raises(ValueError, match="scaler=.* is not one of: 'auto', 'none'"):
            check_choice("scaler", value, ("auto", "none"))


@pytest.mark.parametrize(
    "y",
    [
        [-1, 0, 1],
        [0, 1, 1],
        [0.0, -1.0, 1.0],
        np.array([1, -1, 0], np.int8),
        pd.Series([0, 1, -1], index=[5, 6, 7]),
        pd.Series([0, 1, -1], dtype="Int64"),
    ],
)
def test_labels_become_int32(y):
    labels = check_labels(y, 3)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, np.asarray(y, float))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1], r"y has shape \(2,\), but X has 3 rows"),
        ([[0], [1], [1]], r"y has shape \(3, 1\).*pass y of shape \(3,\)"),
        (1, r"y has shape \(\)"),
        ([0, 2, 3], r"y\[1\]=2 is not one of \(-1, 0, 1\): labels are \+1 known normal"),
        ([0, 1, math.nan], r"y\[2\]=nan"),
        ([0, 1, None], r"y\[2\]=None"),
        (["0", "1", "0"], r"y\[0\]='0'"),
        ([0, 0.5, 1], r"y\[1\]=0.5"),
        (pd.Series([0, 1, None], dtype="Int64"), r"y\[2\]="),
        ([True, False, True], r"y is boolean.*jaxad\.labels_from_anomalies\(y\)"),
        (pd.Series([True, False, None], dtype="boolean"), "y is boolean"),
    ],
)
def test_other_labels_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y, 3)


@pytest.mark.parametrize("y", [[0, 1, 0, 1], [False, True, False, True], [0.0, 1.0, 0.0, 1.0]])
def test_labels_from_anomalies(y):
    known = np.array([True, True, False, False])
    for options, expected in (
        ({}, [0, -1, 0, -1]),
        ({"normal_known": True}, [1, -1, 1, -1]),
        ({"known": known}, [0, -1, 0, 0]),
        ({"known": known, "normal_known": True}, [1, -1, 0, 0]),
    ):
        labels = labels_from_anomalies(y, **options)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(check_labels(labels, 4), expected)


@pytest.mark.parametrize(
    ("y", "known", "message"),
    [
        ([0, -1], None, r"y\[1\]=-1 is not one of \(0, 1\): pass 1 for an anomaly"),
        (["yes", "no"], None, r"y\[0\]='yes'"),
        ([[0, 1]], None, r"y has shape \(1, 2\)"),
        ([0, 1], [0, 1], "known has type int64.*boolean mask"),
        ([0, 1], [True], r"known .* shape \(1,\).*shape \(2,\)"),
    ],
)
def test_other_marks_of_anomalies_are_refused(y, known, message):
    with pytest.raises(ValueError, match=message):
        labels_from_anomalies(y, known)


def test_seeds_are_reproducible_and_advance_the_generator_given():
    assert seed_from(np.int64(5)) == 5
    assert seed_from(2**32 - 1) == 2**32 - 1
    for make in (np.random.RandomState, np.random.default_rng):
        one, other = make(3), make(3)
        first, second = seed_from(one), seed_from(one)
        assert first == seed_from(other)
        assert first != second
        assert 0 <= first < 2**32


def test_without_a_seed_fresh_entropy_is_used_and_no_global_state():
    def state():  # in full: one draw moves only the position, not the words
        return pickle.dumps(np.random.get_state())  # noqa: NPY002

    before = state()
    seeds = {seed_from(None) for _ in range(8)}
    assert len(seeds) > 1
    assert state() == before
    np.random.random()  # noqa: NPY002
    assert state() != before


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (2**32, ValueError), (1.0, TypeError), ("1", TypeError), (True, TypeError)],
)
def test_other_seeds_are_refused(value, error):
    with pytest.raises(error, match="random_state="):
        seed_from(value)


def test_numpy_random_is_not_a_seed():
    with pytest.raises(TypeError, match="pass an int, a numpy RandomState or Generator, or None"):
        seed_from(np.random)
