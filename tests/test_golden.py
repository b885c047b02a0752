"""Results, files and errors are those of earlier versions, see `golden`."""

import json
import shutil

import bad_input
import golden
import numpy as np
import pytest

import jaxad

EXPECTED = json.loads((golden.FOLDER / "expected.json").read_text())
ERRORS = json.loads((golden.FOLDER / "errors.json").read_text())
TOLERANCE = 2e-3  # processors and versions of XLA order sums differently


def assert_is(detector, expected):
    found = golden.found(detector)
    rounding = TOLERANCE * np.abs(expected["score"]).max()  # of a threshold near 0, too
    for name in ("score", "threshold"):
        np.testing.assert_allclose(found[name], expected[name], TOLERANCE, rounding)
    assert found["history"].keys() == expected["history"].keys()
    for name, values in expected["history"].items():
        np.testing.assert_allclose(found["history"][name], values, TOLERANCE, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "way"), golden.TESTED)
def test_results_equal_those_of_earlier_versions(name, way, tmp_path):
    assert_is(golden.fitted(name, way, tmp_path / "run"), EXPECTED[f"{name}: {way}"])


@pytest.mark.parametrize("way", golden.SAVED)
@pytest.mark.parametrize("name", golden.DETECTORS)
def test_models_of_earlier_versions_load(name, way):
    assert_is(jaxad.load(golden.model_file(name, way)), EXPECTED[f"{name}: {way}"])


@pytest.mark.parametrize(("name", "way"), golden.KEPT)
def test_checkpoints_of_earlier_versions_are_refused(name, way, tmp_path):
    """Their runs were told apart by other figures: nothing could hold that they end the same."""
    folder = shutil.copytree(golden.checkpoints_folder(name, way), tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="another version of jaxad.*finish the run with that"):
        golden.fitted(name, way, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("case", bad_input.CASES)
def test_error_messages_are_unchanged(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bad_input.raised(case) == ERRORS[case]
    assert not list(tmp_path.iterdir())
