"""Readers of the published formats, on small files that the tests write."""

import gzip
import io
import tarfile

import numpy as np
import pytest
from scipy.io import savemat

from jaxad.data import Card, Dataset
from jaxad.data.readers import READERS

MOST = 1 << 20  # bytes that the content of these small files may take


@pytest.fixture
def pictures(rng):
    """Training images and digits, test images and digits."""
    x = rng.integers(0, 256, (14, 28, 28), np.uint8)
    y = rng.integers(0, 10, 14, np.uint8)
    return x[:9], y[:9], x[9:], y[9:]


def check_pictures(content, pictures):
    np.testing.assert_array_equal(content["x"][..., 0], np.concatenate(pictures[::2]))
    np.testing.assert_array_equal(content["label"], np.concatenate(pictures[1::2]))
    np.testing.assert_array_equal(content["is_train"], np.arange(14) < 9)
    assert content["x"].shape == (14, 28, 28, 1)


def test_keras_layout(tmp_path, pictures):
    path = tmp_path / "images.npz"
    np.savez(path, **dict(zip(("x_train", "y_train", "x_test", "y_test"), pictures, strict=True)))
    check_pictures(READERS["keras"]([path], MOST), pictures)


def test_idx_files(tmp_path, pictures):
    paths = []
    for i, array in enumerate(pictures):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        paths.append(tmp_path / f"{i}.gz")
        paths[-1].write_bytes(gzip.compress(header + array.tobytes()))
    check_pictures(READERS["idx"](paths, MOST), pictures)
    paths[0].write_bytes(gzip.compress(b"\0\0\x0d\1\0\0\0\0"))
    with pytest.raises(ValueError, match=r"0\.gz is not an IDX file"):
        READERS["idx"](paths, MOST)


def test_cifar_archive(tmp_path, rng):
    """A row is a label, then the red, green and blue planes."""
    x = rng.integers(0, 256, (12, 32, 32, 3), np.uint8)
    y = np.arange(12) % 10
    rows = np.c_[y.astype(np.uint8), x.transpose(0, 3, 1, 2).reshape(12, -1)]
    path = tmp_path / "cifar.tar.gz"
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    with tarfile.open(path, "w:gz") as archive:
        for i, name in enumerate(names):
            content = rows[2 * i : 2 * i + 2].tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    content = READERS["cifar"]([path], MOST)
    np.testing.assert_array_equal(content["x"], x)
    np.testing.assert_array_equal(content["label"], y)
    np.testing.assert_array_equal(content["is_train"], np.arange(12) < 10)


@pytest.mark.parametrize("kind", ["mat", "npz"])
def test_tables(tmp_path, rng, kind):
    x, y = rng.integers(0, 9, (20, 3)).astype(np.uint8), np.arange(20) % 4 == 0
    path = tmp_path / f"table.{kind}"
    if kind == "mat":
        savemat(path, {"X": x, "y": y[:, None].astype(float)})
    else:
        np.savez(path, X=x, y=y.astype(int))
    content = READERS[kind]([path], MOST)
    np.testing.assert_array_equal(content["x"], x)
    assert content["x"].dtype == np.float64
    np.testing.assert_array_equal(content["is_anomaly"], y)


def test_kdd_encodes_its_symbolic_columns(tmp_path):
    """Three of 41 columns become one for each value that occurs; all others stay as they are."""
    rows = [
        [7, "tcp", "http", "SF", *range(4, 41), "normal."],
        [8, "udp", "http", "S0", *range(14, 51), "smurf."],
        [9, "tcp", "smtp", "SF", *range(24, 61), "smurf."],
    ]
    path = tmp_path / "kdd.gz"
    path.write_bytes(gzip.compress("".join(",".join(map(str, r)) + "\n" for r in rows).encode()))
    content = READERS["kdd"]([path], MOST)
    assert content["x"].shape == (3, 38 + 2 + 2 + 2)
    np.testing.assert_array_equal(content["x"][:, :38], [[r[0], *r[4:41]] for r in rows])
    np.testing.assert_array_equal(
        content["x"][:, 38:], [[1, 0, 1, 0, 0, 1], [0, 1, 1, 0, 1, 0], [1, 0, 0, 1, 0, 1]]
    )
    assert content["features"][:2] == ("duration", "src_bytes")
    assert content["features"][38:] == (
        *("protocol_type=tcp", "protocol_type=udp", "service=http", "service=smtp"),
        *("flag=S0", "flag=SF"),
    )
    assert content["is_anomaly"].tolist() == [True, False, False]
    assert content["label"].tolist() == ["normal.", "smurf.", "smurf."]


def test_the_scaled_kdd_keeps_its_last_column_for_the_label(tmp_path, rng):
    x, y = rng.random((6, 4)), np.array([0, 1, 0, 0, 1, 1.0])
    np.savez(tmp_path / "kdd.npz", kdd=np.c_[x, y])
    content = READERS["kdd_npz"]([tmp_path / "kdd.npz"], MOST)
    np.testing.assert_array_equal(content["x"], x)
    np.testing.assert_array_equal(content["is_anomaly"], y == 1)


def test_a_set_prints_as_one_line_without_its_arrays(rng):
    images = Dataset(np.zeros((20, 8, 8, 1), np.uint8), Card("digits", 20, (8, 8, 1), classes=10))
    assert repr(images) == "Dataset('digits', x: (20, 8, 8, 1) uint8, 10 classes)"
    table = Dataset(rng.normal(size=(9, 2)), Card("mine", 9, (2,)), np.arange(9) < 4)
    assert repr(table) == "Dataset('mine', x: (9, 2) float64, 4 anomalies)"
