"""Two results compared: what is noise, what is slower, and what cannot be compared."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmarks import run
from benchmarks.record import environment
from benchmarks.record import rows as results
from benchmarks.record.rows import Record, Row, Run


def written(folder, times, **other):
    """A results folder with these times by variant."""
    rows = [Row("case", name, {"seconds": list(t)}) for name, t in times.items()]
    run = Run(
        suite="speed",
        seeds=[0],
        config={},
        threads=None,
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
        versions=environment.versions(),
        machine=environment.machine(),
        commit=environment.commit(),
        rows=rows,
    )
    folder.mkdir()
    results.write(folder / results.FILE, Record([dataclasses.replace(run, **other)]))
    return str(folder)


def test_times_of_other_work_are_not_compared(tmp_path, old, capsys):
    new = tmp_path / "new" / results.FILE
    written(new.parent, {"jaxad": noisy(5.0, 2), "pytorch": noisy(3.0, 3)})
    text = new.read_text().replace(
        '"jaxad","metrics"', '"jaxad","details":{"units":7},"metrics"', 1
    )
    new.write_text(text)
    assert run.main(["compare", old, str(new.parent)]) == 0
    assert "not in NEW: case, jaxad" in capsys.readouterr().out


def noisy(middle, seed):
    return middle * (1 + 0.02 * np.random.default_rng(seed).normal(size=7))


@pytest.fixture
def old(tmp_path):
    return written(tmp_path / "old", {"jaxad": noisy(1.0, 0), "pytorch": noisy(3.0, 1)})


@pytest.mark.parametrize(
    ("ours", "theirs", "status"),
    [
        (noisy(1.0, 2), noisy(3.0, 3), 0),
        (noisy(1.4, 2), noisy(3.0, 3), 1),
        (noisy(0.6, 2), noisy(3.0, 3), 0),
        (noisy(1.0, 2), noisy(6.0, 3), 0),  # a slower peer is none of our business
        ([1.4, 1.4], noisy(3.0, 3), 0),  # too few repetitions to be sure
    ],
    ids=["noise", "slower", "faster", "peer slower", "few"],
)
def test_only_a_slowdown_of_ours_beyond_noise_fails(tmp_path, old, capsys, ours, theirs, status):
    new = written(tmp_path / "new", {"jaxad": ours, "pytorch": theirs})
    assert run.main(["compare", old, new]) == status
    printed = capsys.readouterr().out
    (line,) = (line for line in printed.splitlines() if line.startswith("case") and "jaxad" in line)
    ratio = np.median(ours) / np.median(noisy(1.0, 0))
    assert float(line.split()[3]) == pytest.approx(ratio, rel=2e-3)
    assert f"{status} of our times are slower" in printed


def test_a_tolerance_allows_as_much(tmp_path, old):
    new = written(tmp_path / "new", {"jaxad": noisy(1.4, 2)})
    assert run.main(["compare", old, new, "--tolerance", "0.6"]) == 0
    assert run.main(["compare", old, new, "--tolerance", "-1"]) == 2


def test_what_differs_or_is_gone_is_said(tmp_path, old, capsys):
    new = written(
        tmp_path / "new",
        {"jaxad": noisy(1.0, 2)},
        machine={"cpu": "another", "devices": ["cpu: cpu"]},
        threads=1,
    )
    assert run.main(["compare", old, new]) == 0
    out, err = capsys.readouterr()
    assert "not in NEW: case, pytorch" in out
    assert "different machines: processor " in out
    assert "and another" in out
    assert "--threads differs: None and 1" in err
    assert "OLD has no rates of matrix products" in err


RATES = {"XLA": 140.0, "numpy": 142.0, "PyTorch": 150.0}


def with_rates(**other):
    """This machine, and rates that differ where they are given."""
    return environment.machine() | {"product_gflops": RATES | other}


def with_ratios(file, **ratios):
    """Add ratios to our time, as suites store them, to the rows of a written file."""
    record = results.read(file)
    made = [
        dataclasses.replace(row, metrics={**row.metrics, "ratio": ratios[row.detector]})
        for row in record.rows
    ]
    results.write(file, Record([dataclasses.replace(record.newest, rows=made)]))


@pytest.mark.parametrize(
    ("rates", "other", "said"),
    [
        ({}, {}, None),
        ({"XLA": 120.0, "numpy": 177.0}, {}, None),
        ({"PyTorch": 110.0}, {}, "PyTorch's products 150 and 110 GFLOP/s a core, more than 25 %"),
        ({}, {"usable_cores": 99}, "usable cores "),
        ({}, {"devices": ["gpu: H100"]}, "devices cpu: cpu and gpu: H100"),
        ({}, {"devices": ["cpu: cpu"] * 2}, None),
        ({}, {"processor": {"name": "another"}}, "and another"),
    ],
    ids=["same", "drift", "rate", "cores", "devices", "more devices", "processor"],
)
def test_times_of_another_machine_are_not_called_slower(tmp_path, capsys, rates, other, said):
    times = {"jaxad": noisy(1.0, 0), "pytorch": noisy(3.0, 1)}
    slow = {"jaxad": noisy(1.4, 2), "pytorch": noisy(2.8, 3)}
    old = written(tmp_path / "old", times, machine=with_rates())
    new = written(tmp_path / "new", slow, machine=with_rates(**rates) | other)
    for folder, ratios in ((tmp_path / "old", [3.0] * 5), (tmp_path / "new", [2.0] * 5)):
        with_ratios(folder / results.FILE, jaxad=[1.0] * 5, pytorch=ratios)
    assert run.main(["compare", old, new]) == (1 if said is None else 0)
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    if said is None:
        assert "machine" not in out.replace("the machine did", "")
        assert ["case", "jaxad", "seconds"] == next(x for x in lines if "jaxad" in x)[:3]
        assert "ratio" not in out
        return
    (line,) = (line for line in out.splitlines() if line.startswith("different machines: "))
    assert said in line
    assert out.count("other machine") == 2
    assert "2 times are of different machines" in out
    assert "0 of our times are slower" in out
    (rates,) = (line for line in out.splitlines() if line.startswith("matrix products in OLD"))
    assert rates.endswith(": XLA 140, numpy 142, PyTorch 150 GFLOP/s a core")
    (ratio,) = (x for x in lines if "ratio" in x and "pytorch" in x)
    assert "0.667" in ratio
    assert "rates of matrix products" not in err


def test_another_version_of_a_library_is_no_other_machine(tmp_path):
    times = {"jaxad": noisy(1.0, 0)}
    old = written(tmp_path / "old", times, machine=with_rates())
    versions = environment.versions() | {"jaxlib": "99"}
    slower = {"machine": with_rates(XLA=70.0), "versions": versions}
    new = written(tmp_path / "new", {"jaxad": noisy(1.4, 2)}, **slower)
    assert run.main(["compare", old, new]) == 1


def test_rows_of_a_merged_result_are_of_the_machine_of_their_run(tmp_path, capsys):
    both = {"one": noisy(1.0, 0), "two": noisy(1.0, 1)}
    old = written(tmp_path / "old", both, machine=with_rates())
    new = written(tmp_path / "new", {"one": noisy(1.4, 2)}, machine=with_rates())
    other = written(tmp_path / "other", {"two": noisy(1.4, 3)}, machine=with_rates(XLA=235.0))
    runs = [one for path in (new, other) for one in results.read(Path(path)).runs]
    results.write(Path(new) / results.FILE, Record(runs))
    assert run.main(["compare", old, new]) == 1
    verdicts = [
        line.split()[-1] for line in capsys.readouterr().out.splitlines() if "secon" in line
    ]
    assert verdicts == ["slower", "machine"]


def test_what_cannot_be_compared_is_an_error(tmp_path, old, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    other_suite = written(tmp_path / "other", {"jaxad": [1.0]}, suite="quick")
    nothing = written(tmp_path / "nothing", {"another": [1.0]})
    version = written(tmp_path / "version", {"jaxad": [1.0]})
    file = tmp_path / "version" / results.FILE
    file.write_text(file.read_text().replace('"schema_version":2', '"schema_version":99'))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / results.FILE).write_text("{")
    for new, wrong in (
        (empty, "no results folder"),
        (tmp_path / "nowhere", "no results folder"),
        (other_suite, "of suite 'speed', NEW of 'quick'"),
        (nothing, "no measured time in common"),
        (version, "schema version 99, this code reads 1 and 2"),
        (broken, "cannot be read"),
    ):
        assert run.main(["compare", old, str(new)]) == 2
        assert wrong in capsys.readouterr().err
