"""Populations and scoring on threads: the same results, and nothing left behind."""

import multiprocessing
import os
import pickle
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import jax
import joblib
import numpy as np
import pytest
from cases import KEY, KEYS, OBJECTIVES, RECIPE, WATCHED, labelled, sparing
from processes import run_alone
from sklearn.base import clone

import jaxad
from jaxad import data, networks, objectives, training
from jaxad.training import options, runners, runs, scoring, threads

SVDD = OBJECTIVES["deep_svdd"]


@pytest.fixture
def cores(monkeypatch):
    """A CPU of three cores that is one device, whatever the machine has."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    monkeypatch.setattr(threads, "_warned", set())
    for module in (runs, scoring):  # the tests have several devices
        monkeypatch.setattr(module, "default_mesh", lambda *_: None)


def same(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in leaves)


def test_there_is_a_thread_for_each_core_unless_asked(cores, monkeypatch):
    assert threads.thread_count() == 3
    assert threads.thread_count(2) == 2
    monkeypatch.setenv(threads.VARIABLE, "1")
    assert threads.thread_count() == 1
    assert threads.thread_count(2) == 2


def test_more_threads_than_cores_warn_and_go_on(cores):
    with pytest.warns(RuntimeWarning, match="threads=99.*may use 3 core"):
        assert threads.thread_count(99) == 3
    assert threads.thread_count(99) == 3  # one warning is enough


@pytest.mark.parametrize("given", [0, -1, 2.5, True, "two"])
def test_threads_that_are_no_number_are_named(given, rows):
    with pytest.raises((TypeError, ValueError), match="threads"):
        training.fit_population(SVDD, RECIPE, KEYS, rows, threads=given)
    with pytest.raises((TypeError, ValueError), match="threads"):
        jaxad.DeepSVDD(threads=given).fit(rows)


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5"])
def test_a_variable_that_is_no_number_is_named(given, cores, monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, given)
    with pytest.raises(ValueError, match=f"JAXAD_THREADS='{given}' is not a positive whole"):
        threads.thread_count()


def test_a_mesh_and_threads_exclude_each_other(rows):
    with pytest.raises(ValueError, match="threads=2 and a mesh"):
        training.fit_population(SVDD, RECIPE, KEYS, rows, threads=2, mesh=training.make_mesh(1))


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_of_joblib_keep_to_one_thread(backend, cores):
    parallel = joblib.Parallel(2, backend=backend)
    assert parallel(joblib.delayed(threads.thread_count)() for _ in range(2)) == [1, 1]


def test_workers_of_a_process_pool_keep_to_one_thread():
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        assert pool.apply(threads.thread_count) == 1
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert pool.submit(threads.thread_count).result() == 1


def test_a_task_among_others_keeps_to_one_thread_unless_asked(cores, monkeypatch):
    with threads.among_others():
        assert threads.thread_count() == 1
        assert threads.thread_count(2) == 2
        monkeypatch.setenv(threads.VARIABLE, "2")
        assert threads.thread_count() == 2
    monkeypatch.delenv(threads.VARIABLE)
    assert threads.thread_count() == 3


def test_a_thread_at_work_makes_no_threads_and_others_count_it(cores, monkeypatch):
    inner = threads.each(lambda _: threads.thread_count(), range(4), 2)
    assert inner == [1, 1, 1, 1]
    begun, done = threading.Event(), threading.Event()

    def hold(_):
        begun.set()
        return done.wait(60)

    other = threading.Thread(target=threads.each, args=(hold, range(2), 2))
    other.start()
    assert begun.wait(60)
    free = threads.thread_count(), threads.thread_count(1)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    capped = threads.thread_count(4)
    done.set()
    other.join()
    assert (free, capped, threads.thread_count()) == ((1, 1), 4, 8)


def test_an_error_ends_the_calls_that_have_not_begun(cores):
    begun = []

    def work(i):
        begun.append(i)
        time.sleep(0.05)
        if i == 1:
            raise KeyError("one")

    with pytest.raises(KeyError, match="one"):
        threads.each(work, range(100), 2)
    assert len(begun) < 20
    assert not [t for t in threading.enumerate() if t.name.startswith("jaxad")]


INTERRUPTED = """
import joblib, os, signal, threading, time
joblib.cpu_count = lambda: 2
from jaxad.training import threads
begun = []
def work(i):
    begun.append(i)
    time.sleep(0.05)
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    threads.each(work, range(2000), 2)
except KeyboardInterrupt:
    for left in [t for t in threading.enumerate() if t.name.startswith("jaxad")]:
        left.join()  # what has begun ends on its own
    print("interrupted", 0 < len(begun) < 2000, threads._busy)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are others there")
def test_ctrl_c_ends_the_calls_that_have_not_begun():
    assert run_alone(INTERRUPTED) == "interrupted True 0\n"


