"""Where streams of rows come from, and what is said about rows of no use."""

import numpy as np
import pandas as pd
import pytest

from jaxad import data


def together(stream):
    x, label = zip(*stream.on_host(), strict=True)
    return np.concatenate(x), np.concatenate(label)


def on_disk(rows, tmp_path):
    np.save(tmp_path / "x.npy", rows)
    return tmp_path / "x.npy"


@pytest.mark.parametrize("size", [1, 7, 64, 300, 1000])
@pytest.mark.parametrize("kind", ["array", "memmap", "path", "blocks", "function", "frames"])
def test_every_source_gives_its_rows_in_order(kind, size, rows, tmp_path):
    sources = {
        "array": lambda: rows,
        "memmap": lambda: np.load(on_disk(rows, tmp_path), mmap_mode="r"),
        "path": lambda: str(on_disk(rows, tmp_path)),
        "blocks": lambda: [rows[:100], rows[100:100], rows[100:]],
        "function": lambda: lambda: (rows[i : i + 9] for i in range(0, 300, 9)),
        "frames": lambda: [pd.DataFrame(rows[i : i + 50]) for i in range(0, 300, 50)],
    }
    stream = data.stream(sources[kind](), rows=size)
    for _ in range(2):
        np.testing.assert_array_equal(together(stream)[0], rows)
    assert [len(x) for x, _ in stream.on_host()][:-1] == [size] * ((300 - 1) // size)


def test_chunks_on_the_device_are_padded_with_rows_of_weight_zero(rows):
    chunks = list(data.stream(rows, rows=128))
    assert [chunk.x.shape for chunk in chunks] == [(128, 5)] * 3
    assert [int(chunk.weight.sum()) for chunk in chunks] == [128, 128, 44]
    np.testing.assert_array_equal(np.concatenate([c.x for c in chunks])[:300], rows)


def test_labels_of_arrays_and_pairs(rows):
    label = np.arange(300) % 3 - 1
    pairs = [(rows[:20], label[:20]), (rows[20:], label[20:])]
    for stream in (data.stream(rows, label=label, rows=77), data.stream(pairs, rows=77)):
        np.testing.assert_array_equal(together(stream)[1], label)
    assert not together(data.stream(rows))[1].any()


BAD_SOURCES = {
    "a number": (lambda rows: 3, TypeError, "int is no source"),
    "no blocks": (lambda rows: [], ValueError, "no rows"),
    "empty blocks": (lambda rows: [rows[:0]], ValueError, "no rows"),
    "a column": (lambda rows: rows[:, 0], ValueError, r"\[N, \.\.\.\]"),
    "csv": (lambda rows: "table.csv", ValueError, "read_csv"),
    "no file": (lambda rows: "nowhere.npy", FileNotFoundError, "nowhere.npy"),
    "words": (lambda rows: [np.full((2, 5), "a")], ValueError, "rows 0 to 1: have type"),
    "another width": (
        lambda rows: [rows[:9], rows[9:12, :3]],
        ValueError,
        r"rows 9 to 11: have shape \(3,\), the first row \(5,\)",
    ),
    "another column": (
        lambda rows: [pd.DataFrame(rows), pd.DataFrame(rows).rename(columns={0: "a"})],
        ValueError,
        "columns",
    ),
    "a label of 2": (
        lambda rows: [(rows[:4], [0, 1, -1, 0]), (rows[:2], [0, 2])],
        ValueError,
        "rows 4 to 5: the label of row 5 is 2",
    ),
    "boolean labels": (lambda rows: [(rows[:1], [True])], ValueError, "is True"),
    "too few labels": (lambda rows: [(rows[:2], [0])], ValueError, "labels of shape"),
}


@pytest.mark.parametrize("case", list(BAD_SOURCES))
def test_sources_of_no_use_are_named(case, rows):
    make, error, match = BAD_SOURCES[case]
    with pytest.raises(error, match=match):
        list(data.stream(make(rows)))


def test_arguments_out_of_range_are_named(rows):
    for options, match in (
        ({"rows": 0}, "rows=0"),
        ({"label": np.zeros(3)}, r"label has shape \(3,\)"),
        ({"columns": ["a"]}, "columns"),
    ):
        with pytest.raises(ValueError, match=match):
            data.stream(rows, **options)
    with pytest.raises(ValueError, match="label"):
        data.stream([rows], label=np.zeros(300))


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_the_range_of_rows_with_nan_is_named(value, word, rows):
    rows[207, 3] = rows[209, 1] = value
    match = f"rows 200 to 249: contain {word}: first at row 207, column 3, 2 of 50 rows"
    blocks = [rows[i : i + 50] for i in range(0, 300, 50)]
    for stream in (data.stream(blocks, rows=64), data.stream(rows, rows=50)):
        with pytest.raises(ValueError, match=match):
            list(stream)


# Parquet

pytest_parquet = pytest.mark.usefixtures("pyarrow")


@pytest.fixture
def pyarrow():
    return pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def frame(rows):
    frame = pd.DataFrame(rows.astype(np.float64), columns=list("abcde"))
    frame["count"] = np.arange(300)
    frame["mark"] = np.arange(300) % 3 - 1
    return frame


@pytest_parquet
def test_a_parquet_file_and_a_folder_of_them(frame, tmp_path):
    frame.to_parquet(tmp_path / "all.parquet", row_group_size=70)
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(3):
        frame[i * 100 : (i + 1) * 100].to_parquet(folder / f"part-{i}.parquet", row_group_size=30)
    features = frame.drop(columns="mark")
    for path in (tmp_path / "all.parquet", folder):
        stream = data.stream(path, rows=64, label="mark")
        assert stream.columns == tuple(features.columns)
        x, label = together(stream)
        np.testing.assert_array_equal(x, features)
        np.testing.assert_array_equal(label, frame["mark"])
    few = data.stream(folder, columns=["c", "a"])
    np.testing.assert_array_equal(together(few)[0], frame[["c", "a"]])


@pytest_parquet
def test_parquet_of_no_use_is_named(frame, tmp_path):
    frame.to_parquet(tmp_path / "part-0.parquet")
    frame.rename(columns={"b": "z"}).to_parquet(tmp_path / "part-1.parquet")
    with pytest.raises(ValueError, match=r"part-1.*part-0.*'b' is missing, 'z' is new"):
        data.stream(tmp_path)
    one = tmp_path / "part-0.parquet"
    for options in ({"label": "class"}, {"columns": ["class"]}):
        with pytest.raises(ValueError, match="no column 'class'; it has a, b"):
            data.stream(one, **options)
    frame["city"] = "x"
    frame.to_parquet(one)
    with pytest.raises(ValueError, match="'city' is not numeric"):
        data.stream(one)
    assert data.stream(one, columns=["a", "b"]).columns == ("a", "b")
    frame.loc[123, "b"] = None
    frame.to_parquet(one)
    with pytest.raises(ValueError, match=r"rows 100 to 199: .*row 123, column 1 \('b'\)"):
        list(data.stream(one, columns=["a", "b"], rows=100))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        data.stream(tmp_path / "empty")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"jaxad\[parquet\]"):
        data.stream(tmp_path / "x.parquet")


def test_a_header_that_claims_more_memory_than_there_is_names_the_file(rows, tmp_path, monkeypatch):
    file = on_disk(rows, tmp_path)

    def claim(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np.lib.format, "open_memmap", claim)
    with pytest.raises(ValueError, match=r"x\.npy cannot be read .* claims more memory"):
        data.stream(file)
