"""The report: every suite's newest rows on one page, and what is missing by name."""

import dataclasses

import pytest

from benchmarks import run
from benchmarks.quality import reference_numbers
from benchmarks.record import environment, report
from benchmarks.record import rows as results
from benchmarks.record.rows import Record, Row, Run

TIMES = [0.2, 0.3, 0.25, 0.22]


def timed(dataset, detector, seconds):
    return Row(dataset, detector, {"seconds": seconds, "ratio": seconds}, {"units": 10**6})


ROWS = {
    "throughput": [
        timed("DAGMM KDD", "jaxad, 2 cores", [0.9, 1.0, 0.8]),
        timed("DAGMM KDD", "pytorch autograd, eager, 1 core", [3.0]),
        timed("dagmm, batch 32", "jaxad", [0.4]),
        timed("dagmm, batch 32", "pytorch autograd, eager", [0.8]),
        Row("PyOD DeepSVDD, fit", "PyOD DeepSVDD", missing="no environment"),
        timed("PyOD DeepSVDD, fit", "jaxad", [0.4]),
    ],
    "latency": [
        Row("GOAD, defaults", "jaxad, cold", {"import_seconds": TIMES, "seconds": TIMES}),
    ],
    "population": [timed("a member", f"GOAD, P = {p}", [t / p for t in TIMES]) for p in (1, 4)],
}
DRAWN = {"throughput", "common_sizes", "first_result", "cost_of_members"}


def write(folder, suite, rows, config=None, seeds=1, day=1):
    folder.mkdir(parents=True)
    one = Run(
        suite=suite,
        seeds=list(range(seeds)),
        config=config or {},
        threads=None,
        started=f"2026-01-0{day}T00:00:00+00:00",
        finished=f"2026-01-0{day}T00:01:00+00:00",
        versions=environment.versions(),
        machine=environment.machine(),
        commit=environment.commit(),
        rows=rows,
    )
    results.write(folder / results.FILE, Record([one]))


@pytest.fixture
def folder(tmp_path):
    for suite, rows in ROWS.items():
        write(tmp_path / "results" / f"{suite}-1", suite, rows)
    return tmp_path / "results"


def rendered(tmp_path, folder, *options):
    out = tmp_path / "docs" / "page.md"
    assert run.main(["report", "--results", str(folder), "--out", str(out), *options]) == 0
    return out


def test_every_suite_stands_on_the_page_pictures_first(tmp_path, folder):
    out = rendered(tmp_path, folder)
    page = out.read_text()
    assert "* throughput: PyOD DeepSVDD, fit, PyOD DeepSVDD: no environment" in page
    assert "| DAGMM KDD | 1,111,111 | 333,333 |" in page
    for suite in ROWS:
        assert f"## `{suite}`: {run.SUITES[suite].DESCRIPTION}" in page
        assert f"Every repetition: `{suite}-1`." in page
    drawn = {path.name for path in out.parent.glob("*.png")}
    assert drawn == {f"page_{name}_cpu.png" for name in DRAWN}
    for name in drawn:
        assert 0 < page.index(f"]({name})") < page.index("## `throughput`")
    assert "from memory, unconfirmed" in page


def test_ratios_stand_beside_the_rates_of_products(tmp_path, folder):
    page = rendered(tmp_path, folder).read_text()
    assert page.count("Ratios to other libraries depend on the processor.") == 5  # unknown rates
    for suite in ("throughput", "population"):
        file = folder / f"{suite}-1" / results.FILE
        (one,) = results.read(file).runs
        machine = {**one.machine, "product_gflops": {"XLA": 235.1, "PyTorch": 110.4}}
        results.write(file, Record([dataclasses.replace(one, machine=machine)]))
    page = rendered(tmp_path, folder).read_text()
    rates, picture = "XLA 235, PyTorch 110 GFLOP/s a core", "](page_throughput_cpu.png)"
    assert picture in page.split(rates)[0]  # the picture first, then the rates
    assert rates in page.split("## `throughput`")[1].split("## `population`")[0]
    assert page.split("## What was run")[1].count(rates) == 2
    assert "products not recorded" in page.split("## What was run")[1]


