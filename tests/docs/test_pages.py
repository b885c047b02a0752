"""The Python of the pages in docs runs as it is written."""

import pathlib
import re

import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["fleets.md", "laboratory.md"])
def test_a_page_runs_from_an_empty_file(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 2
    exec(compile("\n".join(blocks), page, "exec"), {"__name__": "page"})
    printed = capsys.readouterr().out
    assert {"fleets.md": "own", "laboratory.md": "Holm p"}[page] in printed
