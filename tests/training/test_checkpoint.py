"""Interrupted runs resume from checkpoints and end with bit-identical results."""

import errno
import functools
import os
import pathlib
import shutil
import sys
import warnings
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import KEY, KEYS, OBJECTIVES
from processes import free_address, run_together

import jaxad
from jaxad import persistence, training
from jaxad.training import Checkpoints, checkpoint, runs

HERE = pathlib.Path(__file__).parents[1] / "support"
SOFT = OBJECTIVES["soft_boundary"]
RECIPE = training.Recipe(epochs=6, batch_size=64, learning_rate=1e-2)
STOPS = RECIPE.replace(epochs=20, patience=2, min_delta=0.02)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def outcome(result):
    return result.params, result.stats, result.history, result.best_epoch, result.steps


def checkpoint_files(folder):
    return sorted(path.name for path in pathlib.Path(folder).glob("epochs-*.safetensors"))


@pytest.fixture
def interrupt(monkeypatch):
    """Call a function and interrupt it when it writes checkpoint number ``after + 1``."""

    def interrupt(after, call, *args, **options):
        write, done = persistence.write, []

        def until(*written):
            if len(done) == after:
                raise KeyboardInterrupt
            done.append(write(*written))

        monkeypatch.setattr(persistence, "write", until)
        with pytest.raises(KeyboardInterrupt):
            call(*args, **options)
        monkeypatch.setattr(persistence, "write", write)

    return interrupt


@pytest.mark.parametrize("backend", ["file", "orbax"])
@pytest.mark.parametrize("devices", [None, 4])
def test_a_resumed_run_is_bit_identical(backend, devices, rows, tmp_path, interrupt):
    mesh = devices and training.make_mesh(1, devices)
    run = functools.partial(training.fit, SOFT, STOPS, KEY, rows, validation=rows[:99], mesh=mesh)
    whole = run()
    assert 4 < len(whole.history["loss"]) < 20  # patience ended it
    checkpoints = Checkpoints(tmp_path, every=0, backend=backend)
    interrupt(3, run, checkpoints=checkpoints)
    assert checkpoint_files(tmp_path) == [f"epochs-0000000{n}.safetensors" for n in (2, 3)]
    resumed = run(checkpoints=checkpoints)
    assert_same(outcome(resumed), outcome(whole))
    assert resumed.compilations == 0 or backend == "orbax"
    again = run(checkpoints=checkpoints)
    assert_same(outcome(again), outcome(whole))
    assert again.compilations == 0


@pytest.mark.parametrize("backend", ["file", "orbax"])
def test_a_resumed_population_is_bit_identical(backend, rows, tmp_path, interrupt):
    """3 members on 4 devices, with different numbers of epochs."""
    recipe = RECIPE.replace(epochs=np.array([2.0, 70.0, 5.0]))
    run = functools.partial(training.fit_population, SOFT, keys=KEYS, rows=rows)
    checkpoints = Checkpoints(tmp_path, every=0, backend=backend, keep=1)
    short = recipe.replace(epochs=np.array([1.0, 4.0, 5.0]))
    interrupt(2, run, short, checkpoints=checkpoints)
    run(short, checkpoints=checkpoints)
    assert len(checkpoint_files(tmp_path)) == 1
    # Each member goes on from where it was, to more epochs than were asked for before.
    resumed, whole = run(recipe, checkpoints=Checkpoints(tmp_path, backend=backend)), run(recipe)
    assert resumed.epochs.tolist() == [2, 70, 5]
    for field in ("params", "stats", "history", "steps", "failed"):
        assert_same(getattr(resumed, field), getattr(whole, field))


@pytest.mark.parametrize("after", [1, 4])
def test_an_estimator_resumes_during_and_after_pretraining(after, rows, tmp_path, interrupt):
    make = functools.partial(
        jaxad.DeepSVDD, hidden=(8,), latent_dim=4, epochs=3, pretrain_epochs=2, random_state=0
    )
    whole = make().fit(rows)
    checkpoints = Checkpoints(tmp_path, every=0)
    interrupt(after, make().fit, rows, checkpoints=checkpoints)
    resumed = make().fit(rows, checkpoints=checkpoints)
    assert_same(resumed.params_, whole.params_)
    assert_same(resumed.pretrain_history_, whole.pretrain_history_)
    assert resumed.threshold_ == whole.threshold_
    assert len(checkpoint_files(tmp_path / "pretraining")) == 2


