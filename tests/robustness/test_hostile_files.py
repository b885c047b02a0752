"""Files from anywhere: a documented error that names the file, or what they hold; never more.

Each loader reads valid files that were changed by `hostile`, by one change or several. While it
reads, running code, importing, writing and removing files fail the test (`only_reading`), and so
does taking more memory than a small file can need (`bounded`).
"""

import gzip
import io
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import fleets
import golden
import hostile
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from processes import ROOT
from scipy.io import savemat

import jaxad
from benchmarks import settings as suites
from benchmarks.quality import paper_rows, quick
from jaxad import data, persistence
from jaxad.data import Card, dataset
from jaxad.data.cards import Copy, File
from jaxad.estimators import DETECTORS
from jaxad.fleet import partitions, storage
from jaxad.fleet.tables import open_table
from jaxad.training.checkpoint import Checkpoints, Saver

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # of numbers that no training gives
    pytest.mark.filterwarnings("ignore:a checkpoint is not whole"),
]
# Attributes that a file may set beside those of the valid files: what only some detectors have.
OPTIONAL = {"calibration_", "feature_names_in_", "held_out_scores_", "reference_scores_"}
OPTIONAL |= {name for kind in DETECTORS.values() for name in kind._get_param_names()}
GIB = 1 << 30
HANG_S = 60  # no limit of time, which a busy machine would break, but what no reading takes


# --- valid files ----------------------------------------------------------------------------------


class State(NamedTuple):
    """What `Saver` saves of a run, at its smallest."""

    epoch: Any
    weights: Any


RUN = {"objective": "one", "key": [0, 0]}
STATE = State(jnp.asarray(3), jnp.arange(6.0).reshape(2, 3))
ROWS = np.random.default_rng(0).normal(size=(12, 3))
TABLE = pd.DataFrame(ROWS, columns=list("abc")).assign(label=[0, 1] * 6, id=range(12))


def detectors(folder: Path) -> list[bytes]:
    """Of every kind, single and as ensembles, and one with a function, notes and a calibration."""
    found = [path.read_bytes() for path in sorted((golden.FOLDER / "models").glob("*"))]
    own = jaxad.load(golden.model_file("DeepSVDD", "ensemble"))
    x, _ = golden.table()
    own.set_params(loss=jaxad.losses.hypersphere.pseudo_huber, loss_numbers={"delta": 1.0})
    own.calibrate(x)
    own.save(folder / "own")
    return [*found, (folder / "own").read_bytes()]


def fleet(folder: Path) -> list[bytes]:
    fleets.fitted(detector="AutoEncoder").save(folder / "fleet")
    return [(folder / "fleet").read_bytes()]


def exported(folder: Path) -> list[bytes]:
    jaxad.load(golden.model_file("AutoEncoder", "array")).export(folder / "program")
    return [(folder / "program").read_bytes()]


def checkpoint(folder: Path) -> list[bytes]:
    Saver(Checkpoints(folder), RUN, 5).save(STATE, {"loss": np.arange(3.0)})
    (path,) = folder.glob("epochs-*")
    return [path.read_bytes()]


def waves(folder: Path) -> list[bytes]:
    fleets.fitted(detector="AutoEncoder", checkpoints=folder / "waves")
    return [path.read_bytes() for path in (folder / "waves").glob("wave-*")]


def surveys(folder: Path) -> list[bytes]:
    fleet = fleets.small("AutoEncoder")
    return [partitions.survey_partition(fleets.made(), fleet).survey.iloc[0]]


def npy(folder: Path) -> list[bytes]:
    whole = np.arange(24, dtype=">i8").reshape(6, 2, 2)
    return [npy_of(array) for array in (ROWS, ROWS.astype(np.float32).T, whole)]


def npy_of(array: np.ndarray) -> bytes:
    written = io.BytesIO()
    np.save(written, array)
    return written.getvalue()


