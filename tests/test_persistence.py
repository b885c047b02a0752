import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxad import persistence
from jaxad.persistence import FileFormatError, memory_map, metadata_of, read, row_checksums, write

READERS = pytest.mark.parametrize("reader", [read, memory_map, metadata_of])

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
        assert set(file.metadata()) == {"jaxad", "sha256", "header_sha256"}
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
    [(os, "replace"), (os, "fsync"), (persistence, "_bytes")],
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


@READERS
def test_an_empty_file(path, reader):
    path.touch()
    with pytest.raises(FileFormatError, match="detector.safetensors: the file is empty"):
        reader(path)


@READERS
def test_every_truncation_is_detected(saved, reader):
    data = saved.read_bytes()
    for length in range(1, len(data)):
        saved.write_bytes(data[:length])
        with pytest.raises(FileFormatError, match="detector.safetensors: truncated, .* save"):
            reader(saved)


@READERS
def test_extra_bytes_are_detected(saved, reader):
    saved.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(FileFormatError, match="detector.safetensors: damaged"):
        reader(saved)


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


@pytest.mark.parametrize("reader", [memory_map, metadata_of])
def test_every_flipped_bit_of_the_header_is_detected_without_reading_arrays(saved, reader):
    data = saved.read_bytes()
    body = 8 + int.from_bytes(data[:8], "little")
    for position in range(body):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        saved.write_bytes(flipped)
        with pytest.raises(FileFormatError, match=saved.name):
            reader(saved)


@READERS
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
def test_foreign_files_are_recognised(path, content, reader):
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="not a file saved by jaxad; give the file"):
        reader(path)


@READERS
def test_a_newer_format_asks_for_an_upgrade(path, monkeypatch, reader):
    monkeypatch.setattr(persistence, "VERSION", 2)
    write(path, ARRAYS, METADATA)
    monkeypatch.setattr(persistence, "VERSION", 1)
    with pytest.raises(FileFormatError, match="format 2 .*up to format 1.*pip install --upgrade"):
        reader(path)


@READERS
@pytest.mark.parametrize("offsets", ["[0.24]", '[0,"2"]', "[]", "7", "[0, 3]", "[9, 0]"])
@pytest.mark.parametrize("signed", [True, False])
def test_damaged_offsets_are_damage(saved, offsets, signed, reader):
    if not signed:
        without_header_digest(saved)
    data = saved.read_bytes()
    assert data.count(b"[0,24]") == 1
    header = data[8:-24].replace(b"[0,24]", offsets.encode())
    saved.write_bytes(len(header).to_bytes(8, "little") + header + data[-24:])
    with pytest.raises(FileFormatError, match="damaged"):
        reader(saved)


@READERS
def test_a_foreign_document_counts_as_damage(path, reader):
    for document in ("[]", "{}", "3", "not JSON", '{"version": "1", "libraries": {"jaxad": ""}}'):
        path.write_bytes(safetensors.numpy.save({}, metadata={"jaxad": document}))
        with pytest.raises(FileFormatError, match="damaged"):
            reader(path)


def without_header_digest(path):
    """Rewrite a file as jaxad 0.1 would have: its header has no digest of its own."""
    with safetensors.safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        entries = {name: file.metadata()[name] for name in ("jaxad", "sha256")}
    path.write_bytes(safetensors.numpy.save(tensors, metadata=entries))


@pytest.mark.parametrize("reader", [read, memory_map])
def test_files_without_a_digest_of_the_header_are_read_and_checked_whole(saved, reader):
    without_header_digest(saved)
    arrays, metadata = reader(saved)
    assert_same(arrays, ARRAYS)
    assert metadata == metadata_of(saved) == METADATA
    data = saved.read_bytes()
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        saved.write_bytes(flipped)
        with pytest.raises(FileFormatError, match=saved.name):
            reader(saved)


@pytest.mark.parametrize("other", [lambda w: w.reshape(-1), lambda w: w.view(np.int32)])
def test_without_a_digest_of_the_header_shapes_and_types_are_checked(saved, other):
    without_header_digest(saved)
    with safetensors.safe_open(saved, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        entries = file.metadata()
    name = "/params/w"
    tensors[name] = other(tensors[name])
    saved.write_bytes(safetensors.numpy.save(tensors, metadata=entries))
    with pytest.raises(FileFormatError, match="damaged"):
        read(saved)


def test_arrays_read_back_can_be_written_to(saved):
    read(saved)[0]["params"]["w"][0, 0] = 5


STACKED = {
    "params": {"w": np.arange(24.0).reshape(4, 3, 2), "b": np.arange(4, dtype=np.uint8)},
    "stats": {"centre": np.arange(8, dtype=np.float32).reshape(4, 2), "none": np.ones((4, 0))},
}


def row(arrays, g):
    return {k: row(v, g) if isinstance(v, dict) else v[g : g + 1] for k, v in arrays.items()}


def test_a_memory_map_has_the_arrays_as_read_only_views_of_the_file(path):
    arrays = STACKED | {"scalar": np.float32(3), "empty": np.zeros((0, 4), np.int8)}
    write(path, arrays, METADATA)
    mapped, metadata = memory_map(path)
    assert_same(mapped, arrays)
    assert metadata == metadata_of(path) == METADATA
    for leaf in jax.tree.leaves(mapped):
        assert isinstance(leaf, np.memmap) or not leaf.size
        assert not leaf.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            leaf[...] = 0


def test_a_memory_map_reads_no_array_until_it_is_indexed(path):
    """Damage in other rows, and in other arrays, goes unseen; a damaged row fails its checksum."""
    checksums = row_checksums(STACKED)
    write(path, STACKED, {})
    _, begin = header_and_body(path)
    data = bytearray(path.read_bytes())
    data[begin] ^= 1  # the first bit of params/w[0]
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="damaged"):
        read(path)
    mapped, _ = memory_map(path)
    assert_same(row(mapped, 2), row(STACKED, 2))
    assert (row_checksums(mapped) == checksums).tolist() == [False, True, True, True]


