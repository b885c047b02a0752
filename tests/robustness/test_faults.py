"""Real processes that are killed, interrupted, out of room, or whose clock jumps."""

import importlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import faults_worker
import jax
import numpy as np
import pytest
from cases import KEY, OBJECTIVES, RECIPE
from processes import ROOT, free_address

import jaxad
from jaxad import persistence, training
from jaxad.training import checkpoint, compilation, interrupts, monitor, runs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
SUPPORT = ROOT / "tests/support"
RUNS = importlib.import_module("jaxad.study.compare").FILE  # beside the function of this name
SOFT = OBJECTIVES["soft_boundary"]


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


class Runs:
    """Processes of `faults_worker` for one kind of run, forked from one that has imported jaxad.

    The programs are compiled once and then loaded, also by processes that follow killed ones.
    """

    def __init__(self, kind, folder):
        self.kind, self.folder, self.out = kind, folder / "run", folder / "out"
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["faults_worker", "jaxad"])
        self._mark = Path(f"{self.out}.resumed")
        self._variables = {"JAXAD_CACHE": str(folder / "programs")}

    @property
    def went_on(self):
        """Whether the process that was started last went on from a checkpoint."""
        return self._mark.exists()

    def start(self, *arguments):
        self._mark.unlink(missing_ok=True)
        process = self._context.Process(
            target=faults_worker.run, args=(self.kind, self.out, self._variables, *arguments)
        )
        process.start()
        return process

    def finish(self, *arguments):
        """Run to the end; what it found."""
        process = self.start(*arguments)
        process.join(600)
        assert process.exitcode == 0
        found = persistence.read(self.out)[0]
        self.out.unlink()
        return found

    def newest(self):
        """The newest checkpoint; those in subfolders, of what comes first, are older."""
        found = self.folder.rglob("*.safetensors")
        return max(((path.parent == self.folder, path.name) for path in found), default=None)

    def kill_after_a_checkpoint(self, seconds):
        """Start, wait for a new checkpoint and some seconds, kill. Whether it had not ended."""
        before, process = self.newest(), self.start(self.folder, 0.0)
        while self.newest() == before and process.is_alive():
            time.sleep(0.002)
        process.join(seconds)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        assert self.went_on == (before is not None)
        return process.exitcode != 0


@pytest.mark.parametrize(
    ("kind", "kills"),
    [
        pytest.param("soft boundary", 1, marks=pytest.mark.slow),
        *(pytest.param(kind, 20, marks=pytest.mark.full) for kind in faults_worker.KINDS),
    ],
)
def test_killed_runs_resume_to_the_bit(kind, kills, tmp_path, record_property):
    """Kill, resume, kill again: each run is killed several times before it may end."""
    given, killed, ended = Runs(kind, tmp_path), 0, 0
    expected, moment = given.finish(), random.Random(kind)
    while killed < kills:
        if given.kill_after_a_checkpoint(moment.uniform(0, 0.5)):
            killed += 1
            if killed < kills:
                continue
            found = given.finish(given.folder, 60.0)
            assert given.went_on
        else:  # it had ended before
            found = persistence.read(given.out)[0]
        assert_same(found, expected)
        shutil.rmtree(given.folder)
        ended += 1
    record_property("kills", killed)
    record_property("runs_ended_as_uninterrupted", ended)


FULL = """
import importlib, json, os, resource, sys
from pathlib import Path
import numpy as np
from jaxad import persistence, training
from benchmarks.record import rows as records
from cases import KEY, OBJECTIVES, RECIPE, fresh

how, folder = sys.argv[1], Path(sys.argv[2])
compare = importlib.import_module("jaxad.study.compare")  # beside the function of this name
x = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
detector = fresh("AutoEncoder").fit(x)
big = {"values": np.zeros(2**20, np.uint8)}
row = {"set": "a", "note": "x" * 40_000}
measured = [records.Row("a", "deep_svdd", {"auroc": [0.5]})]
run = records.Run("quick", [0], {}, 1, "now", "now", {}, {}, {}, rows=measured)

def study():
    compare._append(folder / "study", row)

def benchmark(times=1):
    record = records.Record([run] * times)
    records.write(folder / "rows.jsonl", record)

def train(epochs, objective="soft_boundary"):
    recipe = RECIPE.replace(epochs=epochs)
    every = training.Checkpoints(folder / "run", every=0)
    return training.fit(OBJECTIVES[objective], recipe, KEY, x, checkpoints=every)

detector.save(folder / "detector.safetensors")
persistence.write(folder / "other.safetensors", {"values": np.arange(3)}, {})
(folder / "study").mkdir()
study()
benchmark()
train(2)
files = sorted(p for p in folder.rglob("*") if p.is_file())
before = {p: p.read_bytes() for p in files}
if how == "disk":
    filler = open(folder / "filler", "wb", buffering=0)
    try:
        while filler.write(bytes(512)):
            pass
    except OSError:
        pass
else:  # the largest size that a file may have
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
told = {}
for name, act in {
    "save": lambda: detector.save(folder / "detector.safetensors"),
    "write": lambda: persistence.write(folder / "other.safetensors", big, {}),
    "study": study,
    "results": lambda: benchmark(1000),
    "checkpoint": lambda: train(4),
}.items():
    try:
        act()
        told[name] = "nothing was raised"
    except OSError as error:
        told[name] = [str(error), error.filename]
changed = [str(p) for p in before if not p.read_bytes().startswith(before[p])]
grown = [str(p.relative_to(folder)) for p in before if p.read_bytes() != before[p]]
left = sorted(set(p for p in folder.rglob("*") if p.is_file()) - set(before))
if how == "disk":
    filler.close()
    os.unlink(folder / "filler")
    left.remove(folder / "filler")
    study()  # goes on behind a line that is not whole
    lines = (folder / "study" / compare.FILE).read_text().splitlines()
    whole = [line for line in lines if line.endswith("}") and json.loads(line) == row]
    told["rows of the study"] = len(whole)
    same = train(4)
    alone = training.fit(OBJECTIVES["soft_boundary"], RECIPE.replace(epochs=4), KEY, x)
    told["resumed"] = bool((same.history["loss"] == alone.history["loss"]).all())
print(json.dumps([told, changed, grown, [p.name for p in left]]))
"""