def npz(folder: Path) -> list[bytes]:
    written = io.BytesIO()
    np.savez_compressed(written, X=ROWS, y=np.arange(12) % 2)
    return [written.getvalue()]


def mat(folder: Path) -> list[bytes]:
    found = []
    for version, compresses in (("5", False), ("5", True), ("4", False)):
        written = io.BytesIO()
        content = {"X": ROWS, "y": np.arange(12.0) % 2}
        savemat(written, content, format=version, do_compression=compresses)
        found.append(written.getvalue())
    return found


def tables(suffix: str) -> Callable[[Path], list[bytes]]:
    def made(folder: Path) -> list[bytes]:
        TABLE.to_csv(folder / f"t{suffix}", index=False)
        return [(folder / f"t{suffix}").read_bytes()]

    return made


def parquet(folder: Path) -> list[bytes]:
    written = io.BytesIO()
    TABLE.to_parquet(written)
    return [written.getvalue()]


def config(folder: Path) -> list[bytes]:
    return [b'suite = "quick"\nseeds = 3\ndatasets = ["digits"]\ndetectors = ["deep_svdd"]\n']


def paper(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.toml"))]


# --- loaders --------------------------------------------------------------------------------------


def resume(path: Path) -> Any:
    """Resume the run of `checkpoint`; a file that is not whole is skipped, and the run begins."""
    saver = Saver(Checkpoints(path.parent), RUN, 5)
    state, history = saver.resume(STATE)
    assert [(leaf.shape, leaf.dtype) for leaf in state] == [
        (leaf.shape, leaf.dtype) for leaf in STATE
    ]
    return state, history


def survey(path: Path) -> Any:
    return partitions.join_surveys(pd.DataFrame({"survey": [path.read_bytes()]}))


def published(form: str) -> Callable[[Path], Any]:
    """`jaxad.data.load` of a set whose file has this format."""
    card = Card("demo", 12, (3,), anomalies=6, source="its authors")

    def load(path: Path) -> Any:
        found = dataset._read(card, Copy(form, (File(path.name),)), [path])
        dataset._check(found, path)
        return found

    return load


def streamed(path: Path) -> Any:
    stream = data.stream(path, rows=5)
    return [np.asarray(x).sum() for x, _ in stream.read(5)]


def grouped(path: Path) -> Any:
    try:
        table = open_table(path, "id", label="label")
    except TypeError as error:  # documented for identifiers
        if "group column 'id'" not in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error
    return table.read(0, len(table.keys))


def configured(path: Path) -> Any:
    found = suites.read_config(path)
    found.pop("suite", None)
    suites.resolve(quick, found)


@dataclass(frozen=True)
class Loader:
    """How files of a kind are made, changed and read.

    Attributes:
      valid: makes some, given a folder.
      load: reads one.
      change: ``(valid, names of changes, seed) -> hostile``.
      changes: their names.
      inputs: in the full tier.
      name: of the file.
      memory: bytes beyond what the process has, more than which no reading may take.
      named: what its errors name, if not the file or its folder.
    """

    valid: Callable[[Path], Sequence[bytes]]
    load: Callable[[Path], Any]
    change: Callable[[bytes, Sequence[str], int], bytes]
    changes: Sequence[str]
    inputs: int
    name: str = "hostile.file"
    memory: int = GIB
    named: str | None = None


def changed(changes: dict[str, Callable]) -> Callable[[bytes, Sequence[str], int], bytes]:
    return lambda valid, names, seed: hostile.changed(valid, changes, names, seed)


def of_ours(valid: Any, load: Any, inputs: int, **more: Any) -> Loader:
    return Loader(valid, load, hostile.ours, (*hostile.OURS, *hostile.BYTES), inputs, **more)


def of(changes: Any, valid: Any, load: Any, inputs: int, name: str, **more: Any) -> Loader:
    return Loader(valid, load, changed(changes), tuple(changes), inputs, name, **more)


def read_table(path: Path) -> Any:
    return data.read_table(path, label="label", drop=["id"])


def published_rows(path: Path) -> Any:
    return paper_rows.read(path.stem, path.parent)


LOADERS = {
    "detector": of_ours(detectors, jaxad.load, 30_000),
    "fleet": of_ours(fleet, jaxad.load, 12_000),
    "exported": of_ours(exported, jaxad.load_exported, 8_000),
    "checkpoint": of_ours(checkpoint, resume, 16_000, name="epochs-00000003.safetensors"),
    "wave": of_ours(waves, storage.read_wave, 8_000),
    "survey": of_ours(surveys, survey, 6_000, named="bytes"),
    "npy": of(hostile.NPY, npy, streamed, 5_000, "hostile.npy"),
    "npz": Loader(npz, published("npz"), hostile.npz, hostile.NPZ, 5_000, "hostile.npz"),
    # Cut short alone: a wrong length within a .mat file can crash scipy, and so this process.
    "mat": of({"cut": hostile.cut}, mat, published("mat"), 1_000, "hostile.mat"),
    "CSV": of(hostile.CSV, tables(".csv"), read_table, 4_000, "hostile.csv"),
    "CSV.gz": of(hostile.BYTES, tables(".csv.gz"), read_table, 1_000, "hostile.csv.gz"),
    "CSV.zip": of(hostile.BYTES, tables(".csv.zip"), read_table, 1_000, "hostile.csv.zip"),
    "Parquet": Loader(
        parquet, read_table, hostile.parquet, hostile.PARQUET, 3_000, "h.parquet", 3 * GIB
    ),
    "Parquet stream": Loader(
        parquet, streamed, hostile.parquet, hostile.PARQUET, 3_000, "h.parquet", 3 * GIB
    ),
    "Parquet of a fleet": Loader(
        parquet, grouped, hostile.parquet, hostile.PARQUET, 3_000, "h.parquet", 3 * GIB
    ),
    "TOML of a suite": of(hostile.TOML, config, configured, 4_000, "hostile.toml", named=""),
    "TOML of papers": of(hostile.TOML, paper, published_rows, 4_000, "hostile.toml", named=""),
}


# --- the test -------------------------------------------------------------------------------------


@contextmanager
def bounded(extra: int):
    """Let this process take no more than ``extra`` bytes beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def attributes(found: Any) -> set[str]:
    return set(getattr(found, "__dict__", ()))


def outcome(loader: Loader, path: Path, known: set[str]) -> str:
    """The error that reading raises, which must be a documented one, or "read".

    ``known`` are the attributes that what is read may have.
    """
    begun = time.monotonic()
    try:
        with hostile.only_reading():
            made = loader.load(path)
        assert attributes(made) <= known
        said = "read"
    except (ValueError, OSError) as error:
        said, message = type(error).__name__, str(error)
        named = str(path.parent) if loader.named is None else loader.named
        assert named in message, message
        assert len(message) < 20_000, f"{message[:300]}... and {len(message)} more"
    assert time.monotonic() - begun < HANG_S
    return said


@pytest.mark.parametrize(
    "share", [0.002, pytest.param(1.0, marks=pytest.mark.full)], ids=["some", "many"]
)
@pytest.mark.parametrize("kind", LOADERS)
def test_hostile_files_raise_documented_errors_alone(kind, share, tmp_path, record_property):
    loader = LOADERS[kind]
    (tmp_path / "valid").mkdir()
    (tmp_path / "hostile").mkdir()
    path = tmp_path / "hostile" / loader.name
    valid = loader.valid(tmp_path / "valid")
    found: Counter[str] = Counter()
    known, distinct = set(OPTIONAL), set()
    for content in valid:  # whatever is imported late is imported now
        path.write_bytes(content)
        known |= attributes(loader.load(path))

    @settings(
        max_examples=max(20, round(share * loader.inputs)),
        derandomize=True,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.integers(0, len(valid) - 1),
        st.lists(st.sampled_from(loader.changes), min_size=1, max_size=3),
        st.binary(min_size=8, max_size=8),  # of integers, hypothesis draws few and small ones
    )
    def read(which, names, seed):
        content = loader.change(valid[which], names, int.from_bytes(seed[:4]))
        path.write_bytes(content)
        found[outcome(loader, path, known)] += 1
        distinct.add(hash(content))
        assert [other.name for other in path.parent.iterdir()] == [path.name]

    with bounded(loader.memory):
        read()
    record_property("inputs", sum(found.values()))
    record_property("distinct_files", len(distinct - set(map(hash, valid))))
    for name, count in sorted(found.items()):
        record_property(name, count)


# --- what was found -------------------------------------------------------------------------------


def crafted(valid: bytes, change: Callable[[hostile.Parts], Any]) -> bytes:
    parts = hostile.Parts(valid)
    change(parts)
    return parts.encoded()


def share_bytes(parts: hostile.Parts) -> None:
    """Give one tensor many names, each of which would be hashed and copied."""
    entry = parts.header[parts.tensors[-1]]
    for i in range(1000):
        parts.header[f"/more{i}"] = entry
        parts.document["structure"][f"more{i}"] = None


def infer_a_length(parts: hostile.Parts) -> None:
    parts.header[parts.tensors[0]]["shape"] = [-1]


def name_twice(parts: hostile.Parts) -> None:
    parts.text.append(lambda text: text.replace('"dtype":', '"dtype":"F64","dtype":', 1))


@pytest.mark.parametrize("change", [share_bytes, infer_a_length, name_twice])
def test_crafted_headers_with_fitting_checksums_are_refused(change, tmp_path):
    valid = golden.model_file("AutoEncoder", "array").read_bytes()
    (tmp_path / "d").write_bytes(crafted(valid, lambda parts: None))
    jaxad.load(tmp_path / "d")
    (tmp_path / "d").write_bytes(crafted(valid, change))
    with pytest.raises(persistence.FileFormatError, match="d: damaged"):
        jaxad.load(tmp_path / "d")


@pytest.mark.parametrize(
    "name", ["jaxad.persistence.write", "jaxad.checks.check_labels", "jaxad.loading.load"]
)
def test_a_file_reaches_no_function_of_jaxad_but_losses_and_objectives(name, tmp_path):
    """Loading calls what a file names as ``make_objective``, with the file's own numbers."""
    arrays, metadata = persistence.read(golden.model_file("AutoEncoder", "array"))
    metadata |= {"detector": "ObjectiveDetector", "row_shape": [str(tmp_path / "written")]}
    numbers = {"arrays": {"a": {}}, "metadata": {}}
    metadata["parameters"] = {"make_objective": {"function": name}, "numbers": numbers}
    persistence.write(tmp_path / "d", arrays, metadata)
    with pytest.raises(persistence.FileFormatError, match=f"names the function '{name}', which"):
        jaxad.load(tmp_path / "d")


def test_crafted_checkpoints_are_format_errors(tmp_path):
    (valid,) = checkpoint(tmp_path)
    (path,) = tmp_path.glob("epochs-*")
    (tmp_path / "epochs-last.safetensors").write_bytes(valid)  # no number, no checkpoint
    assert int(resume(path)[0].epoch) == 3
    for lost in ("run", "layout"):
        path.write_bytes(crafted(valid, lambda parts, n=lost: parts.document["metadata"].pop(n)))
        with pytest.raises(persistence.FileFormatError, match=f"holds no checkpoint .*'{lost}'"):
            resume(path)

    def other_shape(parts):
        (name,) = (name for name in parts.tensors if name.endswith("weights"))
        parts.header[name]["shape"] = [6]

    path.write_bytes(crafted(valid, other_shape))
    with pytest.raises(persistence.FileFormatError, match="other shapes than it says"):
        resume(path)


@pytest.mark.parametrize("form", ["npz", "idx"])
def test_a_small_file_that_unpacks_to_much_more_is_refused_before_it_does(form, tmp_path):
    """A claimed petabyte, and 64 MiB of zeros in 64 KiB."""
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1125899906842624,)}\n"
    npy = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head
    path = tmp_path / f"bomb.{'npz' if form == 'npz' else 'gz'}"
    zeros = bytes(64 << 20)
    if form == "npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("X.npy", npy)
            with archive.open("y.npy", "w") as member:
                member.write(npy)
                member.write(zeros)
    else:
        with gzip.open(path, "wb", compresslevel=1) as stream:
            stream.write(b"\0\0\x08\x01\x40\0\0\0")
            stream.write(zeros)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="damaged or another file"):
            published(form)(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.npy", b""),
        ("archive.npy", b"PK\x05\x06" + bytes(18)),
        ("text.npy", npy_of(np.array(["a", "b"]))),
        ("text.parquet", b"a,b\n"),
    ],
)
def test_streams_name_a_file_that_they_cannot_read(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} (cannot be read as a|holds values of type)"):
        data.stream(tmp_path / name)


