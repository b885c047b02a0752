"""Exported programs give the detector's scores, decisions and p-values, and say what is wrong."""

import copy
import json
import sys
import types

import jax
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from cases import DETECTORS, fresh

import jaxad
from jaxad import deployment, thresholds

ROWS = np.random.default_rng(0).normal(size=(1200, 5)).astype(np.float32)
ROWS[:, 1] = 1e6 + 16 * ROWS[:, 1]  # far from 0: the shift needs more than float32
TRAIN, CALIBRATION, NEW = ROWS[:150], ROWS[150:200], ROWS[200:]
SIZES = (1, 7, 1000)
ENSEMBLES = {
    "mean": fresh("AutoEncoder", n_members=3, combine="mean"),
    "z": fresh("DeepSVDD", n_members=3, combine="z"),
    "rank": fresh("AutoEncoder", n_members=3, combine="rank"),
}


def fitted(detector):
    y = np.where(np.arange(len(TRAIN)) < 5, -1, 0)
    return detector.fit(TRAIN, y).calibrate(CALIBRATION)


@pytest.fixture(scope="module", params=[*DETECTORS, *ENSEMBLES])
def detector(request):
    name = request.param
    return fitted(ENSEMBLES[name] if name in ENSEMBLES else fresh(name))


def onnx_run(path):
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return lambda x: dict(zip(names, session.run(None, {"X": x}), strict=True))


def assert_same(detector, run):
    """The outputs agree; ranks change by up to one rank where two scores are almost equal."""
    by_rank = "knots" in detector.combination_
    p_of = detector.calibration_.scores
    for size in SIZES:
        x = NEW[:size]
        wanted, found = detector.anomaly_score(x), run(x)
        assert {name: values.shape for name, values in found.items()} == dict.fromkeys(
            ("is_anomaly", "p_value", "score"), (size,)
        )
        tolerance = 1 / len(TRAIN) if by_rank else 1e-5 * np.abs(wanted).max()
        np.testing.assert_allclose(found["score"], wanted, rtol=0, atol=tolerance)
        clear = np.abs(wanted - detector.threshold_) > tolerance
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(found["is_anomaly"][clear], detector.predict(x)[clear] == -1)
        apart = np.abs(wanted[:, None] - p_of).min(1) > tolerance
        p_values = thresholds.conformal_p_values(p_of, wanted)
        np.testing.assert_allclose(found["p_value"][apart], p_values[apart], rtol=1e-6)


def test_stablehlo_agrees(detector, tmp_path):
    detector.export(tmp_path / "program.jaxad")
    assert_same(detector, jaxad.load_exported(tmp_path / "program.jaxad").run)


def test_onnx_agrees(detector, tmp_path):
    detector.export(tmp_path / "program.onnx", format="onnx")
    assert_same(detector, onnx_run(tmp_path / "program.onnx"))


