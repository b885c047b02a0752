"""The suites of speed: small runs, and what they say they could not measure."""

import contextlib
import dataclasses
import math
import os
import sys

import jax
import numpy as np
import pytest

from benchmarks import run
from benchmarks.record import environment, rows, timing
from benchmarks.settings import OptionError
from benchmarks.speed import fleet, latency, methods, peak, population, streaming
from jaxad.typing import Batch


@pytest.fixture
def no_peers(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("benchmarks.peers.pytorch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("benchmarks.peers.pytorch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setenv("JAXAD_PEERS", str(tmp_path / "no peers"))


@pytest.fixture
def tiny(no_peers, monkeypatch):
    """The papers' cases on few rows, and no peers."""
    real = {method: methods.papers(method) for method in methods.METHODS}

    def papers(method):
        return {
            name: dataclasses.replace(case, rows=128, batch_size=64, epochs=1)
            for name, case in real[method].items()
        }

    monkeypatch.setattr(methods, "papers", papers)
    monkeypatch.setitem(methods.SIZES, "4k rows", (32, 8, 64))


def test_a_share_of_the_peak_is_of_rates(monkeypatch):
    @contextlib.contextmanager
    def on_cores(cores):
        yield None, 4_000 * len(cores)

    monkeypatch.setattr(peak.products, "on_cores", on_cores)
    times = {"run": timing.Timing((2.0, 2.0)), "products": timing.Timing((4.0, 4.0))}
    monkeypatch.setattr(peak, "timed", lambda *_, **__: (times, times))
    goal = peak.Goal(0.6)
    for flops, cores, share in ((1_500, [7], 0.75), (1_500, [6, 7], 0.375), (3_000, [6, 7], 0.75)):
        found = peak.share_of_peak("wide", print, flops, 2, cores, goal)
        assert found.metrics["share"] == (share, share)
        assert found.details["measured"].startswith(f"{share:.2f} ")
        assert found.details["met"] == (share > 0.6)
        assert found.details["cores"] == len(cores)
        whose = "one core's" if len(cores) == 1 else "2 cores'"
        assert found.detector == f"wide: share of {whose} rate of matrix products"


@pytest.mark.slow
def test_a_run_on_one_core_is_confined_to_it_from_the_start(tiny):
    usable = environment.usable_cores()
    ((name, case),) = methods.papers("deep_svdd").items()
    with methods.OneCore() as one_core:
        train = one_core.variant(name, case)
        train()
        tasks = f"/proc/{one_core._process.pid}/task"
        threads = [os.sched_getaffinity(int(thread)) for thread in os.listdir(tasks)]
        row = peak.share_of_peak(name, train, peak.step_flops(case, case.rows), 1, usable[-1:])
        one_core.variant(name, case, scored=10)()
    assert len(threads) > 1  # XLA has started
    assert threads == [{usable[-1]}] * len(threads)
    assert environment.usable_cores() == usable
    assert 0 < row.metrics["share"][0] < 1


@pytest.mark.parametrize("of_inputs", [False, True])
def test_operations_of_a_step_are_those_of_its_products(of_inputs):
    x, *weights = (jax.ShapeDtypeStruct(s, np.float32) for s in ((32, 16), (16, 24), (24, 8)))

    def loss(weights, x):
        return (x @ weights[0] @ weights[1]).sum()

    step = jax.value_and_grad(loss, (0, 1) if of_inputs else 0)
    found = 0
    for product in jax.make_jaxpr(step)(weights, x).eqns:
        if product.primitive.name == "dot_general":
            (contracted, _), _ = product.params["dimension_numbers"]
            depth = math.prod(product.invars[0].aval.shape[axis] for axis in contracted)
            found += 2 * depth * product.outvars[0].aval.size
    assert found == peak.training_flops((16, 24, 8), 32, input_gradient=of_inputs)


@pytest.mark.full
@pytest.mark.usefixtures("no_peers")
def test_a_suite_says_what_it_could_not_measure(tmp_path):
    path, out = tmp_path / "config.toml", tmp_path / "out"
    small = "repeats = 1\nsteps = 1\nimages = 200\n"
    path.write_text(f"suite = 'convolution'\nparts = ['lenet_8_4']\n{small}")
    assert run.main(["--config", str(path), "--out", str(out)]) == 0
    found = rows.read(out).rows
    (peer,) = (row for row in found if row.missing)
    assert peer.detector == "pytorch"
    assert "pip install" in peer.missing
    measured = [row for row in found if row.detector.startswith("jaxad")]
    assert all(row.metrics["seconds"][0] > 0 for row in measured)
    assert any(row.dataset == "target" for row in found)


@pytest.mark.full
@pytest.mark.usefixtures("no_peers")
def test_population_suite_draws_and_says_what_is_missing(tmp_path, monkeypatch):
    few = dict(list(population._methods().items())[:1])
    monkeypatch.setattr(population, "_methods", lambda: few)
    path, out = tmp_path / "config.toml", tmp_path / "out"
    path.write_text(
        "suite = 'population'\nparts = ['narrow', 'members']\nrepeats = 1\nrows = 500\n"
        "epochs = 1\nmembers = 4\nmost_members = 4\n"
    )
    assert run.main(["--config", str(path), "--out", str(out)]) == 0
    found = {row.detector: row for row in rows.read(out).rows}
    assert "torch" in found["pytorch autograd"].missing
    assert found["jaxad, single"].metrics["ratio"][0] > 0
    assert found["Deep SVDD, P = 4"].metrics["seconds"][0] > 0
    assert (out / "cost_of_members.png").stat().st_size > 5000


@pytest.mark.full
@pytest.mark.slow
def test_streaming_suite_measures_memory_and_says_what_a_row_adds(tmp_path, capsys, monkeypatch):
    path, out = tmp_path / "config.toml", tmp_path / "out"
    path.write_text("suite = 'streaming'\nrows = 3000\nfeatures = 4\nchunk_rows = 256\n")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run.main(["--config", str(path), "--out", str(out)]) == 0
    few, many = rows.read(out).rows
    assert (few.details["rows"], many.details["rows"]) == (300, 3000)
    for row in (few, many):
        assert row.metrics["fit_peak_mb"][0] > row.metrics["start_mb"][0] > 0
        assert row.metrics["score_rows_per_second"][0] > 0
    assert "2,700 more rows" in capsys.readouterr().out
    assert not list(tmp_path.glob("jaxad-*"))


def test_a_file_larger_than_the_disk_is_refused(tmp_path):
    with pytest.raises(OptionError, match="need 1200000000.0 GB"):
        streaming.make(tmp_path / "x.npy", 10**16, 30)
    assert not list(tmp_path.iterdir())


def measured(tmp_path, suite, config):
    """The rows of a run of the command, by data set and detector."""
    file, out = tmp_path / "config.toml", tmp_path / "out"
    file.write_text(config)
    assert run.main([suite, "--config", str(file), "--out", str(out)]) == 0
    assert (out / "table.txt").exists()
    return {(row.dataset, row.detector): row for row in rows.read(out).rows}


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_throughput_measures_what_there_is_and_names_what_is_not(tmp_path, capsys):
    found = measured(
        tmp_path,
        "throughput",
        "methods = ['deep_sad']\nsizes = ['4k rows']\nrepeats = 2\nscored_rows = 300\n"
        "parts = ['papers', 'sizes', 'published', 'scoring']\npublished_rows = 64\nsteps = 1\n",
    )
    name = "Deep SAD 30-128-64-32"
    row = found[name, "jaxad, 1 core"]
    assert row.details["units"] == 128
    assert row.metrics["first_seconds"][0] > row.metrics["seconds"][0] > 0
    assert "pip install" in found[name, "pytorch"].missing
    assert "benchmarks.run peers" in found["DeepOD DeepSAD, fit", "DeepOD DeepSAD"].missing
    assert found["deep_sad, 4k rows", "jaxad"].metrics["seconds"][0] > 0
    assert found[f"scoring: {name}, 1 core", "jaxad"].metrics["seconds"][0] > 0
    share = found["target", f"{name}: share of one core's rate of matrix products"]
    assert share.details["measured"].endswith("GFLOP/s)")
    assert (share.details["cores"], len(share.metrics["share"])) == (1, 2)
    printed = capsys.readouterr().out
    assert "rows/s over Deep SVDD's" in printed
    assert "GFLOP/s a core" in printed


@pytest.mark.parametrize("method", methods.METHODS)
def test_the_compiler_counts_the_operations_we_count(method):
    """A little more: it counts what is between the matrix products too."""
    case = methods.sized(method, "batch 128", steps=1)
    rows = 128 if method != "goad" else 4  # GOAD processes a batch in pieces, counted once
    objective, x = case.objective, np.zeros((rows, case.features), np.float32)
    batch = Batch(x, np.zeros(rows, np.int32), np.ones(rows, np.float32), np.float32(0))
    params, stats = jax.eval_shape(objective.init, jax.random.key(0), x)

    def loss(params, stats):
        return objective.loss(params, stats, batch, jax.random.key(0))[0].mean()

    counted = jax.jit(jax.grad(loss)).lower(params, stats).compile().cost_analysis()
    assert 1 <= counted["flops"] / peak.step_flops(case, rows) < 1.6


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_latency_measures_cold_and_cached_fits_and_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "SCORED", (1, 30))
    quick = {"epochs": 1}
    monkeypatch.setitem(latency.PYOD, "DeepSVDD", ({}, quick))
    found = measured(
        tmp_path,
        "latency",
        "detectors = ['DeepSVDD']\nparts = ['pyod', 'scoring']\nrepeats = 1\nrows = 200\ncalls = 5",
    )
    cold, cached = (found["DeepSVDD, as PyOD's", f"jaxad, {kind}"] for kind in ("cold", "cached"))
    assert cold.metrics["compile_seconds"] > cached.metrics["compile_seconds"]
    assert "benchmarks.run peers" in found["DeepSVDD, as PyOD's", "PyOD"].missing
    for dataset in ("DeepSVDD, scores", "DeepSVDD, ensemble, scores"):
        assert len(found[dataset, "30 rows"].metrics["call_seconds"]) == 5
    assert found["target", "DeepSVDD, ensemble: 1 row scored"].details["goal"] == "<= 0.6 ms"


@pytest.mark.full
def test_population_suite_measures_what_users_get_by_default(tmp_path):
    found = measured(
        tmp_path,
        "population",
        "parts = ['defaults']\nrepeats = 1\nrows = 1100\nepochs = 1\n"
        "small_members = 10\ngroups = 2\nscored_rows = 600",
    )
    for name in population.DEFAULT_GOALS:
        times = [row.metrics["seconds"] for (dataset, _), row in found.items() if dataset == name]
        assert len(times) == 2
        assert all(time[0] > 0 for time in times)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.usefixtures("no_peers")
def test_fleet_suite_measures_cost_and_names_what_is_missing(tmp_path):
    found = measured(
        tmp_path,
        "fleet",
        "parts = ['large', 'loops', 'programs', 'same']\nrepeats = 1\nepochs = 1\n"
        "large_groups = 4\nlarge_rows = 210\nlarge_features = 3\ngroups = 12\nlooped = 2\n",
    )
    costs = found["large", "4 x 210 x 3"].metrics
    assert all(costs[f"{what}_seconds"][0] > 0 for what in ("fit", "compile", "score"))
    assert costs["peak_mb"][0] > costs["table_mb"][0] == pytest.approx(840 * 4 * 4 / 1e6, rel=0.1)
    assert 0 < costs["file_mb"][0] < 1
    assert len(costs["call_seconds"]) == fleet.CALLS
    assert found["loops", fleet.LOOP].metrics["ratio"][0] > 0
    assert "benchmarks.run peers" in found["loops", fleet.PYOD].missing
    assert found["programs", "12 groups of 50 to 2,000 rows"].metrics["programs"][0] > 1
    equal = {name: row.metrics["equal"] for (part, name), row in found.items() if part == "same"}
    assert len(equal) == 2
    assert all(value == [1.0] for value in equal.values())
    assert any(name.startswith("killed after") for name in equal)