def test_what_is_missing_is_named(tmp_path, folder):
    for file in (folder / "population-1").iterdir():
        file.unlink()
    page = rendered(tmp_path, folder).read_text()
    assert "* `quick`: no results" in page
    assert "* `population`: no results" in page
    assert "* `latency`: no results" not in page


def test_parts_that_an_interrupted_run_did_not_reach_are_named(tmp_path, folder):
    file = folder / "latency-1" / results.FILE
    (one,) = results.read(file).runs
    later = dataclasses.replace(one.rows[0], detector="reached later", part="")
    waiting = [later.part_name, "scoring: GOAD"]
    runs = [dataclasses.replace(one, waiting=waiting), dataclasses.replace(one, rows=[later])]
    results.write(file, Record(runs))
    assert (
        "* latency: 1 parts were not reached: scoring: GOAD"
        in rendered(tmp_path, folder).read_text()
    )


def test_the_newest_row_counts_and_others_stay(tmp_path, folder):
    newer = [timed("DAGMM KDD", "jaxad, 2 cores", [0.5])]
    write(folder / "throughput-2", "throughput", newer, day=2)
    page = rendered(tmp_path, folder).read_text()
    assert "| DAGMM KDD | 2,000,000 | 333,333 |" in page
    assert page.count("| throughput | ") == 2


@pytest.mark.parametrize(
    ("older", "newer", "stays"),
    [
        ({"seeds": 3}, {"seeds": 1}, True),
        ({"seeds": 3}, {"seeds": 5}, False),
        ({"effort": 20}, {"effort": 1}, True),
        ({"effort": 20}, {"effort": 100}, False),
        ({"max_rows": 10**6}, {"max_rows": 1000}, True),
        ({"epochs": "auto"}, {"epochs": 1}, True),
        ({}, {"missing": "no data"}, True),
    ],
)
def test_a_smaller_run_does_not_hide_a_larger_one(tmp_path, older, newer, stays):
    for day, given in ((1, older), (2, newer)):
        seeds, missing = given.get("seeds", 1), given.get("missing")
        details = {"setting": "goad", "effort": given.get("effort", 100), "seeds": seeds}
        row = Row("KDD", "ours", {} if missing else {"auroc": [0.1 * day]}, details, missing)
        config = {"tables": ["goad"], **given}
        write(tmp_path / "results" / str(day), "papers", [row], config, seeds, day)
    (found,), _ = report.collect([tmp_path / "results"])
    (row,) = found.record.rows
    assert row.metrics["auroc"] == [0.1 if stays else 0.2]


def test_kept_results_are_one_folder_a_suite_and_device(tmp_path, folder):
    write(folder / "throughput-2", "throughput", ROWS["throughput"][:1], day=2)
    kept = tmp_path / "kept"
    rendered(tmp_path, folder, "--keep", str(kept))
    assert {path.name for path in kept.iterdir()} == {f"{suite}-cpu" for suite in ROWS}
    record = results.read(kept / "throughput-cpu")
    assert [len(one.rows) for one in record.runs] == [5, 1]
    assert "missing: PyOD DeepSVDD" in (kept / "throughput-cpu" / "table.txt").read_text()


def test_a_result_of_another_schema_is_named_and_left_out(tmp_path, folder):
    file = folder / "latency-1" / results.FILE
    file.write_text(file.read_text().replace('"schema_version":2', '"schema_version":99'))
    page = rendered(tmp_path, folder).read_text()
    assert "latency-1" in page
    assert "schema version 99" in page


def test_no_results_are_an_error(tmp_path, capsys):
    for folder, wrong in ((tmp_path, "no results in"), (tmp_path / "nowhere", "no folder")):
        assert run.main(["report", "--results", str(folder)]) == 2
        assert wrong in capsys.readouterr().err


def test_published_figures_say_how_they_are_known():
    figures = reference_numbers.figures()
    assert len(figures) > 10
    for figure in figures:
        assert set(figure) == {"method", "what", "value", "source", "certainty"}
        assert figure["certainty"] in reference_numbers.CERTAINTY
