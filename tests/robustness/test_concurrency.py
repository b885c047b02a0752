"""Fits beside each other: in threads, in processes, and in programs that use JAX themselves."""

import json
import sys
import threading
import time

import jax
import jax.numpy as jnp
import joblib
import numpy as np
import pytest
from cases import KEY, KEYS, OBJECTIVES, RECIPE, SHARED, fresh
from processes import ROOT, run_alone, run_together

from jaxad import training
from jaxad.training import runs, scoring, threads

SVDD = OBJECTIVES["deep_svdd"]
OTHER_KEYS = jax.random.split(jax.random.key(2), 3)
LONGEST = 300  # seconds; a deadlock would be found by then


def at_once(*calls):
    """The values of functions that begin together, each in a thread of its own."""
    begin, values = threading.Barrier(len(calls)), [None] * len(calls)

    def run(i):
        begin.wait(LONGEST)
        try:
            values[i] = calls[i]()
        except BaseException as error:
            values[i] = error

    started = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(calls))]
    for thread in started:
        thread.start()
    until = time.monotonic() + LONGEST
    for thread in started:
        thread.join(max(0.0, until - time.monotonic()))
    assert not any(thread.is_alive() for thread in started), "the threads wait for each other"
    for value in values:
        if isinstance(value, BaseException):
            raise value
    return values


def found(result):
    leaves = jax.tree.leaves((result.params, result.stats, result.history))
    return b"".join(np.asarray(leaf).tobytes() for leaf in leaves)


@pytest.mark.parametrize("kinds", [1, pytest.param(3, marks=pytest.mark.full)])
def test_threads_fit_what_one_after_the_other_does(kinds, rows):
    """Single models, which share their programs; with them ensembles and populations."""

    def fit(name, seed, members):
        detector = fresh(name, random_state=seed, n_members=members).fit(rows)
        return detector.anomaly_score(rows).tobytes()

    each = [
        [lambda s=s: fit("AutoEncoder", s, 1) for s in range(4)],
        [lambda s=s: fit("DeepSVDD", s, 2) for s in range(2)],
        [
            lambda k=k: found(training.fit_population(SVDD, RECIPE, k, rows))
            for k in (KEYS, OTHER_KEYS)
        ],
    ]
    calls = sum(each[:kinds], [])
    assert at_once(*calls) == [call() for call in calls]


def test_a_thread_counts_only_its_own_time_and_programs(rows):
    """One thread compiles a new structure; beside it, three have nothing to compile."""
    rows = rows[:200]  # one block: the size of several depends on the threads that are free
    known = fresh("AutoEncoder").fit(rows)
    known.anomaly_score(rows)
    done = threading.Event()

    def new():
        try:
            detector = fresh("AutoEncoder", hidden=(11,)).fit(rows)
            return detector.compile_seconds_, detector.fit_seconds_
        finally:
            done.set()

    def old(seed):
        seconds = []
        while not done.is_set() or not seconds:
            begun = time.perf_counter()
            detector = fresh("AutoEncoder", random_state=seed).fit(rows)
            elapsed = time.perf_counter() - begun
            seconds.append((detector.compile_seconds_, detector.fit_seconds_, elapsed))
        return seconds

    (compiling, running), *others = at_once(new, *(lambda s=s: old(s) for s in range(3)))
    assert compiling > 0
    assert running > 0
    for compiling, running, elapsed in sum(others, []):
        assert compiling == 0
        assert 0 < running <= elapsed


def test_stopwatches_of_many_threads_do_not_get_lost():
    assert training.Stopwatch() != training.Stopwatch()  # or one would be removed for another

    def measure():
        for _ in range(300):
            with training.Stopwatch(), training.Stopwatch():
                pass
        return True

    assert all(at_once(*[measure] * 4))


