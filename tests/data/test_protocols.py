"""The papers' splits: training rows, test rows, their ratios, and that seeds repeat them."""

import hashlib
import pickle
import struct

import numpy as np
import pytest

from jaxad.data import (
    SETTINGS,
    Split,
    all_rows,
    deep_sad_images,
    deep_sad_table,
    file_order_halves,
    half_normals,
    half_split,
    kdd_rev,
    one_class,
    split,
    split_hash,
    unsupervised,
)


def marks(normals, anomalies, seed=0):
    """Normal and anomalous rows in random order."""
    is_anomaly = np.r_[np.zeros(normals, bool), np.ones(anomalies, bool)]
    return np.random.default_rng(seed).permutation(is_anomaly)


# One class of images


def test_one_class_trains_and_all_test_rows_are_tested(classes):
    label, is_train = classes
    train, test = one_class(label, is_train, normal=3)
    np.testing.assert_array_equal(train, np.flatnonzero(is_train & (label == 3)))
    np.testing.assert_array_equal(test, np.arange(1000, 1200))


def test_a_class_that_is_not_there_is_refused_with_those_that_are(classes):
    label, is_train = classes
    with pytest.raises(ValueError, match="normal=10 is not among the classes.*: 0, 1, 2"):
        one_class(label, is_train, normal=10)
    with pytest.raises(ValueError, match=r"is_train\[2\]=2 is neither 0 nor 1: pass 1 or 0"):
        one_class([0, 0, 0], [0, 1, 2], normal=0)


# Halves of tables


def test_half_split_trains_on_the_normal_rows_of_a_random_half():
    is_anomaly = marks(900, 101)
    train, test = half_split(is_anomaly, seed=0)
    assert len(test) == 501
    assert not is_anomaly[train].any()
    assert not set(train) & set(test)
    # Only the anomalies of the training half are in neither part.
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


# Settings of tabular benchmarks


def test_file_order_takes_the_first_half_of_the_normal_rows():
    is_anomaly = marks(1501, 200)
    train, test = file_order_halves(is_anomaly, seed=0)
    normal = np.flatnonzero(~is_anomaly)
    np.testing.assert_array_equal(train, normal[:750])
    np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(1701))
    np.testing.assert_array_equal(file_order_halves(is_anomaly, seed=1).train, train)


def test_file_order_bootstraps_small_sets_to_a_thousand_rows():
    is_anomaly = marks(250, 50)
    one, again, other = (file_order_halves(is_anomaly, seed) for seed in (1, 1, 2))
    train, test = one
    assert len(train) + len(test) == 1000
    assert not is_anomaly[train].any()
    assert len(train) == round((~is_anomaly[np.r_[train, test]]).sum() / 2)
    assert 100 < is_anomaly[test].sum() < 240  # on average a sixth of 1,000 rows
    assert set(train) & set(test), "twins are what this rule is known for"
    assert split_hash(one) == split_hash(again) != split_hash(other)


def test_file_order_draws_fifty_thousand_of_more_rows():
    is_anomaly = marks(60_000, 1000)
    train, test = file_order_halves(is_anomaly, seed=0)
    rows = np.r_[train, test]
    assert len(set(rows)) == len(rows) == 50_000
    assert len(train) == round((~is_anomaly[rows]).sum() / 2)
    assert train.max() > 59_000  # first in the order of the sample, not of the file


def test_file_order_draws_as_the_published_table_did():
    """numpy never changes the stream of its legacy generator."""
    train, _ = file_order_halves(np.arange(214) < 9, seed=6)
    drawn = np.random.RandomState(6).choice(214, 1000)  # noqa: NPY002 - the table's generator
    normal = drawn[drawn >= 9]
    np.testing.assert_array_equal(train, np.sort(normal[: round(len(normal) / 2)]))


def test_a_set_of_a_thousand_rows_is_not_bootstrapped():
    train, test = file_order_halves(marks(900, 100), seed=0)
    assert len(set(train) | set(test)) == 1000


def test_unsupervised_training_rows_are_seven_tenths_of_each_kind():
    is_anomaly = marks(1000, 50)
    train, test = unsupervised(is_anomaly, seed=0)
    assert (len(train), is_anomaly[train].sum()) == (735, 35)
    np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(1050))