def test_tables_name_a_file_that_they_cannot_read(tmp_path):
    (content,) = tables(".csv.gz")(tmp_path)
    path = tmp_path / "table.csv.gz"
    path.write_bytes(content[:40] + bytes(20) + content[60:])
    with pytest.raises(ValueError, match=r"table.csv.gz cannot be read as a CSV file \(error: "):
        read_table(path)
    twice = pa.table([[0.5], [0.5], [1]], names=["a", "a", "label"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    for read in (lambda p: data.read_table(p, label="label"), data.stream):
        with pytest.raises(ValueError, match="twice.parquet.* (two columns 'a'|cannot be read)"):
            read(tmp_path / "twice.parquet")


def test_deep_nesting_in_a_configuration_is_an_option_error(tmp_path):
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5_000)
    for read in (suites.read_config, published_rows):
        with pytest.raises(suites.OptionError, match="deep.toml is not TOML"):
            read(tmp_path / "deep.toml")


@pytest.mark.full
def test_changed_programs_with_a_fitting_checksum_crash_no_loading(tmp_path, record_property):
    """They may crash the process that runs them: a program must come from a source one trusts."""
    exported(tmp_path)
    worker, path = ROOT / "tests" / "support" / "hostile_worker.py", tmp_path / "program"
    inputs, told = 120, {}
    while len(told) < inputs:
        command = [sys.executable, worker, path, str(len(told)), str(inputs - len(told))]
        how: Any = {"cwd": ROOT, "capture_output": True, "text": True, "errors": "replace"}
        done = subprocess.run(command, timeout=600, **how)
        lines = [line.split(" ", 1) for line in done.stdout.splitlines() if line[:1].isdigit()]
        told |= dict(lines)
        if done.returncode:
            assert lines[-1][1] == "loaded", done.stderr[-2_000:]
            endless = done.returncode == -signal.SIGALRM
            told[lines[-1][0]] = "stopped after a minute" if endless else "crashed when run"
    record_property("inputs", inputs)
    for outcome, count in sorted(Counter(told.values()).items()):
        record_property(outcome.strip('"'), count)


def test_a_program_that_its_file_does_not_describe_is_refused(tmp_path):
    (valid,) = exported(tmp_path)
    for change in (
        lambda metadata: metadata["input"].update(shape=["batch", 4]),
        lambda metadata: metadata["outputs"].update(p_value="float32"),
    ):
        data = crafted(valid, lambda parts, f=change: f(parts.document["metadata"]))
        (tmp_path / "program").write_bytes(data)
        with pytest.raises(persistence.FileFormatError, match="its file says"):
            jaxad.load_exported(tmp_path / "program")
