"""Plots: what they show, and errors."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jaxad import plotting


def test_loss_curves_of_several_histories_share_axes():
    figure = plotting.loss_curves({"a": {"loss": [3.0, 2.0]}, "b": {"loss": [1.0, 0.5, 0.1]}})
    (axes,) = figure.axes
    assert [len(line.get_ydata()) for line in axes.lines] == [2, 3]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_loss_curves_draw_validation_and_decades_on_a_logarithmic_axis():
    figure = plotting.loss_curves({"loss": [100.0, 1.0], "validation_loss": [90.0, 2.0]})
    assert len(figure.axes[0].lines) == 2
    assert figure.axes[0].get_yscale() == "log"


def test_loss_curves_of_an_ensemble_draw_every_member():
    history = {"loss": np.array([[3.0, 2.0, 1.0], [4.0, 2.0, np.nan]])}
    (axes,) = plotting.loss_curves(history).axes
    assert [len(line.get_xdata()) for line in axes.lines] == [3, 3]
    assert len(axes.get_legend().get_texts()) == 1


def test_loss_curves_of_an_untrained_detector_say_why_not():
    with pytest.raises(ValueError, match="epochs=0"):
        plotting.loss_curves({"loss": np.zeros(0)})


def test_diagnostics_share_panels_by_kind():
    lines = {"loss": 1, "scores_05": 1, "scores_50": 2, "scores_95": 3, "radius": 0.5}
    lines |= {"gradient_norm/encoder/Dense_0": 1, "gradient_norm/head": 2, "far": 0.1}
    lines |= {f"occupation_{k}": 0.5 for k in range(2)}
    figure = plotting.diagnostics({name: value * np.ones(4) for name, value in lines.items()})
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert [*panels] == ["Scores", "Radius", "Occupation", "Gradient norm", "far"]

    def legend(title):
        return [text.get_text() for text in panels[title].get_legend().get_texts()]

    assert legend("Scores") == ["5 %", "50 %", "95 %"]
    assert legend("Gradient norm") == ["encoder/Dense_0", "head"]
    assert legend("Occupation") == ["component 0", "component 1"]
    assert [line.get_ydata()[0] for line in panels["Scores"].lines] == [1, 2, 3]
    assert panels["Radius"].get_legend() is None


def test_diagnostics_of_an_ensemble_draw_every_member_thinly():
    values = np.array([[1.0, 0.1, 0.01], [1.0, 0.5, np.nan]])
    (axes,) = plotting.diagnostics({"collapse": values, "loss": values}).axes
    assert [line.get_xdata().tolist() for line in axes.lines] == [[1, 2, 3]] * 2
    np.testing.assert_array_equal([line.get_ydata() for line in axes.lines], values)
    assert axes.get_yscale() == "log"
    (alone,) = plotting.diagnostics({"collapse": values[0]}).axes
    assert axes.lines[0].get_linewidth() < alone.lines[0].get_linewidth()


@pytest.mark.parametrize("history", [{}, {"loss": [1.0]}, {"loss": [], "radius": []}])
def test_a_history_without_diagnostics_says_how_to_get_them(history):
    with pytest.raises(ValueError, match="diagnostics='all'"):
        plotting.diagnostics(history)


def test_histogram_heights_are_shares_of_each_class():
    scores, is_anomaly = np.arange(10.0), np.arange(10) >= 7
    figure = plotting.score_histogram(scores, is_anomaly, threshold=6.5)
    bars = [patch for patch in figure.axes[0].patches if patch.__class__.__name__ == "Rectangle"]
    heights = np.array([bar.get_height() for bar in bars])
    assert heights.sum() == pytest.approx(2)  # one for each class


@pytest.mark.parametrize("shift", [0.0, -0.5])
def test_histogram_shows_rows_near_0_beside_scores_decades_above(shift):
    scores = np.r_[np.zeros(5), np.linspace(0, 1, 95), np.geomspace(1e3, 1e6, 5)] + shift
    (axes,) = plotting.score_histogram(scores, scores > 100).axes
    bars = [p for p in axes.patches if p.__class__.__name__ == "Rectangle" and p.get_height() > 0]
    heights = np.array([bar.get_height() for bar in bars])
    assert heights.sum() == pytest.approx(2)  # no row is lost
    assert heights.max() < 0.75  # and one bar does not hold them all
    assert axes.get_xscale() == "asinh"


@pytest.mark.parametrize("is_anomaly", [[False] * 3, [True] * 3])
def test_histogram_with_one_class_or_constant_scores(is_anomaly):
    figure = plotting.score_histogram(np.ones(3), is_anomaly)
    assert len(figure.axes[0].get_legend().get_texts()) == 1


def test_latent_scatter_projects_rows_and_centre_alike():
    rng = np.random.default_rng(0)
    plane, turn = rng.normal(size=(50, 2)), np.linalg.qr(rng.normal(size=(5, 5)))[0][:2]
    shift = rng.normal(size=5)
    figure = plotting.latent_scatter(plane @ turn + shift, np.arange(50) < 5, shift, radius=1.0)
    lines = {line.get_label(): np.array(line.get_data()) for line in figure.axes[0].lines}
    points = np.concatenate([c.get_offsets() for c in figure.axes[0].collections])
    to_centre = np.linalg.norm(points - lines["centre"].T, axis=1)
    expected = np.linalg.norm(np.concatenate([plane[:5], plane[5:]]), axis=1)
    np.testing.assert_allclose(to_centre, expected, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(lines["boundary"] - lines["centre"], axis=0), 1)


def test_latent_scatter_of_a_single_row():
    assert plotting.latent_scatter(np.ones((1, 5)), [False], np.zeros(5), 1.0).axes


def test_latent_scatter_refuses_one_dimension():
    with pytest.raises(ValueError, match="L at least 2"):
        plotting.latent_scatter(np.zeros((4, 1)), np.zeros(4, bool))


def test_reconstructions_frame_the_flagged_ones():
    x = np.random.default_rng(0).random((10, 8, 8, 1))
    flagged = np.arange(10) == 9
    figure = plotting.reconstructions(x, x, flagged)
    framed = [axes for axes in figure.axes if axes.spines["left"].get_visible()]
    assert len(framed) == 2
    assert all(axes.images for axes in framed)


def test_lengths_and_shapes_must_agree():
    with pytest.raises(ValueError, match="3 rows but flags"):
        plotting.score_histogram(np.ones(3), [True])
    with pytest.raises(ValueError, match="its reconstructions"):
        plotting.reconstructions(np.zeros((2, 8, 8)), np.zeros((2, 4, 4)), [True, False])
    with pytest.raises(ValueError, match="images are"):
        plotting.reconstructions(np.zeros((2, 8)), np.zeros((2, 8)), [True, False])


def test_colour_images_are_drawn():
    x = np.random.default_rng(0).random((2, 8, 8, 3))
    assert len(plotting.reconstructions(x, x, [True, False]).axes) == 4


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        plotting.loss_curves({"loss": [1.0]})


def test_nothing_global_is_touched():
    code = (
        "import sys; from jaxad import plotting\n"
        "assert 'matplotlib' not in sys.modules\n"  # drawing imports it
        "plotting.loss_curves({'loss': [1.0]})._repr_png_()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_notebook_shows_a_figure_without_pyplot():
    """IPython displays what `_repr_png_` returns; see `test_nothing_global_is_touched`."""
    figure = plotting.loss_curves({"loss": [1.0, 0.5]})
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(figure))._repr_png_().startswith(b"\x89PNG")


def fleet(count=300, *, names=None):
    """A frame like a fleet's ``groups_``; rates are shares of whole rows."""
    rng = np.random.default_rng(0)
    rows, alarms = rng.integers(50, 5000, count), rng.integers(0, 20, count)
    recent = rng.integers(100, 3000, count)
    columns = {
        "rows": rows,
        "threshold_from": np.array(["own", "pooled", "global"])[rng.integers(0, 3, count)],
        "alarm_rate": alarms / 400,
        "recent_rows": recent,
        "recent_alarm_rate": rng.binomial(recent, 0.01) / recent,
    }
    return pd.DataFrame(columns, index=names or [f"pump-{i}" for i in range(count)])


