"""Run a core of the tests with the oldest and the newest versions that jaxad may be installed with.

    python -m tests.versions                      # Python 3.11 and 3.13; ten minutes
    python -m tests.versions 3.12 /opt/python3.14/bin/python --folder /tmp/environments

Every Python gets two environments: the oldest release of every requirement that its bound in
``pyproject.toml`` permits and the others agree to, and the newest. Requirements with parts in C are
installed from wheels alone. The outcome is printed as a table and written as JSON lines, which
`tests/robustness/test_versions.py` compares with the bounds.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
OUT = ROOT / "tests" / "versions.jsonl"
PYTHONS = ("3.11", "3.13")
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
# Optional requirements whose readers and writers the core tests too, and what runs the tests.
EXTRAS = ("parquet",)
TOOLS = ("pytest", "hypothesis", "polars", "safetensors")
CORE = (
    "tests/test_golden.py",
    "tests/test_persistence.py",
    "tests/estimators/test_estimators.py",
    "tests/data/test_readers.py",
    "tests/data/test_sources.py",
    "tests/data/test_user_table.py",
    "tests/fleet/test_tables.py",
)
SHOWN = ("jax", "flax", "optax", "numpy", "pandas", "scikit-learn")


def main(argv: Sequence[str] | None = None) -> int:
    """Make the environments, run the tests; returns 1 if one failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.versions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "pythons", nargs="*", metavar="PYTHON", help=f"default: {' '.join(PYTHONS)}"
    )
    parser.add_argument("--resolution", choices=RESOLUTIONS, help="default: both")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".versions", help="of the environments; kept"
    )
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help=f"default: {OUT}")
    given = parser.parse_args(argv)
    given.folder.mkdir(parents=True, exist_ok=True)
    uv = installer(given.folder)
    rows = read(given.out) if given.out.exists() else []
    for python in given.pythons or PYTHONS:
        for resolution in [given.resolution] if given.resolution else RESOLUTIONS:
            row = outcome(uv, python, resolution, given.folder)
            rows = [old for old in rows if place(old) != place(row)] + [row]
            rows.sort(key=lambda row: (_numbers(row["python"]), row["resolution"] == "newest"))
            given.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(table(rows))
    return int(any(row["failed"] for row in rows))


def place(row: dict) -> tuple:
    """What a row replaces: Python up to its minor version, and which releases."""
    return _numbers(row["python"])[:2], row["resolution"]


def read(path: Path) -> list[dict]:
    """The rows of a file that `main` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(rows: Sequence[dict]) -> str:
    """The rows in Markdown."""
    names = ["python", "resolution", *SHOWN, "passed", "failed", "skipped"]
    lines = [names, ["---"] * len(names)]
    lines += [[str((row | row["versions"])[name]) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bounds() -> dict[str, str]:
    """The lower bound of each requirement in ``pyproject.toml``, optional ones of `EXTRAS` too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    return dict(map(_bound, wanted))


def tools() -> list[str]:
    """What runs the tests, as ``pyproject.toml`` requires it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["optional-dependencies"]["test"]
    known = {re.split(r"[^A-Za-z0-9_-]", text)[0].lower(): text for text in wanted}
    return [known[name] for name in TOOLS]


def installer(folder: Path) -> str:
    """The path of uv, which is installed below ``folder`` if the machine has none."""
    if found := shutil.which("uv"):
        return found
    home = folder / "uv"
    if not (home / "bin" / "uv").exists():
        venv.create(home, with_pip=True)
        subprocess.run([home / "bin" / "python", "-m", "pip", "install", "-q", "uv"], check=True)
    return str(home / "bin" / "uv")


def outcome(uv: str, python: str, resolution: str, folder: Path) -> dict:
    """Make one environment, run the core there, and say how it went."""
    home = folder / f"{Path(python).parents[1].name if '/' in python else python}-{resolution}"
    own = str(home / "bin" / "python")
    print(f"{home}: installing", flush=True)
    subprocess.run([uv, "venv", "-q", "--clear", "--python", python, home], check=True)
    install = [uv, "pip", "install", "-q", "--python", own, "--only-binary", ":all:"]
    install += ["--resolution", RESOLUTIONS[resolution], "-r", ROOT / "pyproject.toml", *tools()]
    install += [f"--extra={extra}" for extra in EXTRAS]
    subprocess.run(install, check=True)
    listed = subprocess.check_output([uv, "pip", "list", "--python", own, "--format", "json"])
    versions = {entry["name"].lower(): entry["version"] for entry in json.loads(listed)}
    report = home / "report.xml"
    options = ["-p", "no:cacheprovider", "-o", "addopts=-q --import-mode=importlib"]
    options += ["-m", "not full", f"--junitxml={report}"]
    print(f"{home}: testing with jax {versions['jax']}", flush=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([own, "-m", "pytest", *options, *CORE], cwd=ROOT, env=environment, check=False)
    version = "import platform; print(platform.python_version())"
    return {
        "python": subprocess.check_output([own, "-c", version], text=True).strip(),
        "resolution": resolution,
        "versions": {name: versions[name] for name in ("jaxlib", *bounds())},
        **counts(report),
    }


def counts(report: Path) -> dict[str, int]:
    """How many tests passed, failed and were skipped, from pytest's JUnit report."""
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    tests, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return {"passed": tests - failed - skipped, "failed": failed, "skipped": skipped}


def _bound(requirement: str) -> tuple[str, str]:
    """The name and the lower bound of ``name>=bound`` with or without more after it."""
    found = re.fullmatch(r"([A-Za-z0-9_-]+)(?:\[[^]]*\])?(?:>=([0-9.]+))(?:[,;].*)?", requirement)
    if found is None:
        raise ValueError(f"{requirement!r} in pyproject.toml has no lower bound: give it one")
    return found[1].lower(), found[2]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


if __name__ == "__main__":
    sys.exit(main())
