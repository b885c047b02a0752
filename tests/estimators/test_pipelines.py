"""Explanations of Pipelines, by the columns that were given to them."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from cases import fresh
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import jaxad

NAMES = list("abcde")


def mixed():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"site": random.choice(["a", "b", None], 120)})
    frame["site_b"] = random.choice(["x", "y"], 120)
    frame["heat"] = random.normal(size=120)
    frame.loc[::9, "heat"] = np.nan
    frame["at"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(120) * 5, unit="h")
    return frame


def hours(frame):
    return pd.DataFrame({f"{n}_{p}": getattr(c.dt, p) for n, c in frame.items() for p in PARTS})


PARTS = "hour", "day_of_week"


def encoder(**options):
    names = lambda _, columns: [f"{n}_{p}" for n in columns for p in PARTS]  # noqa: E731
    return ColumnTransformer(
        [
            ("category", OneHotEncoder(sparse_output=False), ["site", "site_b"]),
            ("date", FunctionTransformer(hours, feature_names_out=names), ["at"]),
            ("number", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), [2]),
        ],
        **options,
    )


@pytest.mark.parametrize("output", ["default", "pandas"])
def test_a_pipeline_is_explained_by_the_columns_that_it_was_given(output):
    frame = mixed()
    steps = encoder(), fresh("DeepSVDD")
    pipeline = make_pipeline(*steps).set_output(transform=output).fit(frame)
    parts, base = jaxad.explain(pipeline, frame[:7], return_base=True)
    assert parts.columns.tolist() == ["site", "site_b", "heat", "at"]
    np.testing.assert_allclose(base + parts.sum(axis=1), -pipeline.score_samples(frame[:7]), 1e-5)
    whole = np.asarray(pipeline[-1].explain(pipeline[:-1].transform(frame[:7])))
    np.testing.assert_allclose(parts["site"], whole[:, :3].sum(1), atol=1e-12)
    np.testing.assert_allclose(parts["heat"], whole[:, -2:].sum(1), atol=1e-12)
    np.testing.assert_allclose(parts["at"], whole[:, 5:7].sum(1), atol=1e-12)


def test_columns_mixed_from_several_keep_their_own_names(rows):
    pipeline = make_pipeline(StandardScaler(), PCA(2), fresh("DeepSVDD")).fit(rows)
    assert jaxad.explain(pipeline, rows[:3]).columns.tolist() == ["pca0", "pca1"]
    unnamed = make_pipeline(FunctionTransformer(np.abs), fresh("DeepSVDD")).fit(rows)
    found = jaxad.explain(unnamed, pl.DataFrame(rows[:3], schema=NAMES), background=rows[:9])
    assert isinstance(found, pl.DataFrame)
    assert found.shape == (3, 5)
    alone = make_pipeline(fresh("DeepSVDD")).fit(rows)
    np.testing.assert_array_equal(jaxad.explain(alone, rows[:3]), alone[-1].explain(rows[:3]))
    with pytest.raises(TypeError, match="PCA.*no jaxad detector"):
        jaxad.explain(make_pipeline(PCA(2)), rows)
