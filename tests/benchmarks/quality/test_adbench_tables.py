"""What ADBench's suite says of its rows: means, ranks, tests, and the published table."""

import re

import numpy as np
import pytest
from scipy import stats

from benchmarks.quality import adbench, adbench_tables, reference_numbers
from benchmarks.record.rows import Row
from jaxad import data

SETTINGS = adbench.DEFAULTS | {"seeds": 2, "settings": ("half",)}


def made(values, setting="half"):
    """Rows of figures: detector -> set -> AUROC of two seeds about a mean."""
    return [
        Row(
            name,
            detector,
            {m: [v - 0.01, v + 0.01] for m in adbench.METRICS},
            {"setting": setting, "seconds": 1.0},
            None if v == v else "seed 0: no",
        )
        for detector, figures in values.items()
        for name, v in figures.items()
    ]


THREE = {
    "dagmm": {"thyroid": 0.9, "annthyroid": 0.6, "wine": 0.7},
    "dagmm untrained": {"thyroid": 0.8, "annthyroid": 0.6, "wine": 0.5},
    "goad": {"thyroid": 0.5, "annthyroid": 0.5, "wine": 0.7},
    "knn_5th": {"thyroid": 0.6, "annthyroid": 0.9, "wine": 0.9},
}


def reported(values):
    settings = SETTINGS | {"datasets": ("thyroid", "annthyroid", "wine")}
    text = adbench_tables.text(made(values), settings)
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return text, lines


def cells(lines, title):
    return next(line[1:] for line in lines if line[0] == title)


def test_means_and_ranks_count_shared_rows_once():
    text, lines = reported(THREE)
    assert "Left out: annthyroid." in text
    assert cells(lines, "AUROC %") == ["dagmm", "goad", "knn_5th"]
    assert cells(lines, "mean, 3 sets, all") == ["73.3", "56.7", "80.0"]
    assert cells(lines, "mean, 2 sets, no overlaps") == ["80.0", "60.0", "75.0"]
    # thyroid 1 3 2, annthyroid 2 3 1, wine 2.5 2.5 1
    assert cells(lines, "rank, 3 sets, all") == ["1.83", "2.83", "1.33"]
    assert cells(lines, "rank, 2 sets, no overlaps") == ["1.75", "2.75", "1.50"]


def test_detectors_are_compared_set_by_set():
    _, lines = reported(THREE)
    start = next(i for i, line in enumerate(lines) if line[:2] == ["dagmm", "untrained"])
    # Differences 10, 0 and 20 points.
    p = stats.ttest_rel([0.9, 0.6, 0.7], [0.8, 0.6, 0.5]).pvalue
    assert lines[start][2:6] == ["3, all", "+10.0 ± 5.8", "2/1/0", f"{p:.4f}"]
    assert lines[start + 1][1:4] == ["2, no overlaps", "+15.0 ± 5.0", "2/0/0"]
    assert lines[start + 2][:4] == ["knn_5th", "3, all", "-6.7 ± 18.6", "1/0/2"]


def test_a_set_with_a_missing_figure_is_in_no_mean():
    values = THREE | {"goad": THREE["goad"] | {"wine": np.nan}}
    text, lines = reported(values)
    assert cells(lines, "wine") == ["70.0", "-", "90.0"]
    assert cells(lines, "mean, 2 sets, all") == ["75.0", "50.0", "75.0"]
    assert "missing: goad on wine (half): seed 0: no" in text


def test_a_detector_with_labels_is_marked_and_not_ranked():
    settings = SETTINGS | {"datasets": ("thyroid", "annthyroid", "wine")}
    values = THREE | {"deep_sad": THREE["knn_5th"], "deep_sad untrained": THREE["goad"]}
    rows = made(values)
    (ranked,) = adbench_tables.rankings(rows, settings).values()
    assert "deep_sad" not in ranked.ranks
    assert "deep_sad*" in adbench_tables.text(rows, settings)


def test_the_report_corrects_its_tests_and_says_whether_ranks_differ_at_all():
    text, lines = reported(THREE)
    assert "Holm p" in text
    assert "Friedman's test that all rank alike: p " in text
    start = next(i for i, line in enumerate(lines) if line[:2] == ["dagmm", "untrained"])
    p = float(lines[start][5])
    assert float(lines[start][6]) == pytest.approx(min(1, 2 * p), abs=2e-4)  # the smaller of two
    (title,) = adbench_tables.rankings(made(THREE), SETTINGS | {"datasets": tuple(THREE["goad"])})
    assert "Friedman p " in title


def test_file_order_stands_beside_the_published_table():
    values = {
        "knn_5th": {"thyroid": 0.9868, "wine": 0.9799, "arrhythmia": 0.5},
        "deep_svdd": {"thyroid": 0.9, "wine": np.nan, "arrhythmia": 0.5},
    }
    settings = SETTINGS | {"datasets": tuple(values["knn_5th"]), "settings": ("file_order",)}
    text = adbench_tables.text(made(values, "file_order"), settings)
    table = text[text.index("beside the published table") :]
    lines = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    assert cells(lines, "set") == ["knn_5th", "deep_svdd"]
    assert cells(lines, "thyroid") == ["98.7 98.7", "+0.00", "90.0 88.8", "+1.23"]
    assert cells(lines, "wine") == ["98.0 99.2", "-1.20", "-"]
    assert cells(lines, "mean difference") == ["-0.60", "+1.23"]
    assert cells(lines, "largest") == ["-1.20", "+1.23"]
    assert not any(line[0] == "arrhythmia" for line in lines[:8])
    assert "published table" not in adbench_tables.text(
        made(values), SETTINGS | {"datasets": tuple(values["knn_5th"])}
    )


def test_the_published_tables_seeds_come_first():
    assert [reference_numbers.seed_of_split(seed) for seed in range(8)] == [0, 1, 2, 3, 6, 5, 4, 7]
    is_anomaly = np.arange(300) < 30
    found = adbench.cases(is_anomaly, "file_order", SETTINGS | {"seeds": 5})[4]
    assert data.split_hash(found.split) == data.split_hash(
        data.split(is_anomaly, "one_class_file_order", 6)
    )


def test_the_picture_has_a_diagram_for_each_setting():
    settings = SETTINGS | {"datasets": ("thyroid", "annthyroid", "wine")}
    _, figure = adbench.pictures(made(THREE), settings)["ranks"]
    (axes,) = figure.axes
    texts = {text.get_text().strip() for text in axes.texts}
    assert {"dagmm (1.75)", "goad (2.75)", "knn_5th (1.50)"} <= texts
    assert axes.get_title().startswith("half")
