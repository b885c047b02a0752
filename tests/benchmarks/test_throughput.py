"""The suites of speed: small runs, what they could not measure, and what an interruption leaves."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

from benchmarks import bandwidth, cases, operations, parts, run, schema
from benchmarks.comparison import Target
from benchmarks.options import OptionError, Options
from benchmarks.suites import latency, roofline, throughput
from benchmarks.timing import interleaved


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The papers' cases on few rows, and no peers."""
    real = {method: cases.papers(method) for method in cases.METHODS}

    def papers(method):
        return {
            name: dataclasses.replace(case, rows=128, batch_size=64, epochs=1)
            for name, case in real[method].items()
        }

    monkeypatch.setattr(cases, "papers", papers)
    monkeypatch.setitem(cases.SIZES, "4k rows", (32, 8, 64))
    for name in [name for name in sys.modules if name.startswith("benchmarks.peers.pytorch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("benchmarks.peers.pytorch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setenv("JAXAD_PEERS", str(tmp_path / "no peers"))


def measured(tmp_path, suite, config):
    """The rows of a run of the command, by data set and detector."""
    file, out = tmp_path / "config.toml", tmp_path / "out"
    file.write_text(config)
    assert run.main([suite, "--config", str(file), "--out", str(out)]) == 0
    assert (out / "table.txt").exists()
    return {(row.dataset, row.detector): row for row in schema.read(out / "rows.json").rows}


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_throughput_measures_what_there_is_and_names_what_is_not(tmp_path, capsys):
    rows = measured(
        tmp_path,
        "throughput",
        "methods = ['deep_sad']\nsizes = ['4k rows']\nrepeats = 2\nscored_rows = 300\n"
        "parts = ['papers', 'sizes', 'published', 'scoring']\npublished_rows = 64\nsteps = 1\n",
    )
    name = "Deep SAD 30-128-64-32"
    row = rows[name, "jaxad, 1 core"]
    assert row.metrics["rows_per_second"] == [128 / s for s in row.metrics["seconds"]]
    assert row.metrics["first_seconds"][0] > row.metrics["compile_seconds"][0] > 0
    assert "pip install" in rows[name, "pytorch"].missing
    assert "benchmarks.run peers" in rows["DeepOD DeepSAD, fit", "DeepOD DeepSAD"].missing
    assert rows["deep_sad, 4k rows", "jaxad"].metrics["rows_per_second"][0] > 0
    assert rows[f"scoring: {name}, 1 core", "jaxad"].metrics["rows_per_second"][0] > 0
    assert "rows/s over Deep SVDD's" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_roofline_counts_operations_and_measures_peaks(tmp_path):
    rows = measured(
        tmp_path,
        "roofline",
        "methods = ['deep_svdd']\nrepeats = 2\nmembers = 4\nsize = 64\nmegabytes = 1\n",
    )
    name = "Deep SVDD 30-128-64-32"
    assert rows["machine", "copies, 1 device"].metrics["gigabytes"][0] > 0
    for detector in ("single run, 1 device", "4 members, 4 devices"):
        metrics = rows[name, detector].metrics
        assert metrics["megaflops"] == [9.8304 / 2]
        assert all(np.isfinite(metrics["percent"]))
        assert 0.9 < metrics["compiler_flops_ratio"][0] < 1.2


@pytest.mark.parametrize("method", cases.METHODS)
def test_the_compiler_counts_the_operations_we_count(method):
    """A little more: it counts what is between the matrix products too."""
    case = cases.sized(method, "batch 128", steps=1)
    rows = operations.countable_rows(case)
    ours, compiler = operations.step_flops(case, rows), operations.compiler_count(case, rows)
    assert 1 <= compiler["flops"] / ours < 1.5
    assert compiler["bytes"] > 0
    assert operations.step_bytes(case) > 4 * case.batch_size * case.features


def test_copies_move_what_they_say():
    copy, moved = bandwidth.copies(megabytes=1)
    copy()
    copy()
    assert moved == 2 * 10**6 * jax.local_device_count()


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_latency_measures_cold_and_cached_fits_and_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "SCORED", (1, 30))
    quick = {"epochs": 1}
    monkeypatch.setitem(latency.PYOD, "DeepSVDD", ({}, quick))
    rows = measured(
        tmp_path,
        "latency",
        "detectors = ['DeepSVDD']\nparts = ['pyod', 'scoring']\nrepeats = 1\nrows = 200\ncalls = 5",
    )
    cold, cached = (rows["DeepSVDD, as PyOD's", f"jaxad, {kind}"] for kind in ("cold", "cached"))
    assert cold.metrics["compile_seconds"] > cached.metrics["compile_seconds"]
    assert "benchmarks.run peers" in rows["DeepSVDD, as PyOD's", "PyOD"].missing
    assert len(rows["DeepSVDD, scores", "30 rows"].metrics["milliseconds"]) == 5


def test_a_peer_that_fails_is_left_out_and_ours_is_not():
    noted = {}

    def failed(name, error):
        noted[name] = str(error)
        return name != "ours"

    def broken():
        raise RuntimeError("no compiler")

    first, later = interleaved({"a": list, "b": broken}, 2, failed=failed)
    assert list(first) == list(later) == ["a"]
    assert noted == {"b": "no compiler"}
    with pytest.raises(RuntimeError, match="no compiler"):
        interleaved({"ours": broken}, 2, failed=failed)


def test_an_interrupted_run_keeps_what_it_measured_and_goes_on(tmp_path):
    options, calls = Options("speed", tmp_path, {"repeats": 1}), []

    def part(name, stop=False):
        def measure():
            if stop:
                raise KeyboardInterrupt
            calls.append(name)
            row = schema.Row(name, "jaxad", {"seconds": [1.0]})
            return [row], [Target(f"{name} is fast", ">= 1", "2", True)]

        return measure

    how = {"columns": roofline.COLUMNS, "note": "A note."}
    with pytest.raises(KeyboardInterrupt):
        parts.run_parts(options, {"one": part("one"), "two": part("two", stop=True)}, **how)
    left = schema.read(tmp_path / "rows.json").rows
    assert [(r.dataset, r.missing) for r in left] == [
        ("one", None),
        ("target", None),
        ("two", parts.WAITING),
    ]
    assert "missing: not measured" in (tmp_path / "table.txt").read_text()
    parts.run_parts(options, {"one": part("one"), "two": part("two")}, **how)
    assert calls == ["one", "two"]
    assert [r.dataset for r in schema.read(tmp_path / "rows.json").rows] == [
        *("one", "target", "two", "target")
    ]
    other = dataclasses.replace(options, settings={"repeats": 2})
    with pytest.raises(OptionError, match="repeats is 1, not 2"):
        parts.run_parts(other, {"one": part("one")}, **how)


def test_an_interruption_ends_the_command_with_its_own_status(tmp_path, monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(throughput, "run", interrupted)
    assert run.main(["throughput", "--out", str(tmp_path)]) == 130
    assert f"what was measured so far is in {tmp_path}" in capsys.readouterr().err
