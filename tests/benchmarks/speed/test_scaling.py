"""The scaling suite: what it counts, and a small run of it in processes of its own."""

import pytest

from benchmarks import run
from benchmarks.record import rows as results
from benchmarks.speed import scaling
from benchmarks.speed.worker import Worker, WorkerError

PROGRAM = """
  %dot.1 = f32[128,64]{1,0} dot(%a, %b), metadata={op_name="all-reduce(x)"}
  %all-reduce.3 = f32[128,64]{1,0} all-reduce(%dot.1), channel_id=1, replica_groups={{0,1}}
  %all-reduce.4 = (f32[32]{0}, pred[8]{0}, s32[]) all-reduce(%c, %d, %e), channel_id=2
  %all-gather-start.1 = (bf16[4,2]{1,0}, bf16[8,2]{1,0}) all-gather-start(%f), dimensions={0}
  %all-gather-done.1 = bf16[8,2]{1,0} all-gather-done(%all-gather-start.1)
  ROOT %get = f32[32]{0} get-tuple-element(%all-reduce.4), index=0
"""


def test_collectives_are_counted_from_the_text_of_a_program():
    counts, size = scaling.collectives(PROGRAM)
    assert counts == {"all-reduce": 2, "all-gather": 1}
    assert size == 128 * 64 * 4 + (32 * 4 + 8 + 4) + (8 + 16) * 2
    assert scaling.collectives("%x = f32[8]{0} add(%a, %b)") == ({}, 0)


def test_a_worker_answers_and_says_why_it_fails():
    with Worker("os") as worker:
        answer = worker.call("getcwd")
        assert answer.result
        assert answer.seconds >= 0
        with pytest.raises(WorkerError, match="AttributeError"):
            worker.call("nothing")
        assert worker.call("getcwd").result == answer.result
        with pytest.raises(WorkerError, match="ended with status 3"):
            worker.call("_exit", status=3)
    with Worker("no_such_module") as worker, pytest.raises(WorkerError, match="no_such_module"):
        worker.receive()


@pytest.mark.full
@pytest.mark.slow
def test_the_suite_compares_devices_and_processes(tmp_path, monkeypatch):
    topologies = scaling.Topology(1, 1), scaling.Topology(2, 1)
    monkeypatch.setattr(scaling, "TOPOLOGIES", topologies)
    path, out = tmp_path / "config.toml", tmp_path / "out"
    path.write_text(
        "suite = 'scaling'\nrepeats = 1\nrows = 300\nepochs = 1\nbatch_size = 64\n"
        "member_epochs = 1\nmember_batch_size = 64\nmembers = 2\n"
    )
    assert run.main(["--config", str(path), "--out", str(out)]) == 0
    rows = {(row.dataset, row.detector): row for row in results.read(out).rows}
    names = "one model, batch 64", "population of 2, batch 64"
    assert set(rows) == {(name, str(topology)) for name in names for topology in topologies}
    for (name, detector), row in rows.items():
        talks = name.startswith("one") and detector.startswith("2 processes")
        assert bool(row.details["collectives"].get("all-reduce")) == talks
        assert (row.metrics["kilobytes"][0] > 0) == talks
        assert row.metrics["seconds"][0] > 0
    assert "virtual ones" in (out / "table.txt").read_text()