def test_workers_use_the_callers_settings_of_jax(cores):
    with jax.default_matmul_precision("highest"):
        found = threads.each(lambda _: jax.config.jax_default_matmul_precision, range(3), 2)
    assert found == ["highest"] * 3


def test_values_keep_their_order_and_few_items_are_read_ahead(cores):
    read = []

    def items():
        for i in range(50):
            read.append(i)
            yield i

    values = threads.in_order(lambda i: i * i, items(), 2, ahead=2)
    assert next(values) == 0
    assert len(read) <= 6
    assert list(values) == [i * i for i in range(1, 50)]


@pytest.mark.slow
@pytest.mark.parametrize("name", sparing(OBJECTIVES))
def test_results_do_not_depend_on_the_threads(name, rows, cores):
    keys, given = jax.random.split(KEY, 10), labelled(rows)  # in groups of two
    inputs = OBJECTIVES[name], RECIPE, keys, given
    one, two, three = (
        training.fit_population(*inputs, validation=rows[:50], threads=n) for n in (1, 2, 3)
    )
    alone = training.fit(OBJECTIVES[name], RECIPE, keys[3], given, validation=rows[:50])
    for other in (two, three):
        assert same(
            (one.params, one.stats, one.history), (other.params, other.stats, other.history)
        )
    found = one.member(3)
    np.testing.assert_allclose(found.history["loss"], alone.history["loss"], rtol=1e-6)
    model = OBJECTIVES[name], one.params, one.stats
    scores = [training.score_population(*model, rows, threads=n) for n in (1, 2, 3)]
    assert same(scores[0], scores[1])
    assert same(scores[0], scores[2])


@pytest.mark.parametrize("side_by_side", [False, True])
def test_sets_of_different_sizes_and_stops_at_different_epochs(side_by_side, rows, cores):
    sets = [rows[:n] for n in (300, 7, 64, 290, 130)]
    keys, recipe = jax.random.split(KEY, 5), WATCHED.replace(epochs=np.array([9, 2, 4, 7, 9]))
    one, three = (
        training.fit_population(SVDD, recipe, keys, sets, threads=n, vectorised=side_by_side)
        for n in (1, 3)
    )
    assert same((one.params, one.history), (three.params, three.history))
    for p, x in enumerate(sets):
        own = recipe.replace(epochs=int(recipe.epochs[p]))
        alone = training.fit(SVDD, own, keys[p], x)
        assert alone.epochs == one.epochs[p]
        np.testing.assert_allclose(one.member(p).history["loss"], alone.history["loss"], rtol=1e-5)


def test_members_alone_use_the_programs_of_a_single_model(rows, cores):
    objective = objectives.deep_svdd(networks.MLP((9, 4)))
    compiled = training.fit(objective, RECIPE, KEY, rows).compilations
    assert compiled > 0
    keys = jax.random.split(KEY, 2)
    assert training.fit_population(objective, RECIPE, keys, rows, threads=2).compilations == 0


def test_threads_compile_a_program_once(rows, cores):
    objective = objectives.deep_svdd(networks.MLP((10, 4)))
    keys = jax.random.split(KEY, 3)
    found = training.fit_population(objective, RECIPE, keys, rows, threads=3)
    again = training.fit_population(objective, RECIPE, keys, rows, threads=1)
    assert 0 < found.compilations <= 6
    assert again.compilations == 0


def test_an_error_of_one_share_is_raised(rows, cores):
    class Broken(networks.MLP):
        def __call__(self, x, **options):
            raise ArithmeticError("broken")

    broken = objectives.deep_svdd(Broken((8, 4)))
    with pytest.raises(ArithmeticError, match="broken"):
        training.fit_population(broken, RECIPE, KEYS, rows, threads=2)


def test_runs_resume_with_another_number_of_threads(rows, cores, tmp_path):
    recipe = RECIPE.replace(epochs=6)
    whole = training.fit_population(SVDD, recipe, KEYS, rows, threads=1)
    half = training.Checkpoints(tmp_path, every=0)
    training.fit_population(SVDD, RECIPE, KEYS, rows, threads=3, checkpoints=half)
    resumed = training.fit_population(SVDD, recipe, KEYS, rows, threads=2, checkpoints=half)
    assert same((whole.params, whole.history), (resumed.params, resumed.history))


def test_a_progress_bar_counts_epochs(rows, cores, capsys):
    training.fit_population(SVDD, RECIPE, KEYS, rows, threads=2, progress=True)
    assert "3/3" in capsys.readouterr().err


def test_streams_and_pieces(rows, cores):
    stream = data.stream(rows, rows=100)
    one, two = (training.fit_population(SVDD, RECIPE, KEYS, stream, threads=n) for n in (1, 2))
    assert same((one.params, one.history), (two.params, two.history))
    states = [training.begin(SVDD, RECIPE, KEYS, rows, threads=n) for n in (1, 2)]
    ends = [training.advance(SVDD, RECIPE, s, rows, threads=n) for n, s in enumerate(states, 1)]
    assert same(ends[0][1].params, ends[1][1].params)