def told_without_room(how, folder, prefix=()):
    path = os.pathsep.join([str(ROOT), str(SUPPORT)])
    command = [*prefix, sys.executable, "-c", FULL, how, str(folder)]
    found = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


def assert_told(told, folder, *, checkpoint_folder):
    names = {
        "save": folder / "detector.safetensors",
        "write": folder / "other.safetensors",
        "study": folder / "study" / RUNS,
        "results": folder / "rows.jsonl",
    }
    for name, path in names.items():
        message, filename = told[name]
        assert filename == str(path)
        assert str(path) in message
        assert "make room, or give another folder" in message
    message, filename = told["checkpoint"]
    assert filename.startswith(str(checkpoint_folder))
    assert "make room, or give another folder" in message


def _mounts():
    """A command that runs another one where it may mount file systems, or None."""
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    test = [*command, "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
    if shutil.which("unshare") and subprocess.run(test, capture_output=True).returncode == 0:
        return command
    return None


@pytest.mark.full
def test_a_disk_that_fills_leaves_earlier_files_whole(tmp_path):
    """A real file system of 256 kB: checkpoint, save, and the results of studies and suites."""
    command = _mounts()
    if command is None:
        pytest.skip("this user may not mount a file system of its own")
    mount = f'mount -t tmpfs -o size=256k tmpfs {tmp_path} && exec "$@"'
    prefix = [*command, "sh", "-c", mount, "sh"]
    told, changed, grown, left = told_without_room("disk", tmp_path, prefix)
    assert_told(told, tmp_path, checkpoint_folder=tmp_path / "run")
    assert (changed, left) == ([], [])
    assert set(grown) <= {f"study/{RUNS}"}
    assert told["rows of the study"] == 2
    assert told["resumed"]


@pytest.mark.full
def test_a_limit_of_files_leaves_earlier_files_whole(tmp_path):
    """As a quota of the user would; the limit is one of this process alone."""
    told, changed, grown, left = told_without_room("limit", tmp_path)
    assert_told(told, tmp_path, checkpoint_folder=tmp_path / "run")
    assert (changed, grown, left) == ([], [], [])


def test_a_full_device_is_named(tmp_path):
    """Every byte written to /dev/full meets a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match=r"No space left .*make room, or give another .*full'") as e:
        with persistence.needing_room("/dev/full"), open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")
    assert e.value.filename == "/dev/full"


def test_what_fits_no_longer_is_named_and_the_earlier_file_stays(tmp_path):
    path, (_, most) = tmp_path / "a.safetensors", resource.getrlimit(resource.RLIMIT_FSIZE)
    persistence.write(path, {"a": np.arange(3)}, {})
    before = path.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), most))
    try:
        with pytest.raises(OSError, match=r"File too large.*make room.*a\.safetensors'"):
            persistence.write(path, {"a": np.arange(999)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.safetensors"]


def joined(address, process, out, folder, epochs):
    command = [sys.executable, SUPPORT / "lost_worker.py", address, process, out, folder, epochs]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(list(map(str, command)), env=environment, **pipes)


@pytest.mark.full
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_and_a_restart_resumes(lost, tmp_path, record_property):
    """Process 0 leads the run, so that both cases differ."""
    folder = tmp_path / "run"

    def start(where, epochs):
        address = free_address()
        outs = [tmp_path / f"{where.name}-{process}" for process in (0, 1)]
        return [joined(address, p, outs[p], where, epochs) for p in (0, 1)], outs

    started = []
    try:
        both, _ = start(folder, 100_000)
        started += both
        until = time.monotonic() + 300
        while len(list(folder.glob("epochs-*.safetensors"))) < 2:
            assert all(process.poll() is None for process in both), both[0].communicate()
            assert time.monotonic() < until
            time.sleep(0.01)
        both[lost].send_signal(signal.SIGKILL)
        began, other = time.monotonic(), both[1 - lost]
        said, _ = other.communicate(timeout=60)
        record_property("seconds_until_the_other_ended", round(time.monotonic() - began, 1))
        assert other.returncode != 0
        assert "Error" in said or "error" in said
        done = max(int(p.stem[-8:]) for p in folder.glob("epochs-*.safetensors"))
        losses = []
        for where in (folder, tmp_path / "whole"):
            both, outs = start(where, done + 3)
            started += both
            for process in both:
                said, _ = process.communicate(timeout=300)
                assert process.returncode == 0, said
            found = [persistence.read(out)[0] for out in outs]
            assert_same(found[0], found[1])
            losses.append(found[0])
        assert_same(*losses)
    finally:
        for process in started:
            process.kill()
            process.communicate()


INTERRUPTED = """
import hashlib, json, os, random, signal, sys, threading, time, warnings
import numpy as np, jaxad
warnings.simplefilter("ignore")
x = np.random.default_rng(0).normal(size=(200, 4))

def detector(i):
    options = {"hidden": (2 + i,), "latent_dim": 2, "epochs": 4, "random_state": i}
    if i % 3 == 0:
        return jaxad.DeepSVDD(n_members=2, **options)
    if i % 3 == 1:
        return jaxad.DeepSVDD(n_members=1, pretrain_epochs=2, **options)
    return jaxad.AutoEncoder(n_members=1, **options)

def fitted(i):
    made = detector(i).fit(x)
    return hashlib.sha256(made.anomaly_score(x).tobytes()).hexdigest()

fits, presses = int(sys.argv[1]), sys.argv[2] == "press"
moment, interrupted, found = random.Random(1), 0, []
began = time.monotonic()
warm = fitted(97)
seconds = time.monotonic() - began  # of a fit that compiles
for i in range(fits):
    if presses:
        timer = threading.Timer(moment.uniform(0, seconds), os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            detector(i).fit(x)
            timer.join()
            time.sleep(0.05)  # a late Ctrl-C
        except KeyboardInterrupt:
            interrupted += 1
        timer.join()
    found.append(fitted(i))
print(json.dumps([interrupted, [warm, *found]]))
"""


@pytest.mark.full
def test_ctrl_c_at_any_moment_leaves_a_sane_interpreter(record_property):
    """Tracing, compiling, training, scoring: the next fit is that of a fresh interpreter."""
    fits = 20

    def run(how):
        command = [sys.executable, "-c", INTERRUPTED, str(fits), how]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1800)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    (none, fresh), (interrupted, found) = run("leave"), run("press")
    record_property("fits_interrupted", interrupted)
    assert none == 0
    assert interrupted > fits / 3
    assert found == fresh


class JumpingClock:
    """The module `time`, whose clocks are set forth and back by up to eleven days at any call."""

    def __init__(self):
        self._draw = random.Random(0)

    def __getattr__(self, name):
        if name not in ("time", "monotonic", "perf_counter"):
            return getattr(time, name)
        return lambda: getattr(time, name)() + self._draw.uniform(-1e6, 1e6)


@pytest.fixture
def jumping_clock(monkeypatch):
    clock = JumpingClock()
    for module in (checkpoint, compilation, interrupts, monitor, runs, jaxad.callbacks):
        monkeypatch.setattr(module, "time", clock)


@pytest.mark.usefixtures("jumping_clock")
def test_a_clock_that_jumps_changes_no_result(rows, tmp_path, monkeypatch):
    recipe, seen = RECIPE.replace(epochs=9), []
    found = training.fit(
        *(SOFT, recipe, KEY, rows),
        checkpoints=training.Checkpoints(tmp_path, every=60.0),
        callbacks=[lambda progress: seen.append(progress.epoch), jaxad.callbacks.LogProgress()],
    )
    assert found.compile_seconds >= 0
    assert found.run_seconds >= 0
    assert seen[-1] == 9
    monkeypatch.undo()
    expected = training.fit(SOFT, recipe, KEY, rows)
    again = training.fit(SOFT, recipe, KEY, rows, checkpoints=tmp_path)
    for other in (found, again):
        assert_same((other.params, other.stats), (expected.params, expected.stats))
        assert_same(other.history, expected.history)


@pytest.mark.parametrize(("jump", "due"), [(-1e6, True), (1e6, True), (0.0, False)])
def test_a_clock_that_was_set_back_does_not_put_off_checkpoints(jump, due, tmp_path, monkeypatch):
    settings = training.Checkpoints(tmp_path, every=60.0)
    saver = checkpoint.Saver(settings, {}, 3)
    now = time.monotonic() + jump
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    assert saver.due() is due


def test_a_group_of_epochs_outlives_a_clock_that_stands():
    for seconds in (0.0, -5.0):
        assert runs._next_group(8, seconds, 0.25, joined=False) == 8
    assert runs._next_group(8, 0.125, 0.25, joined=False) == 16
