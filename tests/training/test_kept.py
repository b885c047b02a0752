"""Programs kept on disk: what later processes load, and the folders that are refused."""

import hashlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxad.training import compilation_cache, kept

PROGRAM = b"a program" * 100

# Fits, scores, and prints how many programs were loaded and a digest of the scores.
FIT = """
import hashlib, jax, numpy as np
{before}
from jaxad import networks, objectives, training
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
objective = objectives.deep_svdd(networks.MLP((4, 2)))
result = training.fit(objective, training.Recipe(epochs=1), jax.random.key(0), x)
scores = training.score(objective, result.params, result.stats, x)
foreign = jax.jit(lambda x: x * 3 + 1)(x)
loaded = events.count("/jax/compilation_cache/cache_hits")
print(loaded, hashlib.sha256(scores.tobytes()).hexdigest())
"""


@pytest.fixture(autouse=True)
def _nothing_kept():
    yield
    compilation_cache(None)


def fit(before="", **variables):
    """Fit in a process of its own: programs loaded, digest of the scores, and what it warned."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
    environment = {k: v for k, v in environment.items() if v is not None}
    command = [sys.executable, "-c", FIT.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    loaded, digest = done.stdout.split()
    return int(loaded), digest, done.stderr


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_later_process_loads_the_same_programs(tmp_path):
    """By default, in a folder of the user's alone; programs of others are not kept."""
    home = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    _, fresh, _ = fit(JAXAD_CACHE="off", **home)
    assert not names(tmp_path)
    loaded, first, warned = fit(JAXAD_CACHE=None, **home)
    assert (loaded, warned) == (0, "")
    (folder,) = {path.parent for path in tmp_path.rglob("*.program")}
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = names(folder)
    assert before
    assert all("jaxad_" in name for name in before)
    loaded, second, warned = fit(JAXAD_CACHE=None, **home)
    assert (loaded, warned) == (len(before), "")
    assert names(folder) == before
    assert fresh == first == second


def test_a_broken_program_is_compiled_again_and_replaced(tmp_path):
    folder = tmp_path / "kept"
    _, whole, _ = fit(JAXAD_CACHE=str(folder))
    first, *others = sorted(folder.iterdir())
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])  # as by a full disk or a lost machine
    others[0].write_bytes(b"")
    changed = bytearray(others[1].read_bytes())
    changed[-9] ^= 1
    others[1].write_bytes(changed)
    loaded, digest, warned = fit(JAXAD_CACHE=str(folder))
    assert (loaded, digest, warned) == (len(others) - 2, whole, "")
    assert fit(JAXAD_CACHE=str(folder))[0] == len(others) + 1


@pytest.mark.full
def test_jaxs_own_cache_takes_precedence(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    fit(JAXAD_CACHE=str(ours), JAX_COMPILATION_CACHE_DIR=str(theirs))
    assert not ours.exists()
    fit(JAXAD_CACHE=str(ours), JAX_ENABLE_COMPILATION_CACHE="0")
    assert not ours.exists()
    # Configured after the first program: from then on it serves everything.
    later = f"jax.config.update('jax_compilation_cache_dir', {str(theirs)!r})"
    fit(f"from jaxad.training import kept; kept.keep('x'); {later}", JAXAD_CACHE=str(ours))
    assert names(ours) == []
    assert names(theirs)


def test_a_folder_given_in_code_is_used_instead_of_the_default(tmp_path):
    given = tmp_path / "given"
    before = f"from jaxad import training; training.compilation_cache({str(given)!r})"
    fit(before, JAXAD_CACHE=str(tmp_path / "default"))
    assert names(tmp_path) == ["given"]
    assert names(given)


def test_processes_share_a_folder(tmp_path):
    folder, found = tmp_path / "kept", []
    threads = [
        threading.Thread(target=lambda: found.append(fit(JAXAD_CACHE=str(folder))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(digest, warned) for _, digest, warned in found}) == 1
    assert fit(JAXAD_CACHE=str(folder))[0] == len(names(folder))


@pytest.mark.skipif(os.name != "posix", reason="owners and permissions of POSIX")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder, _: folder.chmod(0o770), "others can write to"),
        (lambda folder, _: folder.chmod(0o702), "others can write to"),
        (lambda _, patch: patch.setattr(os, "getuid", lambda: 4711), "belongs to someone else"),
        (lambda _, patch: patch.setattr(os, "access", lambda *_: False), "can be written to"),
        (lambda folder, _: (folder.rmdir(), folder.touch()), "is no folder"),
    ],
    ids=["group", "others", "owner", "read-only", "file"],
)
def test_an_unsafe_folder_is_refused_once(spoil, message, tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    folder.mkdir()
    spoil(folder, monkeypatch)
    with pytest.raises(ValueError, match=f"folder='.*kept': .*{message}"):
        compilation_cache(folder)
    monkeypatch.setattr(kept, "_settled", False)
    monkeypatch.setenv("JAXAD_CACHE", str(folder))
    with pytest.warns(RuntimeWarning, match=f"not kept .*{message}.* JAXAD_CACHE") as warned:
        assert kept.keep("train") == kept.keep("train") == "jaxad_train"
    assert len(warned) == 1


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match="folder='.*below'"):
        compilation_cache(file / "below")


