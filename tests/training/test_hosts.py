"""Two real processes with two devices each are one run: the same random numbers and results."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from cases import KEY, KEYS, OBJECTIVES, SHARED, WATCHED, labelled
from processes import free_address, run_together

from jaxad import training

pytestmark = pytest.mark.slow
SAD = OBJECTIVES["deep_sad"]
WORKER = Path(__file__).parents[1] / "support/hosts_worker.py"


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """300 rows, and what `hosts_worker` found in either process."""
    folder, address = tmp_path_factory.mktemp("hosts"), free_address()
    x = np.random.default_rng(0).normal(size=(300, 5))
    x[:, 1] += x[:, 0]
    rows, source = x.astype(np.float32), folder / "rows.npy"
    np.save(source, rows)

    commands = [
        [sys.executable, WORKER, address, str(process), source, folder / f"{process}.npz"]
        for process in (0, 1)
    ]
    run_together(commands, {"JAX_NUM_CPU_DEVICES": "2"}, timeout=200)
    return rows, [dict(np.load(folder / f"{process}.npz")) for process in (0, 1)]


def assert_is(found, name, objective, result, rows, rtol=2e-4):
    leaves = jax.tree.leaves(result.params)
    expected = {
        "loss": result.history["loss"],
        "params": np.concatenate([np.ravel(leaf) for leaf in leaves]),
        "score": training.score(objective, result.params, result.stats, rows),
    }
    for what, values in expected.items():
        for one in found:
            atol = rtol * np.abs(values).max()
            np.testing.assert_allclose(one[f"{name}, {what}"], values, rtol, atol, err_msg=what)


@pytest.mark.parametrize(
    ("name", "devices"), [("soft_boundary", 1), ("soft_boundary", 4), ("dagmm", 1), ("goad", 1)]
)
def test_processes_with_rows_of_their_own_are_one_run(both, name, devices):
    """110 rows in one, 190 in the other; losses and batch norm that couple all rows of a batch."""
    rows, found = both
    mesh = None if devices == 1 else training.make_mesh(1, devices)
    result = training.fit(OBJECTIVES[name], SHARED, KEY, labelled(rows), mesh=mesh)
    assert_is(found, name, OBJECTIVES[name], result, rows)


def test_validation_rows_of_their_own_end_the_run_at_the_same_epoch(both):
    rows, found = both
    held_out = np.concatenate([rows[40:60], rows[:40]])
    result = training.fit(SAD, WATCHED, KEY, labelled(rows), validation=held_out)
    assert_is(found, "watched", SAD, result, rows)


def test_a_process_may_train_by_itself(both):
    rows, found = both
    for process, held_out in enumerate((rows[40:60], rows[:40])):
        result = training.fit(SAD, WATCHED, KEYS[process], labelled(rows), validation=held_out)
        assert_is(found[process : process + 1], "alone", SAD, result, rows)


def test_a_population_is_shared_out_among_processes(both):
    rows, found = both
    objective = OBJECTIVES["soft_boundary"]
    member = training.fit(objective, SHARED, KEYS[2], labelled(rows))
    assert_is(found, "member", objective, member, rows)
    for one in found:
        assert one["failed"].tolist() == [False] * 3
        for where in ("own", "all"):
            score = one[f"population on {where} devices, score"]
            assert score.shape == (3, len(rows))
            np.testing.assert_allclose(score[2], one["member, score"], 1e-4, 1e-6)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            "columns",
            r"ValueError: rows: x of process 1 is \[4\] float32 .* 0 \[5\] float32",
        ),
        ("none", r"ValueError: (process 1: )?rows of shape \(0, 5\): need .* at least one row"),
        ("types", r"ValueError: rows: label of process 1 is \[\] float32 .* process 0 \[\] int32"),
        ("recipe", "ValueError: process 1 has another recipe than process 0"),
        ("batch size", "ValueError: process 1 has another recipe than process 0"),
        ("validation", "ValueError: process 1 has another presence of validation rows"),
        ("shared place", r"ValueError: processes \[0, 1\] share place 0 of the mesh's data axis"),
        ("population rows", "ValueError: process 1 has another rows than process 0"),
        ("twice", "RuntimeError: the processes are joined already"),
    ],
)
def test_processes_that_differ_are_told_so_by_an_error_in_each(both, case, message):
    for found in both[1]:
        assert case in found, "no error"
        assert re.match(message, str(found[case])), found[case]


def test_a_mesh_that_leaves_a_process_out_is_refused_there(both):
    message = r"ValueError: the mesh has devices of processes \[0\] of 2: "
    assert re.match(message, str(both[1][1]["not in it"]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"processes": 2, "process": 0}, "address is missing"),
        ({"address": "127.0.0.1:4321"}, "processes and process is missing"),
        ({"address": "127.0.0.1", "processes": 2, "process": 0}, "not host:port"),
        ({"address": "127.0.0.1:0", "processes": 2, "process": 0}, "not host:port"),
        ({"address": "127.0.0.1:4321", "processes": 0, "process": 0}, "processes=0 is not"),
        ({"address": "127.0.0.1:4321", "processes": 2, "process": 2}, "process=2: 2 processes"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_waits(given, message):
    with pytest.raises(ValueError, match=message):
        training.join_hosts(**given)


def test_processes_join_first_thing():
    jax.devices()
    with pytest.raises(RuntimeError, match="call join_hosts first thing"):
        training.join_hosts("127.0.0.1:4321", 2, 0)


def test_without_a_cluster_an_address_is_asked_for():
    code = "from jaxad import training; training.join_hosts()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "ValueError: no cluster that JAX knows" in done.stderr


def test_the_example_runs_on_files_of_each_process(tmp_path):
    for process, count in enumerate((300, 401)):
        x = np.random.default_rng(process).normal(size=(count, 6))
        np.save(tmp_path / f"part-{process}.npy", x.astype(np.float32))
    address, rows = free_address(), tmp_path / "part-{process}.npy"
    shared = "--shared", str(tmp_path / "part-0.npy"), "--members", "2", "--epochs", "1"
    commands = [
        [sys.executable, "docs/examples/several_hosts.py", "--address", address]
        + ["--processes", "2", "--process", str(process), "--rows", str(rows), *shared]
        + ["--batch-size", "128", "--devices", "1", "--out", str(tmp_path)]
        for process in (0, 1)
    ]
    said = run_together(commands, {}, timeout=200)
    for process, count in enumerate((300, 401)):
        assert f"process {process}: {count} rows of my own; 2 processes, 1 devices" in said[process]
    losses = [re.findall(r"loss \S+ -> (\S+), the same parameters", text) for text in said]
    assert losses[0] == losses[1] != []
    assert all("population of 2: " in text for text in said)
