"""Metrics against scikit-learn: ties, weights, extremes and a million rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn

from jaxad import metrics

PAIRS = [
    (metrics.roc_auc, sklearn.roc_auc_score),
    (metrics.average_precision, sklearn.average_precision_score),
]
EACH = pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["roc_auc", "average_precision"])


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def scores(kind, n=101):
    rng = np.random.default_rng(0)
    score = {
        "distinct": lambda: rng.normal(size=n),
        "tied": lambda: rng.integers(0, 4, n),
        "mostly tied": lambda: np.maximum(rng.normal(size=n), 0),
        "constant": lambda: np.full(n, 7.0),
        "huge": lambda: rng.choice([-3e38, -1.0, 0.0, 2.0, 3e38], n),
        "tiny": lambda: rng.choice([-1e-37, 0.0, 1e-37, 2e-37], n),
        "integers": lambda: rng.integers(-5, 5, n).astype(np.int32),
    }[kind]()
    return score if score.dtype == np.int32 else score.astype(np.float32)


def classes(n=101, share=0.3):
    return np.random.default_rng(1).random(n) < share


@EACH
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "kind", ["distinct", "tied", "mostly tied", "constant", "huge", "tiny", "integers"]
)
def test_equals_sklearn(ours, theirs, kind, weighted):
    score, is_anomaly = scores(kind), classes()
    weight = np.random.default_rng(2).random(101).astype(np.float32) if weighted else None
    expected = theirs(is_anomaly, score.astype(np.float64), sample_weight=weight)
    assert float(ours(score, is_anomaly, weight)) == pytest.approx(expected, abs=1e-6)


@EACH
def test_infinite_scores_rank_as_ties_at_the_ends(ours, theirs):
    score = np.random.default_rng(0).choice([-np.inf, 0, 1, np.inf], 101).astype(np.float32)
    expected = theirs(classes(), np.nan_to_num(score, posinf=9, neginf=-9))
    assert float(ours(score, classes())) == pytest.approx(expected, abs=1e-6)


def test_values_by_hand():
    score, is_anomaly = jnp.array([1.0, 2.0, 2.0, 3.0]), jnp.array([0, 0, 1, 1])
    assert float(metrics.roc_auc(score, is_anomaly)) == 0.875
    assert float(metrics.roc_auc(-score, is_anomaly)) == 0.125
    assert float(metrics.average_precision(score, is_anomaly)) == pytest.approx(5 / 6)
    assert float(metrics.roc_auc(score, jnp.array([0, 0, 0, 1]))) == 1
    assert float(metrics.roc_auc(jnp.zeros(4), is_anomaly)) == 0.5


@EACH
@pytest.mark.parametrize("decimals", [1, 9])
def test_a_million_rows(ours, theirs, decimals):
    rng = np.random.default_rng(decimals)
    is_anomaly = classes(1_000_000, share=0.05)
    score = (rng.normal(size=1_000_000) + 1.5 * is_anomaly).round(decimals).astype(np.float32)
    expected = theirs(is_anomaly, score)
    assert float(ours(score, is_anomaly)) == pytest.approx(expected, abs=1e-6)


@EACH
@pytest.mark.parametrize("padding", [np.nan, np.inf, -np.inf, 0.0])
def test_rows_of_weight_0_are_inert(ours, theirs, padding):
    score, is_anomaly = scores("tied", 40), classes(40)
    padded = np.append(score, np.float32([padding] * 6))
    labels, weight = np.append(is_anomaly, [True, False] * 3), np.float32([1] * 40 + [0] * 6)
    assert float(ours(padded, labels, weight)) == pytest.approx(theirs(is_anomaly, score), abs=1e-6)


@EACH
def test_whole_weights_repeat_rows(ours, theirs):
    del theirs
    score, is_anomaly = scores("tied", 50), classes(50)
    weight = np.random.default_rng(3).integers(0, 4, 50)
    repeated = ours(score.repeat(weight), is_anomaly.repeat(weight))
    assert float(ours(score, is_anomaly, weight)) == pytest.approx(float(repeated), abs=1e-6)


@EACH
def test_one_class_alone_gives_nan(ours, theirs):
    del theirs
    for is_anomaly in (jnp.zeros(5), jnp.ones(5)):
        assert jnp.isnan(ours(jnp.arange(5.0), is_anomaly))
    assert jnp.isnan(ours(jnp.arange(2.0), jnp.array([0, 1]), jnp.array([1.0, 0.0])))


@EACH
def test_a_nan_score_gives_nan(ours, theirs):
    del theirs
    assert jnp.isnan(ours(jnp.array([0.0, jnp.nan, 1.0]), jnp.array([0, 1, 0])))


@EACH
def test_under_vmap_and_jit(ours, theirs):
    score = np.random.default_rng(4).integers(0, 9, (5, 80)).astype(np.float32)
    is_anomaly = classes(80)
    actual = jax.jit(jax.vmap(lambda s: ours(s, is_anomaly)))(score)
    np.testing.assert_allclose(actual, [theirs(is_anomaly, s) for s in score], atol=1e-6)


@EACH
def test_mismatch_raises(ours, theirs):
    del theirs
    for shape in ((3,), (4, 1), ()):
        with pytest.raises(AssertionError):
            ours(jnp.zeros(4), jnp.zeros(shape))
    with pytest.raises(AssertionError):
        ours(jnp.zeros(4), jnp.zeros(4), jnp.ones(1))


@pytest.mark.parametrize("threshold", [-np.inf, -0.5, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_f1_equals_sklearn(threshold, weighted):
    score, is_anomaly = scores("tied"), classes()
    weight = np.random.default_rng(2).random(101).astype(np.float32) if weighted else None
    expected = sklearn.f1_score(is_anomaly, score > threshold, sample_weight=weight)
    actual = metrics.f1_at_threshold(score, is_anomaly, threshold, weight)
    assert float(actual) == pytest.approx(expected, abs=1e-6)


def test_f1_does_not_flag_a_score_equal_to_the_threshold():
    score, is_anomaly = jnp.array([1.0, 2.0, 3.0]), jnp.array([0, 0, 1])
    assert float(metrics.f1_at_threshold(score, is_anomaly, 2.0)) == 1
    assert float(metrics.f1_at_threshold(score, is_anomaly, 3.0)) == 0


def test_f1_needs_anomalies_and_numbers():
    score = jnp.array([1.0, 2.0, 3.0])
    assert jnp.isnan(metrics.f1_at_threshold(score, jnp.zeros(3), 2.0))
    assert jnp.isnan(metrics.f1_at_threshold(score.at[0].set(jnp.nan), jnp.ones(3), 2.0))
    padded = metrics.f1_at_threshold(
        score.at[0].set(jnp.nan), jnp.ones(3), 2.5, jnp.array([0.0, 1, 1])
    )
    assert float(padded) == pytest.approx(2 / 3)


def test_f1_over_thresholds_and_members():
    score, is_anomaly = np.stack([scores("distinct"), scores("tied")]), classes()
    thresholds = jnp.array([0.0, 0.5])
    actual = jax.vmap(lambda s, t: metrics.f1_at_threshold(s, is_anomaly, t))(score, thresholds)
    expected = [sklearn.f1_score(is_anomaly, s > t) for s, t in zip(score, [0, 0.5], strict=True)]
    np.testing.assert_allclose(actual, expected, atol=1e-6)
