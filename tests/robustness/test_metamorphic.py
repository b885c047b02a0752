"""Relations that hold by mathematics: a change of the input whose effect on the scores is known.

Each test says why its relation holds, and how exactly. The relations of training are tested on the
objectives of all five detectors, without noise and dropout, whose draws belong to places in a
batch. All use one program for each objective: 7 columns, at most 256 rows, batches of 64.
"""

from functools import cache

import cases
import jax
import numpy as np
import pytest
from generated import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone

from jaxad import networks, objectives, thresholds, training
from jaxad.estimators import ensemble
from jaxad.estimators.scaling import fit_scaler

full = pytest.mark.full
WIDTH = 7  # no other axis of a parameter has this length
OBJECTIVES = {
    "deep_svdd": cases.OBJECTIVES["deep_svdd"],
    "autoencoder": objectives.autoencoder(cases.ENCODER, networks.MLP((8, WIDTH))),
    "soft_boundary": cases.OBJECTIVES["soft_boundary"],
    "deep_sad": cases.OBJECTIVES["deep_sad"],
    "dagmm": objectives.DAGMM(
        networks.MLP((4, 2), **cases.TANH),
        networks.MLP((4, WIDTH), **cases.TANH),
        networks.MLP((6, 3), **cases.TANH),
    ),
    "goad": objectives.goad(cases.ENCODER, n_transforms=4, transform_dim=6),
}
RECIPE = training.Recipe(epochs=3, batch_size=64, learning_rate=1e-2, shuffle=False)
ROUNDING = 5e-5  # relative; measured: 3e-6, of three epochs of sums in float32 in another order
QUICK = ("deep_svdd",)
each = [name if name in QUICK else pytest.param(name, marks=full) for name in OBJECTIVES]
names = pytest.mark.parametrize("name", each)


@cache
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(192, WIDTH)).astype(np.float32)
    x[:, 1] += x[:, 0]
    label = rng.choice([-1, 0, 1], 192, p=[0.1, 0.7, 0.2]).astype(np.int32)
    return x, label, rng.uniform(0.5, 2, 192).astype(np.float32)


@cache
def start(name):
    """Parameters and statistics to start from, as numpy arrays."""
    untrained = training.fit(OBJECTIVES[name], RECIPE.replace(epochs=0), cases.KEY, data()[0])
    return jax.tree.map(np.asarray, (untrained.params, untrained.stats))


def scores(name, x, label=None, weight=None, *, test=None, initial=None, objective=None):
    """Scores of ``test`` after training on ``x``."""
    objective = OBJECTIVES[name] if objective is None else objective
    rows = training.as_rows(x, label, weight)
    initial = start(name) if initial is None else initial
    result = training.fit(objective, RECIPE, cases.KEY, rows, initial=initial)
    test = data()[0] if test is None else test
    return training.score(objective, result.params, result.stats, test)


@cache
def usual(name):
    x, label, _ = data()
    return scores(name, x, label)


def assert_alike(found, expected):
    np.testing.assert_allclose(found, expected, ROUNDING, ROUNDING * np.abs(expected).max())


def differs(found, expected):
    """Whether the difference is far above that of rounding."""
    return np.abs(found - expected).max() > 100 * ROUNDING * np.abs(expected).max()


@names
def test_rows_permuted_within_their_batches(name):
    """A step sees a batch as a set: its loss is a weighted mean, and so are its statistics.

    The exact passes over all rows are means, too. So only sums are taken in another order.
    """
    x, label, _ = data()
    rng = np.random.default_rng(1)
    order = np.concatenate([64 * batch + rng.permutation(64) for batch in range(3)])
    assert_alike(scores(name, x[order], label[order]), usual(name))
    # Rows that change their batches train another model.
    across = rng.permutation(192)
    assert differs(scores(name, x[across], label[across]), usual(name))


def permuted(tree, order):
    """The tree with every axis of the columns permuted."""

    def leaf(array):
        for axis, length in enumerate(array.shape):
            if length == WIDTH:
                array = np.take(array, order, axis)
        return array

    return jax.tree.map(leaf, tree)


@names
def test_columns_permuted_with_their_weights(name):
    """The first layer's product, and a sum of squared errors, are sums over the columns.

    Adam treats every parameter alike, so that permuted parameters move as the others do.
    """
    x, label, _ = data()
    order = np.random.default_rng(2).permutation(WIDTH)
    moved = x[:, order]
    found = scores(name, moved, label, test=moved, initial=permuted(start(name), order))
    assert_alike(found, usual(name))
    assert differs(scores(name, moved, label, test=moved), usual(name))  # without their weights


