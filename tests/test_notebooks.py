"""In a real kernel, progress bars are widgets that stay, and figures show."""

import pytest

CELLS = (
    "import jaxad, numpy as np\n"
    "x = np.random.default_rng(0).normal(size=(60, 3))\n"
    "options = {'hidden': (), 'latent_dim': 2, 'epochs': 2, 'n_members': 1, 'random_state': 0}\n"
    "detector = jaxad.AutoEncoder(**options, verbose=True).fit(x)",
    "jaxad.plotting.loss_curves(detector.history_)",
)


@pytest.mark.slow
def test_bars_and_figures_show():
    nbclient, nbformat = map(pytest.importorskip, ("nbclient", "nbformat"))
    pytest.importorskip("ipykernel")
    pytest.importorskip("ipywidgets")
    cells = list(map(nbformat.v4.new_code_cell, CELLS))
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=300).execute()
    bar, figure = ([output.data for output in cell.outputs] for cell in notebook.cells)
    assert "application/vnd.jupyter.widget-view+json" in bar[0]
    assert "image/png" in figure[0]