@pytest.mark.full
def test_threads_that_fit_ensembles_do_not_use_more_cores_than_there_are(
    rows, monkeypatch, record_property
):
    """Threads at work, beside the four that call `fit`."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    for module in (runs, scoring):  # the tests have several devices
        monkeypatch.setattr(module, "default_mesh", lambda *_: None)
    at_work, most, lock = [0], [0], threading.Lock()
    original = threads.ThreadPoolExecutor

    class Counted(original):
        def __init__(self, count, **options):
            super().__init__(count, **options)
            self.count = count
            with lock:
                at_work[0] += count
                most[0] = max(most[0], at_work[0])

        def shutdown(self, *args, **options):
            super().shutdown(*args, **options)
            with lock:
                at_work[0] -= self.count

    monkeypatch.setattr(threads, "ThreadPoolExecutor", Counted)

    def fit(seed):
        keys = jax.random.split(jax.random.key(seed), 3)
        return found(training.fit_population(SVDD, RECIPE, keys, rows))

    calls = [lambda s=s: fit(s) for s in range(4)]
    together = at_once(*calls)
    assert 2 <= most[0] <= 3
    assert at_work == [0]
    assert threads._busy == 0
    assert together == [call() for call in calls]
    record_property("cores", 3)
    record_property("most_threads_at_work", most[0])


@pytest.mark.full
def test_runs_on_the_same_devices_do_not_wait_for_each_other(rows):
    """Each step of both runs waits for all four devices."""
    mesh = training.make_mesh(1, 4)
    recipe = SHARED.replace(epochs=20)
    calls = [lambda k=k: found(training.fit(SVDD, recipe, k, rows, mesh=mesh)) for k in KEYS[:2]]
    assert at_once(*calls) == [call() for call in calls]


@pytest.fixture
def settings_of_jax():
    """A function that sets JAX up for the whole process, until the test ends."""
    before = {}

    def change(**settings):
        for name, value in settings.items():
            before.setdefault(name, getattr(jax.config, name))
            jax.config.update(name, value)

    yield change
    change(**before)


@pytest.mark.parametrize("x64", [False, True])
def test_a_program_that_uses_jax_goes_on_beside_a_fit(x64, rows, settings_of_jax):
    """Its types, its settings, its device and its results are its own."""
    expected = found(training.fit(SVDD, RECIPE, KEY, rows))
    done, device, kind = threading.Event(), jax.devices()[1], np.dtype([np.float32, float][x64])
    settings = {"jax_enable_x64": x64, "jax_default_device": device}
    settings["jax_default_matmul_precision"] = "highest"
    settings_of_jax(**settings)
    step = jax.jit(lambda x: jnp.cos(x @ x.T) / 3)
    values = np.random.default_rng(0).normal(size=(8, 8)).astype(kind)

    def app():
        seen = set()
        while not done.is_set() or not seen:
            value = step(jnp.asarray(values))
            seen.add((value.dtype, np.asarray(value).tobytes(), *value.devices()))
        return seen

    def fit():
        try:
            return found(training.fit(SVDD, RECIPE, KEY, rows))
        finally:
            done.set()

    seen, together = at_once(app, fit)
    assert seen == {(kind, np.asarray(step(jnp.asarray(values))).tobytes(), device)}
    assert {name: getattr(jax.config, name) for name in settings} == settings
    assert together == expected


GRID = """
import json
import joblib, numpy as np
from sklearn.model_selection import GridSearchCV
import jaxad

x = np.random.default_rng(0).normal(size=(120, 4))
small = {"hidden": (), "epochs": 2, "random_state": 0}

def mean_score(detector, X, y=None):
    return -float(detector.anomaly_score(X).mean())

def searched(n_jobs):
    detector = jaxad.AutoEncoder(n_members=2, **small)
    grid = {"latent_dim": [1, 2]}
    search = GridSearchCV(detector, grid, scoring=mean_score, n_jobs=n_jobs, cv=2)
    search.set_params(error_score="raise").fit(x)
    return search.cv_results_["mean_test_score"].tolist(), search.best_params_

def at_work(seed):
    import os
    from pathlib import Path
    from jaxad.training import threads

    made, original = [], threads.ThreadPoolExecutor
    def spied(count, **given):
        made.append(count)
        return original(count, **given)

    threads.ThreadPoolExecutor = spied
    jaxad.AutoEncoder(n_members=2, latent_dim=1, **small).fit(x)
    threads.ThreadPoolExecutor = original
    tasks = Path("/proc/self/task")
    return made, len(os.listdir(tasks)) if tasks.exists() else None

parallel, alone = searched(2), searched(1)
workers = joblib.Parallel(2)(joblib.delayed(at_work)(seed) for seed in range(2))
print(json.dumps([parallel, alone, workers]))
"""


@pytest.mark.full
def test_a_grid_search_in_processes_finds_what_one_process_does(record_property):
    said = run_alone(GRID, JAX_NUM_CPU_DEVICES="1")
    parallel, alone, workers = json.loads(said.splitlines()[-1])
    assert parallel == alone
    assert [made for made, _ in workers] == [[], []]  # each worker is one thread of jaxad's
    record_property("processes", 2)
    record_property("threads_of_each_with_idle_ones_of_xla", [own for _, own in workers])


STARTED = """
import hashlib, json, multiprocessing, sys, warnings
import numpy as np
import jaxad

def fit(seed):
    x = np.random.default_rng(0).normal(size=(120, 4))
    made = jaxad.AutoEncoder(hidden=(), latent_dim=2, epochs=2, n_members=1, random_state=seed)
    return hashlib.sha256(made.fit(x).anomaly_score(x).tobytes()).hexdigest()

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Python's own about forks
    found = {}
    for method in ("fork", "forkserver", "spawn"):  # before this process uses JAX
        with multiprocessing.get_context(method).Pool(2) as pool:
            found[method] = pool.map_async(fit, range(2)).get(300)
    found["here"] = [fit(seed) for seed in range(2)]
    print(json.dumps(found))
"""


@pytest.mark.full
def test_processes_started_in_every_way_fit_the_same(tmp_path):
    script = tmp_path / "started.py"
    script.write_text(STARTED)
    (said,) = run_together([[sys.executable, str(script)]], {"PYTHONPATH": str(ROOT)})
    found = json.loads(said.splitlines()[-1])
    assert found["here"][0] != found["here"][1]
    for method in ("fork", "forkserver", "spawn"):
        assert found[method] == found["here"], method
