"""Tables as people have them: frames of several libraries, their names and types."""

import re
import warnings

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pytest
from cases import fresh

NAMES = list("abcde")


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(table):
    return fresh("DeepSVDD", n_members=2).fit(pd.DataFrame(table, columns=NAMES))


def test_polars_frames_are_read_by_name(table, fitted):
    frame = pl.DataFrame(table, schema=NAMES)
    again = fresh("DeepSVDD", n_members=2).fit(frame)
    assert again.feature_names_in_.tolist() == NAMES
    np.testing.assert_array_equal(again.anomaly_score(frame), fitted.anomaly_score(frame))
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame.rename({"a": "z"}))
    missing = frame.with_columns(pl.lit(None, pl.Float64).alias("b"))
    with pytest.raises(ValueError, match=r"NaN: first at row 0, column 1 \('b'\)"):
        again.predict(missing)
    with pytest.raises(ValueError, match=r"'b' is not numeric.*ColumnTransformer.*\['b'\]"):
        fresh("DeepSVDD").fit(frame.with_columns(pl.lit("text").alias("b")))
    with pytest.raises(ValueError, match="collect"):
        again.predict(frame.lazy())


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("members", [1, 2])
def test_set_output(library, members, table):
    frame = pd.DataFrame(table, columns=NAMES) if library == "pandas" else table
    detector = fresh("DeepSVDD", n_members=members).set_output(transform=library).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "DeepSVDD" in detector._repr_html_()
    found = detector.transform(frame)
    assert type(found).__module__.startswith(library)
    assert list(found.columns) == [f"deepsvdd{i}" for i in range(4 * members)]
    default = detector.set_output(transform="default").transform(frame)
    np.testing.assert_array_equal(default, found.to_numpy())


def test_whole_numbers_as_names_and_nullable_types(table, fitted):
    score = fitted.anomaly_score(pd.DataFrame(table, columns=NAMES))
    numbered = fresh("DeepSVDD", n_members=2).fit(pd.DataFrame(table))
    assert not hasattr(numbered, "feature_names_in_")
    np.testing.assert_array_equal(numbered.anomaly_score(pd.DataFrame(table)), score)
    assert numbered.explain(pd.DataFrame(table[:2])).columns.tolist() == [0, 1, 2, 3, 4]
    nullable = pd.DataFrame(table, columns=NAMES).astype("Float32")
    np.testing.assert_array_equal(fitted.anomaly_score(nullable), score)
    nullable.iloc[3, 1] = pd.NA
    with pytest.raises(ValueError, match=r"row 3, column 1 \('b'\).*SimpleImputer"):
        fitted.anomaly_score(nullable)


def test_a_name_that_occurs_twice_is_an_error(table):
    with pytest.raises(ValueError, match="several columns named 'a'.*name of its own"):
        fresh("DeepSVDD").fit(pd.DataFrame(table, columns=list("aabcd")))


@pytest.mark.parametrize("kind", [ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_short_floats_are_numbers(kind, table):
    detector = fresh("DeepSVDD").fit(table.astype(kind))
    expected = fresh("DeepSVDD").fit(table.astype(kind).astype(np.float32))
    np.testing.assert_array_equal(detector.anomaly_score(table), expected.anomaly_score(table))
    if kind is ml_dtypes.bfloat16:
        short = jnp.asarray(table, jnp.bfloat16)
        np.testing.assert_array_equal(detector.predict(short), expected.predict(np.array(short)))


def test_the_remedy_for_text_works(table):
    """The line in the message, as it is written."""
    import sklearn  # noqa: F401
    from sklearn import compose, preprocessing  # noqa: F401, of the line
    from sklearn.pipeline import make_pipeline

    frame = pd.DataFrame(table, columns=NAMES).assign(city=["x", "y"] * 20)
    with pytest.raises(ValueError, match="column 'city' is not numeric") as caught:
        fresh("DeepSVDD").fit(frame)
    line = re.search(r"sklearn\.compose\.ColumnTransformer.*", str(caught.value))
    encode = eval(line[0])
    assert make_pipeline(encode, fresh("DeepSVDD")).fit(frame).predict(frame).shape == (40,)