@pytest.mark.parametrize("network", ["lenet", "conv"])
def test_images(network, tmp_path):
    images = np.random.default_rng(0).uniform(0, 255, (12, 16, 16)).astype(np.float32)
    kind = jaxad.DeepSVDD if network == "lenet" else jaxad.AutoEncoder
    detector = kind(network=network, epochs=1, random_state=0).fit(images)
    wanted = detector.anomaly_score(images)
    detector.export(tmp_path / "program.jaxad")
    detector.export(tmp_path / "program.onnx", format="onnx")
    exported = jaxad.load_exported(tmp_path / "program.jaxad")
    np.testing.assert_allclose(exported.anomaly_score(images), wanted, rtol=1e-5)
    np.testing.assert_array_equal(exported.predict(images), detector.predict(images))
    found = onnx_run(tmp_path / "program.onnx")(images[..., None])["score"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.fixture(scope="module")
def plain():
    columns = [f"v{i}" for i in range(5)]
    return fresh("DeepSVDD").fit(pd.DataFrame(TRAIN, columns=columns))


def test_the_files_say_what_they_are(plain, tmp_path):
    plain.export(tmp_path / "program.jaxad")
    plain.export(tmp_path / "program.onnx", format="onnx")
    exported = jaxad.load_exported(tmp_path / "program.jaxad")
    model = onnx.load(tmp_path / "program.onnx")
    in_onnx = json.loads({p.key: p.value for p in model.metadata_props}["jaxad"])
    for metadata in (exported.metadata, in_onnx):
        assert metadata["detector"] == "DeepSVDD"
        assert metadata["libraries"]["jax"] == jax.__version__
        assert metadata["threshold"] == plain.threshold_
        assert metadata["input"]["shape"] == ["batch", 5]
        assert metadata["input"]["feature_names"] == ["v0", "v1", "v2", "v3", "v4"]
        assert metadata["outputs"] == {"is_anomaly": "bool", "score": "float32"}
    assert exported.metadata["platforms"] == ["cpu", "cuda", "tpu"]
    with pytest.raises(ValueError, match="exported without a calibration"):
        exported.p_value(TRAIN)


def test_a_program_for_other_platforms_runs_here(plain, tmp_path):
    """What a machine with a GPU writes holds a program for the CPU, too."""
    plain.export(tmp_path / "program.jaxad")
    arrays, _ = jaxad.persistence.read(tmp_path / "program.jaxad")
    program = jax.export.deserialize(bytearray(arrays["program"].tobytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert program.nr_devices == 1


def test_wrong_rows_are_named(plain, tmp_path):
    plain.export(tmp_path / "program.jaxad")
    exported = jaxad.load_exported(tmp_path / "program.jaxad")
    frame = pd.DataFrame(TRAIN, columns=["v1", "v0", "v2", "v3", "v4"])
    hole = TRAIN.copy()
    hole[3, 2] = np.nan
    for rows, message in [
        (frame, "give X"),
        (TRAIN[:, :3], r"X has shape \(150, 3\), the detector takes \[N, 5\]"),
        (TRAIN[:0], "at least one row"),
        ([["a"] * 5], "numbers only"),
        (hole, "NaN: first at row 3"),
        (TRAIN * 1e30, "too far from the fitted values"),
    ]:
        with pytest.raises(ValueError, match=message):
            exported.run(rows)


@pytest.mark.parametrize("damage", ["cut", "foreign", "flipped", "empty"])
def test_a_damaged_file_says_so(damage, plain, tmp_path):
    path = tmp_path / "program.jaxad"
    plain.export(path)
    data = path.read_bytes()
    flipped = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    path.write_bytes(
        {"cut": data[:-20], "foreign": b"hello, world" * 9, "flipped": flipped, "empty": b""}[
            damage
        ]
    )
    with pytest.raises(
        jaxad.FileFormatError, match="program.jaxad: (the file|trunc|not a|damaged)"
    ):
        jaxad.load_exported(path)


def test_each_kind_of_file_has_its_own_function(plain, tmp_path):
    plain.save(tmp_path / "detector.jaxad")
    plain.export(tmp_path / "program.jaxad")
    plain.export(tmp_path / "program.onnx", format="onnx")
    with pytest.raises(jaxad.FileFormatError, match=r"jaxad\.load_exported"):
        jaxad.load(tmp_path / "program.jaxad")
    with pytest.raises(jaxad.FileFormatError, match=r"jaxad\.load"):
        jaxad.load_exported(tmp_path / "detector.jaxad")
    with pytest.raises(jaxad.FileFormatError, match="onnxruntime"):
        jaxad.load_exported(tmp_path / "program.onnx")
    arrays, metadata = jaxad.persistence.read(tmp_path / "program.jaxad")
    for wrong, message in [
        ({"version": 9}, "Upgrade"),
        ({"input": 3}, "holds no exported program"),
    ]:
        jaxad.persistence.write(tmp_path / "wrong.jaxad", arrays, metadata | wrong)
        with pytest.raises(jaxad.FileFormatError, match=message):
            jaxad.load_exported(tmp_path / "wrong.jaxad")


def by_python(params, stats, x):
    """A score with an operation that is Python."""
    return jax.pure_callback(lambda x: x.sum(1), jax.ShapeDtypeStruct(x.shape[:1], x.dtype), x)


@pytest.mark.parametrize("format", deployment.FORMATS)
def test_what_cannot_be_converted_is_named(format, plain, tmp_path):
    detector = copy.copy(plain)
    detector.objective_ = types.SimpleNamespace(score=by_python)
    with pytest.raises(ValueError, match="callback"):
        detector.export(tmp_path / "program", format=format)
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_are_named(plain, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="format='tflite'"):
        plain.export(tmp_path / "program", format="tflite")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        plain.export(tmp_path / "no folder" / "program")
    with pytest.raises(ValueError, match="not fitted"):
        fresh("DeepSVDD").export(tmp_path / "program")
    monkeypatch.setattr(plain, "calibration_", types.SimpleNamespace(method="cross"), raising=False)
    with pytest.raises(ValueError, match="method='cross'"):
        plain.export(tmp_path / "program")
    monkeypatch.delattr(plain, "calibration_")
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxad\[onnx\]'"):
        plain.export(tmp_path / "program", format="onnx")
    assert not list(tmp_path.iterdir())
