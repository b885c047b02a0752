"""Plots: what they show, and errors."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

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
