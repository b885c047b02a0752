"""Ours against a published figure: the verdict, and means of groups."""

import dataclasses
import math

import numpy as np
import pytest

from benchmarks.quality import paper_rows, paper_tables
from benchmarks.quality.paper_rows import Published
from benchmarks.quality.paper_tables import judge
from benchmarks.record.rows import Row

PAPER = Published(50.0, "confirmed", "table 1", std=3.0)
OVER_CLASSES = dataclasses.replace(PAPER, std_over="classes")


@pytest.mark.parametrize(
    ("values", "published", "word", "reason"),
    [
        ([47.5, 48.5], PAPER, "reproduced", "-2.0, within a published standard deviation of 3.0"),
        ([45.0, 45.2], PAPER, "below", "-4.9"),
        ([55.0, 55.2], PAPER, "above", "+5.1"),
        ([30.0, 60.0], PAPER, "not testable", "-5.0, but 2 seeds deviate by 21.2"),
        ([40.0], PAPER, "not testable", "one seed says little"),
        ([51.0], PAPER, "not testable", "one seed says little"),
        ([20.0, 81.0], PAPER, "not testable", "+0.5, but 2 seeds deviate by 43.1"),
        ([46.0, 45.0, 44.5], PAPER, "below", "-4.8"),
        ([48.0, 45.0, 42.5], PAPER, "not testable", "-4.8, but 3 seeds deviate by 2.8"),
        ([48.0, 48.1], OVER_CLASSES, "below", "-2.0, more than one point"),
        ([50.9, 51.0], dataclasses.replace(PAPER, std=None), "reproduced", "within one point"),
        ([51.1, 51.2], dataclasses.replace(PAPER, std=0.2), "above", "+1.2"),
        ([50.0, math.nan, 50.1], PAPER, "reproduced", "+0.0"),
        ([math.nan], PAPER, "not testable", "no seed could be measured"),
        ([50.0, 50.1], None, "not testable", "no published figure"),
    ],
)
def test_a_verdict_follows_from_the_distance(values, published, word, reason):
    verdict = judge(values, published)
    assert verdict.word == word
    assert reason in verdict.reason


def test_another_published_run_counts_too():
    rerun = Published(45.0, "third party", "the port run again", std=0.3)
    verdict = judge([44.9, 45.3], PAPER, rerun)
    assert verdict.word == "reproduced"
    assert "but within one point of 45.0: the port run again" in verdict.reason
    np.testing.assert_allclose(verdict.errors, (45.1 - 50) / 0.2)
    verdict = judge([46.5, 46.4], PAPER, rerun)
    assert verdict.word == "below"
    assert "(+1.5 from the port run again)" in verdict.reason
    verdict = judge([46.5, 45.6, 46.5], PAPER, rerun)  # the rerun is inside the interval of ours
    assert verdict.word == "not testable"
    assert "-3.8 (+1.2 from the port run again), but 3 seeds" in verdict.reason


def test_seeds_that_do_not_deviate_have_no_standard_errors():
    verdict = judge([40.0, 40.0, 40.0], PAPER)
    assert verdict.word == "below"
    assert math.isnan(verdict.errors)


def measured(table, untrained=0.0):
    """Rows of a table: row ``i`` has 90 and 92 % and ``i`` fifths, the untrained copies less."""
    return [
        Row(
            row.name,
            detector,
            {
                "auroc": [
                    level + 0.002 * i - untrained * (detector == paper_tables.UNTRAINED)
                    for level in (0.9, 0.92)
                ],
                "steps": [5.0, 5.0],
            },
            {"setting": table.name, "papers_steps": 10},
        )
        for i, row in enumerate(table.rows)
        for detector in paper_tables.DETECTORS
    ]


def test_a_group_is_the_mean_of_its_rows_seed_by_seed():
    table = paper_rows.read("deep_svdd_mnist")
    lines = paper_tables.text([table], measured(table)).splitlines()
    (line,) = (line for line in lines if line.startswith("mean of 10, one-class "))
    assert "94.8†" in line
    assert "91.9 ± 1.4" in line
    (line,) = (line for line in lines if line.startswith("mean of 10, soft-boundary  "))
    assert "93.9 ± 1.4" in line


def test_the_mean_of_some_rows_is_not_held_against_that_of_all():
    table = paper_rows.read("deep_svdd_mnist")
    some = dataclasses.replace(table, rows=table.rows[:2])
    text = paper_tables.text([some], measured(some))
    assert "mean of 2, one-class: not testable: 2 of its 10 rows" in text


def test_an_untrained_copy_within_the_tolerance_is_remarked_on():
    table = paper_rows.read("deep_svdd_mnist")
    (row,) = (row for row in table.rows if row.name == "2 one-class")  # published 91.7
    one = dataclasses.replace(table, rows=[row])
    remark = "its untrained copy is within the tolerance"
    assert remark in paper_tables.text([one], measured(one, untrained=-0.005))
    assert remark not in paper_tables.text([one], measured(one, untrained=0.05))
