"""The README's Python runs as it is written."""

import pathlib
import re

import pytest

from jaxad import training

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(heading):
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


SECTIONS = (
    "Quick start",
    "Your own loss",
    "Hundreds of models at once",
    "One detector for each machine",
    "Large data, long runs, several hosts",
)


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_runs_from_an_empty_file(heading, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "use_cores", lambda count: None)  # tests have devices already
    code = "\n".join(blocks(heading))
    assert code
    exec(compile(code, heading, "exec"), {"__name__": "readme"})


def test_the_quick_start_is_short():
    (code,) = blocks("Quick start")
    assert len(code.strip().splitlines()) <= 16