@names
def test_duplicated_rows_with_halved_weights(name):
    """A row of weight 1 and two copies of weight 1/2 add the same to every weighted sum.

    All rows are in one batch, with and without the copies.
    """
    x, label, weight = (given[:40] for given in data())
    label = np.append(label[:-1], -1).astype(np.int32)
    twice = np.concatenate([np.arange(40), np.arange(24)])
    halved = np.where(np.arange(40) < 24, weight / 2, weight)
    once = scores(name, x, label, weight)
    assert_alike(scores(name, x[twice], label[twice], halved[twice]), once)
    assert differs(scores(name, x[twice], label[twice], weight[twice]), once)


@pytest.mark.parametrize("name", [*each[:2], *each[3:]])
def test_weights_have_no_unit(name):
    """A weighted mean divides by the sum of the weights: a power of two cancels to the bit.

    Not in the radius of a soft boundary: its quantile takes a weight of 2 for two rows, and
    interpolates between rows. `sample_weight` is divided by its mean before.
    """
    x, label, weight = data()
    expected = scores(name, x, label, weight)
    np.testing.assert_array_equal(scores(name, x, label, weight * 8), expected)


def widened(tree):
    """The tree for one more column: weights of 1 where it comes in, 0 where it goes out."""

    def leaf(array):
        for axis, length in enumerate(array.shape):
            if length == WIDTH:
                pad = [(0, int(at == axis)) for at in range(array.ndim)]
                array = np.pad(array, pad, constant_values=float(axis < array.ndim - 1))
        return array

    return jax.tree.map(leaf, tree)


@full
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_an_added_constant_column(name):
    """A scaler makes a constant column 0, so that its weights add nothing and get no gradient.

    The mean squared error of the autoencoder is taken over one more column, without an error. That
    scales its gradient, which Adam does not notice.
    """
    x, label, _ = data()
    wide = np.column_stack([x.astype(np.float64), np.full(len(x), 1e9)])
    standard = fit_scaler("standard", [x], (WIDTH,))(x)
    wide = fit_scaler("standard", [wide], (WIDTH + 1,))(wide)
    np.testing.assert_allclose(wide[:, :WIDTH], standard, atol=1e-6)
    assert not wide[:, WIDTH].any()
    objective = OBJECTIVES[name]
    if name == "autoencoder":
        objective = objectives.autoencoder(cases.ENCODER, networks.MLP((8, WIDTH + 1)))
    if name == "dagmm":
        objective = objective.replace(decoder=networks.MLP((4, WIDTH + 1), **cases.TANH))
    initial = widened(start(name))
    found = scores(name, wide, label, test=wide, initial=initial, objective=objective)
    factor = (WIDTH + 1) / WIDTH if name == "autoencoder" else 1
    assert_alike(found * factor, scores(name, standard, label, test=standard))


@full
def test_with_eta_1_known_normals_are_like_unlabelled_rows():
    """The loss of a known normal, eta * (d + epsilon), has then the gradient of d."""
    x, label, _ = data()
    unlabelled = np.minimum(label, 0)
    expected = scores("deep_sad", x, unlabelled)
    assert_alike(scores("deep_sad", x, label), expected)
    heavier = objectives.deep_sad(cases.ENCODER, eta=8.0)
    assert differs(scores("deep_sad", x, label, objective=heavier), expected)


@full
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_the_order_of_members(name):
    """Members share nothing but the program: each is the same to the bit at every place."""
    x, label, _ = data()
    rows, order = training.as_rows(x, label), [2, 0, 1]
    one, other = (
        training.fit_population(OBJECTIVES[name], RECIPE, keys, rows)
        for keys in (cases.KEYS, cases.KEYS[np.array(order)])
    )
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_array_equal(np.asarray(a)[order], b)
    np.testing.assert_array_equal(one.history["loss"][order], other.history["loss"])


# Scalers

TABLES = arrays(np.float64, (12, 3), elements=st.integers(-1000, 1000).map(lambda v: v / 8))
cases_of = pytest.mark.parametrize("inputs", [40, pytest.param(1000, marks=full)])


@cases_of
def test_a_power_of_two_as_unit(inputs, record_property):
    """Every step of a scaler is then exact, so that the scaled rows are the same to the bit."""

    @examples(inputs)
    @given(TABLES, st.integers(-120, 120), st.sampled_from(["standard", "minmax", "robust"]))
    def check(x, power, name):
        other = np.ldexp(x, power)
        scaled = [fit_scaler(name, [rows], (3,))(rows) for rows in (x, other)]
        np.testing.assert_array_equal(*scaled)

    check()
    record_property("inputs", inputs)


@cases_of
def test_another_unit_and_origin(inputs, record_property):
    """Scaled rows do not depend on them, but for the rounding of ``factor * x + offset``.

    Of columns with a spread: others become 0, or keep the small differences that rounding made.
    """

    @examples(inputs)
    @given(
        TABLES,
        st.floats(1e-3, 1e3),
        st.floats(-1e3, 1e3),
        st.sampled_from(["standard", "minmax", "robust"]),
    )
    def check(x, factor, offset, name):
        quartiles = np.percentile(x, (25, 75), axis=0)
        spread = np.diff(quartiles, axis=0)[0] if name == "robust" else np.ptp(x, axis=0)
        scaled = [fit_scaler(name, [rows], (3,))(rows) for rows in (x, factor * x + offset)]
        one, other = (rows[:, spread > 0] for rows in scaled)
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5 * np.abs(x).max())

    check()
    record_property("inputs", inputs)