def test_a_memory_map_keeps_its_file_when_the_name_is_written_again(path):
    write(path, STACKED, {})
    mapped, _ = memory_map(path)
    write(path, {"x": np.zeros(10)}, {})
    assert_same(mapped, STACKED)


def header_and_body(path):
    data = path.read_bytes()
    body = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:body]), body


def test_every_tensor_is_aligned_to_its_items(path):
    types = ("uint8", "float64", "bool", "float16", "int32", "complex64", "int8", "float32")
    for extra in range(8):  # any length of the header
        arrays = {f"{i}{t}": np.ones(3, t) for i, t in enumerate(types)}
        write(path, arrays, {"padding": "x" * extra})
        header, body = header_and_body(path)
        del header["__metadata__"]
        for name, tensor in header.items():
            assert (body + tensor["data_offsets"][0]) % np.dtype(name[2:]).itemsize == 0
        for reader in (read, memory_map):
            assert all(leaf.flags.aligned for leaf in reader(path)[0].values())


def test_a_tensor_without_elements_cannot_claim_any_length(path):
    for shape in ((0,), (9, 0), (0, 1 << 16)):
        write(path, {"w": np.empty(shape)}, {})
        assert read(path)[0]["w"].shape == shape
    for shape in ((1 << 40, 0), (0, 1 << 17)):
        write(path, {"w": np.empty(shape), "b": np.ones(1 << 10)}, {})
        for reader in (read, memory_map):
            with pytest.raises(FileFormatError, match="damaged"):
                reader(path)


def test_writing_the_same_twice_gives_the_same_bytes(saved):
    first = saved.read_bytes()
    write(saved, ARRAYS, METADATA)
    assert saved.read_bytes() == first


def test_bytes_are_those_of_the_file_and_are_checked_whole(saved):
    data = persistence.dumps(ARRAYS, METADATA)
    assert data == saved.read_bytes()
    arrays, metadata = persistence.loads(data)
    assert_same(arrays, ARRAYS)
    assert metadata == METADATA
    with pytest.raises(FileFormatError, match="bytes: damaged"):
        persistence.loads(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(FileFormatError, match="bytes: truncated"):
        persistence.loads(data[:-1])


def test_any_text_may_stand_in_the_metadata(path):
    texts = {"header_sha256": "0" * 64, "quoted": f'"header_sha256":"{"0" * 64}"'}
    write(path, {f'"header_sha256":"{"0" * 64}"': np.ones(1)}, texts)
    for reader in (read, memory_map):
        assert reader(path)[1] == texts


def test_checksums_are_of_a_row_alone_and_cover_every_leaf():
    checksums = row_checksums(STACKED)
    assert (checksums.dtype, checksums.shape) == (np.uint32, (4,))
    assert len(set(checksums.tolist())) == 4
    for g in range(4):
        assert row_checksums(row(STACKED, g)) == checksums[g]
    for path in (("params", "w"), ("params", "b"), ("stats", "centre")):
        changed = jax.tree.map(np.copy, STACKED)
        changed[path[0]][path[1]].reshape(4, -1).view(np.uint8)[1, -1] ^= 1
        assert (row_checksums(changed) == checksums).tolist() == [True, False, True, True]


def test_checksums_depend_on_neither_order_nor_memory_layout():
    turned = {"stats": STACKED["stats"], "params": dict(reversed(STACKED["params"].items()))}
    turned["params"]["w"] = np.asfortranarray(STACKED["params"]["w"])
    np.testing.assert_array_equal(row_checksums(turned), row_checksums(STACKED))
    assert row_checksums({"w": np.zeros((0, 3))}).shape == (0,)


@pytest.mark.parametrize(
    "arrays", [{}, {"a": np.ones(3), "b": {"c": np.ones(2)}}, {"a": np.float32(1)}]
)
def test_checksums_need_rows(arrays):
    with pytest.raises(ValueError, match="one number of rows, got .*stack the groups"):
        row_checksums(arrays)