def test_rows_are_scored_in_shares(rng, cores):
    x = rng.normal(size=(5000, 5)).astype(np.float32)
    detector = jaxad.DeepSVDD(epochs=1, n_members=2, threads=1).fit(x)
    scores = detector.member_scores(x)
    found = [detector.set_params(threads=n).member_scores(x) for n in (2, 3)]
    assert same(found, [scores, scores])
    assert same(detector.member_scores(data.stream(x, rows=1024)), scores.astype(np.float32))
    single = jaxad.AutoEncoder(epochs=1, n_members=1, threads=1).fit(x)
    before = single.anomaly_score(x), single.transform(x)
    single.set_params(threads=3)
    assert same(before, (single.anomaly_score(x), single.transform(x)))


def test_an_error_while_scores_are_collected_ends_the_threads(rng, cores, monkeypatch):
    x = rng.normal(size=(5000, 5)).astype(np.float32)
    detector = jaxad.DeepSVDD(epochs=1, n_members=1, threads=2).fit(x)

    def fail(parts):
        next(parts)
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "_concatenate", fail)
    with pytest.raises(KeyboardInterrupt) as held:  # whose traceback holds the iterator
        detector.anomaly_score(x)
    assert held
    assert threads._busy == 0


def test_an_unknown_option_is_left_out_by_all_threads(cores, monkeypatch):
    monkeypatch.setattr(options, "_options", lambda *_: {"xla_no_such_option": "1"})
    call = options.compiled(lambda x: x + 1, "unknown", "cpu")

    def run(size):
        x = np.ones(size, np.float32)
        call.prepare(x)
        return float(call(x).sum())

    assert threads.each(run, range(1, 20), 3) == [2.0 * n for n in range(1, 20)]


def test_detectors_with_threads_are_copied_and_fitted_together(rows, cores, monkeypatch):
    detector = jaxad.DeepSVDD(epochs=1, n_members=1, threads=1, random_state=0)
    fitted = pickle.loads(pickle.dumps(clone(detector).fit(rows)))
    assert fitted.threads == 1
    assert same(fitted.anomaly_score(rows), detector.fit(rows).anomaly_score(rows))
    used = []
    original = threads._workers
    monkeypatch.setattr(threads, "_workers", lambda n: used.append(n) or original(n))
    jaxad.fit_many([clone(detector), clone(detector).set_params(threads=2)], rows)
    assert set(used) == {1}


def test_programs_that_were_dropped_are_compiled_again(rows, cores):
    first = training.fit_population(SVDD, RECIPE, KEYS, rows, threads=2)
    jax.clear_caches()
    again = training.fit_population(SVDD, RECIPE, KEYS, rows, threads=2)
    assert same(first.params, again.params)


DEFAULTS = """
import joblib, numpy as np
joblib.cpu_count = lambda: 2
from jaxad.training import threads
used, original = [], threads.ThreadPoolExecutor
class Spied(original):
    def __init__(self, count, **options):
        used.append(count)
        super().__init__(count, **options)
threads.ThreadPoolExecutor = Spied
import jaxad
x = np.random.default_rng(0).normal(size=(9000, 4))
detector = jaxad.DeepSVDD(epochs=1).fit(x)
assert used and set(used) == {2}, used
trained = len(used)
detector.anomaly_score(x)
assert len(used) > trained
jaxad.fit_many([jaxad.DeepSVDD(epochs=1, n_members=1) for _ in range(2)], x)
"""


@pytest.mark.slow
def test_ensembles_use_all_cores_without_a_set_up_call():
    run_alone(DEFAULTS, JAX_NUM_CPU_DEVICES="1")


def test_small_members_train_side_by_side_in_groups_of_a_cache(rows, cores):
    keys = jax.random.split(KEY, 50)
    small = runners.OnThreads(*_members(SVDD, keys, rows), threads=2)
    assert {np.shape(group.place) for group in small._groups} == {(7,)}
    assert sorted({int(p) for group in small._groups for p in group.place}) == list(range(50))
    wide = objectives.deep_svdd(networks.MLP((64, 64)))
    alone = runners.OnThreads(*_members(wide, keys, rows), threads=2)
    assert [group.place for group in alone._groups] == list(range(50))


def _members(objective, keys, rows, subsets=None):
    from jaxad.training.members import split_members

    return split_members(objective, RECIPE, keys, rows, subsets, None, None, None)


def test_members_with_similar_numbers_of_rows_are_in_one_group(rows, cores):
    """Together they need no more padding than alone."""
    subsets = [np.arange(count) for count in (10, 290, 20, 300)]
    members = _members(SVDD, jax.random.split(KEY, 4), rows, subsets)
    groups = runners._groups(*members[::2], 2)
    assert [group.place.tolist() for group in groups] == [[3, 1], [2, 0]]
    assert [group.own.rows.index.shape for group in groups] == [(2, 384), (2, 256)]
