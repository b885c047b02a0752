"""The Python of the pages in docs runs as it is written."""

import pathlib
import re
import sys
import types

import pytest

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PRINTED = {  # page -> a text that it prints
    "choosing.md": "isolation forest     AUROC 0.9",
    "coming_from_deepod.md": "(20,) 1.0",
    "coming_from_pyod.md": "0.1 1.0",
    "data.md": "Dataset('table', x: (200, 3) float64, 20 anomalies)",
    "deployment.md": "Exported(DeepSVDD: X [batch, 6]",
    "ensembles.md": "(8, 300)",
    "explanations.md": "base 0.0",
    "fleets.md": "own",
    "images.md": "(8, 8, 8, 1)",
    "index.md": "[-1 -1 -1]",
    "laboratory.md": "Holm p",
    "losses.md": "(300, 10)",
    "machines.md": "[",
    "search.md": "test: ",
    "streams.md": "(4000,)",
    "tables.md": "y has values 0 and 1 and no -1",
    "thresholds.md": "of them false alarms",
    "training.md": "20 of 20: ",
    "tutorial.md": "Deep SAD   AUROC 0.9",
    "younger.md": "tccm untrained",
}
LONG = {
    *("ensembles.md", "explanations.md", "fleets.md", "images.md", "laboratory.md", "losses.md"),
    *("search.md", "tables.md", "thresholds.md", "training.md", "younger.md"),
}


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.full if p in LONG else ()) for p in PRINTED]
)
def test_a_page_runs_from_an_empty_file(page, tmp_path, monkeypatch, capsys):
    if page == "thresholds.md":
        pytest.importorskip("combo")  # of PyOD's combination
        pytest.importorskip("pythresh")
    monkeypatch.chdir(tmp_path)
    code = blocks(DOCS / page)
    assert code
    module = types.ModuleType("page")  # pickles find functions there, as in a script
    monkeypatch.setitem(sys.modules, "page", module)
    exec(compile("\n".join(code), page, "exec"), vars(module))
    assert PRINTED[page] in capsys.readouterr().out


def test_every_page_with_python_is_run():
    assert {page.name for page in DOCS.glob("*.md") if blocks(page)} == set(PRINTED)


def test_every_link_and_picture_is_there():
    pages = {path.relative_to(DOCS).as_posix(): path for path in DOCS.rglob("*.md")}
    anchors = {name: set(map(slug, headings(path))) for name, path in pages.items()}
    lost, shown = [], set()
    for name, path in pages.items():
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"\w+:", target):
                continue
            file, _, anchor = target.partition("#")
            found = (path.parent / file).resolve() if file else path
            shown.add(found)
            inside = found.is_file() and found.is_relative_to(DOCS)
            if not inside or anchor and anchor not in anchors[found.relative_to(DOCS).as_posix()]:
                lost.append(f"{name}: {target}")
    assert lost == []
    assert set(DOCS.rglob("*.png")) <= shown


def headings(path):
    return re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)


def slug(heading):
    """The anchor of a heading, as Markdown and GitHub make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