def overlap(texts, figure):
    """Whether two of the texts overlap once the figure is drawn."""
    figure._repr_png_()
    boxes = [text.get_window_extent() for text in texts if text.get_visible() and text.get_text()]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_alarm_rates_draw_each_rated_group_and_count_those_within_double():
    frame = fleet()
    frame.iloc[:7, frame.columns.get_loc("alarm_rate")] = np.nan
    figure = plotting.alarm_rates(frame, 0.01)
    (axes,) = figure.axes
    rated = frame[7:]
    within = (rated["alarm_rate"] <= 0.02).sum()  # some are 8 of 400, exactly double
    assert axes.get_title().endswith(
        f"{within} of 293 ({within / 293:.1%}) within".replace("%", " %") + " double the budget"
    )
    drawn = np.concatenate([points.get_offsets() for points in axes.collections])
    expected = rated[["rows", "alarm_rate"]].to_numpy(float)
    np.testing.assert_array_equal(*(a[np.lexsort(a.T)] for a in (np.asarray(drawn), expected)))
    assert [line.get_ydata()[0] for line in axes.lines] == [0.01, 0.02]
    labels = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    for kind, count in rated["threshold_from"].value_counts().items():
        assert f"{kind} threshold ({count})" in labels


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.07, 0.1, 0.3])
def test_exactly_double_the_budget_is_within(rate):
    frame = pd.DataFrame({"rows": [100], "threshold_from": "own", "alarm_rate": round(200 * rate)})
    frame["alarm_rate"] /= 100
    assert "1 of 1" in plotting.alarm_rates(frame, rate).axes[0].get_title()


