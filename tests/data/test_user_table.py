"""A user's own table."""

import numpy as np
import pandas as pd
import pytest

from jaxad.data import read_table

CARD_COLUMNS = ["Time", *(f"V{i}" for i in range(1, 29)), "Amount", "Class"]


@pytest.fixture
def frame(rng):
    """Forty rows with the columns of Kaggle's card-fraud table, four of them frauds."""
    frame = pd.DataFrame(rng.normal(size=(40, 31)), columns=CARD_COLUMNS)
    frame["Class"] = (np.arange(40) % 10 == 0).astype(int)
    return frame


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_a_csv_gives_rows_marks_and_names(tmp_path, frame, suffix):
    path = tmp_path / f"creditcard.{suffix}"
    frame.to_csv(path, index=False)
    dataset = read_table(path, label="Class", drop=["Time"])
    assert dataset.features == tuple(CARD_COLUMNS[1:-1])
    np.testing.assert_allclose(dataset.x, frame[list(dataset.features)])
    np.testing.assert_array_equal(dataset.is_anomaly, frame["Class"] == 1)
    assert dataset.card.shape == (29,)
    assert (dataset.card.rows, dataset.card.anomalies) == (40, 4)
    assert dataset.card.source == str(path)


def test_values_that_mark_an_anomaly(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("kind,a,flag\nok,1,True\nbroken,2,False\nworn,3,True\n")
    dataset = read_table(path, label="kind", anomaly=["broken", "worn"])
    assert dataset.is_anomaly.tolist() == [False, True, True]
    assert dataset.x.tolist() == [[1, 1], [2, 0], [3, 1]]
    one = read_table(path, label="kind", anomaly="worn")
    assert one.is_anomaly.tolist() == [False, False, True]


def test_parquet_goes_to_its_reader(tmp_path, frame, monkeypatch):
    path = tmp_path / "card.parquet"
    path.touch()
    monkeypatch.setattr(pd, "read_parquet", lambda found: frame if found == path else None)
    assert read_table(path, label="Class").x.shape == (40, 30)


def test_parquet_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    def missing(_):
        raise ImportError("no engine")

    path = tmp_path / "card.parquet"
    path.touch()
    monkeypatch.setattr(pd, "read_parquet", missing)
    with pytest.raises(ImportError, match=r"needs pyarrow: pip install 'jaxad\[parquet\]'"):
        read_table(path, label="Class")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,0\n", {"label": "Class"}, "has no column 'Class'; it has a, b"),
        ("a,b\n1,0\n", {"label": "b", "drop": ["id"]}, "has no column 'id'; it has a, b"),
        ("a,b\n1,0\n2,7\n", {"label": "b"}, "column 'b' of .*holds .*7.* in row 1.*anomaly="),
        ("a,b\n1,0\n2,\n", {"label": "b"}, "column 'b' of .*nan.* in row 1"),
        ("a,b\n1,x\n", {"label": "b", "anomaly": "y"}, "column 'b' .*never holds 'y'; it holds 'x"),
        ("a,b,c\n1,0,red\n2,1,blue\n", {"label": "b"}, "not every value is a number in c: encode"),
        ("a,b,c\n1,0,2\n2,1,\n", {"label": "b"}, r"missing or infinite in c \(1 of 2 rows\)"),
        ("a,b,c\n1,0,2\n2,1,inf\n", {"label": "b"}, r"missing or infinite in c \(1 of 2 rows\)"),
        ("b\n0\n1\n", {"label": "b"}, "no column left"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error_that_names_what_is_wrong(
    tmp_path, text, options, message
):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(path, **options)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.csv: give the path"):
        read_table(tmp_path / "nowhere.csv", label="Class")