def test_lists_of_detectors_and_ensembles_resume(rows, tmp_path, interrupt):
    given = {"hidden": (8,), "latent_dim": 4, "epochs": 2, "pretrain_epochs": 1}

    def fit(**options):
        made = [jaxad.DeepSVDD(**given, n_members=n, random_state=n) for n in (1, 2)]
        return [detector.params_ for detector in jaxad.fit_many(made, rows, **options)]

    checkpoints = Checkpoints(tmp_path, every=0)
    interrupt(2, fit, checkpoints=checkpoints)
    assert_same(fit(checkpoints=checkpoints), fit())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["population-0"]
    assert len(checkpoint_files(tmp_path / "population-0")) == 2
    assert len(checkpoint_files(tmp_path / "population-0" / "pretraining")) == 1


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_in_orbax(path):
    parts = [part for part in path.with_suffix(".orbax").rglob("*") if part.parent.name == "d"]
    flip(max(parts, key=lambda part: part.stat().st_size))


def remove_orbax_folder(path):
    shutil.rmtree(path.with_suffix(".orbax"))


@pytest.mark.parametrize(
    ("backend", "damage"),
    [
        ("file", truncate),
        ("file", flip),
        ("orbax", flip),
        ("orbax", damage_in_orbax),
        ("orbax", remove_orbax_folder),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_previous_one(
    backend, damage, rows, tmp_path, interrupt, monkeypatch
):
    run = functools.partial(training.fit, SOFT, RECIPE, KEY, rows)
    checkpoints = Checkpoints(tmp_path, every=0, backend=backend)
    interrupt(4, run, checkpoints=checkpoints)
    damage(tmp_path / "epochs-00000004.safetensors")
    trained = []
    train = runs._Resident.train
    monkeypatch.setattr(runs._Resident, "train", lambda *a: trained.append(a) or train(*a))
    with pytest.warns(UserWarning, match=r"epochs-00000004\.\w+: (damaged|truncated)"):
        resumed = run(checkpoints=checkpoints)
    assert len(trained) == 3
    assert_same(outcome(resumed), outcome(run()))
    assert checkpoint_files(tmp_path) == [f"epochs-0000000{n}.safetensors" for n in (5, 6)]


def test_a_run_restarts_if_all_checkpoints_are_damaged(rows, tmp_path):
    run = functools.partial(training.fit, SOFT, RECIPE, KEY, rows)
    whole = run(checkpoints=tmp_path)
    truncate(tmp_path / "epochs-00000006.safetensors")
    with pytest.warns(UserWarning, match="is skipped"):
        assert_same(outcome(run(checkpoints=tmp_path)), outcome(whole))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the damaged one has been replaced
        assert_same(outcome(run(checkpoints=tmp_path)), outcome(whole))


def test_unfinished_files_of_a_killed_process_are_removed(rows, tmp_path):
    (tmp_path / ".epochs-00000003.safetensors.0123.tmp").write_bytes(b"half")
    (tmp_path / "epochs-00000003.orbax").mkdir()
    (tmp_path / "epochs-00000004.orbax.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "notes.txt").write_text("not ours")
    training.fit(SOFT, RECIPE, KEY, rows, checkpoints=tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["epochs-00000006.safetensors", "notes.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": SOFT.replace(nu=0.3)}, r"objective\.nu was 0\.1, is 0\.3"),
        ({"objective": OBJECTIVES["deep_svdd"]}, r"objective\.encoder\.batch_norm was True"),
        ({"objective": OBJECTIVES["dagmm"]}, "objective was Hypersphere, is DAGMM"),
        ({"recipe": RECIPE.replace(batch_size=32)}, r"recipe\.batch_size was 64, is 32"),
        ({"recipe": RECIPE.replace(patience=3)}, r"recipe\.patience was None, is 3\.0"),
        ({"key": jax.random.key(1)}, r"key was \[0, 0\], is \[0, 1\]"),
        ({"rows": np.ones((300, 5))}, "another run: not the same rows"),
        ({"validation": np.ones((30, 5))}, "not the same validation"),
        ({"fitted": True}, "not the same fitted"),
        ({"recipe": RECIPE.replace(epochs=5)}, r"has done 6 epochs, more than recipe\.epochs=5"),
    ],
)
def test_another_run_in_the_folder_is_refused(change, message, rows, tmp_path):
    run = {"objective": SOFT, "recipe": RECIPE, "key": KEY, "rows": rows}
    training.fit(**run, checkpoints=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with training.Stopwatch() as watch, pytest.raises(ValueError, match=message):
        training.fit(**(run | change), checkpoints=tmp_path)
    assert watch.compilations == 0
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_population_does_not_resume_the_run_of_a_member(rows, tmp_path):
    training.fit(SOFT, RECIPE, KEY, rows, checkpoints=tmp_path)
    with pytest.raises(ValueError, match=r"recipe\.learning_rate was 0\.01, is \[0\.01, 0\.01"):
        training.fit_population(SOFT, RECIPE, KEYS, rows, checkpoints=tmp_path)


def test_a_run_may_overwrite_its_state_after_it_is_saved(tmp_path):
    state = namedtuple("State", "epoch")(np.array([1]))
    saver = checkpoint.Saver(Checkpoints(tmp_path), {}, 3)
    for _ in range(2):
        saver.save(state, {})
        state.epoch[:] += 1
    assert len(checkpoint_files(tmp_path)) == 2


def test_a_state_of_other_shapes_is_refused(rows, tmp_path):
    """Three members take four places on four devices, and three on one."""
    run = {"recipe": RECIPE.replace(epochs=0), "keys": KEYS, "checkpoints": tmp_path}
    run |= {"objective": OBJECTIVES["deep_svdd"], "rows": rows}
    training.fit_population(**run, mesh=training.make_mesh(4))
    with pytest.raises(ValueError, match="its arrays have other shapes: go on with as many dev"):
        training.fit_population(**run, mesh=training.make_mesh(1))


def test_too_little_space_raises_before_training(rows, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"needs \d{5} bytes, 1000 are free: make room") as told:
        training.fit(SOFT, RECIPE, KEY, rows, checkpoints=tmp_path / "run")
    assert told.value.errno == errno.ENOSPC
    assert told.value.filename == str(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_full_disk_leaves_earlier_checkpoints_intact(rows, tmp_path, monkeypatch):
    run = functools.partial(training.fit, SOFT, RECIPE, KEY, rows)
    whole, checkpoints, sync, synced = run(), Checkpoints(tmp_path, every=0), os.fsync, []

    def full(descriptor):
        if len(synced) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        synced.append(sync(descriptor))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="are free: make room, or give another folder"):
            run(checkpoints=checkpoints)
    assert sorted(os.listdir(tmp_path)) == [f"epochs-0000000{n}.safetensors" for n in (2, 3)]
    assert_same(outcome(run(checkpoints=checkpoints)), outcome(whole))


def test_types_that_files_lack_survive(rows, tmp_path, interrupt):
    momentum = functools.partial(optax.trace, decay=0.9, accumulator_dtype=jnp.bfloat16)
    run = functools.partial(training.fit, SOFT, RECIPE.replace(optimizer=momentum), KEY, rows)
    checkpoints = Checkpoints(tmp_path, every=0)
    interrupt(2, run, checkpoints=checkpoints)
    assert_same(outcome(run(checkpoints=checkpoints)), outcome(run()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": -1}, "every=-1 is not a number of seconds"),
        ({"every": float("nan")}, "every=nan"),
        ({"keep": 0}, "keep=0 is not a positive whole number"),
        ({"backend": "pickle"}, "backend='pickle' is unknown: choose one of"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Checkpoints("folder", **options)


def test_checkpoints_need_a_fixed_random_state(rows, tmp_path):
    with pytest.raises(ValueError, match="random_state=None is another seed in every fit"):
        jaxad.AutoEncoder().fit(rows, checkpoints=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_orbax_raises_with_installation_advice(rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxad\[orbax\]'"):
        training.fit(SOFT, RECIPE, KEY, rows, checkpoints=Checkpoints(tmp_path, backend="orbax"))


@pytest.mark.slow
def test_each_process_of_a_joined_run_saves_its_part(tmp_path):
    address = free_address()
    commands = [
        [sys.executable, HERE / "joined_worker.py", address, str(process), tmp_path]
        for process in (0, 1)
    ]
    run_together(commands, {"JAX_NUM_CPU_DEVICES": "2"}, timeout=200)
    assert len(checkpoint_files(tmp_path / "run")) == 2
    assert len(list((tmp_path / "run").glob("*.orbax"))) == 2


def test_checkpoints_of_single_members_are_of_an_earlier_version(rows, tmp_path):
    """Ensembles on streams had a folder for each member."""
    (tmp_path / "member-0").mkdir()
    (tmp_path / "member-0/epochs-00000002.safetensors").write_bytes(b"anything")
    with pytest.raises(ValueError, match="another version of jaxad"):
        training.fit(SOFT, RECIPE, KEY, rows, checkpoints=tmp_path)