@pytest.mark.parametrize("alarms", [0.0, 0.001, 0.5, 1.0])
def test_the_axis_of_rates_shows_all_groups_and_its_ticks_are_multiples_of_the_budget(alarms):
    frame = fleet(10)
    frame["alarm_rate"] = frame["recent_alarm_rate"] = alarms
    for figure, name in (
        (plotting.alarm_rates(frame, 0.01), "y"),
        (plotting.furthest_groups(frame, 0.01), "x"),
    ):
        axis = getattr(figure.axes[0], f"{name}axis")
        low, high = axis.get_view_interval()
        assert low < 0 <= alarms < high
        assert axis.get_ticklocs()[:3].tolist() == [0, 0.01, 0.02]
        assert [text.get_text() for text in axis.get_ticklabels()[:3]] == ["0 %", "1 %", "2 %"]
        assert not overlap(axis.get_ticklabels(), figure)


def test_furthest_groups_put_evidence_before_rates():
    names = ["one of three", "dead", "kept", "loud"]
    frame = pd.DataFrame({"recent_rows": [3, 5000, 1000, 1000]}, index=names)
    frame["recent_alarm_rate"] = [1 / 3, 0, 0.01, 0.2]
    (axes,) = plotting.furthest_groups(frame, 0.01, 3).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["loud (200 of 1,000)", "dead (0 of 5,000)", "one of three (1 of 3)"]
    assert axes.get_title().endswith("3 of 4")
    assert axes.yaxis_inverted()
    bars = {round(bar.get_y() + 0.35): bar for bar in axes.patches}
    ends = [bars[i].get_x() + bars[i].get_width() for i in range(3)]
    np.testing.assert_allclose(ends, [0.2, 0, 1 / 3], atol=1e-12)
    segments = axes.collections[0].get_segments()
    for segment, (alarms, rows) in zip(segments, ((200, 1000), (0, 5000), (1, 3)), strict=True):
        expected = stats.binomtest(alarms, rows).proportion_ci(0.95, "exact")
        np.testing.assert_allclose(segment[:, 0], expected, atol=1e-12)


