"""Contributions of a row's entries to its score."""

import flax.linen as nn
import numpy as np
import pandas as pd
import polars as pl
import pytest
from cases import DETECTORS, OF_AN_OBJECTIVE, fresh
from flax import struct
from sklearn.base import clone

import jaxad
from jaxad import data, networks, objectives
from jaxad.estimators import explanations

NAMES = list("abcde")


def standardised(detector, x):
    """The explained score of combine="z" and "rank"."""
    how = detector.combination_
    units = (detector.member_scores(x) - how["shift"][:, None]) / how["scale"][:, None]
    return units.mean(axis=0)


@pytest.mark.parametrize("name", list(DETECTORS))
def test_base_and_contributions_sum_to_the_score(name, rows):
    # Units of the members' own scores, and standardised ones.
    detector = fresh(name, n_members=2, combine="z" if name == "GOAD" else "mean").fit(rows)
    x = np.concatenate([rows[:6], rows[:6] + 5 * np.eye(6, 5)])
    for method in ("auto", "integrated_gradients"):
        parts, base = detector.explain(x, method, return_base=True)
        assert parts.shape == x.shape
        np.testing.assert_allclose(base + parts.sum(1), detector.anomaly_score(x), 1e-5, 1e-6)
    np.testing.assert_array_equal(detector.explain(x[3:4], method), parts[3:4])  # rows alone


def test_ensembles_of_ranks_explain_the_mean_standardised_score(rows):
    detector = fresh("DAGMM", n_members=2).fit(rows)  # combine="auto" is "rank"
    parts, base = detector.explain(rows[:5], return_base=True)
    np.testing.assert_allclose(base + parts.sum(1), standardised(detector, rows[:5]), rtol=1e-6)


def test_contributions_are_the_integral_of_the_gradient(rows):
    """Of a score that is known: (a * b), and c is not used."""

    def product(shape):
        return Product()

    detector = jaxad.ObjectiveDetector(product, epochs=0, n_members=1, scaler="none").fit(rows)
    x = np.array([[2.0, 3.0, 7.0, 0.0, 0.0]])
    parts, base = detector.explain(x, background=np.zeros((1, 5)), return_base=True)
    np.testing.assert_allclose(parts, [[3.0, 3.0, 0.0, 0.0, 0.0]], atol=1e-5)
    assert base == 0
    # From (1, 1): the integral of (1 + 2 t) dt * 1 = 2, and of (1 + t) dt * 2 = 3.
    parts, base = detector.explain(x, background=np.ones((2, 5)), return_base=True)
    np.testing.assert_allclose(parts, [[2.0, 3.0, 0.0, 0.0, 0.0]], atol=1e-5)
    assert base == 1
    for cuts in (1, 2, 4):  # however many parts a path has
        found = explanations._along_paths(detector, x, np.ones((2, 5)), cuts)
        np.testing.assert_allclose(found, [[2.0, 3.0, 0.0, 0.0, 0.0]], atol=1e-5)


class Product(objectives.BaseObjective):
    """The score is the product of two entries."""

    chunk: int = struct.field(pytree_node=False, default=64)

    def init(self, key, x):
        return {"unused": x[0, :1]}, {}

    def loss(self, params, stats, batch, key):
        return self.score(params, stats, batch.x) + 0 * params["unused"], stats

    def score(self, params, stats, x):
        return x[:, 0] * x[:, 1]


def test_the_feature_that_is_off_contributes_most():
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3)) @ random.normal(size=(3, 8)) + 0.3 * random.normal(
        size=(400, 8)
    )
    detector = jaxad.DeepSVDD(epochs=40, learning_rate=1e-3, n_members=2, random_state=0).fit(x)
    off = x[:80] + 4 * x.std() * np.eye(8)[np.arange(80) % 8]
    assert np.mean(detector.explain(off).argmax(1) == np.arange(80) % 8) > 0.9


def test_a_frame_gives_a_frame_with_its_index_and_names(rows):
    frame = pd.DataFrame(rows, columns=NAMES, index=np.arange(300) * 2)
    detector = fresh("DeepSVDD").fit(frame)
    found = detector.explain(frame[:4])
    assert found.columns.tolist() == NAMES
    assert found.index.tolist() == [0, 2, 4, 6]
    of_polars = detector.explain(pl.DataFrame(rows[:4], schema=NAMES))
    assert isinstance(of_polars, pl.DataFrame)
    np.testing.assert_array_equal(of_polars.to_numpy(), found.to_numpy())


