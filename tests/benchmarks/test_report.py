"""The report: every suite's newest result on one page, and what is missing by name."""

import pytest

from benchmarks import bounds, report, run, schema
from benchmarks.comparison import Target, verdicts

TIMES = [0.2, 0.3, 0.25, 0.22]
ROWS = {
    "throughput": [
        schema.Row("DAGMM KDD", "jaxad, 2 cores", {"rows_per_second": [9e5, 1e6, 8e5]}),
        schema.Row("DAGMM KDD", "pytorch autograd, eager, 1 core", {"rows_per_second": [3e5]}),
        schema.Row("dagmm, batch 32", "jaxad", {"rows_per_second": [4e5]}),
        schema.Row("PyOD DeepSVDD, fit", "PyOD DeepSVDD", missing="no environment"),
        schema.Row("PyOD DeepSVDD, fit", "jaxad", {"rows_per_second": [4e5]}),
        *verdicts([Target("DAGMM KDD: pytorch", ">= 3", "2.50 [2.40, 2.60]", False)]),
    ],
    "roofline": [
        schema.Row("DAGMM KDD", "single run, 1 device", {"percent": [40.0, 50.0, 45.0]}),
        schema.Row("DAGMM KDD", "16 members, 2 devices", {"percent": [60.0, 50.0, 55.0]}),
    ],
    "latency": [
        schema.Row("GOAD, defaults", "jaxad, cold", {"import_seconds": TIMES, "seconds": TIMES}),
    ],
    "population": [
        schema.Row("a member", f"GOAD, P = {p}", {"seconds": [t / p for t in TIMES]})
        for p in (1, 4)
    ],
}


def write(results, suite, rows, name, config=None, seeds=1):
    folder = results / name
    folder.mkdir(parents=True)
    begun = schema.begin()
    circumstances = {"seeds": list(range(seeds)), "config": config or {}, "threads": None}
    result = schema.record(suite, rows, begun=begun, **circumstances)
    schema.write(folder / "rows.json", result)
    (folder / "table.txt").write_text(f"the table of {name}\n")


@pytest.fixture
def results(tmp_path):
    for suite, rows in ROWS.items():
        write(tmp_path / "results", suite, rows, f"{suite}-1")
    return tmp_path / "results"


def rendered(tmp_path, results):
    out = tmp_path / "docs" / "page.md"
    assert run.main(["report", "--results", str(results), "--out", str(out)]) == 0
    return out


def test_all_there_is_stands_on_the_page(tmp_path, results, monkeypatch):
    monkeypatch.setattr(bounds, "_BOUNDS", {("DAGMM", "pytorch"): "The small layers."})
    out = rendered(tmp_path, results)
    page = out.read_text()
    assert "| throughput | DAGMM KDD: pytorch | >= 3 | 2.50 [2.40, 2.60] | **no** |" in page
    assert "* DAGMM KDD: pytorch: The small layers." in page
    assert "* PyOD DeepSVDD, fit, PyOD DeepSVDD: no environment" in page
    for suite in ROWS:
        assert f"the table of {suite}-1" in page
    drawn = {path.name for path in out.parent.glob("*.png")}
    assert len(drawn) == 4
    for name in drawn:
        assert f"]({name})" in page
    assert "from memory, unconfirmed" in page


def test_what_is_missing_is_named(tmp_path, results):
    for file in (results / "roofline-1").iterdir():
        file.unlink()
    page = rendered(tmp_path, results).read_text()
    assert "* `quick`: no results" in page
    assert "* `roofline`: no results" in page
    assert "Share of the machine's peak: missing, no results of `roofline`" in page
    assert "* `latency`: no results" not in page


def test_the_newest_result_of_a_suite_counts(tmp_path, results):
    write(results, "latency", ROWS["latency"], "latency-2")
    page = rendered(tmp_path, results).read_text()
    assert "the table of latency-2" in page
    assert "the table of latency-1" not in page


@pytest.mark.parametrize(
    ("older", "newer", "both"),
    [
        (["sizes"], ["sizes"], False),
        (["sizes"], ["papers", "sizes"], False),
        (["sizes", "papers"], ["papers", "sizes"], False),
        (["sizes"], ["papers"], True),
        (["sizes", "papers"], ["papers"], True),
        (["sizes"], [], False),  # none named means all there are
        ([], ["sizes"], True),
    ],
)
def test_results_of_different_parts_of_a_suite_stand_side_by_side(tmp_path, older, newer, both):
    results = tmp_path / "results"
    for name, part in (("throughput-1", older), ("throughput-2", newer)):
        write(results, "throughput", ROWS["throughput"], name, {"parts": part, "repeats": 3})
    out = rendered(tmp_path, results)
    page = out.read_text()
    assert ("the table of throughput-1" in page) == both
    assert "the table of throughput-2" in page
    assert ("| throughput-1 | DAGMM KDD: pytorch" in page) == both
    assert len(list(out.parent.glob("page_rows_per_second_cpu*.png"))) == 1 + both


@pytest.mark.parametrize(
    ("older", "newer", "both"),
    [
        ({"seeds": 3}, {"seeds": 1}, True),
        ({"seeds": 3}, {"seeds": 5}, False),
        ({"effort": 20}, {"effort": 1}, True),
        ({"effort": 20}, {"effort": 100}, False),
        ({"max_rows": 10**6}, {"max_rows": 1000}, True),
        ({"epochs": "auto"}, {"epochs": 1}, True),
    ],
)
def test_a_smaller_run_does_not_hide_a_larger_one(tmp_path, older, newer, both):
    results = tmp_path / "results"
    for name, given in (("papers-1", older), ("papers-2", newer)):
        details = {"setting": "goad", "effort": given.get("effort", 100)}
        rows = [schema.Row("KDD", "ours", {"auroc": [0.9]}, details)]
        write(results, "papers", rows, name, {"tables": ["goad"], **given}, given.get("seeds", 1))
    page = rendered(tmp_path, results).read_text()
    assert ("the table of papers-1" in page) == both
    assert "the table of papers-2" in page


def test_a_result_of_another_schema_is_named_and_left_out(tmp_path, results):
    file = results / "latency-1" / "rows.json"
    file.write_text(file.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    page = rendered(tmp_path, results).read_text()
    assert "latency-1: " in page
    assert "has schema version 99" in page


def test_no_results_are_an_error(tmp_path, capsys):
    for folder, wrong in ((tmp_path, "no results in"), (tmp_path / "nowhere", "no folder")):
        assert run.main(["report", "--results", str(folder)]) == 2
        assert wrong in capsys.readouterr().err


def test_published_figures_say_how_they_are_known():
    figures = report.published()
    assert len(figures) > 10
    for figure in figures:
        assert set(figure) == {"method", "what", "value", "source", "certainty"}
        assert figure["certainty"] in report.CERTAINTY