def test_long_names_lose_their_middle_and_several_columns_are_joined():
    names = [f"compressor station West {'x' * 60} pump {i}" for i in range(30)]
    figure = plotting.furthest_groups(fleet(30, names=names), 0.01, 30)
    labels = figure.axes[0].get_yticklabels()
    assert all(label.get_text().startswith("compressor stati") for label in labels)
    assert all(len(label.get_text().split(" (")[0]) == 40 for label in labels)
    assert len({label.get_text().split(" (")[0][-8:] for label in labels}) == 30
    assert not overlap(labels, figure)
    pairs = pd.MultiIndex.from_tuples([("north", 1), ("south", 2)])
    (axes,) = plotting.furthest_groups(fleet(2).set_index(pairs), 0.01).axes
    assert {label.get_text().split(" (")[0] for label in axes.get_yticklabels()} == {
        "north / 1",
        "south / 2",
    }


@pytest.mark.parametrize("draw", [plotting.alarm_rates, plotting.furthest_groups])
def test_frames_of_groups_are_checked(draw):
    frame = fleet(5)
    with pytest.raises(ValueError, match=r"rate is .* in \(0, 1\); got 1"):
        draw(frame, 1)
    with pytest.raises(ValueError, match="groups has no column 'quiet', only .*'rows'"):
        draw(frame, 0.01, alarm_rate="quiet")
    with pytest.raises(ValueError, match="no group has a value in 'none': score rows first"):
        draw(frame.assign(none=np.nan), 0.01, alarm_rate="none")
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        plotting.furthest_groups(frame, 0.01, 0)


def test_group_scores_mark_flagged_rows_in_the_order_of_the_index():
    times = pd.to_datetime(["2026-03-02", "2026-03-01", "2026-03-03"]).tz_localize("Asia/Tokyo")
    figure = plotting.group_scores([3.0, 1.0, 2.0], 2.5, index=times)
    (axes,) = figure.axes
    score, threshold = axes.lines
    assert score.get_ydata().tolist() == [1, 3, 2]
    assert score.get_xdata().tolist() == np.sort(times.tz_localize(None).to_numpy()).tolist()
    assert threshold.get_ydata()[0] == 2.5
    assert axes.collections[0].get_offsets()[:, 1].tolist() == [3]
    assert not overlap(axes.get_xticklabels(), figure)
    (axes,) = plotting.group_scores([3.0, 1.0], 2.5, is_anomaly=[False, True]).axes
    assert axes.collections[0].get_offsets().tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("scores", "scale"),
    [([1, 2, 3], "linear"), ([0.1, 1, 100], "log"), ([*range(-9, 9), 1e6], "asinh")],
)
def test_group_scores_choose_a_scale(scores, scale):
    assert plotting.group_scores(scores, 3.0).axes[0].get_yscale() == scale


def test_group_scores_are_checked():
    with pytest.raises(ValueError, match="2 scores and an index of 3"):
        plotting.group_scores([1, 2], 1.0, index=[1, 2, 3])
    with pytest.raises(ValueError, match="0 scores"):
        plotting.group_scores([], 1.0)
    with pytest.raises(ValueError, match="index must have numbers or times, got str.*to_datetime"):
        plotting.group_scores([1], 1.0, index=["Monday"])


def test_contributions_are_bars_from_the_base_to_the_score():
    parts = pd.DataFrame([[2.0, -0.5, 0.1, 0.2, 4.0]], columns=list("abcde"))
    (axes,) = plotting.contributions(parts, 1.0, values=[1, 2.5, "x", 0, 0], most=3).axes
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["2 other features", "b = 2.5", "a = 1", "e = 0"]
    np.testing.assert_allclose(bars, [(1, 1.3), (1.3, 0.8), (0.8, 2.8), (2.8, 6.8)])
    for wrong, options in ((np.ones((2, 3)), {}), (np.ones(3), {"values": [1]})):
        with pytest.raises(ValueError, match="one row|3 contributions"):
            plotting.contributions(wrong, 0.0, **options)


def test_heat_maps_lie_below_their_images():
    images, maps = np.random.default_rng(0).random((2, 9, 6, 5, 3))
    figure = plotting.heat_maps(images, maps[..., 0] - 0.5)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(shown) == 18
    np.testing.assert_array_equal(shown[8], maps[0, :, :, 0] - 0.5)
    with pytest.raises(ValueError, match="maps has shape"):
        plotting.heat_maps(images, maps)
