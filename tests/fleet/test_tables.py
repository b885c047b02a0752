"""Long tables: groups, rows group by group, and frames beside them."""

import numpy as np
import pandas as pd
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
