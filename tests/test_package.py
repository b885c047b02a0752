"""The package as it is published: what the archives hold, and that the wheel works by itself."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from cases import ROOT

import jaxad

pytest.importorskip("hatchling", reason="builds the package: pip install hatchling")
pytestmark = pytest.mark.slow
USE = """
import numpy as np
import jaxad

print(jaxad.__file__)
x = np.random.default_rng(0).normal(size=(40, 3))
detector = jaxad.DeepSVDD(epochs=1, n_members=1, random_state=0).fit(x)
detector.save("detector.safetensors")
assert (jaxad.load("detector.safetensors").anomaly_score(x) == detector.anomaly_score(x)).all()
assert "thyroid" in jaxad.data.NAMES
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist"]
    done = subprocess.run([*command, "-d", folder], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_holds_the_package_alone_and_works_outside_the_checkout(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"jaxad-{jaxad.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    tops = {name.split("/")[0] for name in names}
    assert tops == {"jaxad", f"jaxad-{jaxad.__version__}.dist-info"}
    files = {path for path in (ROOT / "jaxad").rglob("*") if path.suffix in (".py", ".toml")}
    assert {path.relative_to(ROOT).as_posix() for path in files} <= set(names)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", USE]
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)


def test_the_source_archive_holds_what_is_needed_to_test(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    needed = {"LICENSE", "pyproject.toml", "README.md", "CONTRIBUTING.md", "mkdocs.yml"}
    needed |= {"docs/losses.md", "docs/pictures/blobs_plane.png", "configs/goad.toml"}
    needed |= {"tests/support/cases.py", "tests/golden/expected.json", "benchmarks/run.py"}
    assert needed <= names
