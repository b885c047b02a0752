"""Result files, tables, times and the environment: what every suite shares."""

import dataclasses
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks.record import environment, machines, report, rows, tables, timing
from benchmarks.record import suite as suites
from benchmarks.record.rows import Record, Row, Run
from benchmarks.settings import OptionError

OLD_RESULT = Path(__file__).parent / "version_1"


def test_table_aligns_groups_and_names_what_is_missing():
    made = [
        Row("a", "one", {"auroc": [0.5, 0.7]}),
        Row("a", "two", {"auroc": [1.0]}),
        Row("b", "three", missing="no torch"),
    ]
    columns = [tables.Column("AUROC %", "auroc", tables.spread(1, 100))]
    suite = SimpleNamespace(COLUMNS=columns, NOTE="A note.")
    assert suites.text(suite, made, {}).splitlines() == [
        "A note.",
        "",
        "dataset  detector      AUROC %",
        "-------  --------  -----------",
        "a        one       60.0 ± 14.1",
        "         two             100.0",
        "-------  --------  -----------",
        "b        three               -",
        "",
        "missing: three on b: no torch",
    ]
    assert tables.markdown(*tables.cells(made[1:2], columns)).splitlines() == [
        "| dataset | detector | AUROC % |",
        "| --- | --- | ---: |",
        "| a | two | 100.0 |",
    ]


def example_run(**config):
    row = Row("a", "one", {"auroc": [0.5, 0.75], "fit": [1.0, math.nan]}, {"rows": 3})
    return Run(
        suite="quick",
        seeds=[0, 1],
        config=config,
        threads=None,
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
        versions=environment.versions(),
        machine=environment.machine(),
        commit=environment.commit(),
        rows=[row, Row("a", "two", missing="no torch")],
    )


def test_record_survives_the_file_with_one_row_a_line(tmp_path):
    path, run = tmp_path / rows.FILE, example_run(datasets=["a"])
    later = dataclasses.replace(run, finished="2026-01-02T00:00:00+00:00", rows=run.rows[:1])
    rows.write(path, Record([run, later]))
    back = rows.read(tmp_path)
    np.testing.assert_equal([vars(r) for r in back.runs], [vars(r) for r in (run, later)])
    assert back.newest.finished == later.finished
    assert [row.detector for row in back.rows] == ["one", "two", "one"]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("detector") for line in lines] == [None, "one", "two", None, "one"]
    assert lines[1]["metrics"] == {"auroc": [0.5, 0.75], "fit": [1.0, None]}


def test_a_result_of_schema_version_1_still_reads():
    """`version_1` is the streaming suite's result of 25 November 2026."""
    record = rows.read(OLD_RESULT)
    assert record.suite == "streaming"
    assert record.newest.commit["sha"].startswith("b0be1fe6")
    assert [row.part_name for row in record.rows] == [
        "2,000,000 rows, deep_svdd",
        "20,000,000 rows, deep_svdd",
    ]
    assert record.rows[1].metrics["fit_rows_per_second"][0] > 1e5
    assert record.newest.machine["processor"] == {"name": "AMD EPYC"}


@pytest.mark.parametrize("folder", sorted(report.RESULTS.iterdir()), ids=lambda path: path.name)
def test_every_kept_result_still_reads(folder):
    record = rows.read(folder)
    for run in record.runs:
        assert "cpu" not in run.machine
        assert machines.processor_name(run.machine)
        assert machines.product_rates(run.machine)
    assert record.rows


def test_record_of_another_schema_version_is_refused(tmp_path):
    path = tmp_path / rows.FILE
    rows.write(path, Record([example_run()]))
    path.write_text(path.read_text().replace('"schema_version":2', '"schema_version":99'))
    with pytest.raises(OptionError, match="schema version 99, this code reads 1 and 2"):
        rows.read(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / rows.FILE
    rows.write(path, Record([example_run()]))
    before = path.read_text()
    monkeypatch.setattr("os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rows.write(path, Record([example_run(other=1)]))
    with pytest.raises(TypeError):
        rows.write(path, Record([example_run(unwritable=object())]))
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_commit_is_unknown_outside_git(tmp_path):
    assert environment.commit(tmp_path) == {"sha": "unknown", "dirty": None}


def test_environment_names_versions_and_devices():
    assert {"python", "jaxad", "jax", "jaxlib", "flax", "numpy"} <= set(environment.versions())
    described = environment.machine()
    assert described["processor"]["name"]
    assert described["usable_cores"] >= 1
    assert described["devices"]


def test_interleaved_runs_every_variant_in_turn():
    order = []
    variants = {name: lambda name=name: order.append(name) for name in "abc"}
    first, later = timing.timed("", variants, 3, pause=0)
    assert order[:3] == ["a", "b", "c"]
    assert order[3:] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert all(len(first[name].values) == 1 for name in variants)
    assert all(len(later[name].values) == 3 for name in variants)


def test_interleaved_does_not_repeat_the_hopeless():
    variants = {"quick": lambda: time.sleep(0.001), "slow": lambda: time.sleep(0.2)}
    _, later = timing.timed("", variants, 3, give_up=10, pause=0)
    assert [len(later[name].values) for name in variants] == [3, 1]
    assert timing.ratio(later["slow"], later["quick"]).median > 10


def test_ratio_is_taken_round_by_round():
    # The machine is twice as slow in the last rounds; the ratio does not notice.
    fast, slow = timing.Timing((1.0, 1.0, 2.0, 2.0)), timing.Timing((3.0, 3.0, 6.0, 6.0))
    assert timing.ratio(slow, fast) == timing.Timing((3.0,) * 4)
    assert fast.quartiles == (1.0, 2.0)


def test_compiled_programs_are_let_go():
    compiled = jax.jit(lambda x: x + 1)
    compiled(1.0)
    assert compiled._cache_size() == 1
    environment.drop_programs()
    assert compiled._cache_size() == 0


def test_a_peer_that_fails_is_left_out_and_ours_is_not():
    def broken():
        raise RuntimeError("no compiler")

    failures = {}
    first, later = timing.timed("", {"a": list, "b": broken}, 2, failures=failures, pause=0)
    assert list(first) == list(later) == ["a"]
    assert failures == {"b": "RuntimeError: no compiler"}
    for how in ({"jaxad": broken}, failures), ({"b": broken}, None):
        with pytest.raises(RuntimeError, match="no compiler"):
            timing.timed("", how[0], 2, failures=how[1], pause=0)
