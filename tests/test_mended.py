"""Defects that jaxad itself has had: each test failed before the defect was mended."""

import threading
import warnings

import numpy as np
import pytest
from cases import QUICK, fresh

import jaxad
from jaxad import data

pytestmark = pytest.mark.defect


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DeepSVDD", {"batch_size": np.int64(32)}),
        ("DeepSVDD", {"hidden": (np.int64(8),)}),
        ("DeepSVDD", {"latent_dim": np.int64(3)}),
        ("GOAD", {"n_transforms": np.int64(4), "transform_dim": np.int64(3)}),
        ("GOAD", {"transform_dim": np.int64(3), "reconstruction_weight": 0.5}),
    ],
    ids=str,
)
def test_numpy_integers_are_integers(name, options, rows, tmp_path):
    detector = fresh(name, epochs=1, **options).fit(rows)
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))


def test_constant_images_have_no_contrast():
    values = np.linspace(0.01, 1, 100)
    images = np.broadcast_to(values[:, None, None, None], (100, 28, 28, 1))
    assert not data.contrast_normalised(images).any()


@pytest.mark.parametrize("pretrain_epochs", [0, 1])
def test_rows_to_train_on_are_not_all_known_anomalies(pretrain_epochs):
    x, y = np.random.default_rng(0).normal(size=(4, 3)), [-1, -1, -1, 0]

    def error(seed):
        options = QUICK | {"random_state": seed, "pretrain_epochs": pretrain_epochs}
        try:
            jaxad.DeepSAD(latent_dim=2, validation_fraction=0.25, **options).fit(x, y)
        except ValueError as raised:
            return str(raised)
        return None

    errors = [found for seed in range(8) if (found := error(seed))]
    assert 0 < len(errors) < 8
    assert all("marks every row as a known anomaly" in found for found in errors)


def test_a_fraction_that_holds_out_no_row_is_an_error(rows):
    with pytest.raises(ValueError, match=r"validation_fraction=0.1 holds out none of 4 rows"):
        fresh("AutoEncoder", validation_fraction=0.1).fit(rows[:4])


def test_goads_own_hidden_layers_are_not_taken_for_none(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh("GOAD", hidden=None, epochs=1).fit(rows)


def test_a_fit_does_not_count_the_compilations_of_other_threads(rows):
    found = []

    def fit(width):
        found.append(fresh("AutoEncoder", hidden=(width,), epochs=1).fit(rows).fit_seconds_)

    threads = [threading.Thread(target=fit, args=(width,)) for width in range(17, 22)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert min(found) > 0
