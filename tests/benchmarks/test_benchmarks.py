"""The benchmark command, its record and table, what is measured and how."""

import json
import math
import sys
import time

import jax
import numpy as np
import pytest

from benchmarks import controls, datasets, environment, flops, peak, run, schema, table, timing
from benchmarks.options import OptionError
from benchmarks.suites import population, streaming


def failing(capsys, *arguments):
    """The message of a command that must fail with status 2."""
    assert run.main(list(arguments)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", run.SUITES)
def test_every_suite_has_what_the_command_needs(name):
    suite = run.SUITES[name]
    assert suite.DESCRIPTION
    assert callable(suite.run)
    assert set(suite.CHOICES) <= set(suite.DEFAULTS)


def test_help_lists_every_suite(capsys):
    with pytest.raises(SystemExit) as stopped:
        run.main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for name, suite in run.SUITES.items():
        assert name in printed
        assert suite.DESCRIPTION in printed


@pytest.mark.parametrize(
    ("arguments", "wrong", "valid"),
    [
        (["fast"], "suite 'fast'", "quick"),
        (["--datasets", "digits,cats"], "dataset 'cats'", "breast_cancer"),
        (["--detectors", "svm"], "detector 'svm'", "nearest_neighbours"),
        (["scaling", "--seeds", "2"], "setting 'seeds'", "repeats"),
        (["--seeds", "0"], "'seeds' must be", "at least 1"),
        (["--threads", "0"], "--threads 0", "1 to"),
        (["--config", "nowhere.toml"], "nowhere.toml", "cannot read"),
    ],
)
def test_what_does_not_exist_is_an_error_that_names_what_does(capsys, arguments, wrong, valid):
    message = failing(capsys, *arguments)
    assert wrong in message
    assert valid in message


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("sedes = 3", "unknown setting 'sedes'; valid: seeds, "),
        ("seeds = 'three'", "'seeds' must be a whole number"),
        ("seeds = true", "'seeds' must be a whole number"),
        ("epochs = 'many'", '"auto"'),
        ("contamination = -0.1", "'contamination' must be a number"),
        ("datasets = []", "'datasets' must be a list"),
        ("suite = 'scaling'\nseeds = 3", "valid: repeats, "),
        ("seeds = ", "is not TOML"),
    ],
)
def test_a_wrong_config_is_an_error_that_says_what_is_wrong(tmp_path, capsys, text, wrong):
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert wrong in failing(capsys, "--config", str(path))


