"""Deep SAD's training sets, and the papers' splits."""

import pickle

import numpy as np
import pytest

from jaxad.data import half_normals, half_split, semi_supervised


def marks(normals, anomalies, seed=0):
    """Normal and anomalous rows in random order."""
    is_anomaly = np.r_[np.zeros(normals, bool), np.ones(anomalies, bool)]
    return np.random.default_rng(seed).permutation(is_anomaly)


def counts(drawn, is_anomaly):
    """Known normals, unlabelled normals, unlabelled anomalies, known anomalies."""
    anomaly = is_anomaly[drawn.index]
    return [
        int(np.sum((drawn.label == label) & (anomaly == kind)))
        for label, kind in ((1, False), (0, False), (0, True), (-1, True))
    ]


def expected_counts(normals, known, pollution, known_normal):
    """The same four by a linear system, one equation for each ratio and one for the normals."""
    equations = np.array(
        [
            [1, 1, 0, 0],
            [-known, -known, -known, 1 - known],
            [0, -pollution, 1 - pollution, 0],
            [1 - known_normal, -known_normal, -known_normal, -known_normal],
        ]
    )
    solution = np.linalg.solve(equations, [normals, 0, 0, 0])
    labelled, _, polluting, anomalies = (int(value + 1e-6) for value in solution)
    return [labelled, normals - labelled, polluting, anomalies]


def test_the_papers_example_of_mnist_digit_0():
    is_anomaly = marks(5923, 60_000 - 5923)
    drawn = semi_supervised(is_anomaly, known=0.05, pollution=0.1, seed=0)
    assert counts(drawn, is_anomaly) == [0, 5923, 658, 346]
    assert drawn.requested == (0.05, 0.1, 0.0)
    np.testing.assert_allclose(drawn.achieved, (0.05, 0.1, 0.0), atol=2e-4)


@pytest.mark.parametrize(
    "ratios", [(0.05, 0.1, 0.0), (0.2, 0.0, 0.0), (0.0, 0.3, 0.0), (0.05, 0.1, 0.2), (0, 0, 0.5)]
)
def test_counts_solve_the_equations_of_the_ratios(ratios):
    is_anomaly = marks(1234, 2000)
    known, pollution, known_normal = ratios
    drawn = semi_supervised(
        is_anomaly, known=known, pollution=pollution, known_normal=known_normal, seed=3
    )
    assert counts(drawn, is_anomaly) == expected_counts(1234, *ratios)
    np.testing.assert_allclose(drawn.achieved, ratios, atol=2e-3)


@pytest.mark.parametrize(
    ("normals", "known", "wanted"), [(90, 0.7, 210), (990, 0.45, 810), (900, 0.1, 100)]
)
def test_a_whole_count_loses_no_row_to_rounding(normals, known, wanted):
    is_anomaly = marks(normals, 1000)
    assert counts(semi_supervised(is_anomaly, known=known, seed=0), is_anomaly)[3] == wanted


# Normal and anomalous training rows of the six ODDS sets after a 60/40 split.
ODDS = {
    "arrhythmia": (231, 39, 2, 25),
    "cardio": (993, 105, 11, 94),
    "satellite": (2639, 1221, 29, 293),
    "satimage-2": (3439, 42, 38, 4),
    "shuttle": (27351, 2106, 306, 1800),
    "thyroid": (2207, 55, 24, 31),
}


@pytest.mark.parametrize("name", ODDS)
def test_too_few_anomalies_bound_the_pollution_and_the_record_says_so(name):
    """One per cent known and ten per cent pollution: the published loader fails on four of six."""
    normals, anomalies, known, polluting = ODDS[name]
    is_anomaly = marks(normals, anomalies)
    drawn = semi_supervised(is_anomaly, known=0.01, pollution=0.1, seed=0)
    assert counts(drawn, is_anomaly) == [0, normals, polluting, known]
    assert drawn.requested.pollution == 0.1
    np.testing.assert_allclose(drawn.achieved.known, known / len(drawn.index))
    np.testing.assert_allclose(drawn.achieved.pollution, polluting / (normals + polluting))


def test_known_anomalies_come_before_pollution():
    is_anomaly = marks(1000, 20)
    drawn = semi_supervised(is_anomaly, known=0.1, pollution=0.1, seed=0)
    assert counts(drawn, is_anomaly) == [0, 1000, 0, 20]
    assert drawn.achieved.pollution == 0


