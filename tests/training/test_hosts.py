"""Two real processes with two devices each train like one process."""

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
def joined_results(tmp_path_factory):
    """300 rows, and the results of `hosts_worker` in both processes."""
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
def test_processes_with_different_rows_train_one_model(joined_results, name, devices):
    """Processes with 110 and 190 rows; loss and batch norm couple all rows of a batch."""
    rows, found = joined_results
    mesh = None if devices == 1 else training.make_mesh(1, devices)
    result = training.fit(OBJECTIVES[name], SHARED, KEY, labelled(rows), mesh=mesh)
    assert_is(found, name, OBJECTIVES[name], result, rows)


def test_different_validation_rows_stop_all_processes_at_one_epoch(joined_results):
    rows, found = joined_results
    held_out = np.concatenate([rows[40:60], rows[:40]])
    result = training.fit(SAD, WATCHED, KEY, labelled(rows), validation=held_out)
    assert_is(found, "watched", SAD, result, rows)


def test_a_process_may_train_by_itself(joined_results):
    rows, found = joined_results
    for process, held_out in enumerate((rows[40:60], rows[:40])):
        result = training.fit(SAD, WATCHED, KEYS[process], labelled(rows), validation=held_out)
        assert_is(found[process : process + 1], "alone", SAD, result, rows)


def test_a_population_is_distributed_over_processes(joined_results):
    rows, found = joined_results
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
def test_different_arguments_raise_on_every_process(joined_results, case, message):
    for found in joined_results[1]:
        assert case in found, "no error"
        assert re.match(message, str(found[case])), found[case]


def test_a_mesh_without_some_process_is_refused(joined_results):
    message = r"ValueError: the mesh has devices of processes \[0\] of 2: "
    assert re.match(message, str(joined_results[1][1]["not in it"]))


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
def test_wrong_arguments_are_refused_before_any_process_waits(given, message):
    with pytest.raises(ValueError, match=message):
        training.join_hosts(**given)


def test_join_hosts_after_using_jax_is_refused():
    jax.devices()
    with pytest.raises(RuntimeError, match="call join_hosts first thing"):
        training.join_hosts("127.0.0.1:4321", 2, 0)


def test_join_hosts_without_a_cluster_asks_for_an_address():
    code = "from jaxad import training; training.join_hosts()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "ValueError: no cluster that JAX knows" in done.stderr


@pytest.mark.full
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
