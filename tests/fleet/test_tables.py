"""Long tables: groups, rows group by group, and frames beside them."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxad.fleet.tables import open_table


def made(n=2000, groups=7, seed=0):
    """A shuffled long frame of two group columns, three features and a label."""
    draw = np.random.default_rng(seed)
    code = draw.integers(0, groups, n)
    return pd.DataFrame(
        {
            "site": np.array(["north", "south"])[code % 2],
            "a": draw.normal(size=n).astype(np.float32),
            "pump": code,
            "b": draw.integers(-9, 9, n).astype(np.int16),
            "c": draw.random(n) < 0.5,
            "label": draw.integers(-1, 2, n),
        }
    )


def expected(frame, group, columns, label):
    """Key, x, label and row numbers of every group, the slow and plain way."""
    found = {}
    for number, row in enumerate(frame.itertuples(index=False)):
        found.setdefault(tuple(getattr(row, name) for name in group), []).append(number)
    for key, numbers in found.items():
        part = frame.iloc[numbers]
        yield key, part[columns].to_numpy(np.float64), part[label].to_numpy(), numbers


def check(table, frame, group=("site", "pump"), columns=("a", "b", "c"), label="label"):
    """``table`` holds the rows of ``frame``, read one by one and in two parts."""
    groups = list(expected(frame, group, list(columns), label))
    assert table.keys == [key for key, *_ in groups]
    assert table.counts.tolist() == [len(numbers) for *_, numbers in groups]
    middle = len(groups) // 2
    for start, stop in [(0, middle), (middle, len(groups)), (0, len(groups)), (1, 2), (1, 1)]:
        rows = table.read(start, stop)
        assert rows.x.dtype == table.dtype
        assert rows.x.flags.c_contiguous
        assert rows.offsets.tolist() == np.cumsum([0, *table.counts[start:stop]]).tolist()
        for i, (_, x, labels, numbers) in enumerate(groups[start:stop]):
            part = slice(rows.offsets[i], rows.offsets[i + 1])
            np.testing.assert_array_equal(rows.x[part], x)
            np.testing.assert_array_equal(rows.label[part], labels)
            assert rows.number[part].tolist() == numbers


def test_pandas():
    frame = made()
    check(open_table(frame, ["site", "pump"], label="label"), frame)


def test_sorted_rows_are_read_as_slices():
    frame = made().sort_values(["site", "pump"], kind="stable")
    table = open_table(frame, ["site", "pump"], label="label")
    assert table._order is None
    check(table, frame)


def test_missing_values_are_named():
    frame = made()
    frame.loc[17, "a"] = np.nan
    table = open_table(frame, "pump", columns=["b", "a"])
    table.read(0, 7)
    with pytest.raises(ValueError, match=rf"group {frame.pump[17]}, row 17, column 'a' is NaN"):
        table.read(0, 7, check=True)


def pieces(frame, size=300):
    return [frame[i : i + size] for i in range(0, len(frame), size)]


def parquet(frame, folder):
    """Two files of several row groups."""
    for i, part in enumerate(pieces(frame, 1200)):
        pq.write_table(pa.Table.from_pandas(part), folder / f"{i}.parquet", row_group_size=250)
    return folder


SOURCES = {
    "polars": lambda frame, folder: pl.from_pandas(frame),
    "polars in parts": lambda frame, folder: pl.concat(
        [pl.from_pandas(part) for part in pieces(frame)], rechunk=False
    ),
    "pyarrow": lambda frame, folder: pa.Table.from_pandas(frame),
    "pyarrow in parts": lambda frame, folder: pa.concat_tables(
        [pa.Table.from_pandas(part) for part in pieces(frame)]
    ),
    "category": lambda frame, folder: frame.astype({"site": "category"}),
    "nullable": lambda frame, folder: frame.convert_dtypes().astype({"b": "Int16", "a": "Float32"}),
    "rows first": lambda frame, folder: frame.copy(),
    "folder": parquet,
    "list": lambda frame, folder: pieces(frame),
    "stream": lambda frame, folder: lambda: iter(pieces(pl.from_pandas(frame))),
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_rows(source, tmp_path):
    frame = made()
    table = open_table(SOURCES[source](frame, tmp_path), ["site", "pump"], label="label")
    assert table.dtype == np.float32
    check(table, frame)


def test_a_partitioned_folder_groups_by_the_names_of_its_folders(tmp_path):
    frame = made().sort_values(["site", "pump"], kind="stable").reset_index(drop=True)
    pq.write_to_dataset(pa.Table.from_pandas(frame), tmp_path, partition_cols=["site", "pump"])
    check(open_table(tmp_path, ["site", "pump"], label="label"), frame)


def test_row_groups_without_a_wanted_group_are_not_read(tmp_path, monkeypatch):
    frame = made().sort_values("pump", kind="stable")
    table = open_table(parquet(frame, tmp_path), "pump", columns=["a"])
    read = []
    load = table._load
    monkeypatch.setattr(table, "_load", lambda i, chunk: read.append(i) or load(i, chunk))
    table.read(0, 1)
    assert read == list(range(-(-table.counts[0] // 250)))


def test_columns_of_a_frame_are_not_copied():
    block = np.ones((3, 100), np.float32)
    frame = pd.DataFrame(block.T, copy=False)
    frame["pump"] = np.arange(100) % 3  # `assign` of pandas 2 copies the block
    table = open_table(frame, "pump")
    table.read(0, 1)
    ((features, _),) = table._loaded.values()
    assert all(np.shares_memory(column, block) for column in features._columns)


def test_wide_types_give_float64():
    frame = made().astype({"b": np.int32})
    assert open_table(frame, "pump", columns=["a", "b"]).dtype == np.float64
    assert open_table(frame, "pump", columns=["a", "c"]).dtype == np.float32


def test_frame_beside_the_input():
    frame = made(60).set_index(np.arange(60) * 10)
    values = {
        "score": np.arange(60.0),
        "source": pd.Categorical.from_codes(np.arange(60) % 2, ["own", "global"]),
    }
    for source, kind in [
        (frame, pd.DataFrame),
        (pl.from_pandas(frame), pl.DataFrame),
        (pa.Table.from_pandas(frame), pa.Table),
        (pieces(frame, 25), pd.DataFrame),
    ]:
        result = open_table(source, ["site", "pump"], label="label").frame(values)
        assert isinstance(result, kind)
        plain = result if kind is pd.DataFrame else result.to_pandas()
        assert plain.columns.tolist() == ["site", "pump", "score", "source"]
        assert plain.site.tolist() == frame.site.tolist()
        assert plain.pump.tolist() == frame.pump.tolist()
        assert plain.source.tolist() == ["own", "global"] * 30
        if source is frame:
            assert plain.index.equals(frame.index)
    with pytest.raises(ValueError, match="group column 'pump' has the name of a column"):
        open_table(frame, "pump", columns=["a"]).frame({"pump": values["score"]})


def test_known_columns_go_by_name():
    frame = made()
    table = open_table(frame[["c", "b", "a", "pump"]], "pump", label="label", known=["a", "b", "c"])
    assert table.columns == ("a", "b", "c")
    assert table.read(0, 1).label is None
    with pytest.raises(ValueError, match="not fitted on: 'site'; drop them, or name the features"):
        open_table(frame, "pump", label="label", known=["a", "b", "c"])
    open_table(frame, "pump", label="label", columns=["a", "b"], known=["a", "b"])
    with pytest.raises(ValueError, match="has no column 'z'"):
        open_table(frame, "pump", known=["a", "z"], columns=["a", "z"])


def changed(**columns):
    return made(20).assign(**columns)


BAD = {
    "no group": (made(9), {"group": "x"}, ValueError, "group: the frame has no column 'x'; it has"),
    "no label": (made(9), {"label": "x"}, ValueError, "label: the frame has no column 'x'"),
    "no feature": (made(9), {"columns": ["x"]}, ValueError, "columns: the frame has no column 'x'"),
    "text": (made(9), {}, ValueError, "'site' of the frame is not numeric.*OneHotEncoder"),
    "date": (
        changed(site=pd.Timestamp("2026-01-01")), {}, ValueError, "'site'.*numbers of your choice"
    ),
    "both": (made(9), {"columns": ["a", "pump"]}, ValueError, "'pump' is named in both group and"),
    "twice": (made(9), {"columns": ["a", "a"]}, ValueError, "'a' is named in columns twice"),
    "a name": (made(9), {"columns": "a"}, TypeError, r"columns='a' is text: give a list, \['a'\]"),
    "no columns": (made(9)[["pump"]], {}, ValueError, "no feature column, only 'pump'"),
    "same names": (
        made(9).set_axis(list("aapxyz"), axis=1), {"group": "p"}, ValueError, "same name: rename"
    ),
    "levels": (
        made(9).set_axis(pd.MultiIndex.from_product([[1], list("abcdef")]), axis=1),
        {}, ValueError, "have 2 levels: join them",
    ),
    "missing": (
        changed(pump=pd.array([1, None] * 10, "Int64")), {"columns": ["a"]}, ValueError,
        "group column 'pump' has no identifier in row 1",
    ),
    "float": (
        changed(pump=1.5), {"columns": ["a"]}, TypeError,
        "'pump' has 1.5 of type float in row 0: cast it to text or a whole number",
    ),
    "lists": (
        pl.DataFrame({"pump": [[1], [2]], "a": [1.0, 2.0]}), {}, TypeError,
        r"group column 'pump' has values of type List\(Int64\): cast it to text or a whole number",
    ),
    "records": (
        pl.DataFrame({"pump": [{"a": 1}], "a": [1.0]}), {}, TypeError,
        "group column 'pump' has values of type Struct",
    ),
    "arrays": (
        pl.DataFrame({"pump": [[1, 2]], "a": [1.0]}, schema_overrides={"pump": pl.Array(int, 2)}),
        {}, TypeError, "group column 'pump' has values of type Array",
    ),
    "lists of objects": (
        pd.DataFrame({"pump": [[1], [2]], "a": [1.0, 2.0]}), {}, TypeError,
        "group column 'pump' has values of type Object",
    ),
    "records in pyarrow": (
        pl.DataFrame({"pump": [{"a": 1}], "a": [1.0]}).to_arrow(), {}, TypeError,
        "group column 'pump' has values of type Struct",
    ),
    "no rows": (made(9)[:0], {"columns": ["a"]}, ValueError, "the frame has no rows"),
    "lazy": (pl.LazyFrame({"pump": [1], "a": [1]}), {}, TypeError, "frame.collect()"),
    "array": (np.ones((3, 3)), {}, TypeError, "give a pandas, polars or pyarrow frame"),
    "iterator": (iter([made(9)]), {}, TypeError, "read only once: give a function"),
    "no frames": ([], {}, ValueError, "has no rows"),
    "differ": (
        [made(9), made(9).drop(columns="b")], {"columns": ["a"]}, ValueError,
        "frame 1 of the list has other columns than frame 0 of the list: 'b' is missing",
    ),
    "not a file": ("nowhere.parquet", {}, FileNotFoundError, "nowhere.parquet is neither"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    source, options, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        open_table(source, **{"group": "pump", **options})


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(ValueError, match="read it with pandas or polars, and give the frame"):
        open_table(tmp_path / "a.csv", "a")
    (tmp_path / "a.parquet").write_text("a,b")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        open_table(tmp_path / "a.parquet", "a")


@pytest.mark.parametrize("second", [[made(20)], [made(20), made(21)], [made(20), made(20, seed=1)]])
def test_a_stream_that_changes_is_refused(second):
    passes = iter([[made(20), made(20)], second])
    table = open_table(lambda: iter(next(passes)), "pump", columns=["a"])
    with pytest.raises(ValueError, match="stream has other rows than when it was opened, from fra"):
        table.read(0, 1)


@pytest.mark.parametrize("kind", ["Float64", "float64"])
def test_values_that_are_not_finite_are_named_in_every_type(kind):
    frame = made(50).astype({"a": kind})
    frame.loc[13, "a"] = None if kind == "Float64" else np.inf
    word = "NaN" if kind == "Float64" else "infinity"
    table = open_table(frame, "pump", columns=["b", "a"])
    with pytest.raises(ValueError, match=rf"row 13, column 'a' is {word} \(1 of 50 rows"):
        table.read(0, len(table.keys), check=True)