@full
@pytest.mark.parametrize("name", [*cases.DETECTORS, "ObjectiveDetector"])
@pytest.mark.parametrize("scaler", ["standard", "minmax", "robust"])
def test_a_detector_and_the_unit_of_its_table(name, scaler):
    """The scaled rows agree, and all that follows: to the bit for a power of two."""
    x = np.random.default_rng(0).normal(size=(40, 3))
    detector = (cases.DETECTORS | {"ObjectiveDetector": cases.OF_AN_OBJECTIVE})[name]
    detector = clone(detector).set_params(scaler=scaler)
    expected = detector.fit(x).anomaly_score(x)
    for power in (-100, 7, 100):
        other = np.ldexp(x, power)
        np.testing.assert_array_equal(clone(detector).fit(other).anomaly_score(other), expected)
    other = 3 * x + 40
    assert_alike(clone(detector).fit(other).anomaly_score(other), expected)


# Combinations and thresholds

SCORES = st.integers(-(10**6), 10**6).map(lambda v: v / 64)


@cases_of
@pytest.mark.parametrize("rule", ensemble.RULES)
def test_a_combination_is_monotone(rule, inputs, record_property):
    """It is a mean of increasing functions of the members' scores.

    A row that no member scores lower than another one does not score lower in the ensemble. And
    their order changes a sum of three numbers by rounding alone.
    """

    @examples(inputs)
    @given(arrays(np.float64, (3, 20), elements=SCORES), st.permutations(range(3)), st.data())
    def check(members, order, data):
        fitted = ensemble.fit_combination(rule, members)
        combined = ensemble.combine(fitted, members)
        raised = members + data.draw(arrays(np.float64, (3, 20), elements=st.floats(0, 1e6)))
        assert (ensemble.combine(fitted, raised) - combined >= -1e-9 * np.abs(combined).max()).all()
        below = (members[:, :, None] <= members[:, None, :]).all(0)
        assert (combined[:, None] <= combined[None, :] + 1e-9 * np.abs(combined).max())[below].all()
        again = ensemble.fit_combination(rule, members[list(order)])
        found = ensemble.combine(again, members[list(order)])
        np.testing.assert_allclose(found, combined, rtol=1e-9, atol=1e-9 * np.abs(members).max())

    check()
    record_property("inputs", inputs)


INCREASING = {
    "affine": lambda score: 4 * score - 3,
    "cubic": lambda score: score * score * score + score,
    "logarithm": lambda score: np.sign(score) * np.log1p(np.abs(score)),
}


@cases_of
def test_ranks_do_not_know_the_unit_of_a_member(inputs, record_property):
    """The rank rule replaces scores by the share of rows below, which an increasing function keeps.

    To the bit, for the rows that it was fitted to; the rule interpolates between them.
    """

    @examples(inputs)
    @given(arrays(np.float64, (2, 30), elements=SCORES), st.sampled_from(list(INCREASING)))
    def check(members, function):
        other = np.stack([members[0], INCREASING[function](members[1])])
        one, two = (
            ensemble.combine(ensemble.fit_combination("rank", given), given)
            for given in (members, other)
        )
        np.testing.assert_array_equal(two, one)

    check()
    record_property("inputs", inputs)


@cases_of
def test_thresholds_do_not_know_the_unit_of_the_scores(inputs, record_property):
    """They are made of comparisons: an increasing function of all scores changes no decision."""

    @examples(inputs)
    @given(
        arrays(np.float64, 30, elements=SCORES),
        arrays(np.float64, 20, elements=SCORES),
        st.lists(st.booleans(), min_size=20, max_size=20).filter(any),
        st.sampled_from(list(INCREASING)),
        st.floats(0.04, 0.9),
    )
    def check(normal, test, marks, function, rate):
        grow = INCREASING[function]
        p_values = thresholds.conformal_p_values(normal, test)
        np.testing.assert_array_equal(
            thresholds.conformal_p_values(grow(normal), grow(test)), p_values
        )
        threshold = thresholds.target_false_positive_rate(normal, rate)
        moved = thresholds.target_false_positive_rate(grow(normal), rate)
        assert moved == grow(np.float64(threshold))
        np.testing.assert_array_equal(grow(test) > moved, p_values <= rate)
        best, other = (thresholds.best_f_beta(values, marks) for values in (test, grow(test)))
        np.testing.assert_array_equal(grow(test) > other, test > best)

    check()
    record_property("inputs", inputs)
