"""What ADBench's suite says of its rows: means, ranks, tests, and the published table."""

import re

import numpy as np
import pytest
from scipy import stats

from benchmarks.quality import adbench, adbench_tables, reference_numbers
from benchmarks.quality import statistics as compared
from benchmarks.quality.statistics import holm, paired
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
    ((names, _),) = adbench_tables.rankings(rows, settings).values()
    assert "deep_sad" not in names
    assert "deep_sad*" in adbench_tables.text(rows, settings)


def test_paired_differences_are_those_of_a_t_test(rng):
    first, second = rng.normal(size=(2, 12))
    found = paired([*first, np.nan], [*second, 0.0])
    expected = stats.ttest_rel(first, second)
    np.testing.assert_allclose(found.p, expected.pvalue)
    np.testing.assert_allclose(found.mean / found.error, expected.statistic)
    assert found.sets == found.wins + found.losses == 12
    assert np.isnan(paired([1.0, 2.0], [0.0, 1.0]).p)


def test_corrected_p_values_are_holms():
    """By the definition: the i-th smallest of m is multiplied by m - i + 1, and none falls."""
    p = np.array([0.03, 0.005, 0.2, 0.011, np.nan, 0.6])
    expected = [0.09, 0.025, 0.4, 0.044, np.nan, 0.6]
    np.testing.assert_allclose(holm(p), expected)


def test_friedmans_test_is_scipys_and_needs_three_detectors(rng):
    figures = rng.normal(size=(12, 4)) + [0, 0, 1, 2]
    expected = stats.friedmanchisquare(*figures.T).pvalue
    np.testing.assert_allclose(compared.friedman(figures), expected)
    assert expected < 0.05
    assert np.isnan(compared.friedman(figures[:, :2]))
    assert np.isnan(compared.friedman(np.ones((12, 4))))


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


@pytest.mark.parametrize(
    ("detectors", "sets", "q"), [(2, 10, 1.960), (4, 14, 2.569), (7, 20, 2.949), (10, 30, 3.164)]
)
def test_the_critical_difference_is_nemenyis(detectors, sets, q):
    """q from table 5 of Demšar (JMLR 2006)."""
    expected = q * np.sqrt(detectors * (detectors + 1) / (6 * sets))
    np.testing.assert_allclose(compared.critical_difference(detectors, sets), expected, rtol=5e-4)


def test_bars_join_the_longest_runs_that_do_not_differ():
    found = compared.indistinct(np.array([1.0, 1.8, 2.0, 3.5, 4.4, 6.0]), 1.0)
    assert found == [(0, 2), (3, 4)]
    assert compared.indistinct(np.array([1.0, 3.0]), 1.0) == []


def test_the_picture_names_every_detector_at_its_rank(rng):
    names, figures = ["goad", "dagmm", "knn_5th"], rng.normal(size=(40, 3)) + [0, 1, 2]
    (axes,) = compared.draw_ranks({"half": (names, figures)}).axes
    texts = [text.get_text().strip() for text in axes.texts]
    ranks = compared.average_ranks(figures)
    assert {f"{name} ({rank:.2f})" for name, rank in zip(names, ranks, strict=True)} <= set(texts)
    assert f"critical difference {compared.critical_difference(3, 40):.2f}" in texts
    assert axes.get_title() == "half"
