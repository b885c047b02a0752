"""A suite's results while it runs: what an interruption leaves, and what is merged."""

import dataclasses

import pytest

from benchmarks.record import environment, products, rows
from benchmarks.record.rows import Row
from benchmarks.record.store import ResultStore, newest
from benchmarks.record.timing import target
from benchmarks.settings import OptionError, Options


@pytest.fixture
def options(tmp_path):
    return Options("speed", tmp_path / "out", {"repeats": 1})


def part(name, calls, stop=False, missing=None):
    def measure():
        if stop:
            raise KeyboardInterrupt
        calls.append(name)
        row = Row(name, "jaxad", {} if missing else {"seconds": [1.0]}, missing=missing)
        return [row, target(f"{name} is fast", ">= 1", "2", True)]

    return measure


def test_an_interrupted_run_keeps_what_it_measured_and_goes_on(options):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        ResultStore(options, {"one": part("one", calls), "two": part("two", calls, True)}).measure()
    (run,) = rows.read(options.out).runs
    assert [row.dataset for row in run.rows] == ["one", "target"]
    assert run.waiting == ["two"]
    both = {"one": part("one", calls), "two": part("two", calls)}
    store = ResultStore(options, both)
    assert len(store.measure()) == 4
    assert calls == ["one", "two"]
    (run,) = rows.read(options.out).runs
    assert [row.dataset for row in run.rows] == ["one", "target", "two", "target"]
    assert run.waiting == []
    store.finish("the table")
    assert (options.out / "table.txt").read_text() == "the table\n"
    ResultStore(options, both).measure()
    assert calls == ["one", "two"]


@pytest.mark.parametrize(
    ("other", "wrong"),
    [({"settings": {"repeats": 2}}, "repeats is 1, not 2"), ({"threads": 1}, "threads is None")],
)
def test_a_run_with_other_settings_is_not_continued(options, other, wrong):
    ResultStore(options, {"one": part("one", [])}).measure()
    with pytest.raises(OptionError, match=wrong):
        ResultStore(dataclasses.replace(options, **other), {"one": part("one", [])})


def test_a_run_continued_on_another_commit_has_a_header_for_each(options, monkeypatch, capsys):
    calls, parts = [], {}
    parts["one"] = part("one", calls)
    ResultStore(options, parts).measure()
    monkeypatch.setattr(environment, "commit", lambda: {"sha": "another", "dirty": False})
    store = ResultStore(options, parts | {"two": part("two", calls)})
    store.measure()
    assert "another commit" in capsys.readouterr().out
    first, second = rows.read(options.out).runs
    assert [row.dataset for row in first.rows] == ["one", "target"]
    assert [row.dataset for row in second.rows] == ["two", "target"]
    assert second.commit["sha"] == "another"
    assert [row.dataset for row in store.rows] == ["one", "target", "two", "target"]
    assert calls == ["one", "two"]


def test_a_run_continued_on_another_processor_has_a_header_for_each(options, monkeypatch, capsys):
    calls, parts = [], {}
    parts["one"] = part("one", calls)
    ResultStore(options, parts).measure()
    monkeypatch.setattr(environment, "processor", lambda: {"name": "another"})
    store = ResultStore(options, parts | {"two": part("two", calls)})
    store.measure()
    assert "another processor" in capsys.readouterr().out
    first, second = rows.read(options.out).runs
    assert [row.dataset for row in first.rows] == ["one", "target"]
    assert [row.dataset for row in second.rows] == ["two", "target"]
    assert first.machine["processor"] != second.machine["processor"] == {"name": "another"}
    assert store.machines == [first.machine, second.machine]


def test_a_result_has_its_processor_and_what_that_multiplies(options):
    store = ResultStore(options, {"one": part("one", [])})
    store.measure()
    (run,) = rows.read(options.out).runs
    assert run.machine["processor"] == environment.processor()
    assert run.machine["product_gflops"] == products.rates()
    again = ResultStore(options, {"one": part("one", [])})
    again.measure()
    assert again.machines == store.machines == [run.machine]


def test_what_could_not_be_measured_is_tried_again(options):
    calls, parts = [], {}
    parts["one"] = part("one", calls)
    ResultStore(options, parts | {"two": part("two", calls, missing="no torch")}).measure()
    found = ResultStore(options, parts | {"two": part("two", calls)}).measure()
    assert calls == ["one", "two", "two"]
    assert not any(row.missing for row in found)


def test_where_nothing_could_be_measured_the_first_reason_is_an_error_and_no_folder(options):
    store = ResultStore(options, {"one": part("one", [], missing="no data")})
    store.measure()
    with pytest.raises(OptionError, match="nothing could be measured: no data"):
        store.finish("a table of dashes")
    assert not options.out.exists()


def test_the_newest_row_of_each_place_is_merged(options):
    records = []
    for day, names in enumerate((("one", "two"), ("two", "three"))):
        own = dataclasses.replace(options, out=options.out.with_name(str(day)))
        ResultStore(own, {name: part(name, []) for name in names}).measure()
        (run,) = rows.read(own.out).runs
        records.append(rows.Record([dataclasses.replace(run, finished=f"2026-01-0{day + 1}")]))
    for given in (records, records[::-1]):
        old, new = newest(given).runs
        assert [row.dataset for row in old.rows] == ["one", "target"]
        assert [row.dataset for row in new.rows] == ["two", "target", "three", "target"]
