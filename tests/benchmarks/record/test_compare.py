"""Two results compared: what is noise, what is slower, and what cannot be compared."""

import dataclasses

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
    assert "the machines differ, processor" in err
    assert "--threads differs: None and 1" in err


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
