"""Plots of detectors, fleets and studies: losses, scores, explanations, alarm rates, ranks, ...

Every function returns a new ``matplotlib.figure.Figure`` and changes no global state of matplotlib.
Save it with ``figure.savefig(path)``; a notebook shows it if it is the last value of a cell.
"""

from jaxad.plotting.detectors import latent_scatter as latent_scatter
from jaxad.plotting.detectors import loss_curves as loss_curves
from jaxad.plotting.detectors import reconstructions as reconstructions
from jaxad.plotting.detectors import score_histogram as score_histogram
from jaxad.plotting.diagnostics import diagnostics as diagnostics
from jaxad.plotting.explanations import contributions as contributions
from jaxad.plotting.explanations import heat_maps as heat_maps
from jaxad.plotting.fleets import alarm_rates as alarm_rates
from jaxad.plotting.fleets import furthest_groups as furthest_groups
from jaxad.plotting.fleets import group_scores as group_scores
from jaxad.plotting.studies import average_ranks as average_ranks
from jaxad.plotting.studies import differences_by_size as differences_by_size
from jaxad.plotting.studies import forest as forest
