"""Plots of studies: what they show, and errors."""

import numpy as np
import pandas as pd
import pytest
from study_tables import table

from jaxad import plotting, study
from jaxad.study.statistics import ranking


def texts(axes):
    return [text.get_text().strip() for text in axes.texts]


def test_the_ranks_name_every_contender_and_bars_join_cliques(rng):
    level = rng.uniform(0.5, 0.8, (30, 1)) + 0.002 * rng.normal(size=(30, 4))
    names = ["low", "also low", "high", "also high"]
    found = ranking(pd.DataFrame(level + [0, 0, 0.1, 0.1], columns=names))
    (axes,) = plotting.average_ranks({"half": found}).axes
    shown = {f"{name} ({found.ranks[name]:.2f})" for name in names}
    assert shown <= set(texts(axes))
    assert f"Nemenyi's critical difference {found.critical_difference:.2f}" in texts(axes)
    dots = [sorted(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    expected = [sorted(found.ranks[name] for name in clique) for clique in found.cliques]
    assert sorted(dots) == sorted(expected)
    assert axes.get_title() == "half"


def test_a_diagram_for_each_ranking():
    found = ranking(pd.DataFrame({"a": [0.1, 0.2], "b": [0.3, 0.4]}))
    figure = plotting.average_ranks({"one": found, "two": found})
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    figure.draw_without_rendering()


def test_ranks_of_nothing_are_refused():
    alone = ranking(pd.DataFrame({"a": [0.1, 0.2]}))
    for rankings in ({}, {"x": alone}):
        with pytest.raises(ValueError, match="at least one ranking of two contenders"):
            plotting.average_ranks(rankings)


def test_the_forest_has_a_line_for_each_contender_in_points(rng):
    pytest.importorskip("baycomp")
    gains = {"plain": 0, "low": -0.1, "high": 0.1, "open": 0.05 * rng.normal(size=12)}
    found = study.report(table(gains), "plain").differences
    (axes,) = plotting.forest(found).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["high", "open", "low"]
    (medians,) = [line for line in axes.lines if line.get_label() == "median"]
    np.testing.assert_allclose(
        medians.get_xdata(), 100 * found.loc[["high", "open", "low"], "median"]
    )
    assert {"12/0/0", "0/0/12"} <= set(texts(axes))
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_a_contender_without_sets_is_not_in_the_forest(rng):
    pytest.importorskip("baycomp")
    whole = table({"plain": 0, "mine": 0.1, "gone": 0.1}, sets=1)
    whole.loc[whole["variant"] == "gone", "auroc"] = np.nan
    found = study.report(whole, "plain").differences
    (axes,) = plotting.forest(found).axes  # one set: a point without an interval
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mine"]
    with pytest.raises(ValueError, match="no contender has a mean difference"):
        plotting.forest(found.loc[["gone"]])


def test_differences_are_drawn_by_features_and_by_rows():
    sizes = np.arange(20)
    sets = pd.DataFrame({"features": 2 + sizes, "train_rows": 10 * 2.0**sizes})
    sets["difference"] = np.where(sizes < 10, -0.1, 0.2)
    sets.loc[0, "difference"] = 0.0
    by_features, by_rows = plotting.differences_by_size(sets).axes
    assert (
        by_features.get_title() == "by features:\nwon 0, lost 9 up to 12; won 10, lost 0 above 12"
    )
    assert (by_features.get_xscale(), by_rows.get_xscale()) == ("linear", "log")
    (line,) = [line for line in by_rows.lines if line.get_label() == "running median"]
    np.testing.assert_allclose(line.get_xdata(), sets["train_rows"])
    np.testing.assert_allclose(line.get_ydata(), np.where(sizes < 10, -10, 20))
    assert sum(len(dots.get_offsets()) for dots in by_rows.collections) == 20


def test_the_running_median_is_of_sorted_neighbours():
    frame = pd.DataFrame({"difference": [0.3, 0.1, 0.2], "features": [9, 2, 5]})
    axes = plotting.differences_by_size(frame.assign(train_rows=[3, 1, 2])).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "running median"]
    np.testing.assert_allclose(line.get_xdata(), [2, 5, 9])
    np.testing.assert_allclose(line.get_ydata(), [20, 20, 20])


def test_missing_columns_and_values_are_refused():
    with pytest.raises(ValueError, match="no column 'mean', only .*a report's differences"):
        plotting.forest(pd.DataFrame({"low": [1.0]}))
    with pytest.raises(ValueError, match=r"no column 'features', only .*by_set\(contender\)"):
        plotting.differences_by_size(pd.DataFrame({"difference": [1.0]}))
    empty = pd.DataFrame({"difference": [np.nan], "features": [1], "train_rows": [1]})
    with pytest.raises(ValueError, match="no set has a difference"):
        plotting.differences_by_size(empty)