def test_a_config_for_another_suite_is_refused(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text("suite = 'quick'")
    assert "is for suite 'quick'" in failing(capsys, "scaling", "--config", str(path))


def test_command_line_wins_over_config_and_config_over_defaults(tmp_path, monkeypatch, capsys):
    path = tmp_path / "config.toml"
    path.write_text("seeds = 3\ncontamination = 0.2")
    seen = []
    monkeypatch.setattr(run.SUITES["quick"], "run", seen.append)
    out = tmp_path / "results"
    assert run.main(["--config", str(path), "--seeds", "2", "--out", str(out)]) == 0
    (options,) = seen
    assert (options.settings["seeds"], options.settings["contamination"]) == (2, 0.2)
    assert options.settings["datasets"] == datasets.NAMES
    assert capsys.readouterr().out.splitlines()[-1] == f"results: {out}"


def test_table_aligns_groups_and_names_what_is_missing():
    rows = [
        schema.Row("a", "one", {"auroc": [0.5, 0.7]}),
        schema.Row("a", "two", {"auroc": [1.0]}),
        schema.Row("b", "three", missing="no torch"),
    ]
    columns = [table.Column("AUROC %", "auroc", table.spread(1, 100))]
    assert table.text(*table.cells(rows, columns)).splitlines() == [
        "dataset  detector                       AUROC %",
        "-------  -------------------------  -----------",
        "a        one                        60.0 ± 14.1",
        "         two                              100.0",
        "-------  -------------------------  -----------",
        "b        three (missing: no torch)            -",
    ]
    assert table.markdown(*table.cells(rows[1:2], columns)).splitlines() == [
        "| dataset | detector | AUROC % |",
        "| --- | --- | ---: |",
        "| a | two | 100.0 |",
    ]


def example_record(**config):
    row = schema.Row("a", "one", {"auroc": [0.5, 0.75], "fit": [1.0, math.nan]}, {"rows": 3})
    return schema.record(
        "quick",
        [row, schema.Row("a", "two", missing="no torch")],
        seeds=[0, 1],
        config=config,
        threads=None,
        begun=schema.begin(),
    )


def test_record_survives_the_file(tmp_path):
    path, result = tmp_path / "rows.json", example_record(datasets=["a"])
    schema.write(path, result)
    back = schema.read(path)
    assert back.versions == result.versions
    assert back.machine == result.machine
    assert back.commit == result.commit
    assert back.config == {"datasets": ["a"]}
    assert back.rows[1] == result.rows[1]
    np.testing.assert_equal(back.rows[0].metrics, dict(result.rows[0].metrics))
    stored = json.loads(path.read_text())["rows"][0]["metrics"]
    assert stored["auroc"]["mean"] == 0.625
    assert stored["auroc"]["std"] == pytest.approx(0.125 * 2**0.5)
    assert stored["fit"] == {"values": [1.0, None], "mean": 1.0, "std": None}


def test_record_of_another_schema_version_is_refused(tmp_path):
    path = tmp_path / "rows.json"
    schema.write(path, example_record())
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(ValueError, match="schema version 99, this code reads 1"):
        schema.read(path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "rows.json"
    schema.write(path, example_record())
    before = path.read_text()
    with pytest.raises(TypeError):
        schema.write(path, example_record(unwritable=object()))
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_commit_is_unknown_outside_git(tmp_path):
    assert environment.commit(tmp_path) == {"sha": "unknown", "dirty": None}


def test_environment_names_versions_and_devices():
    assert {"python", "jaxad", "jax", "jaxlib", "flax", "numpy"} <= set(environment.versions())
    described = environment.machine()
    assert described["usable_cores"] >= 1
    assert described["devices"]


@pytest.mark.parametrize("name", datasets.NAMES)
def test_split_trains_on_half_of_the_normal_rows(name):
    dataset = datasets.load(name)
    split = datasets.split(dataset, seed=0)
    normal = int((~dataset.is_anomaly).sum())
    assert len(split.train) == normal // 2
    assert len(split.known) == datasets.KNOWN
    assert split.is_anomaly.sum() == dataset.is_anomaly.sum() - datasets.KNOWN
    assert split.train.dtype == np.float32
    # The three parts together are the whole set: no row twice, none left out.
    together = np.concatenate([split.train, split.known, split.test])
    assert sorted(map(bytes, together)) == sorted(map(bytes, dataset.x))


def test_split_follows_its_seed_and_images_are_the_same_rows():
    table_set, image_set = datasets.load("digits"), datasets.load("digits_images")
    one, two = datasets.split(table_set, 0), datasets.split(table_set, 1)
    assert not np.array_equal(one.train, two.train)
    np.testing.assert_array_equal(one.train, datasets.split(table_set, 0).train)
    pictures = datasets.split(image_set, 0)
    np.testing.assert_array_equal(pictures.test.reshape(len(one.test), 64), one.test)


def test_unknown_dataset_names_the_valid_ones():
    with pytest.raises(ValueError, match="valid: breast_cancer, digits, digits_images"):
        datasets.load("cats")


@pytest.mark.parametrize("kind", [controls.IsolationForest, controls.NearestNeighbours])
def test_controls_rank_far_rows_higher_and_flag_their_share(kind):
    x = np.random.default_rng(0).normal(size=(400, 2, 2)) * 100
    detector = kind(contamination=0.1, random_state=0).fit(x)
    near, far = detector.anomaly_score(np.stack([np.zeros((2, 2)), np.full((2, 2), 900.0)]))
    assert far > detector.threshold_ > near
    fresh = np.random.default_rng(1).normal(size=(2000, 2, 2)) * 100
    assert 0.05 < np.mean(detector.anomaly_score(fresh) > detector.threshold_) < 0.2


def test_interleaved_runs_every_variant_in_turn():
    order = []
    variants = {name: lambda name=name: order.append(name) for name in "abc"}
    first, later = timing.interleaved(variants, repeats=3)
    assert order[:3] == ["a", "b", "c"]
    assert order[3:] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert all(len(first[name].seconds) == 1 for name in variants)
    assert all(len(later[name].seconds) == 3 for name in variants)


def test_interleaved_does_not_repeat_the_hopeless():
    variants = {"quick": lambda: time.sleep(0.001), "slow": lambda: time.sleep(0.2)}
    _, later = timing.interleaved(variants, repeats=3, give_up=10)
    assert [len(later[name].seconds) for name in variants] == [3, 1]
    assert timing.ratio(later["slow"], later["quick"]).median > 10


def test_ratio_is_taken_round_by_round():
    # The machine is twice as slow in the last rounds; the ratio does not notice.
    fast, slow = timing.Timing((1.0, 1.0, 2.0, 2.0)), timing.Timing((3.0, 3.0, 6.0, 6.0))
    assert timing.ratio(slow, fast) == timing.Ratio(3.0, 3.0, 3.0)
    assert fast.quartiles == (1.0, 2.0)


@pytest.mark.slow
def test_quick_suite_end_to_end(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text("seeds = 1\nepochs = 1\n")
    chosen = ["--datasets", "breast_cancer", "--detectors", "deep_svdd,nearest_neighbours"]
    out = tmp_path / "out"
    assert run.main(["quick", "--config", str(path), *chosen, "--out", str(out)]) == 0
    result = schema.read(out / "rows.json")
    assert [row.detector for row in result.rows] == [
        "deep_svdd",
        "deep_svdd untrained",
        "nearest_neighbours",
    ]
    for row in result.rows:
        assert 0.5 < row.metrics["auroc"][0] <= 1
        assert row.metrics["score_rows_per_second"][0] > 0
    drawn = {path.stem for path in out.glob("*.png")}
    assert drawn == {"loss_curves", "score_histogram", "latent_scatter"}
    printed = capsys.readouterr().out
    assert "95% quantile of the scores of 20% of the training rows, held out" in printed
    assert printed.splitlines()[-1] == f"results: {out}"


@pytest.fixture
def no_peers(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("benchmarks.peers.pytorch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("benchmarks.peers.pytorch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setenv("JAXAD_PEERS", str(tmp_path / "no peers"))


@pytest.mark.slow
@pytest.mark.usefixtures("no_peers")
def test_a_suite_says_what_it_could_not_measure(tmp_path):
    path, out = tmp_path / "config.toml", tmp_path / "out"
    small = "repeats = 1\nsteps = 1\nimages = 200\n"
    path.write_text(f"suite = 'convolution'\nparts = ['lenet_8_4']\n{small}")
    assert run.main(["--config", str(path), "--out", str(out)]) == 0
    rows = schema.read(out / "rows.json").rows
    (peer,) = (row for row in rows if row.missing)
    assert peer.detector == "pytorch"
    assert "pip install" in peer.missing
    measured = [row for row in rows if row.detector.startswith("jaxad")]
    assert all(row.metrics["seconds"][0] > 0 for row in measured)
    assert any(row.dataset == "target" for row in rows)


def test_compiled_programs_are_let_go():
    compiled = jax.jit(lambda x: x + 1)
    compiled(1.0)
    assert compiled._cache_size() == 1
    environment.drop_programs()
    assert compiled._cache_size() == 0


def test_a_share_of_the_peak_is_of_rates():
    work, most = peak.Work(lambda: None, 3_000), peak.Work(lambda: None, 8_000)
    slow, fast = timing.Timing((2.0, 2.0)), timing.Timing((4.0, 4.0))
    target = population._share_of_peak("wide", work, slow, most, fast)
    assert target.measured.startswith("0.75 ")
    assert target.met
    assert not population._share_of_peak("wide", work, fast, most, fast).met


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
    assert found == flops.training_step((16, 24, 8), 32, input_gradient=of_inputs)


@pytest.mark.slow
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
    rows = {row.detector: row for row in schema.read(out / "rows.json").rows}
    assert "torch" in rows["pytorch autograd"].missing
    assert rows["jaxad, single"].metrics["ratio"][0] > 0
    assert rows["Deep SVDD, P = 4"].metrics["seconds"][0] > 0
    assert (out / "cost_of_members.png").stat().st_size > 5000


@pytest.mark.slow
def test_streaming_suite_measures_memory_and_says_what_a_row_adds(tmp_path, capsys, monkeypatch):
    path, out = tmp_path / "config.toml", tmp_path / "out"
    path.write_text("suite = 'streaming'\nrows = 3000\nfeatures = 4\nchunk_rows = 256\n")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run.main(["--config", str(path), "--out", str(out)]) == 0
    few, many = schema.read(out / "rows.json").rows
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
