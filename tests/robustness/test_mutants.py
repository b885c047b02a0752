"""The list of mutants is up to date, and its runner tells who was caught."""

import ast
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants import AREAS, Mutant
from tests.mutants.run import Results, Settings, run, table

ROOT = Path(__file__).parents[2]
MUTANTS = [mutant for mutants in AREAS.values() for mutant in mutants]


def test_the_list_of_mutants_fits_the_code(record_property):
    wrong = []
    sources = {file: (ROOT / file).read_text() for file in {mutant.file for mutant in MUTANTS}}
    for mutant in MUTANTS:
        try:
            ast.parse(mutant.applied(sources[mutant.file]))
        except (ValueError, SyntaxError) as error:
            wrong.append(f"{mutant.breaks}: {error}")
        for path in mutant.room:
            if not (ROOT / path.partition("::")[0]).exists():
                wrong.append(f"{mutant.breaks}: there is no {path}")
    assert not wrong, "\n".join(wrong)
    record_property("mutants", len(MUTANTS))


def test_there_are_many_mutants_and_each_is_one_of_its_kind():
    assert len(MUTANTS) >= 150
    assert [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1] == []
    assert [m.breaks for m in MUTANTS if m.old == m.new] == []
    assert [m.breaks for m in MUTANTS if m.equivalent is not None and len(m.equivalent) < 40] == []


TOY = "def double(x):\n    return 2 * x\n\n\ndef half(x):\n    return x / 2\n"
TESTS = {
    "test_double.py": "from toy import double\n\n\ndef test_double():\n    assert double(3) == 6\n",
    "test_half.py": "from toy import half\n\n\ndef test_half():\n    assert half(6) == 3\n",
    "test_broken.py": "def test_broken():\n    assert False\n",
}


@pytest.mark.full
def test_the_runner_tells_who_was_caught(tmp_path, capsys):
    """In a repository of one file: catches, survivors, a hang, and a test that proves nothing."""
    root, file = tmp_path / "repository", tmp_path / "results.jsonl"
    root.mkdir()
    for name, text in {"toy.py": TOY, **TESTS}.items():
        (root / name).write_text(text)
    triples, third, floor, hangs, order, unproved, _ = mutants = [
        Mutant("toy.py", "2 * x", "3 * x", "triples", ("test_double.py",)),
        Mutant("toy.py", "x / 2", "x / 3", "a third", ("test_double.py",)),
        Mutant("toy.py", "x / 2", "x // 2", "floor", ("test_half.py",)),
        Mutant("toy.py", "return 2 * x", "while True: pass", "hangs", ("test_double.py",)),
        Mutant("toy.py", "2 * x", "x * 2", "order", ("test_double.py",), "products commute"),
        Mutant("toy.py", "2 * x", "x", "unproved", ("test_broken.py",)),
        Mutant("toy.py", "2 * x", "__import__('os').abort()", "crash", ("test_double.py",)),
    ]
    settings = Settings(root, room_only=True, room_seconds=60)
    run({"toy": mutants}, Results(file, root), settings, jobs=2)
    results = Results(file, root)
    outcomes = {line["breaks"]: line["outcome"] for line in results.lines.values()}
    assert outcomes == {
        "triples": "caught",
        "a third": "survived its room",
        "floor": "survived its room",
        "hangs": "hangs",
        "order": "equivalent",
        "crash": "caught",
    }
    assert results.lines[triples.name]["by"] == "test_double.py::test_double"
    assert "test_broken.py::test_broken fails on the unchanged code" in capsys.readouterr().out
    assert (root / "toy.py").read_text() == TOY

    # What is known is not run again, but for what survived its room, or where a test has changed.
    known = {m.breaks for m in mutants if results.known(m, room_only=True)}
    assert known == {"triples", "a third", "floor", "hangs", "order", "crash"}
    (root / "test_double.py").write_text(TESTS["test_double.py"] + "    assert double(1) == 2\n")
    assert [m.breaks for m in mutants if results.known(m, room_only=True)] == ["floor"]
    assert not results.known(floor, room_only=False)
    (root / "test_broken.py").unlink()
    run({"toy": mutants}, results, Settings(root), only="a third|floor")
    after = {m.breaks: results.lines[m.name]["outcome"] for m in (third, floor)}
    assert after == {"a third": "caught by the suite", "floor": "survived"}
    assert "survived: toy, toy.py: floor" in table({"toy": mutants}, results)
    assert json.loads(file.read_text().splitlines()[0])["mutant"] == triples.name