@pytest.mark.parametrize(("normals", "anomalies"), [(5, 1), (1, 5), (5, 0)])
def test_a_kind_that_cannot_be_divided_is_refused(normals, anomalies):
    with pytest.raises(ValueError, match="needs two normal rows and two anomalies"):
        unsupervised(marks(normals, anomalies), 0)


def test_all_rows_are_trained_on_and_tested():
    train, test = all_rows(marks(5, 2))
    assert train.tolist() == test.tolist() == list(range(7))


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_a_function_of_marks_and_seed(setting):
    is_anomaly = marks(1100, 100)
    state = pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global state, which must not change
    one, again, other = (split(is_anomaly, setting, seed) for seed in (1, 1, 2))
    assert pickle.dumps(np.random.get_state()) == state  # noqa: NPY002
    assert split_hash(one) == split_hash(again)
    seedless = setting in ("one_class_file_order", "unsupervised_all")
    assert (split_hash(one) == split_hash(other)) == seedless
    for rows in one:
        assert (np.diff(rows) > 0).all()
    if setting != "unsupervised_all":
        assert not set(one.train) & set(one.test)
    if not setting.startswith("unsupervised"):
        assert not is_anomaly[one.train].any()
    assert is_anomaly[one.test].any()


def test_an_unknown_setting_lists_the_valid_ones():
    with pytest.raises(ValueError, match="'random'; valid: dagmm, goad, one_class_random"):
        split([0, 0, 1], "random", 0)


# The hash of a split


def test_the_hash_is_the_same_on_every_machine_and_for_every_integer_type():
    rows = Split(np.array([1, 2, 3]), np.array([4, 5]))
    small = Split(*(part.astype(np.int32) for part in rows))
    swapped = Split(*(part.astype(">i8") for part in rows))
    # The length of each array, then its rows, as little-endian integers of eight bytes.
    expected = hashlib.sha256(struct.pack("<4q", 3, 1, 2, 3) + struct.pack("<3q", 2, 4, 5))
    assert {split_hash(s) for s in (rows, small, swapped)} == {expected.hexdigest()}


def test_the_hash_tells_roles_and_order_apart():
    a, b, c = np.array([1, 2, 3]), np.array([4, 5]), np.array([1, 2])
    hashes = [
        split_hash(s)
        for s in (Split(a, b), Split(b, a), Split(c, np.array([3, 4, 5])), Split(a[::-1], b))
    ]
    assert len(set(hashes)) == 4


def test_splits_do_not_change_from_version_to_version():
    """Stored results have these hashes; if a split changed, they could not be compared."""
    is_anomaly = np.arange(1200) % 12 == 0
    digits, is_train = np.arange(1200) % 10, np.arange(1200) < 1000
    found = {name: split_hash(split(is_anomaly, name, 0))[:16] for name in SETTINGS}
    found["deep_sad_table"] = split_hash(deep_sad_table(is_anomaly, seed=0))[:16]
    drawn = deep_sad_images(digits, is_train, normal=0, known=0.05, pollution=0.1, seed=0)
    found["deep_sad_images"] = split_hash(drawn)[:16]
    assert found == {
        "dagmm": "7aee79bfa2afd5e2",
        "goad": "0b97de004175587d",
        "one_class_random": "0b97de004175587d",
        "one_class_file_order": "94a82bb17b4b5008",
        "unsupervised": "7936af8e38c08c79",
        "unsupervised_all": "da4ef4742af2080f",
        "deep_sad_table": "e87fb459847596a1",
        "deep_sad_images": "eb8c12c95174ea9c",
    }


# KDD-Rev


def test_kdd_rev_exchanges_the_roles_and_keeps_a_quarter_as_many_attacks():
    is_normal_connection = marks(4000, 1002)
    rows, is_anomaly = kdd_rev(is_normal_connection, seed=0)
    assert (len(rows), is_anomaly.sum()) == (1002 + 250, 250)
    np.testing.assert_array_equal(is_anomaly, ~is_normal_connection[rows])
    assert set(np.flatnonzero(is_normal_connection)) <= set(rows)
    assert (np.diff(rows) > 0).all()
    assert set(rows) != set(kdd_rev(is_normal_connection, seed=1).rows)
    train, test = half_normals(is_anomaly, seed=0)
    assert is_normal_connection[rows[train]].all()
    assert len(test) == 501 + 250


def test_kdd_rev_needs_enough_attacks():
    with pytest.raises(ValueError, match="takes 25 attacks, but is_anomaly leaves 10"):
        kdd_rev(marks(10, 100), 0)