def test_images_give_heat_maps(rows):
    images = np.random.default_rng(0).random((20, 8, 8, 3)).astype(np.float32)

    class Flat(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, use_bias=False)(x.reshape(len(x), -1))

    detector = fresh("DeepSVDD", network=Flat()).fit(images)
    maps, base = detector.explain(images[:3], return_base=True)
    assert maps.shape == (3, 8, 8)
    total = base + maps.sum((1, 2))
    np.testing.assert_allclose(total, detector.anomaly_score(images[:3]), rtol=1e-5)


def test_they_survive_the_file_and_say_so_where_the_file_has_no_background(rows, tmp_path):
    detector = fresh("GOAD").fit(rows)
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    np.testing.assert_array_equal(loaded.explain(rows[:3]), detector.explain(rows[:3]))
    loaded.background_ = None
    loaded.save(tmp_path / "without")
    loaded = jaxad.load(tmp_path / "without")
    with pytest.raises(ValueError, match=r"background=None.*pass some"):
        loaded.explain(rows[:3])
    assert loaded.explain(rows[:3], background=rows[:9]).shape == (3, 5)


def test_background_rows_are_normal_ones(rows):
    label = np.where(np.arange(300) % 2, -1, 0)
    rows[1::2] += 40
    detector = fresh("DeepSAD", scaler="none").fit(rows, label)
    assert detector.background_.shape == (16, 5)
    assert detector.background_.max() < 20
    plain = fresh("DeepSVDD").fit(rows)
    drawn = rows[np.linspace(0, 299, 32).round().astype(int)]
    low = np.sort(np.argsort(plain.anomaly_score(drawn), kind="stable")[:16])
    np.testing.assert_array_equal(plain.background_, plain.scaler_(drawn[low]))
    few = fresh("DeepSVDD").fit(rows[:3])
    assert few.explain(rows[:3]).shape == (3, 5)


def test_wrapped_and_compound_objectives_sum_up(rows):
    def bagged(shape):
        inner = objectives.autoencoder(networks.MLP((4, 2)), networks.MLP((4, *shape)))
        return objectives.FeatureBag(inner, 0.5)

    def doubled(shape):  # with a score of its own, which the inner errors do not sum to
        return Doubled(objectives.autoencoder(networks.MLP((4, 2)), networks.MLP((4, *shape))))

    for detector in (
        clone(OF_AN_OBJECTIVE),
        jaxad.ObjectiveDetector(doubled, epochs=1, n_members=1, random_state=0),
        jaxad.ObjectiveDetector(bagged, epochs=1, n_members=1, random_state=0),
        fresh("AutoEncoder", loss=absolute),
    ):
        detector.fit(rows)
        parts, base = detector.explain(rows[:4], return_base=True)
        np.testing.assert_allclose(
            base + parts.sum(1), detector.anomaly_score(rows[:4]), rtol=1e-4, atol=1e-6
        )


class Doubled(objectives.Wrapper):
    """A wrapper that changes the score."""

    def score(self, params, stats, x):
        return 2 * self.objective.score(params, stats, x)


def absolute(x, reconstruction):
    return abs(x - reconstruction).sum(-1)


def test_a_score_in_steps_is_reported(rows):
    def steps(shape):
        return Steps()

    detector = jaxad.ObjectiveDetector(steps, epochs=0, n_members=1, scaler="none").fit(rows)
    with pytest.warns(RuntimeWarning, match="inaccurate"):
        parts, base = detector.explain(rows[:3] + 9, return_base=True)
    np.testing.assert_allclose(base + parts.sum(1), detector.anomaly_score(rows[:3] + 9))


class Steps(Product):
    """The score is a whole number, so its gradient is 0."""

    def score(self, params, stats, x):
        return (x[:, 0] > 1) * 1.0 + 0 * x[:, 0]


def test_bad_input(rows):
    detector = fresh("DeepSVDD").fit(rows)
    for method in ("gradient", "reconstruction"):
        with pytest.raises(ValueError, match=f"method='{method}'.*integrated_gradients"):
            detector.explain(rows, method)
    with pytest.raises(ValueError, match="3 features"):
        detector.explain(rows[:2], background=rows[:2, :3])
    with pytest.raises(ValueError, match="background=.*leave it out"):
        fresh("AutoEncoder").fit(rows).explain(rows[:2], background=rows[:2])


@pytest.mark.defect
@pytest.mark.parametrize("streamed", [False, True])
def test_the_background_holds_no_validation_rows(streamed, rows):
    given = data.stream(rows, rows=100) if streamed else rows
    detector = fresh("DeepSVDD", epochs=1).fit(given, validation=rows[:50] + 100)
    assert len(detector.background_) == 16
    assert np.abs(detector.background_).max() < 10
