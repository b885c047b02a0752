"""The tables of detectors and objectives, and the public names."""

import subprocess
import sys

import cases
import numpy as np
import pytest
from cases import fresh

import jaxad
from jaxad import objectives
from jaxad.estimators import DETECTORS
from jaxad.objectives import OBJECTIVES


def built_in(table):
    return {name for name in table if "." not in name}


def kinds(objective):
    """The classes of an objective, and those of its parts and of what it wraps."""
    yield from (kind.__name__ for kind in type(objective).__mro__ if kind.__name__ in OBJECTIVES)
    if isinstance(objective, objectives.Wrapper):
        yield from kinds(objective.objective)
    for part in getattr(objective, "parts", ()):
        yield from kinds(part)


def test_every_detector_and_objective_has_a_case():
    assert {*cases.DETECTORS, "ObjectiveDetector"} == built_in(DETECTORS)
    covered = {kind for case in cases.PLANTED.values() for kind in kinds(case)}
    assert covered == built_in(OBJECTIVES)


def test_every_detector_is_public_and_in_the_readme():
    readme = (cases.ROOT / "README.md").read_text(encoding="utf-8")
    for name, detector in DETECTORS.items():
        if "." not in name:
            assert getattr(jaxad, name) is detector
            assert f"| `{name}` |" in readme or name == "ObjectiveDetector"


def test_public_names_are_there_and_others_are_not():
    for name in ("thresholds", "metrics", "plotting", "data", "training", "objectives", "networks"):
        assert getattr(jaxad, name).__name__ == f"jaxad.{name}"
    assert {"DeepSVDD", "load", "sweep", "training"} <= set(dir(jaxad))
    with pytest.raises(AttributeError, match="no attribute 'DeepSVD'"):
        _ = jaxad.DeepSVD


def test_a_star_import_gives_the_public_names():
    found = {}
    exec("from jaxad import *", found)
    assert {"DeepSVDD", "GOAD", "load", "sweep", "training", "NonFiniteError"} <= found.keys()


def test_objectives_are_found_by_their_earlier_names():
    with pytest.warns(DeprecationWarning, match="objectives.DeepSVDD .* objectives.deep_svdd now"):
        assert objectives.DeepSVDD is objectives.deep_svdd


def test_the_package_is_imported_without_what_it_does_not_need_yet():
    code = (
        "import sys, jaxad; "
        "heavy = {'jax', 'sklearn', 'pandas', 'matplotlib', 'flax', 'optax', 'pooch'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Halved(jaxad.DeepSVDD):
    """A detector of the user's own: scores of a narrow network."""

    width: int = 4

    def _encoder(self):
        return jaxad.networks.MLP((self.width, 2))


def test_a_detector_of_the_users_is_saved_and_loaded(rows, tmp_path):
    detector = Halved(width=3, epochs=2, n_members=2, random_state=0).fit(rows)
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    assert type(loaded) is Halved
    assert loaded.width == 3
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))


def test_a_file_of_an_unknown_detector_says_what_to_import(rows, tmp_path, monkeypatch):
    detector = Halved(epochs=0, n_members=1, random_state=0).fit(rows)
    detector.save(tmp_path / "d")
    monkeypatch.delitem(DETECTORS, f"{__name__}.Halved")
    with pytest.raises(jaxad.FileFormatError, match=rf"'{__name__}.Halved'.*import {__name__} "):
        jaxad.load(tmp_path / "d")
    with pytest.raises(ValueError, match="Halved is not registered"):
        detector.save(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


class Own(jaxad.DeepSVDD):
    """A detector with an `__init__` of its own."""

    def __init__(self, *, gain=1.0, epochs=2, random_state=0):
        super().__init__(epochs=epochs, random_state=random_state, n_members=1)
        self.gain = gain


class Below(Own):
    """A class below it inherits the `__init__`."""


def test_a_class_with_an_init_of_its_own_is_inherited_saved_and_loaded(rows, tmp_path):
    detector = Below(gain=3.0).fit(rows)
    detector.save(tmp_path / "d")
    loaded = jaxad.load(tmp_path / "d")
    assert loaded.gain == 3.0
    np.testing.assert_array_equal(loaded.anomaly_score(rows), detector.anomaly_score(rows))


def test_a_class_defined_again_is_told_from_one_that_is_not_registered(rows, tmp_path, monkeypatch):
    detector = Halved(epochs=0, n_members=1, random_state=0).fit(rows)
    monkeypatch.setitem(DETECTORS, f"{__name__}.Halved", Own)
    with pytest.raises(ValueError, match="Halved was defined again"):
        detector.save(tmp_path / "d")


class Marks(jaxad.DeepSAD):
    """Takes marks of anomalies instead of labels, and needs them."""

    def _labels(self, y, count):
        if y is None:
            raise ValueError("y is needed")
        return super()._labels(jaxad.labels_from_anomalies(y), count)


def test_labels_are_asked_for_once_and_not_to_score(rows):
    detector = Marks(epochs=1, n_members=1, random_state=0).fit(rows, np.arange(300) < 9)
    assert detector.anomaly_score(rows).shape == (300,)


def test_the_argument_of_a_subclass_is_checked_where_it_is_declared():
    with pytest.raises(ValueError, match="nu=2 is outside"):
        Halved(nu=2).fit(np.ones((9, 2)))
    assert "width" in Halved().get_params()
    assert fresh("DeepSVDD").get_params().keys() < Halved().get_params().keys()
