"""Semi-supervised training sets, and Deep SAD's splits of tables and images."""

import pickle

import numpy as np
import pytest

from jaxad.data import deep_sad_images, deep_sad_table, semi_supervised, split_hash


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
    """The same four numbers by a linear system: an equation per ratio, and one for all normals."""
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
    """At 1 % known and 10 % pollution the authors' loader raises an error on four of six sets."""
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
    state = pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global state, which must not change
    one, again, other = (semi_supervised(is_anomaly, **options, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.index, again.index)
    np.testing.assert_array_equal(one.label, again.label)
    assert set(one.index) != set(other.index)
    assert pickle.dumps(np.random.get_state()) == state  # noqa: NPY002


def test_every_anomaly_is_as_likely_to_be_drawn():
    """Not only the first in file order: each of 40 anomalies is known in a quarter of the draws."""
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


# Deep SAD on tables

# Normal rows and anomalies of the six ODDS sets, and of their training parts.
PARTS = {
    "arrhythmia": (386, 66, 231, 39),
    "cardio": (1655, 176, 993, 105),
    "satellite": (4399, 2036, 2639, 1221),
    "satimage-2": (5732, 71, 3439, 42),
    "shuttle": (45586, 3511, 27351, 2106),
    "thyroid": (3679, 93, 2207, 55),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_training_part_is_sixty_per_cent_of_each_kind(name):
    normals, anomalies, *expected = PARTS[name]
    is_anomaly = marks(normals, anomalies)
    drawn = deep_sad_table(is_anomaly, seed=0)
    part = is_anomaly[drawn.part]
    assert [(~part).sum(), part.sum()] == expected
    np.testing.assert_array_equal(
        np.sort(np.r_[drawn.part, drawn.test]), np.arange(normals + anomalies)
    )
    assert set(drawn.train) <= set(drawn.part)
    assert drawn.requested == (0.01, 0.1, 0.0)


def test_deep_sad_labels_what_it_says_it_knows():
    is_anomaly = marks(2000, 800)
    drawn = deep_sad_table(is_anomaly, known=0.05, pollution=0.1, known_normal=0.1, seed=0)
    assert is_anomaly[drawn.train[drawn.label == -1]].all()
    assert not is_anomaly[drawn.train[drawn.label == 1]].any()
    np.testing.assert_allclose(drawn.achieved, drawn.requested, atol=2e-3)
    assert (np.diff(drawn.train) > 0).all()
    assert (~is_anomaly[drawn.train]).sum() == 1200
    again, other = (
        deep_sad_table(is_anomaly, known=0.05, pollution=0.1, known_normal=0.1, seed=s)
        for s in (0, 1)
    )
    assert split_hash(drawn) == split_hash(again) != split_hash(other)


# Deep SAD on images


@pytest.mark.parametrize(
    "options",
    [
        {"known": 0.2, "known_classes": [7]},
        {"known": 0.05, "pollution": 0.1, "known_classes": [7]},
        {"known": 0.05, "pollution": 0.3, "known_classes": (1, 7, 9)},
        {"known": 0.05, "pollution": 0.1, "known_normal": 0.1, "known_classes": [7]},
    ],
)
def test_known_anomalies_are_of_the_known_classes_and_pollution_of_all(classes, options):
    label, is_train = classes
    drawn = deep_sad_images(label, is_train, normal=0, **options, seed=0)
    anomaly = label[drawn.train] != 0
    known, polluting = drawn.label == -1, (drawn.label == 0) & anomaly
    assert set(label[drawn.train[known]]) == set(options["known_classes"])
    if "pollution" in options:
        assert len(set(label[drawn.train[polluting]])) > 3
    np.testing.assert_allclose(
        drawn.achieved, [options.get(k, 0) for k in drawn.achieved._fields], atol=0.02
    )
    assert is_train[drawn.train].all()
    assert (np.diff(drawn.train) > 0).all()
    assert set(np.flatnonzero(is_train & (label == 0))) <= set(drawn.train)
    np.testing.assert_array_equal(drawn.test, np.flatnonzero(~is_train))


def test_the_papers_figures_for_mnist_digit_0():
    """Of 5,923 normal images: 346 known anomalies of one digit, and 658 polluting ones."""
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    label = np.repeat(np.arange(10), counts)
    drawn = deep_sad_images(
        label, np.ones(60_000), normal=0, known_classes=[1], known=0.05, pollution=0.1, seed=0
    )
    anomaly = label[drawn.train] != 0
    assert (drawn.label == -1).sum() == 346
    assert (label[drawn.train[drawn.label == -1]] == 1).all()
    assert ((drawn.label == 0) & anomaly).sum() == 658
    assert (~anomaly).sum() == 5923


def test_the_number_of_known_classes_may_be_drawn(classes):
    label, is_train = classes
    chosen = set()
    for seed in range(20):
        drawn = deep_sad_images(
            label, is_train, normal=4, known_classes=2, known=0.3, pollution=0.1, seed=seed
        )
        known = frozenset(label[drawn.train[drawn.label == -1]].tolist())
        assert len(known) == 2
        assert 4 not in known
        chosen.add(known)
    assert len(chosen) > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"known_classes": [0]}, "known_classes=0 is not among the classes.*: 1, 2, 3"),
        ({"known_classes": [3, 11]}, "known_classes=11 is not among"),
        ({"known_classes": 10}, "known_classes=10: there are 9 other classes"),
        ({"known_classes": 0, "known": 0.1}, "known=0.1 asks for known anomalies, but knowable"),
        ({"normal": "cat"}, "normal='cat' is not among"),
    ],
)
def test_classes_that_cannot_be_known_are_refused(classes, options, message):
    with pytest.raises(ValueError, match=message):
        deep_sad_images(*classes, **{"normal": 0, "seed": 0, **options})


def test_no_known_class_leaves_only_pollution(classes):
    drawn = deep_sad_images(*classes, normal=0, known_classes=0, pollution=0.1, seed=0)
    assert (drawn.label == 0).all()
    assert drawn.achieved.pollution == pytest.approx(0.1, abs=0.01)


def test_knowable_bounds_what_is_known_and_nothing_else():
    is_anomaly, knowable = marks(300, 200), marks(470, 30, seed=1)
    drawn = semi_supervised(is_anomaly, known=0.2, pollution=0.1, knowable=knowable, seed=0)
    known = drawn.index[drawn.label == -1]
    np.testing.assert_array_equal(known, np.flatnonzero(is_anomaly & knowable))
    assert drawn.achieved.pollution == pytest.approx(0.1, abs=0.01)
    with pytest.raises(ValueError, match="knowable marks 3 rows, is_anomaly 500"):
        semi_supervised(is_anomaly, known=0.2, knowable=[1, 0, 1], seed=0)