def test_no_row_is_drawn_twice_and_every_normal_row_is_there():
    is_anomaly = marks(700, 400)
    for seed in range(20):
        drawn = semi_supervised(is_anomaly, known=0.2, pollution=0.2, known_normal=0.1, seed=seed)
        assert (np.diff(drawn.index) > 0).all()
        assert set(np.flatnonzero(~is_anomaly)) <= set(drawn.index)
        assert is_anomaly[drawn.index[drawn.label == -1]].all()
        assert not is_anomaly[drawn.index[drawn.label == 1]].any()


def test_the_draw_follows_its_seed_and_no_global_state():
    is_anomaly = marks(700, 400)
    options = {"known": 0.1, "pollution": 0.1, "known_normal": 0.1}
    state = pickle.dumps(np.random.get_state())  # noqa: NPY002 - the state that must not move
    one, again, other = (semi_supervised(is_anomaly, **options, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.index, again.index)
    np.testing.assert_array_equal(one.label, again.label)
    assert set(one.index) != set(other.index)
    assert pickle.dumps(np.random.get_state()) == state  # noqa: NPY002


def test_every_anomaly_is_as_likely_to_be_drawn():
    """Not the first ones in file order: each of 40 is known in about a quarter of the draws."""
    is_anomaly = marks(90, 40)
    drawn = np.zeros(130)
    for seed in range(400):
        one = semi_supervised(is_anomaly, known=0.1, seed=seed)
        drawn[one.index[one.label == -1]] += 1
    assert drawn[~is_anomaly].max() == 0
    assert 60 < drawn[is_anomaly].min() <= drawn[is_anomaly].max() < 145


@pytest.mark.parametrize(
    ("is_anomaly", "options", "message"),
    [
        (marks(9, 3), {"known": 1.0}, r"known=1.0 is outside \[0, 1\)"),
        (marks(9, 3), {"known": 0.1, "pollution": -0.1}, "pollution=-0.1 is outside"),
        (marks(9, 3), {"known": 0.1, "known_normal": np.nan}, "known_normal=nan is outside"),
        (marks(9, 3), {"known": 0.5, "known_normal": 0.5}, "known=0.5 and known_normal=0.5.*lower"),
        (marks(9, 0), {"known": 0.1}, "known=0.1 asks for anomalies.*none of 9 rows.*or known=0"),
        (marks(9, 0), {"known": 0, "pollution": 0.1}, "pollution=0.1 asks for anomalies"),
        (marks(0, 9), {"known": 0.1}, "is_anomaly marks all 9 rows: pass normal rows"),
        ([0, 1, -1], {"known": 0.1}, r"is_anomaly\[2\]=-1 is neither 0 nor 1: pass 1 for an"),
        ([0, 1, np.nan], {"known": 0.1}, r"is_anomaly\[2\]=nan"),
        (np.zeros((3, 2)), {"known": 0.1}, r"is_anomaly has shape \(3, 2\): pass one mark per row"),
    ],
)
def test_what_cannot_be_drawn_is_named(is_anomaly, options, message):
    with pytest.raises(ValueError, match=message):
        semi_supervised(is_anomaly, seed=0, **options)


# The papers' splits


def test_half_split_trains_on_the_normal_rows_of_a_random_half():
    is_anomaly = marks(900, 101)
    train, test = half_split(is_anomaly, seed=0)
    assert len(test) == 501
    assert not is_anomaly[train].any()
    assert not set(train) & set(test)
    # Only the training half's anomalies are in neither.
    left_out = np.setdiff1d(np.arange(1001), np.r_[train, test])
    assert len(train) + len(left_out) == 500
    assert is_anomaly[left_out].all()
    assert 0.05 < is_anomaly[test].mean() < 0.15


def test_half_normals_trains_on_half_of_the_normal_rows_and_tests_on_the_rest():
    is_anomaly = marks(901, 100)
    train, test = half_normals(is_anomaly, seed=0)
    assert len(train) == 450
    assert not is_anomaly[train].any()
    np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(1001))
    assert is_anomaly[test].sum() == 100


@pytest.mark.parametrize("split", [half_split, half_normals])
def test_splits_follow_their_seed(split):
    is_anomaly = marks(300, 60)
    one, again, other = (split(is_anomaly, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train, again.train)
    np.testing.assert_array_equal(one.test, again.test)
    assert set(one.train) != set(other.train)


@pytest.mark.parametrize("split", [half_split, half_normals])
def test_a_split_without_a_normal_row_to_train_on_is_refused(split):
    with pytest.raises(ValueError, match="marks 8 of 8 rows, which leaves no normal row"):
        split(np.ones(8), 0)
    with pytest.raises(ValueError, match=r"is_anomaly\[0\]=2 is neither 0 nor 1"):
        split([2, 0, 0], 0)
