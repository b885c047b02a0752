"""Cards agree with the files, are complete, and declare overlaps between sets."""

import os
import re
from pathlib import Path

import numpy as np
import pooch
import pytest

from jaxad.data import CARDS, NAMES, load

FOLDER = os.environ.get("JAXAD_DATA")
HELD = [
    name
    for name, card in CARDS.items()
    if FOLDER
    and any(
        all((Path(FOLDER) / file.path).is_file() for file in copy.files) for copy in card.copies
    )
]
# Sets whose arrays are in an archive other than the published one.
REPACKED = {"mnist"}


def held(name):
    """Load a set, or skip the test unless the folder JAXAD_DATA names has it."""
    if name not in HELD:
        pytest.skip(f"needs {name} in the folder JAXAD_DATA names")
    return load(name)


@pytest.mark.parametrize("name", HELD or ["thyroid"])
def test_a_file_holds_what_its_card_says(name):
    dataset = held(name)  # load itself compares the figures with the card
    card = dataset.card
    assert dataset.x.shape == (card.rows, *card.shape)
    assert card.features == np.prod(card.shape)
    if card.anomalies is not None:
        assert dataset.is_anomaly.dtype == bool
        assert dataset.is_anomaly.sum() == card.anomalies
        assert np.isfinite(dataset.x).all()
    if card.classes is not None:
        assert len(np.unique(dataset.label)) == card.classes
    if card.train_rows is not None:
        np.testing.assert_array_equal(dataset.is_train, np.arange(card.rows) < card.train_rows)
    if dataset.features is not None:
        assert len(set(dataset.features)) == card.features


@pytest.mark.parametrize("name", [name for name in HELD if name not in REPACKED] or ["thyroid"])
def test_a_file_is_the_published_one(name):
    if name not in HELD:
        pytest.skip(f"needs {name} in the folder JAXAD_DATA names")
    file = CARDS[name].copies[0].files[0]
    if file.sha256 is None:
        pytest.skip(f"no published hash of {file.path} is known")
    assert pooch.file_hash(Path(FOLDER) / file.path) == file.sha256


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_complete(name):
    card = CARDS[name]
    assert card.name == name
    assert card.rows > 0
    assert card.features > 0
    assert card.source.startswith("https://")
    assert card.licence
    assert card.citation
    for copy in card.copies:
        for file in copy.files:
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.url is None or file.sha256, "an address without a hash to check it by"
            assert file.url is None or "{" not in file.url


def test_no_two_sets_read_the_same_file():
    paths = [file.path for card in CARDS.values() for copy in card.copies for file in copy.files]
    assert len(set(paths)) == len(paths)


def test_overlaps_are_declared_on_both_sides():
    for name, card in CARDS.items():
        for overlap in card.overlaps:
            assert name not in overlap.sets
            for other in overlap.sets:
                assert any(name in back.sets for back in CARDS[other].overlaps)
    assert CARDS["WBC"].overlaps[0].sets == ("breastw",)
    assert not CARDS["arrhythmia"].overlaps


def test_thyroid_is_the_beginning_of_annthyroid():
    thyroid, ann = held("thyroid"), held("annthyroid")
    x = ann.x[: len(thyroid.x)]
    np.testing.assert_allclose((x - x.min(0)) / np.ptp(x, axis=0), thyroid.x, atol=1e-9)
    assert (ann.is_anomaly[: len(x)] & ~thyroid.is_anomaly).sum() == 191


def test_landsat_is_satellite_standardised():
    x = held("satellite").x
    standardised = (x - x.mean(0)) / x.std(0, ddof=1)
    np.testing.assert_allclose(held("landsat").x, standardised, atol=1e-9)


@pytest.mark.parametrize(("part", "whole"), [("WBC", "breastw"), ("satimage-2", "satellite")])
def test_every_row_of_the_part_is_one_of_the_whole(part, whole):
    rows = {row.tobytes() for row in held(whole).x}
    assert all(row.tobytes() in rows for row in held(part).x)


@pytest.mark.full
@pytest.mark.slow
def test_the_scaled_kdd_is_the_raw_one_column_by_column():
    raw, scaled = held("kddcup99"), held("kddcup99_dagmm")
    np.testing.assert_array_equal(raw.is_anomaly, scaled.is_anomaly)
    np.testing.assert_array_equal(raw.is_anomaly, raw.label == "normal.")
    assert raw.continuous.sum() == 32
    # The 38 numeric columns come first in one set and last in the other; the rest are indicators.
    np.testing.assert_array_equal(raw.x[:, 38:], scaled.x[:, :80])
    indicators = np.array(["=" in name for name in raw.features])
    np.testing.assert_array_equal(indicators, np.arange(118) >= 38)
    assert (raw.x[:, 38:].sum(axis=1) == 3).all()
    for j in range(38):
        x, y = raw.x[::97, j], scaled.x[::97, 80 + j]
        assert np.array_equal(np.argsort(x, kind="stable"), np.argsort(y, kind="stable"))