def test_a_full_disk_gives_one_warning_and_leaves_no_file(tmp_path, monkeypatch):
    cache = kept.Kept(tmp_path / "kept")
    cache.put("jit_jaxad_a", PROGRAM)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="not kept .*No space left.*JAXAD_CACHE") as warned:
        cache.put("jit_jaxad_b", PROGRAM)
    cache.put("jit_jaxad_c", PROGRAM)  # a second warning would be an error
    assert len(warned) == 1
    assert names(tmp_path / "kept") == ["jit_jaxad_a.program"]
    assert cache.get("jit_jaxad_a") == PROGRAM


def test_the_programs_used_least_recently_are_deleted(tmp_path):
    entry = len(PROGRAM) + hashlib.sha256().digest_size
    cache = kept.Kept(tmp_path, max_bytes=3 * entry)
    (tmp_path / "a file of the user's").write_bytes(PROGRAM * 9)
    for age, name in enumerate("abc"):
        cache.put(f"jit_jaxad_{name}", PROGRAM)
        os.utime(tmp_path / f"jit_jaxad_{name}.program", (1e9 + age, 1e9 + age))
    assert cache.get("jit_jaxad_a") == PROGRAM  # now the last one used
    cache.put("jit_jaxad_d", PROGRAM)
    assert [cache.get(f"jit_jaxad_{name}") is None for name in "abcd"] == [0, 1, 0, 0]
    assert "a file of the user's" in names(tmp_path)


def test_only_marked_programs_are_kept(tmp_path):
    cache = kept.Kept(tmp_path)
    cache.put("jit_users_own", PROGRAM)
    assert cache.get("jit_users_own") is None
    assert names(tmp_path) == []


def test_every_program_that_jaxad_compiles_is_marked(monkeypatch, tmp_path):
    """Single models, ensembles, pretraining and streams leave no small operations behind."""
    code = (
        "import numpy as np, jaxad, jax\n"
        "asked = []\n"
        "from jaxad.training import kept\n"
        "get = kept.Kept.get\n"
        "kept.Kept.get = lambda self, key: asked.append(key) or get(self, key)\n"
        "x = np.random.default_rng(0).normal(size=(300, 4))\n"
        "small = {'hidden': (4,), 'latent_dim': 2, 'epochs': 1, 'random_state': 0}\n"
        "for more in ({'n_members': 1, 'pretrain_epochs': 1}, {'n_members': 2}):\n"
        "    jaxad.DeepSVDD(**small, **more).fit(x).anomaly_score(x)\n"
        "print(*(key for key in asked if 'jaxad_' not in key))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {"JAXAD_CACHE": str(tmp_path / "kept"), "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_users_folder_is_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert kept._users_folder() == tmp_path / "jaxad" / "programs"
    assert isinstance(kept._users_folder(), Path)


def test_nothing_is_kept_in_the_tests(tmp_path):
    assert os.environ["JAXAD_CACHE"] == "off"
    jax.jit(lambda x: x - 2)(np.float32(1))
    assert jax.config.jax_compilation_cache_dir is None
