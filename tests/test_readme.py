"""The README's Python runs as it is written, and prints what it says."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What each block of Python prints, run one after the other."""
    capture = pytest.MonkeyPatch()
    capture.chdir(tmp_path_factory.mktemp("readme"))
    names, outputs = {"__name__": "readme"}, []
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        lines = []
        names["print"] = lambda *values, lines=lines: lines.append(" ".join(map(str, values)))
        exec(compile(code, "README.md", "exec"), names)
        outputs.append("\n".join(lines))
    capture.undo()
    return outputs


def test_the_first_example_is_short_and_prints_what_is_shown(printed):
    code, shown = re.findall(r"```(?:python|text)\n(.*?)```", README, re.DOTALL)[:2]
    assert len([line for line in code.splitlines() if line]) == 8
    shares = [[int(n) for n in re.findall(r"(\d+)%", text)] for text in (printed[0], shown)]
    # Rounding differs between processors, and the tests' programs are not optimised.
    assert shares[0] == pytest.approx(shares[1], abs=5)
    assert printed[0].splitlines()[2].split()[:2] == ["area", "error"]


def test_a_fleet_is_scored(printed):
    assert "pump-0" in printed[2]


def test_the_readme_fits_a_few_screens():
    assert len(README.splitlines()) <= 130


def test_every_page_it_names_is_there():
    targets = re.findall(r"\]\(([^)#\s]+)", README)
    assert len(targets) > 20
    assert [t for t in targets if not (Path(__file__).parents[1] / t).exists()] == []
