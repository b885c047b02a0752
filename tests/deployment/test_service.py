"""The documented service and the commands of the page on deployment run as they are written."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import fresh
from fastapi.testclient import TestClient

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
X = np.random.default_rng(0).normal(size=(100, 4))


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic resolves annotations there
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def test_the_service_answers_and_refuses(tmp_path, monkeypatch):
    detector = fresh("DeepSVDD", epochs=1).fit(X)
    detector.export(tmp_path / "detector.jaxad")
    monkeypatch.setenv("JAXAD_MODEL", str(tmp_path / "detector.jaxad"))
    with TestClient(example("service").app) as client:
        answer = client.post("/score", json={"rows": X[:7].tolist()})
        assert answer.status_code == 200
        np.testing.assert_allclose(answer.json()["score"], detector.anomaly_score(X[:7]), rtol=1e-5)
        decisions = (detector.predict(X[:7]) == -1).tolist()
        assert answer.json()["is_anomaly"] == decisions
        refused = client.post("/score", json={"rows": [[1.0, 2.0]]})
        assert refused.status_code == 422
        assert "the detector takes [N, 4]" in refused.json()["detail"]
        assert client.post("/score", json={"rows": "no"}).status_code == 422
        assert client.post("/score", json={"rows": []}).status_code == 422


def test_the_service_is_as_short_as_the_page_says():
    text = (EXAMPLES / "service.py").read_text()
    code = [line for line in text.splitlines() if line.strip() and '"""' not in line]
    assert len(code) <= 20
    page = (EXAMPLES.parent / "deployment.md").read_text()
    assert text.partition("\n\n")[2] in page


@pytest.mark.full
def test_the_commands_print_their_numbers(capsys):
    assert example("round_trips").main(["--only", "AutoEncoder"]) == 0
    (found,) = re.findall(r"^AutoEncoder +(\S+) +(\S+) +(\S+)$", capsys.readouterr().out, re.M)
    saved, program, onnx = map(float, found)
    assert saved == 0
    assert max(program, onnx) < 1e-5
    options = "--calls", "3", "--epochs", "1", "--members", "1"
    assert example("latency").main(options) == 0
    printed = capsys.readouterr().out
    for way in ("anomaly_score", "StableHLO", "ONNX", "service over HTTP"):
        assert re.search(rf"1 member\(s\) +{way} +\d+\.\d+ +\d+\.\d+$", printed, re.M)
