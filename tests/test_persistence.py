import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxad import persistence
from jaxad.persistence import FileFormatError, read, write

ARRAYS = {"params": {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, "stats": {}}
METADATA = {"class": "DeepSVDD", "nu": 0.1, "hidden": [64, 32], "name": "Überwachung", "none": None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "detector.safetensors"


@pytest.fixture
def saved(path):
    write(path, ARRAYS, METADATA)
    return path


def assert_same(actual, expected):
    assert list(actual) == list(expected)
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_same(actual[key], value)
        else:
            value = np.asarray(value)
            assert actual[key].dtype == value.dtype
            assert actual[key].shape == value.shape
            assert actual[key].tobytes() == value.tobytes()


def test_round_trip_is_exact_in_bits_types_nesting_and_order(path):
    bits = np.array([0x7FC00001, 0x80000000, 1, 0xFF800000], np.uint32)
    arrays = {
        "z": {"b": {"deep": bits.view(np.float32)}, "a": np.float64(np.pi)},
        "numbers": {"int": 3, "bool": True, "float": 0.1, "empty": np.zeros((0, 4), np.int8)},
        "jax": {"x": jnp.arange(3), "key": jax.random.key_data(jax.random.key(7))},
        "strided": np.arange(12.0).reshape(3, 4).T[::2],
        "other": {"half": np.ones(2, np.float16), "complex": np.ones(2, np.complex64)},
        "nothing": {"at": {"all": {}}},
    }
    write(path, arrays, METADATA)
    restored, metadata = read(path)
    assert_same(restored, arrays)
    assert metadata == METADATA


def test_keys_never_collide_with_the_separator(path):
    arrays = {"a/b": np.int32(1), "a": {"b": np.int32(2), "": np.int32(3)}, "a~1b": np.int32(4)}
    arrays |= {"": {"": np.int32(5)}, "__metadata__": np.int32(6), "a/": {"": np.int32(7)}}
    write(path, arrays, {})
    assert_same(read(path)[0], arrays)


def test_an_empty_dict_can_be_saved(path):
    write(path, {}, {})
    assert read(path) == ({}, {})


def test_big_endian_values_survive(path):
    write(path, {"x": np.array([1.5, -2.0], ">f8")}, {})
    np.testing.assert_array_equal(read(path)[0]["x"], [1.5, -2.0])


def test_the_file_names_its_format_and_libraries_and_is_plain_safetensors(saved):
    with safetensors.safe_open(saved, framework="np") as file:
        document = json.loads(file.metadata()["jaxad"])
        np.testing.assert_array_equal(file.get_tensor("/params/w"), ARRAYS["params"]["w"])
    assert (document["format"], document["version"]) == ("jaxad", 1)
    assert document["libraries"]["numpy"] == np.__version__
    assert document["libraries"]["jax"] == jax.__version__
    assert {"python", "jaxad"} <= set(document["libraries"])


@pytest.mark.parametrize(
    ("arrays", "metadata", "message"),
    [
        ({"a": {3: np.ones(1)}}, {}, "keys .* strings, got 3 under '/a'"),
        ({"a": {"b": np.array(["text"])}}, {}, "/a/b: cannot save str"),
        ({"a": np.array([None])}, {}, "/a: cannot save object"),
        ({"a": jnp.ones(2, jnp.bfloat16)}, {}, "/a: cannot save bfloat16"),
        ({}, {"value": np.ones(2)}, "not JSON serializable"),
    ],
)
def test_invalid_content_is_refused_before_the_file_is_touched(saved, arrays, metadata, message):
    before = saved.read_bytes()
    with pytest.raises(TypeError, match=message):
        write(saved, arrays, metadata)
    assert saved.read_bytes() == before


def fail(*args, **kwargs):
    raise OSError("no space left on device")


@pytest.mark.parametrize(
    ("owner", "name"),
    [(os, "replace"), (os, "fsync"), (safetensors.numpy, "save")],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_failed_write_leaves_the_folder_unchanged(path, monkeypatch, owner, name, exists):
    if exists:
        write(path, ARRAYS, METADATA)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(OSError, match="no space left"):
        write(path, {"other": np.ones(3)}, {})
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def test_the_new_content_is_complete_and_synced_before_it_takes_the_name(saved, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def record_replace(source, target):
        assert read(source)[0]["x"] == 1
        assert os.path.dirname(source) == os.path.dirname(target)
        assert_same(read(target)[0], ARRAYS)
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", record_replace)
    write(saved, {"x": np.int32(1)}, {})
    assert events == ["fsync", "replace"]
    assert os.listdir(saved.parent) == [saved.name]


def test_an_ordinary_file_mode_is_kept(saved):
    ordinary = saved.with_name("ordinary")
    ordinary.touch()
    assert saved.stat().st_mode == ordinary.stat().st_mode


def test_a_missing_folder_or_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere does not exist; create it"):
        write(tmp_path / "nowhere" / "x", {}, {})
    with pytest.raises(FileNotFoundError, match="missing: no such file; check the name"):
        read(tmp_path / "missing")


def test_an_empty_file(path):
    path.touch()
    with pytest.raises(FileFormatError, match="detector.safetensors: the file is empty"):
        read(path)


def test_every_truncation_is_detected(saved):
    data = saved.read_bytes()
    for length in range(1, len(data)):
        saved.write_bytes(data[:length])
        with pytest.raises(FileFormatError, match="detector.safetensors: truncated, .* save"):
            read(saved)


def test_extra_bytes_are_detected(saved):
    saved.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(FileFormatError, match="detector.safetensors: damaged"):
        read(saved)


def test_every_flipped_bit_is_detected(saved):
    data = saved.read_bytes()
    body = 8 + int.from_bytes(data[:8], "little")
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        saved.write_bytes(flipped)
        message = "damaged.*checksum.*copy it again" if position >= body else str(saved.name)
        with pytest.raises(FileFormatError, match=message):
            read(saved)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 a zip archive, or a pickle",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False}",
        b'{"weights": [1, 2, 3]}',
        b"\x02\0\0\0\0\0\0\0{]",
        b"\x08\0\0\0\0\0\0\0[1, 2, 3",
        bytes(64),
        safetensors.numpy.save({"x": np.ones(3)}),
        safetensors.numpy.save({"x": np.ones(3)}, metadata={"format": "pt"}),
    ],
)
def test_foreign_files_are_recognised(path, content):
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="not a file saved by jaxad; give the file"):
        read(path)


def test_a_newer_format_asks_for_an_upgrade(path, monkeypatch):
    monkeypatch.setattr(persistence, "VERSION", 2)
    write(path, ARRAYS, METADATA)
    monkeypatch.setattr(persistence, "VERSION", 1)
    with pytest.raises(FileFormatError, match="format 2 .*up to format 1.*pip install --upgrade"):
        read(path)


@pytest.mark.parametrize("offsets", ["[0.24]", '[0,"2"]', "[]", "7", "[0, 3]", "[9, 0]"])
def test_damaged_offsets_are_damage(saved, offsets):
    data = saved.read_bytes()
    assert data.count(b"[0,24]") == 1
    header = data[8:-24].replace(b"[0,24]", offsets.encode())
    saved.write_bytes(len(header).to_bytes(8, "little") + header + data[-24:])
    with pytest.raises(FileFormatError, match="damaged"):
        read(saved)


def test_a_foreign_document_counts_as_damage(path):
    for document in ("[]", "{}", "3", "not JSON", '{"version": "1", "libraries": {"jaxad": ""}}'):
        path.write_bytes(safetensors.numpy.save({}, metadata={"jaxad": document}))
        with pytest.raises(FileFormatError, match="damaged"):
            read(path)


def test_arrays_read_back_can_be_written_to(saved):
    read(saved)[0]["params"]["w"][0, 0] = 5
